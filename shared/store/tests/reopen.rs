//! What a store finds when it is opened again.

use std::fs;
use std::path::Path;

use mesh_store::{Batch, Store};

use crate::common::{contents, data, key, open, raw, secret, write_raw};

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("work/zone");
    let store = open(&path);
    let id = store.id();
    for n in 0..300 {
        let batch = Batch::new()
            .put(secret(&format!("s{n}"), format!("{n}")))
            .delete(key(&format!("s{}", n / 2)));
        store.commit(batch).await.unwrap();
    }
    let expected = (store.snapshot().revision(), contents(&store));
    drop(store);
    for _ in 0..5 {
        let store = open(&path);
        assert_eq!(store.id(), id);
        assert_eq!((store.snapshot().revision(), contents(&store)), expected);
    }
    let store = open(&path);
    let next = store
        .commit(Batch::new().put(secret("a", "1")))
        .await
        .unwrap();
    assert_eq!(next.revision().0, expected.0.0 + 1);
}

#[tokio::test]
async fn large_values_come_back_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let large = |salt: u32, len: u32| -> Vec<u8> {
        (0..len).map(|n| (n / 3 + salt).to_le_bytes()[1]).collect()
    };
    let steps = [
        Some(large(0, 5_000_000)),
        Some(large(1, 5_000_000)),
        Some(large(2, 20_000)),
        Some(large(3, 6_000)),
        Some(large(4, 100)),
        Some(large(5, 300_000)),
        None,
    ];
    for step in steps {
        let store = open(dir.path());
        let batch = match &step {
            Some(content) => Batch::new().put(secret("large", content.clone())),
            None => Batch::new().delete(key("large")),
        };
        // Neighbours in order, on both sides.
        let batch = batch
            .put(secret("large-", "x"))
            .put(secret("larg", "x"))
            .put(secret("large0", "x"));
        store.commit(batch).await.unwrap();
        drop(store);
        let store = open(dir.path());
        let found = store.get(&key("large")).map(|r| data(&r));
        assert!(found == step);
        assert_eq!(store.snapshot().len(), 3 + usize::from(step.is_some()));
    }
    // The three neighbours and the store's own record.
    assert_eq!(raw(dir.path()).len(), 4);
}

/// sled forgets such files when the process is killed at the wrong time.
#[tokio::test]
async fn no_size_of_resource_makes_files_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for size in [500, 6_000, 9_000, 50_000, 200_000] {
        for n in 0..40 {
            let batch = Batch::new().put(secret(&format!("s{size}-{n}"), vec![1; size]));
            store.commit(batch).await.unwrap();
        }
        for n in 0..40 {
            let batch = Batch::new().put(secret(&format!("s{size}-{n}"), vec![2; size + n]));
            store.commit(batch).await.unwrap();
        }
    }
    assert_eq!(fs::read_dir(dir.path().join("blobs")).unwrap().count(), 0);
}

fn read_raw(dir: &Path, key: &[u8]) -> Option<Vec<u8>> {
    raw(dir).get(key).unwrap().map(|v| v.to_vec())
}

#[tokio::test]
async fn what_a_newer_release_wrote_survives() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let keys: [&[u8]; 3] = [
        b"r\0MeshTeapot\0default\0a",
        b"r\0MeshTeapot\0default\0a\0\0\0\0\x01",
        b"x\0whatever",
    ];
    for key in keys {
        write_raw(dir.path(), key, b"\xff\xff");
    }
    let store = open(dir.path());
    assert!(store.snapshot().is_empty());
    assert_eq!(store.stats().unknown_records, 3);
    for n in 0..50 {
        let batch = Batch::new().put(secret(&format!("s{n}"), "x"));
        store.commit(batch).await.unwrap();
    }
    drop(store);
    for key in keys {
        assert_eq!(read_raw(dir.path(), key).unwrap(), b"\xff\xff");
    }
}

#[tokio::test]
async fn a_damaged_record_is_named() {
    let damages: [(&[u8], &[u8]); 3] = [
        (b"r\0Mesh\0\0damaged", b"\xff"),
        // Longer than what is there.
        (b"r\0Mesh\0\0damaged", b"\x10\x22"),
        (b"r\0Mesh\0damaged\0in-a-mesh", b"\x00"),
    ];
    for (key, value) in damages {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        write_raw(dir.path(), key, value);
        let error = mesh_store::Disk::open(dir.path(), mesh_store::Role::Zone).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}

/// A first start can be interrupted anywhere before the marker says that the store is ready.
#[tokio::test]
async fn an_interrupted_first_start_is_started_again() {
    const MARKER: &str = "meridian-store.json";
    let complete = tempfile::tempdir().unwrap();
    drop(open(complete.path()));
    let marker = fs::read_to_string(complete.path().join(MARKER)).unwrap();
    let creating = marker.replace("ready", "creating");
    assert_ne!(marker, creating);

    let half: [&[(&str, &str)]; 5] = [
        &[("meridian-store.json.new", "")],
        &[("meridian-store.json.new", "{\"format\":1,")],
        &[(MARKER, &creating)],
        &[
            (MARKER, &creating),
            ("meridian-store.json.new", &marker),
            ("conf", "segm"),
        ],
        &[(MARKER, &creating), ("conf", "segm"), ("db", "garbage")],
    ];
    for files in half {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let store = open(dir.path());
        assert!(store.snapshot().is_empty());
        store
            .commit(Batch::new().put(secret("a", "1")))
            .await
            .unwrap();
        drop(store);
        assert_eq!(open(dir.path()).snapshot().len(), 1);
    }
}

#[tokio::test]
async fn a_recovery_that_was_interrupted_is_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store
        .commit(Batch::new().put(secret("a", "1")))
        .await
        .unwrap();
    drop(store);
    fs::write(dir.path().join("snap.7FFFFFFFFFFFFFFF.generating"), "half").unwrap();
    assert_eq!(open(dir.path()).snapshot().len(), 1);
}

/// Cuts the log at every kind of place behind the last acknowledged write.
#[tokio::test]
async fn a_torn_tail_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..200 {
        let batch = Batch::new().put(secret(&format!("s{n}"), vec![1; 500]));
        store.commit(batch).await.unwrap();
    }
    let acknowledged = (store.snapshot().revision(), contents(&store));
    let log = dir.path().join("db");
    let safe = fs::metadata(&log).unwrap().len();
    let batch = (0..40).fold(Batch::new(), |batch, n| {
        batch
            .put(secret(&format!("torn{n}"), vec![2; 500]))
            .delete(key(&format!("s{n}")))
    });
    store.commit(batch).await.unwrap();
    let after = (store.snapshot().revision(), contents(&store));
    let end = fs::metadata(&log).unwrap().len();
    assert!(end > safe + 1000, "{safe} {end}");

    let step = usize::try_from((end - safe) / 12).unwrap();
    for cut in (safe..end).step_by(step).chain([end - 1, end]) {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        let file = fs::OpenOptions::new()
            .write(true)
            .open(copy.path().join("db"))
            .unwrap();
        file.set_len(cut).unwrap();
        let store = open(copy.path());
        let found = (store.snapshot().revision(), contents(&store));
        // The last batch is there as a whole or not at all.
        let expected = if cut == end { &after } else { &acknowledged };
        assert!(
            &found == expected,
            "cut at {cut} of {end}: revision {}",
            found.0
        );
        store
            .commit(Batch::new().put(secret("more", "1")))
            .await
            .unwrap();
        drop(store);
        assert_eq!(open(copy.path()).snapshot().revision().0, expected.0.0 + 1);
    }
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Overwriting the same resources must not grow the log without end.
#[tokio::test]
async fn the_log_is_reused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut sizes = Vec::new();
    for round in 0..60 {
        let batch = (0..500).fold(Batch::new(), |batch, n| {
            batch.put(secret(&format!("s{n}"), vec![round; 600]))
        });
        store.commit(batch).await.unwrap();
        sizes.push(store.bytes_on_disk().unwrap());
    }
    // 500 × 600 bytes live, 18 MB written.
    let largest = sizes.iter().max().unwrap();
    assert!(*largest < 8 << 20, "{sizes:?}");
}
