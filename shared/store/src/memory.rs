//! A store in memory, for tests, simulation and `store.type: memory`.

use async_trait::async_trait;
use tokio::sync::watch;

use crate::batch::{Batch, CommitError};
use crate::{Snapshot, Store, StoreId};

/// A store that forgets everything when it is dropped.
#[derive(Debug)]
pub struct Memory {
    id: StoreId,
    state: watch::Sender<Snapshot>,
}

impl Memory {
    /// An empty store with an identity of its own.
    pub fn new() -> Self {
        Self::with_id(StoreId::random())
    }

    /// An empty store with a given identity, for simulations that must replay.
    pub fn with_id(id: StoreId) -> Self {
        Self {
            id,
            state: watch::Sender::new(Snapshot::empty(id)),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for Memory {
    fn id(&self) -> StoreId {
        self.id
    }

    fn snapshot(&self) -> Snapshot {
        self.state.borrow().clone()
    }

    fn watch(&self) -> watch::Receiver<Snapshot> {
        self.state.subscribe()
    }

    async fn commit(&self, batch: Batch) -> Result<Snapshot, CommitError> {
        let mut result = Err(CommitError::Closed);
        self.state.send_if_modified(|state| {
            result = state.apply(&batch);
            match &result {
                Ok(next) => {
                    *state = next.clone();
                    true
                }
                Err(_) => false,
            }
        });
        result
    }
}
