//! What a writer asks for, and why it may be refused.

use std::sync::Arc;

use mesh_model::{Key, Resource, Version};

/// What must be true of the stored resource for an operation to go ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Anything, or nothing, may be there.
    Anything,
    /// Nothing may be there.
    Absent,
    /// A resource with this content must be there.
    Version(Version),
}

/// One write.
#[derive(Debug, Clone)]
pub enum Op {
    /// Creates or replaces a resource.
    Put {
        /// What to store.
        resource: Arc<Resource>,
        /// What must be there now.
        expect: Expect,
    },
    /// Removes a resource; removing what is not there does nothing under [`Expect::Anything`].
    Delete {
        /// What to remove.
        key: Key,
        /// What must be there now.
        expect: Expect,
    },
}

impl Op {
    /// The key it writes.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { resource, .. } => resource.key(),
            Self::Delete { key, .. } => key,
        }
    }

    /// What must be there now.
    pub fn expect(&self) -> Expect {
        match self {
            Self::Put { expect, .. } | Self::Delete { expect, .. } => *expect,
        }
    }
}

/// Writes that happen together or not at all; later ones see earlier ones.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    ops: Vec<Op>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a write of `resource`, whatever is there now.
    #[must_use]
    pub fn put(self, resource: impl Into<Arc<Resource>>) -> Self {
        self.put_if(resource, Expect::Anything)
    }

    /// Adds a write of `resource`, if `expect` holds.
    #[must_use]
    pub fn put_if(mut self, resource: impl Into<Arc<Resource>>, expect: Expect) -> Self {
        self.ops.push(Op::Put {
            resource: resource.into(),
            expect,
        });
        self
    }

    /// Adds a removal, whatever is there now.
    #[must_use]
    pub fn delete(self, key: Key) -> Self {
        self.delete_if(key, Expect::Anything)
    }

    /// Adds a removal, if `expect` holds.
    #[must_use]
    pub fn delete_if(mut self, key: Key, expect: Expect) -> Self {
        self.ops.push(Op::Delete { key, expect });
        self
    }

    /// Appends one operation.
    pub fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// The operations, in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// Why a batch was not committed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// An expectation did not hold; nothing was written.
    #[error("{key} was changed by somebody else")]
    Conflict {
        /// The first key whose expectation failed.
        key: Key,
    },
    /// The store could not make the batch durable. It takes no further writes, because what is
    /// on the disk is no longer known; restarting the process recovers it.
    #[error("the store at {path} failed and takes no more writes")]
    Failed {
        /// The store's directory.
        path: std::path::PathBuf,
        /// What the disk said.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}
