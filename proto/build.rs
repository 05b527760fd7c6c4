//! Compiles `protos/` with `protox`, so that no `protoc` is needed on the machine.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from("protos");
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();
    println!("cargo:rerun-if-changed=protos");

    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    tonic_prost_build::configure()
        // An `Any` whose value is shared `Bytes`: payloads are encoded once for all streams.
        .extern_path(".google.protobuf.Any", "crate::Any")
        // Ordered maps: the same message gives the same bytes.
        .btree_map(".")
        // They hold private keys, which no log may show; `lib.rs` says what they print instead.
        .skip_debug([
            ".kuma.system.v1alpha1.Secret",
            ".kuma.system.v1alpha1.DataSource",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}

fn collect(dir: &std::path::Path, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            into.push(path);
        }
    }
    Ok(())
}
