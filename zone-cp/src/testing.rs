//! What the tests of several modules are made of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Spec, Timestamp};
use mesh_proto::mesh::Mesh;
use mesh_store::{Batch, CommitError, Memory, Snapshot, Store, StoreId};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

/// A store in memory whose writes can be held and made to fail.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    memory: Memory,
    failures: Mutex<usize>,
    /// Writes wait for it while there is one.
    gate: Mutex<Option<Arc<Gate>>>,
}

/// Holds writes.
#[derive(Debug)]
pub(crate) struct Gate {
    arrived: Semaphore,
    opened: Semaphore,
}

impl Gate {
    /// Waits until a write has arrived.
    pub(crate) async fn arrived(&self) {
        soon(self.arrived.acquire()).await.unwrap().forget();
    }

    /// Lets a write through.
    pub(crate) fn open(&self) {
        self.opened.add_permits(1);
    }
}

impl Scripted {
    /// A store with the mesh `default`.
    pub(crate) async fn with_mesh() -> Arc<Self> {
        let store = Arc::new(Self::default());
        let mesh = Resource::new(
            Key::global(ResourceType::Mesh, ResourceName::parse("default").unwrap()),
            BTreeMap::new(),
            Spec::encode(ResourceType::Mesh, &Mesh::default()),
            Timestamp::EPOCH,
            Timestamp::EPOCH,
        );
        store.commit(Batch::new().put(mesh)).await.unwrap();
        store
    }

    /// The next `count` writes fail.
    pub(crate) fn fail(&self, count: usize) {
        *self.failures.lock() = count;
    }

    /// The next write, and it alone, waits at the gate.
    pub(crate) fn hold(&self) -> Arc<Gate> {
        let gate = Arc::new(Gate {
            arrived: Semaphore::new(0),
            opened: Semaphore::new(0),
        });
        *self.gate.lock() = Some(Arc::clone(&gate));
        gate
    }

    fn fails(&self) -> bool {
        let mut failures = self.failures.lock();
        let fails = *failures > 0;
        *failures = failures.saturating_sub(1);
        fails
    }
}

#[async_trait]
impl Store for Scripted {
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
        let gate = self.gate.lock().take();
        if let Some(gate) = gate {
            gate.arrived.add_permits(1);
            gate.opened.acquire().await.unwrap().forget();
        }
        if self.fails() {
            return Err(CommitError::Failed {
                path: "scripted".into(),
                source: Arc::from(Box::<dyn std::error::Error + Send + Sync>::from("full")),
            });
        }
        self.memory.commit(batch).await
    }
}

/// Waits for what must come, and fails the test if it does not.
pub(crate) async fn soon<F: Future>(what: F) -> F::Output {
    let deadline = Duration::from_secs(10 * 60);
    let came = tokio::time::timeout(deadline, what).await;
    came.expect("it comes in time")
}

/// The Dataplane `name` of the mesh `default`.
pub(crate) fn dataplane_key(name: &str) -> Key {
    Key::in_mesh(
        ResourceType::Dataplane,
        MeshName::parse("default").unwrap(),
        ResourceName::parse(name).unwrap(),
    )
}

/// A builtin gateway of the mesh `default`, as agents bring it.
pub(crate) fn gateway(name: &str) -> String {
    serde_json::json!({
        "type": "Dataplane", "mesh": "default", "name": name,
        "networking": {
            "address": "127.0.0.1",
            "gateway": {"type": "BUILTIN", "tags": {"kuma.io/service": "edge"}},
        },
    })
    .to_string()
}
