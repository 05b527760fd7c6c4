//! The revisioned resource store: one writer, many readers, level-triggered.
//!
//! A store holds resources under one monotonic [`Revision`]. Writers commit batches; readers
//! take immutable [`Snapshot`]s that share structure with the previous one (taking one is O(1)),
//! and compare two of them in time proportional to what differs. Waking is by level: [`Store::watch`]
//! always holds the latest snapshot, so a slow reader skips revisions and never loses one.
//!
//! What changed is found by comparing two snapshots ([`Store::changes_since`]), not by reading a
//! log of changes: a log has an end that slow readers fall off, needs a second way (listing
//! everything) for those, and hands out steps that later steps have undone. Two snapshots give
//! the difference as of now, however far apart they are, and skip what they share.
//!
//! **Invariant:** revisions compare only within one store, named by its [`StoreId`]; what a
//! reader can see is durable.

#![warn(missing_docs)]

mod batch;
mod disk;
mod memory;
mod metrics;
mod snapshot;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use mesh_model::{Key, Resource, ResourceType};
use tokio::sync::watch;

pub use batch::{Batch, CommitError, Expect, Op};
pub use disk::{Disk, OpenError, Role, Stats};
pub use memory::Memory;
pub use metrics::register_metrics;
pub use snapshot::{Change, Snapshot};

/// A store's counter: +1 per committed batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Identity of a store's history: made once, when the store is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(pub uuid::Uuid);

impl StoreId {
    /// A new identity.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A revisioned store of resources.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The identity of this store's history.
    fn id(&self) -> StoreId;

    /// The state after the latest commit; O(1).
    fn snapshot(&self) -> Snapshot;

    /// The latest snapshot, and a wake-up with every new one.
    fn watch(&self) -> watch::Receiver<Snapshot>;

    /// Writes a batch, all of it or nothing, and returns once it is durable.
    ///
    /// Dropping the future does not undo the commit: it may or may not happen.
    ///
    /// # Errors
    /// When an expectation of the batch does not hold ([`CommitError::Conflict`]: nothing was
    /// written), or the store can no longer write.
    async fn commit(&self, batch: Batch) -> Result<Snapshot, CommitError>;

    /// Waits until every commit that was asked for before has happened or failed, also those whose
    /// callers have gone: what is read then is not overtaken by an earlier intention.
    ///
    /// A store whose commits happen at once has nothing to wait for.
    ///
    /// # Errors
    /// When the store can no longer write.
    async fn settle(&self) -> Result<(), CommitError> {
        Ok(())
    }

    /// One resource of the latest snapshot.
    fn get(&self, key: &Key) -> Option<Arc<Resource>> {
        self.snapshot().get(key).cloned()
    }

    /// All resources of a type in the latest snapshot, ordered by mesh and name.
    fn list(&self, ty: ResourceType) -> Vec<Arc<Resource>> {
        self.snapshot().list(ty).cloned().collect()
    }

    /// What changed since an earlier snapshot of this store, ordered by key.
    fn changes_since(&self, earlier: &Snapshot) -> Vec<Change> {
        self.snapshot().changes_since(earlier).collect()
    }
}

/// A store as it is handed around.
pub type SharedStore = Arc<dyn Store>;
