//! Deleting a resource together with much else.

use std::sync::Arc;

use async_trait::async_trait;
use http::StatusCode;
use mesh_api::{Admission, Admit, Admitted, Evict, Mode, Refusal, Settings};
use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Spec};
use mesh_proto::mesh::MeshGatewayRoute;
use mesh_store::{Batch, CommitError, Expect, Memory, Op, Snapshot, Store, StoreId};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::support::{self, Api};

/// A store that counts the operations of each commit and fails after so many commits.
#[derive(Debug)]
struct Counting {
    inner: Memory,
    commits: Mutex<Vec<usize>>,
    fails_after: Mutex<usize>,
}

#[async_trait]
impl Store for Counting {
    fn id(&self) -> StoreId {
        self.inner.id()
    }

    fn snapshot(&self) -> Snapshot {
        self.inner.snapshot()
    }

    fn watch(&self) -> watch::Receiver<Snapshot> {
        self.inner.watch()
    }

    async fn commit(&self, batch: Batch) -> Result<Snapshot, CommitError> {
        if self.commits.lock().len() >= *self.fails_after.lock() {
            return Err(CommitError::Closed);
        }
        self.commits.lock().push(batch.ops().len());
        self.inner.commit(batch).await
    }
}

/// A mesh goes with its routes.
#[derive(Debug)]
struct WithRoutes;

#[async_trait]
impl Admission for WithRoutes {
    async fn admit(&self, request: Admit) -> Result<Admitted, Refusal> {
        Ok(Admitted {
            resource: request.new,
            more: Vec::new(),
        })
    }

    async fn evict(&self, request: Evict) -> Result<Vec<Op>, Refusal> {
        let delete = |route: &Arc<Resource>| Op::Delete {
            key: route.key().clone(),
            expect: Expect::Anything,
        };
        let routes = request.snapshot.list(ResourceType::MeshGatewayRoute);
        Ok(routes.map(delete).collect())
    }
}

async fn with_routes(count: usize) -> (Api, Arc<Counting>) {
    let store = Arc::new(Counting {
        inner: Memory::new(),
        commits: Mutex::default(),
        fails_after: Mutex::new(usize::MAX),
    });
    let api = Api::over(
        Arc::clone(&store) as _,
        Mode::Global,
        Settings::default(),
        Arc::new(WithRoutes),
    )
    .await;
    let spec = Spec::encode(ResourceType::MeshGatewayRoute, &MeshGatewayRoute::default());
    let now = support::noon();
    let routes = (0..count).map(|n| {
        let mesh = MeshName::parse("default").unwrap();
        let name = ResourceName::parse(&format!("r-{n}")).unwrap();
        let key = Key::in_mesh(ResourceType::MeshGatewayRoute, mesh, name);
        Resource::new(key, Default::default(), spec.clone(), now, now)
    });
    let batch = routes.fold(Batch::new(), Batch::put);
    store.commit(batch).await.unwrap();
    store.commits.lock().clear();
    (api, store)
}

#[tokio::test]
async fn little_goes_in_one_batch_and_much_in_several() {
    for (routes, commits) in [
        (0, vec![1]),
        (1000, vec![1001]),
        (2500, vec![1000, 1000, 501]),
    ] {
        let (api, store) = with_routes(routes).await;
        assert_eq!(api.delete("/meshes/default").await.status, StatusCode::OK);
        assert_eq!(*store.commits.lock(), commits);
        assert_eq!(store.snapshot().iter().count(), 0);
    }
}

#[tokio::test]
async fn what_was_interrupted_can_be_done_again() {
    let (api, store) = with_routes(2500).await;
    *store.fails_after.lock() = 2;
    let answer = api.delete("/meshes/default").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(api.get("/meshes/default").await.status, StatusCode::OK);
    assert_eq!(store.list(ResourceType::MeshGatewayRoute).len(), 500);
    *store.fails_after.lock() = usize::MAX;
    assert_eq!(api.delete("/meshes/default").await.status, StatusCode::OK);
    assert_eq!(store.snapshot().iter().count(), 0);
}
