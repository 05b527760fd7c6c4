//! Many committers share few flushes, and closing loses none of them.

use std::sync::Arc;

use mesh_store::{Batch, CommitError, Expect, Store};
use tokio::task::JoinSet;

use crate::common::{contents, key, open, secret};

#[tokio::test]
async fn many_committers_share_flushes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let mut writers = JoinSet::new();
    for writer in 0..64 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for n in 0..20 {
                let batch = Batch::new().put(secret(&format!("w{writer}-{n}"), "x"));
                let snapshot = store.commit(batch).await.unwrap();
                // What is acknowledged can be read, at once and by everybody.
                assert!(snapshot.get(&key(&format!("w{writer}-{n}"))).is_some());
                assert!(store.snapshot().revision() >= snapshot.revision());
            }
        });
    }
    while let Some(result) = writers.join_next().await {
        result.unwrap();
    }
    let stats = store.stats();
    assert_eq!(stats.commits, 64 * 20);
    assert_eq!(store.snapshot().revision().0, 64 * 20);
    // Each group can hold one batch of every writer; a fifth of that leaves room for bad timing.
    assert!(stats.groups < stats.commits / 12, "{stats:?}");
    assert!(!stats.last_sync.is_zero());
    assert!(store.bytes_on_disk().unwrap() > 0);
}

/// A caller that has gone, as the end of a stream makes it, is nobody to wait for; its batch is
/// there all the same.
#[tokio::test]
async fn whoever_settles_sees_what_was_asked_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..50 {
        let name = format!("s{n}");
        tokio::select! {
            biased;
            done = store.commit(Batch::new().put(secret(&name, "x"))) => drop(done),
            () = std::future::ready(()) => {}
        }
        store.settle().await.unwrap();
        assert!(store.snapshot().get(&key(&name)).is_some(), "{name}");
    }
    // Waiting is no commit.
    assert_eq!(store.snapshot().revision().0, 50);
    assert_eq!(store.stats().commits, 50);
}

#[tokio::test]
async fn a_conflict_inside_a_group_is_told_to_its_committer_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let mut writers = JoinSet::new();
    for writer in 0..32 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let batch = Batch::new()
                .put_if(secret("one", format!("{writer}")), Expect::Absent)
                .put(secret(&format!("w{writer}"), "x"));
            match store.commit(batch).await {
                Ok(_) => true,
                // Whoever is told finds the cause.
                Err(CommitError::Conflict { key }) => {
                    assert!(store.get(&key).is_some());
                    false
                }
                Err(other) => panic!("{other}"),
            }
        });
    }
    let results = writers.join_all().await;
    assert_eq!(results.iter().filter(|won| **won).count(), 1);
    assert_eq!(store.snapshot().len(), 2);
    assert_eq!(store.stats().conflicts, 31);
}

#[tokio::test]
async fn closing_commits_what_is_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let reader = store.watch();
    for n in 0..100 {
        let mut commit = Box::pin(store.commit(Batch::new().put(secret(&format!("s{n}"), "x"))));
        // Polled once: it is in the queue, and then nobody waits for it.
        std::future::poll_fn(|cx| {
            let _ = commit.as_mut().poll(cx);
            std::task::Poll::Ready(())
        })
        .await;
    }
    drop(store);
    assert_eq!(reader.borrow().len(), 100);
    let reopened = open(dir.path());
    assert_eq!(reopened.snapshot().revision().0, 100);
    assert_eq!(contents(&reopened).len(), 100);
}
