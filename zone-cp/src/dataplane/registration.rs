//! Dataplanes come and go with their streams (Universal).
//!
//! An Envoy's first request carries the Dataplane that its agent was given; the zone stores it.
//! When its last stream closes, the zone waits [`DEREGISTRATION_DELAY`] for it to come back and
//! then removes it; an agent of ours says goodbye first, and then it is gone at once. A proxy
//! that brings no resource must be stored already and is never removed by its stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mesh_model::json::{self, JsonError};
use mesh_model::{
    Key, MeshName, ParseNameError, Resource, ResourceName, ResourceType, Spec, Timestamp, ZoneName,
    labels, tags, validate,
};
use mesh_proto::mesh::Dataplane;
use mesh_proto::mesh::dataplane::networking::gateway::GatewayType;
use mesh_runtime::clock;
use mesh_runtime::shutdown::Shutdown;
use mesh_store::{Batch, CommitError, Expect, SharedStore};
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use super::auth::{ProxyAuth, Refusal};

/// How long a Dataplane stays after its last stream closed (Kuma's
/// `xdsServer.dataplaneDeregistrationDelay`).
pub const DEREGISTRATION_DELAY: Duration = Duration::from_secs(10);

/// Why a proxy is not served.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The node id is not `<mesh>.<name>`.
    #[error("node id {id:?} is not <mesh>.<name>")]
    NodeId {
        /// The id.
        id: String,
    },
    /// A part of the node id is no name.
    #[error("node id {id:?}")]
    Name {
        /// The id.
        id: String,
        /// What is wrong.
        #[source]
        source: ParseNameError,
    },
    /// The resource that came along is none.
    #[error("the resource in the node's metadata is not valid")]
    Resource(#[from] JsonError),
    /// The resource that came along is not allowed.
    #[error("the resource in the node's metadata is not valid: {0}")]
    Invalid(String),
    /// The resource that came along is another one.
    #[error("the resource in the node's metadata is {found}, but the node is {expected}")]
    OtherResource {
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// There is no such Dataplane.
    #[error("{key} does not exist, and the node brought no resource")]
    NotFound {
        /// The key.
        key: Key,
    },
    /// There is no such mesh.
    #[error("mesh {mesh:?} does not exist")]
    NoMesh {
        /// The mesh.
        mesh: String,
    },
    /// Only builtin gateways are served.
    #[error(
        "{key} is not a builtin gateway (networking.gateway.type: BUILTIN); no other proxies are served yet"
    )]
    NotAGateway {
        /// The key.
        key: Key,
    },
    /// The token does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be stored.
    #[error("cannot store the Dataplane")]
    Store(#[from] CommitError),
}

/// The key that a node id stands for: `<mesh>.<name>`, cut at the first dot.
///
/// # Errors
/// When it is no such id.
pub fn parse_node_id(id: &str) -> Result<Key, RegisterError> {
    let (mesh, name) = id
        .split_once('.')
        .filter(|(mesh, _)| !mesh.is_empty())
        .ok_or_else(|| RegisterError::NodeId { id: id.to_owned() })?;
    let wrong = |source| RegisterError::Name {
        id: id.to_owned(),
        source,
    };
    let mesh = MeshName::parse(mesh).map_err(wrong)?;
    let name = ResourceName::parse(name).map_err(wrong)?;
    Ok(Key::in_mesh(ResourceType::Dataplane, mesh, name))
}

#[derive(Debug, Default)]
struct Streams {
    /// Open streams by Dataplane.
    open: BTreeMap<Key, usize>,
    /// Dataplanes that said goodbye and still hold a stream while they drain.
    leaving: BTreeSet<Key>,
}

/// Keeps the store's Dataplanes in step with the streams.
#[derive(Debug)]
pub struct Registrar {
    store: SharedStore,
    zone: ZoneName,
    auth: ProxyAuth,
    /// How long a Dataplane stays after its last stream closed.
    delay: Duration,
    streams: Mutex<Streams>,
    tasks: TaskTracker,
    shutdown: Shutdown,
}

impl Registrar {
    /// A registrar over `store`.
    pub fn new(store: SharedStore, zone: ZoneName, auth: ProxyAuth, shutdown: Shutdown) -> Self {
        Self {
            store,
            zone,
            auth,
            delay: DEREGISTRATION_DELAY,
            streams: Mutex::default(),
            tasks: TaskTracker::new(),
            shutdown,
        }
    }

    /// The same registrar with another [`DEREGISTRATION_DELAY`].
    #[must_use]
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Registers the proxy of a new stream and returns its Dataplane as stored.
    ///
    /// # Errors
    /// Why the proxy is not served.
    pub async fn register(
        self: &Arc<Self>,
        node_id: &str,
        resource: Option<&str>,
        token: Option<&str>,
    ) -> Result<Registration, RegisterError> {
        let key = parse_node_id(node_id)?;
        let mesh = Key::global(
            ResourceType::Mesh,
            ResourceName::parse(key.mesh_str()).expect("a mesh name is a resource name"),
        );
        if self.store.get(&mesh).is_none() {
            return Err(RegisterError::NoMesh {
                mesh: key.mesh_str().to_owned(),
            });
        }
        let dataplane = match resource {
            Some(text) => self.adopt(&key, text, token).await?,
            None => {
                let stored = self
                    .store
                    .get(&key)
                    .ok_or_else(|| RegisterError::NotFound { key: key.clone() })?;
                self.check(&key, &stored.decode(), token)?;
                stored
            }
        };
        let mut streams = self.streams.lock();
        *streams.open.entry(key.clone()).or_default() += 1;
        streams.leaving.remove(&key);
        drop(streams);
        Ok(Registration {
            registrar: Arc::clone(self),
            dataplane,
            key,
            brought_resource: resource.is_some(),
        })
    }

    /// Checks that `token` still may speak for the Dataplane of a stream, and says until when.
    ///
    /// # Errors
    /// Why it may not.
    pub fn recheck(
        &self,
        key: &Key,
        token: Option<&str>,
    ) -> Result<Option<Timestamp>, RegisterError> {
        match self.store.get(key) {
            Some(stored) => self.check(key, &stored.decode(), token),
            // It said goodbye and drains: there is nothing left to protect.
            None => Ok(None),
        }
    }

    /// A proxy says goodbye: its Dataplane and insight go now, its stream when it has drained.
    ///
    /// # Errors
    /// When it is not there, or the token does not allow it.
    pub async fn deregister(&self, key: &Key, token: Option<&str>) -> Result<(), RegisterError> {
        let stored = self
            .store
            .get(key)
            .ok_or_else(|| RegisterError::NotFound { key: key.clone() })?;
        self.check(key, &stored.decode(), token)?;
        self.streams.lock().leaving.insert(key.clone());
        self.remove(key).await?;
        tracing::info!(dataplane = %key, "said goodbye");
        Ok(())
    }

    /// Waits for removals that were begun.
    pub async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn check(
        &self,
        key: &Key,
        dataplane: &Dataplane,
        token: Option<&str>,
    ) -> Result<Option<Timestamp>, RegisterError> {
        Ok(self
            .auth
            .check(&self.store.snapshot(), key, dataplane, token)?)
    }

    /// Stores the resource that came along, if it is allowed and not stored already.
    async fn adopt(
        &self,
        key: &Key,
        text: &str,
        token: Option<&str>,
    ) -> Result<Arc<Resource>, RegisterError> {
        let value = serde_json::from_str(text)
            .map_err(|error| RegisterError::Invalid(format!("it is not JSON: {error}")))?;
        let document = json::parse_document(&value)?;
        let found = format!(
            "{} {}/{}",
            document.ty,
            document.mesh.as_deref().unwrap_or(""),
            document.name
        );
        let expected = key.to_string();
        if found != expected {
            return Err(RegisterError::OtherResource { found, expected });
        }
        let violations = validate::spec(document.ty, &document.spec);
        if !violations.is_empty() {
            let text: Vec<String> = violations.iter().map(ToString::to_string).collect();
            return Err(RegisterError::Invalid(text.join("; ")));
        }
        let mut dataplane: Dataplane = document.spec.decode();
        let gateway = dataplane
            .networking
            .as_ref()
            .and_then(|n| n.gateway.as_ref());
        if gateway.is_none_or(|g| g.r#type() != GatewayType::Builtin) {
            return Err(RegisterError::NotAGateway { key: key.clone() });
        }
        self.check(key, &dataplane, token)?;
        set_zone_tags(&mut dataplane, &self.zone);
        let spec = Spec::encode(ResourceType::Dataplane, &dataplane);
        let labels = own_labels(&self.zone, key, document.labels, "gateway");
        loop {
            let current = self.store.get(key);
            let now = clock::now();
            let (created, expect) = match &current {
                Some(c) if **c.labels() == labels && *c.spec() == spec => return Ok(Arc::clone(c)),
                Some(c) => (c.created(), Expect::Version(c.version())),
                None => (now, Expect::Absent),
            };
            let resource = Arc::new(Resource::new(
                key.clone(),
                labels.clone(),
                spec.clone(),
                created,
                now,
            ));
            match self
                .store
                .commit(Batch::new().put_if(Arc::clone(&resource), expect))
                .await
            {
                Ok(_) => {
                    tracing::info!(dataplane = %key, "registered");
                    return Ok(resource);
                }
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn remove(&self, key: &Key) -> Result<(), CommitError> {
        let batch = Batch::new()
            .delete(key.clone())
            .delete(key.with_type(ResourceType::DataplaneInsight));
        self.store.commit(batch).await.map(drop)
    }

    fn closed(self: &Arc<Self>, key: Key, brought_resource: bool) {
        let mut streams = self.streams.lock();
        let count = streams.open.entry(key.clone()).or_default();
        *count = count.saturating_sub(1);
        if *count > 0 {
            return;
        }
        streams.open.remove(&key);
        let said_goodbye = streams.leaving.remove(&key);
        drop(streams);
        if !brought_resource || said_goodbye || self.shutdown.is_triggered() {
            return;
        }
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(this.delay) => {}
                // Its Envoy runs on and comes back to the next process.
                () = this.shutdown.wait() => return,
            }
            if this.streams.lock().open.contains_key(&key) {
                return;
            }
            match this.remove(&key).await {
                Ok(()) => tracing::info!(dataplane = %key, "gone for {:?}, removed", this.delay),
                Err(error) => tracing::error!(dataplane = %key, %error, "cannot remove a Dataplane that is gone"),
            }
        });
    }
}

/// A stream's claim on its Dataplane; dropping it is the stream's end.
#[derive(Debug)]
pub struct Registration {
    registrar: Arc<Registrar>,
    dataplane: Arc<Resource>,
    key: Key,
    brought_resource: bool,
}

impl Registration {
    /// The Dataplane as it was stored when the stream opened.
    pub fn dataplane(&self) -> &Arc<Resource> {
        &self.dataplane
    }

    /// The Dataplane's key.
    pub fn key(&self) -> &Key {
        &self.key
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registrar
            .closed(self.key.clone(), self.brought_resource);
    }
}

/// Writes the zone into the tags of all inbounds and of the gateway.
pub fn set_zone_tags(dataplane: &mut Dataplane, zone: &ZoneName) {
    let Some(networking) = &mut dataplane.networking else {
        return;
    };
    let inbounds = networking.inbound.iter_mut().map(|i| &mut i.tags);
    for tags in inbounds.chain(networking.gateway.iter_mut().map(|g| &mut g.tags)) {
        tags.insert(tags::ZONE.to_owned(), zone.as_str().to_owned());
    }
}

/// The labels that a zone sets on what it owns, over those that a user gave.
pub fn own_labels(
    zone: &ZoneName,
    key: &Key,
    mut given: BTreeMap<String, String>,
    proxy_type: &str,
) -> BTreeMap<String, String> {
    let set = [
        (labels::MESH, key.mesh_str()),
        (labels::ORIGIN, labels::ORIGIN_ZONE),
        (labels::ZONE, zone.as_str()),
        (labels::ENV, "universal"),
        (labels::PROXY_TYPE, proxy_type),
    ];
    for (label, value) in set.into_iter().filter(|(_, value)| !value.is_empty()) {
        given.insert(label.to_owned(), value.to_owned());
    }
    given
}
