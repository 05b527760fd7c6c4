//! The `ServiceInsight` of each mesh: which services there are in all zones, and how many of
//! their proxies are up. Zones cannot know that, and need it to decide whether a service of a
//! mesh with permissive mTLS can be spoken to in TLS.
//!
//! Counted by differences: a change costs time in proportion to itself, and what many changes
//! do within a moment is written once.

mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Spec};
use mesh_proto::mesh::ServiceInsight;
use mesh_runtime::clock;
use mesh_runtime::shutdown::Shutdown;
use mesh_store::{Batch, CommitError, Expect, SharedStore, Snapshot};

use self::services::Services;

/// For how long changes gather before they are written: what a zone reports when it connects is
/// many changes.
const GATHER: Duration = Duration::from_millis(100);

/// Keeps the insights of all meshes up to date until shutdown.
pub(crate) async fn keep(store: SharedStore, shutdown: Shutdown) {
    let mut states = store.watch();
    let mut fleet = Fleet::new(Snapshot::empty(store.id()));
    loop {
        let latest = states.borrow_and_update().clone();
        fleet.follow(&latest);
        for mesh in std::mem::take(&mut fleet.touched) {
            if let Err(error) = write(&store, &latest, &mesh, fleet.services(&mesh)).await {
                // Another writer was there in between, or the store failed: the next round sees.
                tracing::debug!(%mesh, %error, "cannot write the ServiceInsight yet");
                fleet.touched.insert(mesh);
            }
        }
        tokio::select! {
            () = shutdown.wait() => return,
            () = next(&mut states, !fleet.touched.is_empty()) => {}
        }
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(GATHER) => {}
        }
    }
}

/// Waits for a change, unless something is still to be done.
async fn next(states: &mut tokio::sync::watch::Receiver<Snapshot>, is_behind: bool) {
    if !is_behind && states.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The key of a mesh's insight; `None` for a mesh whose name leaves no room, which only a peer
/// can have made.
fn insight_key(mesh: &MeshName) -> Option<Key> {
    let name = ResourceName::parse(&format!("all-services-{mesh}")).ok()?;
    Some(Key::in_mesh(
        ResourceType::ServiceInsight,
        mesh.clone(),
        name,
    ))
}

/// Writes a mesh's insight if it differs from what is stored.
async fn write(
    store: &SharedStore,
    latest: &Snapshot,
    mesh: &MeshName,
    services: Option<ServiceInsight>,
) -> Result<(), CommitError> {
    let Some(key) = insight_key(mesh) else {
        return Ok(());
    };
    let stored = latest.get(&key);
    let has_mesh = ResourceName::parse(mesh.as_str())
        .is_ok_and(|name| latest.get(&Key::global(ResourceType::Mesh, name)).is_some());
    if !has_mesh {
        return match stored {
            Some(_) => store.commit(Batch::new().delete(key)).await.map(drop),
            None => Ok(()),
        };
    }
    // It comes with a mesh's first Dataplane, and stays when the last one has gone.
    let Some(services) = services.or_else(|| stored.map(|_| ServiceInsight::default())) else {
        return Ok(());
    };
    let spec = Spec::encode(ResourceType::ServiceInsight, &services);
    if stored.is_some_and(|stored| *stored.spec() == spec) {
        return Ok(());
    }
    let now = clock::now();
    let created = stored.map_or(now, |stored| stored.created());
    let labels = stored.map(|stored| BTreeMap::clone(stored.labels()));
    let insight = Resource::new(key, labels.unwrap_or_default(), spec, created, now);
    let expect = stored.map_or(Expect::Absent, |stored| Expect::Version(stored.version()));
    let batch = Batch::new().put_if(insight, expect);
    store.commit(batch).await.map(drop)
}

/// The services of all meshes as of one snapshot.
#[derive(Debug)]
struct Fleet {
    seen: Snapshot,
    meshes: BTreeMap<MeshName, Services>,
    /// Meshes whose insight may have changed.
    touched: BTreeSet<MeshName>,
}

impl Fleet {
    fn new(seen: Snapshot) -> Self {
        Self {
            seen,
            meshes: BTreeMap::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Takes what differs in `latest`.
    fn follow(&mut self, latest: &Snapshot) {
        // A Dataplane and its insight are looked at once, however they changed.
        let mut proxies = BTreeSet::new();
        let mut externals = BTreeSet::new();
        for change in latest.changes_since(&self.seen) {
            let key = change.key();
            match key.ty() {
                ResourceType::Dataplane => {
                    proxies.insert(key.clone());
                }
                ResourceType::DataplaneInsight => {
                    proxies.insert(key.with_type(ResourceType::Dataplane));
                }
                ResourceType::ExternalService => {
                    externals.insert(key.clone());
                }
                ResourceType::ServiceInsight => self.touched.extend(key.mesh().cloned()),
                ResourceType::Mesh => {
                    self.touched
                        .extend(MeshName::parse(key.name().as_str()).ok());
                }
                _ => {}
            }
        }
        for key in proxies {
            let Some(mesh) = key.mesh() else { continue };
            let insight = latest.get(&key.with_type(ResourceType::DataplaneInsight));
            let services = self.meshes.entry(mesh.clone()).or_default();
            let dataplane = latest.get(&key).map(AsRef::as_ref);
            if services.set_proxy(key.name(), dataplane, insight.map(AsRef::as_ref)) {
                self.touched.insert(mesh.clone());
            }
        }
        for key in externals {
            let Some(mesh) = key.mesh() else { continue };
            let services = self.meshes.entry(mesh.clone()).or_default();
            if services.set_external(key.name(), latest.get(&key).map(AsRef::as_ref)) {
                self.touched.insert(mesh.clone());
            }
        }
        self.meshes.retain(|_, services| !services.is_empty());
        self.seen = latest.clone();
    }

    /// The insight of a mesh; `None` if no Dataplane is in it.
    fn services(&self, mesh: &MeshName) -> Option<ServiceInsight> {
        let services = self.meshes.get(mesh)?;
        // What is there beside an insight that stays is shown.
        let is_kept = insight_key(mesh).is_some_and(|key| self.seen.get(&key).is_some());
        (services.has_proxies() || is_kept).then(|| services.to_insight())
    }
}

#[cfg(test)]
mod tests;
