//! Dataplanes come and go with their streams (Universal).
//!
//! An Envoy's first request carries the Dataplane that its agent was given; the zone stores it.
//! When its last stream closes, the zone waits [`DEREGISTRATION_DELAY`] for it to come back and
//! then removes it; an agent of ours says goodbye first, and then it is gone at once. A proxy
//! that brings no resource must be stored already and is never removed by its stream.
//!
//! **Invariant:** what is written for one proxy is written in turn, and decided in that turn: a
//! stream that opens never relies on a Dataplane whose removal is under way.

mod adopt;
mod error;
mod streams;
#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Timestamp, ZoneName};
use mesh_proto::mesh::{Dataplane, DataplaneInsight};
use mesh_runtime::backoff::Backoff;
use mesh_runtime::clock;
use mesh_runtime::shutdown::Shutdown;
use mesh_store::{Batch, CommitError, Expect, SharedStore};
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::adopt::Brought;
pub use self::adopt::set_zone_tags;
pub use self::error::RegisterError;
use self::streams::{Goodbye, Removal, StreamId, Streams};
use super::auth::ProxyAuth;
use crate::inventory::insight;

/// How long a Dataplane stays after its last stream closed (Kuma's
/// `xdsServer.dataplaneDeregistrationDelay`).
pub const DEREGISTRATION_DELAY: Duration = Duration::from_secs(10);
/// The pauses before a removal that failed is tried again.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How many proxies can be written at once; others wait for one whose turn they share.
const TURNS: usize = 64;

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

/// Turns of the proxies: one at a time for each.
#[derive(Debug)]
struct Turns([Arc<tokio::sync::Mutex<()>>; TURNS]);

impl Turns {
    fn new() -> Self {
        Self(std::array::from_fn(|_| Arc::default()))
    }

    async fn take(&self, key: &Key) -> OwnedMutexGuard<()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let count = u64::try_from(TURNS).expect("it is small");
        let index = usize::try_from(hasher.finish() % count).expect("it is below TURNS");
        Arc::clone(&self.0[index]).lock_owned().await
    }
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
    turns: Turns,
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
            turns: Turns::new(),
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
        let _turn = self.turns.take(&key).await;
        let mesh = Key::global(
            ResourceType::Mesh,
            ResourceName::parse(key.mesh_str()).expect("a mesh name is a resource name"),
        );
        if self.store.get(&mesh).is_none() {
            return Err(RegisterError::NoMesh {
                mesh: key.mesh_str().to_owned(),
            });
        }
        // Unless somebody made it again.
        if self.streams.lock().is_leaving(&key, Instant::now()) && self.store.get(&key).is_none() {
            return Err(RegisterError::Leaving { key });
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
        let stream = self.streams.lock().opened(&key, resource.is_some());
        Ok(Registration {
            registrar: Arc::clone(self),
            dataplane,
            key,
            stream,
            has_brought: resource.is_some(),
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

    /// A new agent fetched its bootstrap and is about to start its Envoy.
    pub fn expect(&self, key: &Key) {
        self.streams.lock().expect(key, Instant::now());
    }

    /// An agent says goodbye: the Dataplane and insight go now, its stream when it has drained.
    /// They stay if another agent runs the proxy by now, or is about to.
    ///
    /// Dropping the future does not stop a removal that has begun.
    ///
    /// # Errors
    /// When it is not there, the token does not allow it, or it could not be removed.
    pub async fn deregister(
        self: &Arc<Self>,
        key: &Key,
        token: Option<&str>,
    ) -> Result<(), RegisterError> {
        let turn = self.turns.take(key).await;
        let stored = self
            .store
            .get(key)
            .ok_or_else(|| RegisterError::NotFound { key: key.clone() })?;
        self.check(key, &stored.decode(), token)?;
        // Agents do not wait for long, and what has begun must end either way.
        let (this, key) = (Arc::clone(self), key.clone());
        let removal = self.tasks.spawn(async move {
            let _turn = turn;
            this.leave(&key).await
        });
        removal.await.unwrap_or(Err(CommitError::Closed))?;
        Ok(())
    }

    async fn leave(self: &Arc<Self>, key: &Key) -> Result<(), CommitError> {
        let goodbye = self.streams.lock().goodbye(key, Instant::now());
        let Goodbye::Leave(left) = goodbye else {
            tracing::info!(dataplane = %key, "an agent said goodbye, and another one goes on");
            return Ok(());
        };
        if let Err(error) = self.remove(key).await {
            let removal = self.streams.lock().failed(key, &left);
            if let Some(removal) = removal {
                self.remove_later(key.clone(), removal);
            }
            return Err(error);
        }
        self.streams.lock().removed(key);
        tracing::info!(dataplane = %key, "said goodbye");
        Ok(())
    }

    /// Gives the proxies of an earlier run the same delay to come back: the Dataplanes that their
    /// streams brought are removed after it like those of streams that ended.
    pub fn await_leftovers(self: &Arc<Self>) {
        let snapshot = self.store.snapshot();
        let has_come_with_a_stream = |key: &Key| {
            snapshot
                .get(&key.with_type(ResourceType::DataplaneInsight))
                .is_some_and(|i| insight::has_brought(&i.decode::<DataplaneInsight>()))
        };
        let dataplanes = snapshot.list(ResourceType::Dataplane);
        for key in dataplanes
            .map(|d| d.key())
            .filter(|k| has_come_with_a_stream(k))
        {
            let removal = self.streams.lock().arm(key);
            self.remove_later(key.clone(), removal);
        }
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
        let brought = Brought::read(key, text)?;
        self.check(key, &brought.dataplane, token)?;
        let (spec, labels) = brought.in_zone(key, &self.zone);
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

    fn closed(self: &Arc<Self>, key: &Key, stream: StreamId) {
        let removal = self.streams.lock().closed(key, stream, Instant::now());
        if let Some(removal) = removal {
            self.remove_later(key.clone(), removal);
        }
    }

    /// Removes a Dataplane after the delay, unless a stream opens before.
    fn remove_later(self: &Arc<Self>, key: Key, removal: Removal) {
        if self.shutdown.is_triggered() {
            return;
        }
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = this.remove_when_due(&key, removal) => {}
                // Its Envoy runs on and comes back to the next process.
                () = this.shutdown.wait() => {}
            }
        });
    }

    async fn remove_when_due(&self, key: &Key, removal: Removal) {
        let (shortest, longest) = RETRY;
        let mut pauses = Backoff::new(shortest, longest).expect("the bounds are in order");
        tokio::time::sleep(self.delay).await;
        loop {
            let turn = self.turns.take(key).await;
            if !self.streams.lock().is_due(key, removal) {
                return;
            }
            match self.remove(key).await {
                Ok(()) => {
                    self.streams.lock().removed(key);
                    tracing::info!(dataplane = %key, "gone for {:?}, removed", self.delay);
                    return;
                }
                Err(error) => tracing::error!(
                    dataplane = %key,
                    %error,
                    "cannot remove a Dataplane that is gone, trying again"
                ),
            }
            drop(turn);
            tokio::time::sleep(pauses.next_delay()).await;
        }
    }
}

/// A stream's claim on its Dataplane; dropping it is the stream's end.
#[derive(Debug)]
pub struct Registration {
    registrar: Arc<Registrar>,
    dataplane: Arc<Resource>,
    key: Key,
    stream: StreamId,
    has_brought: bool,
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

    /// Whether the stream brought the Dataplane, which then comes and goes with it.
    pub fn has_brought(&self) -> bool {
        self.has_brought
    }

    /// Whether the agent said goodbye, so that the stream only lasts while Envoy drains.
    pub fn has_left(&self) -> bool {
        let streams = self.registrar.streams.lock();
        streams.has_left(&self.key, self.stream)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registrar.closed(&self.key, self.stream);
    }
}
