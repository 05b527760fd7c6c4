//! The book of routes that an Envoy of this zone refused, kept for all of its proxies.
//!
//! What one Envoy refused is not offered to the next: it is left out everywhere, or the version
//! before it stays everywhere. An entry is about one version of a route, and goes when the route
//! changes or disappears. The book survives a restart, so that what stays in place of a refused
//! route stays then too.

mod keep;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mesh_model::{Key, MeshName, Resource, ResourceName};
use mesh_runtime::shutdown::Shutdown;
use mesh_store::{Revision, Snapshot};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use zone_translate::HeldBack;

/// The revision of entries from before this run.
const BEFORE: Revision = Revision(0);

/// The book.
#[derive(Debug)]
pub struct RefusedRoutes {
    /// With the revision of the store at which each was written down.
    entries: Mutex<BTreeMap<Key, (Revision, Refused)>>,
    news: watch::Sender<()>,
    /// Where it is kept, if it is.
    file: Option<PathBuf>,
    is_unkept: Notify,
}

/// A version of a route that an Envoy refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The route as it was refused.
    pub(crate) route: Arc<Resource>,
    /// What Envoy said.
    pub(crate) words: Arc<str>,
    /// The version that Envoy had before.
    pub(crate) instead: Option<Arc<Resource>>,
}

impl Refused {
    fn is(&self, route: &Resource) -> bool {
        self.route.version() == route.version()
    }
}

impl RefusedRoutes {
    /// A book that is forgotten at the end of this run.
    pub fn unkept() -> Self {
        Self {
            entries: Mutex::default(),
            news: watch::Sender::new(()),
            file: None,
            is_unkept: Notify::new(),
        }
    }

    /// The book in a file, as an earlier run left it. One that cannot be read is an empty one.
    pub fn open(file: &Path) -> Self {
        let kept = keep::load(file).unwrap_or_else(|error| {
            tracing::warn!(
                "cannot read which routes Envoys refused from {}, so they are tried again: {error}",
                file.display()
            );
            Vec::new()
        });
        let entries = kept
            .into_iter()
            .map(|(key, refused)| (key, (BEFORE, refused)));
        Self {
            entries: Mutex::new(entries.collect()),
            file: Some(file.to_owned()),
            ..Self::unkept()
        }
    }

    /// Keeps the book in its file until shutdown.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let Some(file) = self.file.clone() else {
            return;
        };
        loop {
            let is_last = tokio::select! {
                () = self.is_unkept.notified() => false,
                () = shutdown.wait() => true,
            };
            let entries: Vec<(Key, Refused)> = {
                let entries = self.entries.lock();
                let entries = entries.iter();
                entries
                    .map(|(key, (_, one))| (key.clone(), one.clone()))
                    .collect()
            };
            let file = file.clone();
            let write = move || (keep::store(&file, &entries), file);
            match tokio::task::spawn_blocking(write).await {
                Ok((Err(error), file)) => tracing::warn!(
                    "cannot keep in {} which routes Envoys refused: {error}",
                    file.display()
                ),
                Ok((Ok(()), _)) => {}
                Err(error) => tracing::warn!("cannot keep which routes Envoys refused: {error}"),
            }
            if is_last {
                return;
            }
        }
    }

    /// Writes a route down that is so in the store at revision `at`.
    pub(crate) fn put(&self, refused: Refused, at: Revision) {
        let key = refused.route.key().clone();
        let mut entries = self.entries.lock();
        let known = entries.get(&key).map(|(_, known)| known);
        let is_known = known.is_some_and(|known| known.is(&refused.route));
        if is_known && (known.is_none_or(|k| k.instead.is_some()) || refused.instead.is_none()) {
            return;
        }
        if !is_known {
            let rest = match refused.instead {
                Some(_) => "its last version stays",
                None => "it is left out",
            };
            tracing::warn!(resource = %key, "Envoy refuses a route, and {rest}: {}", refused.words);
        }
        entries.insert(key, (at, refused));
        drop(entries);
        self.is_unkept.notify_one();
        self.news.send_replace(());
    }

    /// What to hold back of a mesh, as it is in `snapshot` or, because views may be ahead of it,
    /// later.
    pub(crate) fn held(
        &self,
        mesh: Option<&MeshName>,
        snapshot: &Snapshot,
    ) -> BTreeMap<ResourceName, HeldBack> {
        let mut entries = self.entries.lock();
        let before = entries.len();
        entries.retain(|key, (at, refused)| match snapshot.get(key) {
            // Other streams may look at an older state, to which newer entries are nothing yet.
            _ if *at > snapshot.revision() => true,
            Some(route) => refused.is(route),
            // What a store that starts empty lacks may come.
            None => *at == BEFORE,
        });
        if entries.len() != before {
            self.is_unkept.notify_one();
        }
        let of_mesh = entries.iter().filter(|(key, _)| key.mesh() == mesh);
        of_mesh
            .filter(|(key, (at, refused))| {
                *at > snapshot.revision()
                    || snapshot.get(key).is_some_and(|route| refused.is(route))
            })
            .map(|(key, (_, refused))| {
                let held = HeldBack {
                    version: Some(refused.route.version()),
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
