//! The book of routes that an Envoy of this zone refused, kept for all of its proxies.
//!
//! What one Envoy refused is not offered to the next: it is left out everywhere, or the version
//! before it stays everywhere. An entry is about one version of a route, and goes when the route
//! changes or disappears.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::{Key, MeshName, Resource, ResourceName, Version};
use mesh_store::{Revision, Snapshot};
use parking_lot::Mutex;
use tokio::sync::watch;
use zone_translate::HeldBack;

/// The book.
#[derive(Debug)]
pub(crate) struct RefusedRoutes {
    /// With the revision of the store at which each was written down.
    entries: Mutex<BTreeMap<Key, (Revision, Refused)>>,
    news: watch::Sender<()>,
}

/// A version of a route that an Envoy refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The version.
    pub(crate) version: Version,
    /// What Envoy said.
    pub(crate) words: Arc<str>,
    /// The version that Envoy had before.
    pub(crate) instead: Option<Arc<Resource>>,
}

impl Default for RefusedRoutes {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            news: watch::Sender::new(()),
        }
    }
}

impl RefusedRoutes {
    /// Writes a route down that is so in `snapshot`.
    pub(crate) fn put(&self, key: &Key, refused: Refused, snapshot: &Snapshot) {
        let mut entries = self.entries.lock();
        let known = entries.get(key).map(|(_, known)| known);
        let is_news = match known {
            Some(known) if known.version == refused.version => {
                known.instead.is_none() && refused.instead.is_some()
            }
            _ => true,
        };
        if !is_news {
            return;
        }
        if known.is_none_or(|known| known.version != refused.version) {
            let rest = match refused.instead {
                Some(_) => "its last version stays",
                None => "it is left out",
            };
            tracing::warn!(resource = %key, "Envoy refuses a route, and {rest}: {}", refused.words);
        }
        entries.insert(key.clone(), (snapshot.revision(), refused));
        drop(entries);
        self.news.send_replace(());
    }

    /// What to hold back of a mesh, as it is in `snapshot`.
    pub(crate) fn held(
        &self,
        mesh: Option<&MeshName>,
        snapshot: &Snapshot,
    ) -> BTreeMap<ResourceName, HeldBack> {
        let mut entries = self.entries.lock();
        let is_so = |key: &Key, refused: &Refused| {
            let now = snapshot.get(key).map(|resource| resource.version());
            now == Some(refused.version)
        };
        // Other streams may look at an older state, to which newer entries are nothing yet.
        entries.retain(|key, (at, refused)| *at > snapshot.revision() || is_so(key, refused));
        let of_mesh = entries.iter().filter(|(key, _)| key.mesh() == mesh);
        of_mesh
            .filter(|(key, (_, refused))| is_so(key, refused))
            .map(|(key, (_, refused))| {
                let held = HeldBack {
                    version: Some(refused.version),
                    instead: refused.instead.clone(),
                    words: Some(Arc::clone(&refused.words)),
                };
                (key.name().clone(), held)
            })
            .collect()
    }

    /// Changes whenever something was written down.
    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }
}
