//! Directories that are not ours are refused, with advice, and left untouched.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use mesh_store::{Batch, Disk, OpenError, Role, Store};

use crate::common::{open, secret};

const MARKER: &str = "meridian-store.json";

/// Every file below `dir` with its content.
fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_string_lossy().into_owned();
        if path.is_dir() {
            found.insert(name, Vec::new());
            found.extend(tree(&path));
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

/// Opens, expects a refusal that changes nothing, and returns its text with all causes.
fn refuse(dir: &Path, role: Role) -> (OpenError, String) {
    let before = tree(dir);
    let error = Disk::open(dir, role).unwrap_err();
    assert_eq!(tree(dir), before, "a refused directory was changed");
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    (error, text)
}

async fn some_store(dir: &Path) {
    let store = open(dir);
    store
        .commit(Batch::new().put(secret("a", "1")))
        .await
        .unwrap();
}

#[test]
fn a_directory_with_other_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let (error, text) = refuse(dir.path(), Role::Global);
    assert!(matches!(error, OpenError::Foreign { .. }), "{text}");
    assert!(
        text.contains(MARKER) && text.contains("notes.txt"),
        "{text}"
    );
}

#[test]
fn another_programs_sled_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let db = sled::open(dir.path()).unwrap();
    db.insert("k", "v").unwrap();
    db.flush().unwrap();
    drop(db);
    let (error, text) = refuse(dir.path(), Role::Zone);
    assert!(matches!(error, OpenError::Foreign { .. }), "{text}");
}

#[tokio::test]
async fn the_other_roles_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    some_store(dir.path()).await;
    let (error, text) = refuse(dir.path(), Role::Global);
    assert!(matches!(error, OpenError::OtherRole { .. }), "{text}");
    assert!(text.contains("store of a zone control plane"), "{text}");
    assert_eq!(open(dir.path()).snapshot().len(), 1);
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    some_store(dir.path()).await;
    // Whatever else a newer marker says.
    fs::write(dir.path().join(MARKER), r#"{"format":2,"owner":["zone"]}"#).unwrap();
    let (error, text) = refuse(dir.path(), Role::Zone);
    assert!(
        matches!(
            error,
            OpenError::Newer {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{text}"
    );
}

#[tokio::test]
async fn a_damaged_marker_is_refused() {
    for garbage in [
        "",
        "\u{0}\u{0}\u{0}",
        "{",
        r#"{"format":1}"#,
        r#"{"format":"1"}"#,
    ] {
        let dir = tempfile::tempdir().unwrap();
        some_store(dir.path()).await;
        fs::write(dir.path().join(MARKER), garbage).unwrap();
        let (error, text) = refuse(dir.path(), Role::Zone);
        assert!(matches!(error, OpenError::Marker { .. }), "{text}");
        assert!(
            text.contains(MARKER) && text.contains("restore the directory"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_store_without_its_log_is_refused_and_not_started_empty() {
    for name in ["db", "conf", "blobs"] {
        let dir = tempfile::tempdir().unwrap();
        some_store(dir.path()).await;
        let path = dir.path().join(name);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        let (error, text) = refuse(dir.path(), Role::Zone);
        assert!(matches!(error, OpenError::Incomplete { .. }), "{text}");
        assert!(text.contains(&*path.to_string_lossy()), "{text}");
    }
    let dir = tempfile::tempdir().unwrap();
    some_store(dir.path()).await;
    fs::write(dir.path().join("db"), "").unwrap();
    // sled has to look into this one, so it is no longer untouched, but it is refused.
    Disk::open(dir.path(), Role::Zone).unwrap_err();
}

#[test]
fn a_file_in_place_of_the_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("zone");
    fs::write(&path, "").unwrap();
    let error = Disk::open(&path, Role::Zone).unwrap_err();
    assert!(
        error.to_string().contains(&*path.to_string_lossy()),
        "{error}"
    );
}

#[tokio::test]
async fn an_open_store_is_refused_to_others_and_works_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = Disk::open(dir.path(), Role::Zone).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(
        error.to_string().contains(&*dir.path().to_string_lossy()),
        "{error}"
    );
    store
        .commit(Batch::new().put(secret("a", "1")))
        .await
        .unwrap();
}
