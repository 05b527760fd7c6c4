//! A disk that refuses to write: the store takes no more writes, readers go on, and what was
//! acknowledged is there when the disk works again.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use mesh_store::{Batch, CommitError, Store};

use crate::common::{data, key, open, secret};

const DIR: &str = "MERIDIAN_TEST_STORE_ON_FULL_DISK";

/// Runs with a limit on the size of files; nothing to do when the tests run.
#[tokio::test]
async fn child_on_a_full_disk() {
    let Some(dir) = env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let store = open(&dir);
    let mut last = 0;
    let error = loop {
        let batch = Batch::new()
            .put(secret(&format!("s{}", last + 1), vec![1; 600]))
            .put(secret("last", (last + 1).to_string()));
        match store.commit(batch).await {
            Ok(_) => last += 1,
            Err(error) => break error,
        }
        assert!(last < 10_000, "the limit does not work");
    };
    assert!(last > 0);
    assert!(
        matches!(&error, CommitError::Failed { path, .. } if *path == dir),
        "{error:?}"
    );
    for _ in 0..3 {
        let error = store
            .commit(Batch::new().put(secret("late", "x")))
            .await
            .unwrap_err();
        assert!(matches!(error, CommitError::Failed { .. }), "{error:?}");
    }
    // Readers see what was acknowledged, and nothing that was not.
    assert_eq!(store.snapshot().revision().0, last);
    assert_eq!(
        data(&store.get(&key("last")).unwrap()),
        last.to_string().into_bytes()
    );
    assert_eq!(store.get(&key("late")), None);
    std::fs::write(dir.with_extension("last"), last.to_string()).unwrap();
}

#[test]
fn a_failed_write_closes_the_store_for_writing_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("zone");
    drop(open(&path));
    // Blocks of 512 or 1024 bytes, by the shell; with the signal ignored, writing beyond the limit
    // fails as on a full disk.
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 2000; exec \"$0\" \"$@\""])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "failure::child_on_a_full_disk"])
        .env(DIR, &path)
        .status()
        .unwrap();
    assert!(status.success());
    let last: u64 = std::fs::read_to_string(path.with_extension("last"))
        .unwrap()
        .parse()
        .unwrap();
    let store = open(&path);
    assert!(store.snapshot().revision().0 >= last);
    for n in 1..=last {
        assert!(store.get(&key(&format!("s{n}"))).is_some(), "{n}");
    }
}
