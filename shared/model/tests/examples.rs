//! The files in `examples/` are what the README and the lab apply: they must stay valid.

use std::collections::BTreeSet;
use std::path::Path;

use mesh_model::{ResourceType, json, validate};

#[test]
fn every_example_is_valid_and_uses_no_unknown_field() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = BTreeSet::new();
    // What a global takes, and what a zone takes.
    let entries = ["global", "zone"]
        .map(|folder| std::fs::read_dir(dir.join(folder)).expect("there are examples"));
    for entry in entries.into_iter().flatten() {
        let path = entry.expect("a readable folder").path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let documents = mesh_runtime::yaml::parse(&text).expect("valid YAML");
        for document in documents {
            let place = format!("{}:{}", path.display(), document.first_line);
            let read = json::parse_document(&document.value)
                .unwrap_or_else(|why| panic!("{place}: {why}"));
            assert_eq!(read.unknown, [""; 0], "{place}");
            assert_eq!(validate::spec(read.ty, &read.spec), [], "{place}");
            assert_eq!(validate::new_name(&read.name), [], "{place}");
            assert_eq!(read.mesh.is_some(), read.ty.is_mesh_scoped(), "{place}");
            seen.insert(read.ty);
        }
    }
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        [
            ResourceType::Mesh,
            ResourceType::MeshGateway,
            ResourceType::MeshGatewayRoute,
            ResourceType::Dataplane,
        ]
    );
}
