//! The last good certificate of each source, on disk.
//!
//! One file for each, readable by this user only, replaced as a whole: after a crash it holds
//! the old certificate or the new one. The name of a file is a hash, for a source may be called
//! anything.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_model::MeshName;
use mesh_runtime::whole_file::{self, UNFINISHED};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zone_translate::{Certificate, Source};

use super::judge::Id;

/// A file. Only ever grows: a later release reads what an earlier one wrote.
#[derive(Serialize, Deserialize)]
struct Kept {
    mesh: MeshName,
    source: Source,
    /// Certificates and key.
    pem: String,
}

/// Makes the folder, for this user only, if it is not there.
pub(super) fn open(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Everything that is kept. A file that cannot be used is reported and counts as not there.
pub(super) fn load(folder: &Path) -> io::Result<BTreeMap<Id, Arc<Certificate>>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = match entry {
            Ok(entry) => entry.path(),
            Err(error) => {
                tracing::warn!(%error, "cannot list all of {}", folder.display());
                continue;
            }
        };
        if path.extension().is_some_and(|end| end == UNFINISHED) {
            // Left by a crash. If it stays, the next one of its name overwrites it.
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, "cannot remove {}", path.display());
            }
            continue;
        }
        match read(&path) {
            Ok((id, certificate)) => {
                all.insert(id, Arc::new(certificate));
            }
            Err(reason) => tracing::warn!(
                "cannot use the certificate kept in {}, so it counts as lost: {reason}",
                path.display()
            ),
        }
    }
    Ok(all)
}

fn read(path: &Path) -> Result<(Id, Certificate), String> {
    let text = fs::read(path).map_err(|error| error.to_string())?;
    // What a parser says of text may quote it.
    let kept: Kept = serde_json::from_slice(&text)
        .map_err(|error| format!("line {} is not as it was written", error.line()))?;
    let certificate = Certificate::parse(kept.pem.as_bytes())?;
    Ok(((kept.mesh, kept.source), certificate))
}

/// Keeps a certificate; it is on disk when this returns.
pub(super) fn store(folder: &Path, id: &Id, certificate: &Certificate) -> io::Result<()> {
    let kept = Kept {
        mesh: id.0.clone(),
        source: id.1.clone(),
        pem: certificate.to_pem(),
    };
    whole_file::replace(&path(folder, id), &serde_json::to_vec(&kept)?, 0o600)
}

/// Keeps nothing for a source any more.
pub(super) fn remove(folder: &Path, id: &Id) -> io::Result<()> {
    match fs::remove_file(path(folder, id)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => File::open(folder)?.sync_all(),
    }
}

fn path(folder: &Path, (mesh, source): &Id) -> PathBuf {
    // Lengths keep different parts apart that read the same one after the other.
    let mut hasher = Sha256::new();
    let mut add = |part: &str| {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    };
    add(mesh.as_str());
    match source {
        Source::Secret(name) => ["secret", name].map(&mut add),
        Source::File(path) => ["file", path].map(&mut add),
        Source::Inline {
            gateway,
            port,
            hostname,
            index,
        } => {
            add(gateway.as_str());
            add(hostname);
            ["inline", &format!("{port} {index}")].map(&mut add)
        }
    };
    let mut name = String::with_capacity(32);
    for byte in hasher.finalize().iter().take(16) {
        write!(name, "{byte:02x}").expect("writing to a String cannot fail");
    }
    folder.join(name + ".json")
}
