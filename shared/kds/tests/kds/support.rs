//! A global and zones over memory stores, on ports of their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mesh_kds::client::{self, Client, Target};
use mesh_kds::peer::{NodeInfo, ZonePeer, own_features};
use mesh_kds::server::{self, Counted, Server, StreamKind, ZoneBook};
use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Spec, Timestamp, ZoneName};
use mesh_proto::system;
use mesh_runtime::backoff::Backoff;
use mesh_runtime::shutdown::{self, Trigger};
use mesh_store::{Batch, Memory, SharedStore, Snapshot};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use uuid::Uuid;

/// How long a state may take to come about.
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) fn zone_name(name: &str) -> ZoneName {
    ZoneName::parse(name).unwrap()
}

pub(crate) fn key(ty: ResourceType, name: &str) -> Key {
    let mesh = ty
        .is_mesh_scoped()
        .then(|| MeshName::parse("default").unwrap());
    Key::try_new(ty, mesh, ResourceName::parse(name).unwrap()).unwrap()
}

pub(crate) fn resource(ty: ResourceType, name: &str) -> Resource {
    labelled(ty, name, &[])
}

pub(crate) fn labelled(ty: ResourceType, name: &str, labels: &[(&str, &str)]) -> Resource {
    let labels: BTreeMap<_, _> = labels
        .iter()
        .map(|(k, v)| ((*k).into(), (*v).into()))
        .collect();
    let spec = Spec::parse(ty, bytes::Bytes::new()).unwrap();
    Resource::new(
        key(ty, name),
        labels,
        spec,
        Timestamp::EPOCH,
        Timestamp::EPOCH,
    )
}

pub(crate) fn cluster_id(id: &str) -> Resource {
    let spec = Spec::encode(
        ResourceType::Config,
        &system::Config {
            config: id.to_owned(),
        },
    );
    let key = key(ResourceType::Config, "kuma-cluster-id");
    Resource::new(
        key,
        BTreeMap::new(),
        spec,
        Timestamp::EPOCH,
        Timestamp::EPOCH,
    )
}

/// Waits until a store is in a state.
pub(crate) async fn eventually(store: &SharedStore, what: &str, holds: impl Fn(&Snapshot) -> bool) {
    let mut snapshots = store.watch();
    let reached = snapshots.wait_for(|snapshot| holds(snapshot));
    match tokio::time::timeout(DEADLINE, reached).await {
        Ok(result) => drop(result.unwrap()),
        Err(_) => panic!(
            "not within {DEADLINE:?}: {what}; there is {:#?}",
            names(&store.snapshot())
        ),
    }
}

pub(crate) fn names(snapshot: &Snapshot) -> Vec<String> {
    snapshot.iter().map(|r| r.key().to_string()).collect()
}

/// Remembers what it was told.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) said: Mutex<Vec<String>>,
}

impl Book {
    fn say(&self, text: String) {
        self.said.lock().push(text);
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        self.said.lock().iter().any(|said| said == text)
    }
}

#[async_trait]
impl ZoneBook for Book {
    async fn admit(&self, peer: &ZonePeer) -> Result<(), tonic::Status> {
        self.say(format!("admit {}", peer.zone));
        Ok(())
    }

    fn sat(&self, _peer: &ZonePeer, _kind: StreamKind) {}

    fn opened(&self, _stream: Uuid, peer: &ZonePeer, node: &NodeInfo) {
        self.say(format!("opened {} {}", peer.zone, node.instance_id));
    }

    fn counted(&self, _stream: Uuid, zone: &ZoneName, type_name: &str, what: Counted) {
        self.say(format!("{zone} {type_name} {what:?}"));
    }

    fn closed(&self, _stream: Uuid, zone: &ZoneName) {
        self.say(format!("closed {zone}"));
    }

    fn pinged(&self, zone: &ZoneName) {
        self.say(format!("pinged {zone}"));
    }
}

pub(crate) struct Global {
    pub(crate) store: SharedStore,
    pub(crate) book: Arc<Book>,
    pub(crate) metrics: mesh_kds::Metrics,
    pub(crate) address: SocketAddr,
    trigger: Trigger,
    task: JoinHandle<()>,
}

pub(crate) fn global_node() -> NodeInfo {
    NodeInfo {
        features: own_features(),
        instance_id: "global-1".into(),
        ..NodeInfo::default()
    }
}

impl Global {
    pub(crate) async fn start() -> Self {
        let store = Self::store_of("fleet-1").await;
        Self::serve(store, "127.0.0.1:0").await
    }

    /// A store that holds nothing but the identity of a deployment.
    pub(crate) async fn store_of(id: &str) -> SharedStore {
        let store: SharedStore = Arc::new(Memory::new());
        store
            .commit(Batch::new().put(cluster_id(id)))
            .await
            .unwrap();
        store
    }

    pub(crate) async fn serve(store: SharedStore, address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (trigger, shutdown) = shutdown::channel();
        let book = Arc::new(Book::default());
        let metrics = mesh_kds::Metrics::default();
        let config = server::Config {
            store: Arc::clone(&store),
            book: book.clone(),
            health_interval: std::time::Duration::ZERO,
            node: NodeInfo {
                store_id: Some(store.id().0),
                ..global_node()
            },
            max_message: 10 << 20,
            metrics: metrics.clone(),
            auth: server::ZoneAuth::Off,
        };
        let server = Server::new(config, shutdown.clone());
        let routes = server.routes();
        let task = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_routes(routes)
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move {
                    shutdown.wait().await;
                })
                .await
                .unwrap();
        });
        Self {
            store,
            book,
            metrics,
            address,
            trigger,
            task,
        }
    }

    /// Stops the process; its store and address remain for another.
    pub(crate) async fn stop(self) -> (SharedStore, String) {
        self.trigger.trigger();
        self.task.await.unwrap();
        (self.store, self.address.to_string())
    }

    pub(crate) async fn put(&self, resource: Resource) {
        self.store.commit(Batch::new().put(resource)).await.unwrap();
    }

    pub(crate) async fn delete(&self, ty: ResourceType, name: &str) {
        self.store
            .commit(Batch::new().delete(key(ty, name)))
            .await
            .unwrap();
    }
}

pub(crate) struct Zone {
    pub(crate) store: SharedStore,
    pub(crate) client: Arc<Client>,
    trigger: Trigger,
    task: JoinHandle<()>,
}

impl Zone {
    pub(crate) fn start(name: &str, global: SocketAddr) -> Self {
        Self::with_store(name, global, Arc::new(Memory::new()))
    }

    pub(crate) fn with_store(name: &str, global: SocketAddr, store: SharedStore) -> Self {
        let zone = zone_name(name);
        let node = NodeInfo {
            id: name.into(),
            instance_id: format!("{name}-1"),
            config: "{}".into(),
            ..global_node()
        };
        let client = Arc::new(Client::new(client::Config {
            zone,
            target: Target {
                host: global.ip().to_string(),
                port: global.port(),
                tls: None,
                max_message: 10 << 20,
            },
            metrics: mesh_kds::Metrics::default(),
            store_id: store.id().0,
            store: Arc::clone(&store),
            node,
        }));
        let (trigger, shutdown) = shutdown::channel();
        let running = Arc::clone(&client);
        let task = tokio::spawn(async move { running.run(Backoff::reconnect(), shutdown).await });
        Self {
            store,
            client,
            trigger,
            task,
        }
    }

    pub(crate) async fn state(
        &self,
        what: &str,
        holds: impl Fn(&client::State) -> bool,
    ) -> client::State {
        let mut states = self.client.state();
        let reached = states.wait_for(|state| holds(state));
        match tokio::time::timeout(DEADLINE, reached).await {
            Ok(state) => state.unwrap().clone(),
            Err(_) => panic!(
                "not within {DEADLINE:?}: {what}; it is {:?}",
                *self.client.state().borrow()
            ),
        }
    }

    pub(crate) async fn stop(self) -> SharedStore {
        self.trigger.trigger();
        self.task.await.unwrap();
        self.store
    }
}

/// What a process shows of its metrics.
pub(crate) fn shown(metrics: &mesh_kds::Metrics) -> String {
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}
