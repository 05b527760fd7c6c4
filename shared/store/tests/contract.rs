//! What every store promises, run against each implementation.

use std::sync::Arc;

use mesh_model::{Key, ResourceName, ResourceType};
use mesh_store::{Batch, Change, CommitError, Disk, Expect, Memory, Op, Role, Store};

use crate::common::{at, contents, data, key, key_in, mesh, secret};

macro_rules! on_every_store {
    ($($name:ident),+ $(,)?) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::Memory::new()).await;
            })+
        }

        mod on_disk {
            $(#[tokio::test]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(&super::Disk::open(dir.path(), super::Role::Zone).unwrap()).await;
            })+
        }
    };
}

on_every_store! {
    a_new_store_is_empty,
    what_was_committed_is_there_in_order,
    every_commit_is_one_revision_later,
    an_expectation_that_does_not_hold_changes_nothing,
    a_batch_happens_as_a_whole_and_sees_itself,
    of_many_that_expect_the_same_version_one_wins,
    a_reader_that_was_away_gets_the_latest_state_once,
    an_old_snapshot_stays_as_it_was,
    changes_are_what_differs_now,
    a_hundred_thousand_resources_are_shared_between_snapshots,
    a_large_resource_is_kept_whole,
}

async fn put(store: &dyn Store, name: &str, content: &str) {
    store
        .commit(Batch::new().put(secret(name, content)))
        .await
        .unwrap();
}

async fn a_new_store_is_empty(store: &dyn Store) {
    let snapshot = store.snapshot();
    assert!(snapshot.is_empty());
    assert_eq!(snapshot.revision().0, 0);
    assert_eq!(snapshot.store(), store.id());
    assert_eq!(store.get(&key("a")), None);
}

async fn what_was_committed_is_there_in_order(store: &dyn Store) {
    let keys = [
        key_in("b", "1"),
        key_in("a", "-"),
        key_in("a", "z"),
        key_in("a.b", "1"),
        key_in("a", "0"),
        Key::global(
            ResourceType::GlobalSecret,
            ResourceName::parse("first").unwrap(),
        ),
    ];
    for key in keys {
        store.commit(Batch::new().put(at(key, "x"))).await.unwrap();
    }
    let names = |ty| {
        store
            .list(ty)
            .iter()
            .map(|r| r.key().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(ResourceType::Secret),
        [
            "Secret a/-",
            "Secret a/0",
            "Secret a/z",
            "Secret a.b/1",
            "Secret b/1"
        ]
    );
    assert_eq!(names(ResourceType::GlobalSecret), ["GlobalSecret first"]);
    assert!(names(ResourceType::Mesh).is_empty());
    let snapshot = store.snapshot();
    let in_mesh: Vec<_> = snapshot
        .list_in_mesh(ResourceType::Secret, &mesh("a"))
        .map(|r| r.key().name().to_string())
        .collect();
    assert_eq!(in_mesh, ["-", "0", "z"]);
}

async fn every_commit_is_one_revision_later(store: &dyn Store) {
    for n in 1..=5 {
        let snapshot = store
            .commit(Batch::new().put(secret("a", format!("{n}"))))
            .await
            .unwrap();
        assert_eq!(snapshot.revision().0, n);
        assert_eq!(
            data(snapshot.get(&key("a")).unwrap()),
            n.to_string().into_bytes()
        );
        assert!(store.snapshot().revision() >= snapshot.revision());
    }
}

async fn an_expectation_that_does_not_hold_changes_nothing(store: &dyn Store) {
    put(store, "a", "1").await;
    let first = store.get(&key("a")).unwrap().version();
    put(store, "a", "2").await;
    let before = contents(store);
    let refused = [
        Batch::new().put_if(secret("a", "3"), Expect::Absent),
        Batch::new().put_if(secret("a", "3"), Expect::Version(first)),
        Batch::new().put_if(secret("b", "3"), Expect::Version(first)),
        Batch::new().delete_if(key("a"), Expect::Version(first)),
        Batch::new().delete_if(key("b"), Expect::Version(first)),
        // The first half would be possible.
        Batch::new()
            .put(secret("new", "x"))
            .put_if(secret("a", "3"), Expect::Absent),
    ];
    for batch in refused {
        let culprit = batch.ops().last().map(Op::key).unwrap().clone();
        match store.commit(batch).await {
            Err(CommitError::Conflict { key }) => assert_eq!(key, culprit),
            other => panic!("{other:?}"),
        }
        assert_eq!(contents(store), before);
        assert_eq!(store.snapshot().revision().0, 2);
    }
    let second = store.get(&key("a")).unwrap().version();
    let allowed = Batch::new()
        .put_if(secret("a", "3"), Expect::Version(second))
        .put_if(secret("b", "1"), Expect::Absent);
    store.commit(allowed).await.unwrap();
    assert_eq!(data(&store.get(&key("a")).unwrap()), b"3");
}

async fn a_batch_happens_as_a_whole_and_sees_itself(store: &dyn Store) {
    let first = secret("a", "1");
    let expected = Expect::Version(first.version());
    let snapshot = store
        .commit(
            Batch::new()
                .put_if(first, Expect::Absent)
                .put_if(secret("a", "2"), expected)
                .put(secret("b", "1"))
                .delete(key("b"))
                .delete(key("never-there")),
        )
        .await
        .unwrap();
    assert_eq!(snapshot.revision().0, 1);
    assert_eq!(snapshot.len(), 1);
    assert_eq!(data(&store.get(&key("a")).unwrap()), b"2");
}

async fn of_many_that_expect_the_same_version_one_wins(store: &dyn Store) {
    put(store, "a", "0").await;
    for round in 0..10 {
        let expected = Expect::Version(store.get(&key("a")).unwrap().version());
        let attempts = (0..8).map(|n| {
            store.commit(Batch::new().put_if(secret("a", format!("{round} {n}")), expected))
        });
        let won = join_all(attempts)
            .await
            .into_iter()
            .filter(Result::is_ok)
            .count();
        assert_eq!(won, 1);
    }
    assert_eq!(store.snapshot().revision().0, 11);
}

async fn a_reader_that_was_away_gets_the_latest_state_once(store: &dyn Store) {
    let mut reader = store.watch();
    assert!(!reader.has_changed().unwrap());
    for n in 0..10 {
        put(store, "a", &n.to_string()).await;
    }
    reader.changed().await.unwrap();
    assert_eq!(reader.borrow_and_update().revision().0, 10);
    assert!(!reader.has_changed().unwrap());
    let refused = Batch::new().put_if(secret("a", "x"), Expect::Absent);
    store.commit(refused).await.unwrap_err();
    assert!(!reader.has_changed().unwrap());
}

async fn an_old_snapshot_stays_as_it_was(store: &dyn Store) {
    put(store, "a", "1").await;
    let old = store.snapshot();
    put(store, "a", "2").await;
    store.commit(Batch::new().delete(key("a"))).await.unwrap();
    assert_eq!(data(old.get(&key("a")).unwrap()), b"1");
    assert_eq!(old.revision().0, 1);
    assert!(store.snapshot().is_empty());
}

async fn changes_are_what_differs_now(store: &dyn Store) {
    for name in ["stays", "written-twice", "touched", "deleted"] {
        put(store, name, "1").await;
    }
    let earlier = store.snapshot();
    put(store, "written-twice", "2").await;
    put(store, "written-twice", "3").await;
    put(store, "came-and-went", "1").await;
    store
        .commit(
            Batch::new()
                .delete(key("came-and-went"))
                .delete(key("deleted"))
                .put(secret("new", "1")),
        )
        .await
        .unwrap();
    let changes = store.changes_since(&earlier);
    let texts: Vec<_> = changes
        .iter()
        .map(|change| match change {
            Change::Put { old: None, new } => format!("+{}", new.key().name()),
            Change::Put {
                old: Some(old),
                new,
            } => format!(
                "{} {}->{}",
                new.key().name(),
                String::from_utf8(data(old)).unwrap(),
                String::from_utf8(data(new)).unwrap()
            ),
            Change::Deleted { old } => format!("-{}", old.key().name()),
        })
        .collect();
    assert_eq!(texts, ["-deleted", "+new", "written-twice 1->3"]);
    assert!(changes.iter().all(Change::is_of_content));
    assert!(store.changes_since(&store.snapshot()).is_empty());
}

async fn a_hundred_thousand_resources_are_shared_between_snapshots(store: &dyn Store) {
    const COUNT: usize = 100_000;
    let batch = (0..COUNT).fold(Batch::new(), |batch, n| {
        batch.put(secret(&format!("s{n}"), ""))
    });
    store.commit(batch).await.unwrap();

    let earlier = store.snapshot();
    let same = store.snapshot();
    put(store, "s7", "new").await;
    store
        .commit(Batch::new().delete(key("s70000")))
        .await
        .unwrap();
    let names: Vec<_> = store
        .changes_since(&earlier)
        .iter()
        .map(|c| c.key().name().to_string())
        .collect();
    assert_eq!(names, ["s7", "s70000"]);
    // A snapshot with nodes of its own would hold another reference to each resource.
    let copied = same.iter().filter(|r| Arc::strong_count(r) > 1).count();
    assert!(copied < 1_000, "{copied} of {COUNT} are not shared");
    assert_eq!(store.snapshot().len(), COUNT - 1);
}

async fn a_large_resource_is_kept_whole(store: &dyn Store) {
    let large: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    store
        .commit(Batch::new().put(secret("large", large.clone())))
        .await
        .unwrap();
    put(store, "small", "x").await;
    assert!(data(&store.get(&key("large")).unwrap()) == large);
}

async fn join_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    use std::task::Poll;
    let mut waiting: Vec<_> = futures.map(|f| (Box::pin(f), None)).collect();
    std::future::poll_fn(|cx| {
        for (future, result) in &mut waiting {
            if result.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *result = Some(value);
            }
        }
        if waiting.iter().all(|(_, result)| result.is_some()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    waiting.into_iter().filter_map(|(_, r)| r).collect()
}
