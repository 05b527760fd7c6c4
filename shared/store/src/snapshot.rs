//! Immutable states of a store that share structure with one another.

use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType};

use crate::batch::{Batch, CommitError, Expect, Op};
use crate::{Revision, StoreId};

/// A difference between two snapshots.
#[derive(Debug, Clone)]
pub enum Change {
    /// The resource is new or was written again.
    Put {
        /// What was there before.
        old: Option<Arc<Resource>>,
        /// What is there now.
        new: Arc<Resource>,
    },
    /// The resource is gone.
    Deleted {
        /// What was there before.
        old: Arc<Resource>,
    },
}

impl Change {
    /// The key that changed.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { new, .. } => new.key(),
            Self::Deleted { old } => old.key(),
        }
    }

    /// What is there now.
    pub fn new_resource(&self) -> Option<&Arc<Resource>> {
        match self {
            Self::Put { new, .. } => Some(new),
            Self::Deleted { .. } => None,
        }
    }

    /// Whether labels or spec differ, and not only the time of writing.
    pub fn is_of_content(&self) -> bool {
        match self {
            Self::Put {
                old: Some(old),
                new,
            } => old.version() != new.version(),
            Self::Put { old: None, .. } | Self::Deleted { .. } => true,
        }
    }
}

/// The state of a store at one revision. Cloning is O(1).
#[derive(Debug, Clone)]
pub struct Snapshot {
    store: StoreId,
    revision: Revision,
    resources: OrdMap<Key, Arc<Resource>>,
}

impl Snapshot {
    /// The state of a store that was just created.
    pub fn empty(store: StoreId) -> Self {
        Self {
            store,
            revision: Revision::default(),
            resources: OrdMap::new(),
        }
    }

    pub(crate) fn restore(
        store: StoreId,
        revision: Revision,
        resources: impl IntoIterator<Item = Arc<Resource>>,
    ) -> Self {
        let resources = resources
            .into_iter()
            .map(|r| (r.key().clone(), r))
            .collect();
        Self {
            store,
            revision,
            resources,
        }
    }

    /// The store it is a state of.
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// The revision it is the state of.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// One resource.
    pub fn get(&self, key: &Key) -> Option<&Arc<Resource>> {
        self.resources.get(key)
    }

    /// All resources, ordered by key.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// The resources of a type, ordered by mesh and name.
    pub fn list(&self, ty: ResourceType) -> impl Iterator<Item = &Arc<Resource>> {
        let mesh = ty
            .is_mesh_scoped()
            .then(|| MeshName::parse("-").expect("the smallest name"));
        let first = Key::try_new(ty, mesh, smallest_name()).expect("scope and mesh agree");
        self.resources
            .range(first..)
            .take_while(move |(key, _)| key.ty() == ty)
            .map(|(_, resource)| resource)
    }

    /// The resources of a mesh-scoped type in one mesh, ordered by name.
    pub fn list_in_mesh<'a>(
        &'a self,
        ty: ResourceType,
        mesh: &MeshName,
    ) -> impl Iterator<Item = &'a Arc<Resource>> + use<'a> {
        let mesh = mesh.clone();
        self.resources
            .range(Key::in_mesh(ty, mesh.clone(), smallest_name())..)
            .take_while(move |(key, _)| key.ty() == ty && key.mesh() == Some(&mesh))
            .map(|(_, resource)| resource)
    }

    /// What has to be done to `earlier` to get here, ordered by key.
    ///
    /// Costs time in proportion to what differs when both are of one store, because unchanged
    /// parts are shared and skipped.
    pub fn changes_since<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = Change> + 'a {
        earlier
            .resources
            .diff(&self.resources)
            .map(|item| match item {
                DiffItem::Add(_, new) => Change::Put {
                    old: None,
                    new: Arc::clone(new),
                },
                DiffItem::Update {
                    old: (_, old),
                    new: (_, new),
                } => Change::Put {
                    old: Some(Arc::clone(old)),
                    new: Arc::clone(new),
                },
                DiffItem::Remove(_, old) => Change::Deleted {
                    old: Arc::clone(old),
                },
            })
    }

    /// The state after `batch`, one revision later.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] for the first expectation that does not hold.
    pub(crate) fn apply(&self, batch: &Batch) -> Result<Self, CommitError> {
        let mut next = self.clone();
        for op in batch.ops() {
            let current = next.resources.get(op.key());
            let holds = match op.expect() {
                Expect::Anything => true,
                Expect::Absent => current.is_none(),
                Expect::Version(version) => current.is_some_and(|r| r.version() == version),
            };
            if !holds {
                return Err(CommitError::Conflict {
                    key: op.key().clone(),
                });
            }
            match op {
                Op::Put { resource, .. } => {
                    next.resources
                        .insert(resource.key().clone(), Arc::clone(resource));
                }
                Op::Delete { key, .. } => {
                    next.resources.remove(key);
                }
            }
        }
        next.revision = Revision(self.revision.0 + 1);
        Ok(next)
    }
}

fn smallest_name() -> ResourceName {
    // '-' sorts before every other character that a name may have.
    ResourceName::parse("-").expect("the smallest name")
}
