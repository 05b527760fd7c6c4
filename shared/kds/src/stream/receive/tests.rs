use async_trait::async_trait;
use futures_util::{poll, stream};
use mesh_model::{Resource, ResourceName, Spec, Timestamp, ZoneName, labels};
use mesh_store::{Batch, Memory as MemoryStore, Store, StoreId};
use tokio::sync::{Notify, watch};

use super::*;
use crate::peer::{Naming, own_features};

/// A store with a write under way that nobody waits for any more.
#[derive(Debug, Default)]
struct Late {
    memory: MemoryStore,
    lands: Notify,
}

fn from_global() -> Intake {
    Intake::FromGlobal {
        zone: ZoneName::parse("east").unwrap(),
        naming: Naming::Hashed,
    }
}

fn mesh() -> Resource {
    let name = ResourceName::parse("default").unwrap();
    let labels = [(labels::ORIGIN.to_owned(), labels::ORIGIN_GLOBAL.to_owned())];
    Resource::new(
        Key::global(ResourceType::Mesh, name),
        labels.into(),
        Spec::parse(ResourceType::Mesh, bytes::Bytes::new()).unwrap(),
        Timestamp::EPOCH,
        Timestamp::EPOCH,
    )
}

#[async_trait]
impl Store for Late {
    fn id(&self) -> StoreId {
        self.memory.id()
    }

    fn snapshot(&self) -> Snapshot {
        self.memory.snapshot()
    }

    fn watch(&self) -> watch::Receiver<Snapshot> {
        self.memory.watch()
    }

    async fn commit(&self, batch: Batch) -> Result<Snapshot, CommitError> {
        self.memory.commit(batch).await
    }

    async fn settle(&self) -> Result<(), CommitError> {
        self.lands.notified().await;
        self.memory.commit(Batch::new().put(mesh())).await.map(drop)
    }
}

/// An older stream may have ended while the store still wrote what it received. If that came
/// after a new stream said what is held, and was removed at the sender meanwhile, nobody would
/// ever take it away.
#[tokio::test]
async fn what_an_older_stream_began_to_write_is_said_to_be_held() {
    let node = NodeInfo {
        id: "east".into(),
        features: own_features(),
        ..NodeInfo::default()
    };
    let store = Arc::new(Late::default());
    let (outbox, mut inbox) = mpsc::channel(64);
    let receiving = Receiving {
        node: &node,
        kinds: vec![Kind::of(ResourceType::Mesh).unwrap()],
        intake: from_global(),
        gate: Open,
        store: Arc::clone(&store) as SharedStore,
        outbox,
        lists_rejections: &AtomicBool::new(true),
        resume: Resume::Versions,
        is_stock_peer: &AtomicBool::new(false),
        pulse: None,
        metrics: Metrics::default(),
        on_applied: &mut |_| {},
        memory: Memory::default(),
    };
    let run = receiving.run(stream::pending());
    tokio::pin!(run);
    for _ in 0..3 {
        assert!(poll!(&mut run).is_pending());
    }
    assert_eq!(inbox.try_recv().unwrap().type_url, "");
    assert!(
        inbox.try_recv().is_err(),
        "nothing is said before the write is done"
    );
    store.lands.notify_one();
    for _ in 0..3 {
        assert!(poll!(&mut run).is_pending());
    }
    let said = inbox.try_recv().unwrap().resume.unwrap();
    let held = said.parts.iter().flat_map(|part| &part.held);
    let names: Vec<&str> = held.map(|held| held.name.as_str()).collect();
    assert_eq!(names, ["default."]);
}

#[tokio::test]
async fn who_this_is_comes_before_what_is_held() {
    let node = NodeInfo {
        id: "east".into(),
        features: own_features(),
        ..NodeInfo::default()
    };
    let (outbox, mut inbox) = mpsc::channel(64);
    let receiving = Receiving {
        node: &node,
        kinds: Kind::down().collect(),
        intake: from_global(),
        gate: Open,
        store: Arc::new(MemoryStore::new()),
        outbox,
        lists_rejections: &AtomicBool::new(true),
        resume: Resume::Versions,
        is_stock_peer: &AtomicBool::new(false),
        pulse: None,
        on_applied: &mut |_| {},
        memory: Memory::default(),
        metrics: Metrics::default(),
    };
    let run = receiving.run(stream::pending());
    tokio::pin!(run);
    assert!(poll!(&mut run).is_pending());
    let first = inbox.try_recv().unwrap();
    assert_eq!(NodeInfo::from_node(first.node.as_ref().unwrap()), node);
    assert_eq!(first.type_url, "");
    assert!(inbox.try_recv().is_err(), "the rest comes later");
    assert!(poll!(&mut run).is_pending());
    let types = std::iter::from_fn(|| inbox.try_recv().ok());
    let types: Vec<String> = types.map(|request| request.type_url).collect();
    let kinds = Kind::down().map(|kind| kind.to_string());
    assert_eq!(types, kinds.collect::<Vec<_>>());
}
