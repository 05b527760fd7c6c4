//! What a sender offers: named items per type, in structure-sharing maps.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;

/// The name of a resource on a stream.
pub type Name = Arc<str>;

/// The content version of a resource on a stream: opaque, compared for equality only.
pub type Version = Arc<str>;

/// The resource types of one kind of stream.
///
/// [`TypeSet::ALL`] is in make-before-break order: what others refer to comes first.
pub trait TypeSet: Copy + Debug + Eq + Hash + Ord + Send + Sync + 'static {
    /// All types, in the order in which additions are sent.
    const ALL: &'static [Self];

    /// Position in [`Self::ALL`].
    fn index(self) -> usize;

    /// A type whose item of the same name has to be sent again after an item of this type was
    /// sent as an update (Envoy: a changed cluster warms only when its endpoints come again).
    fn companion(self) -> Option<Self> {
        None
    }

    /// Whether removals of this type wait until no held item refers to the name, and then linger.
    fn lingers(self) -> bool {
        false
    }
}

/// One resource as it is offered to a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<T> {
    /// Its content version.
    pub version: Version,
    /// Its encoded form, shared by all streams that send it.
    pub payload: Bytes,
    /// What the receiver must hold before it can use this item; empty for most types.
    pub needs: Arc<[(T, Name)]>,
}

/// An immutable set of items, per type and name. Cloning is cheap; two snapshots derived from
/// one another are compared in time proportional to what differs.
#[derive(Debug, Clone)]
pub struct Snapshot<T: TypeSet> {
    /// The sender's store revision that this set was derived from.
    revision: u64,
    /// One map per type, by [`TypeSet::index`].
    types: Arc<[OrdMap<Name, Item<T>>]>,
}

impl<T: TypeSet> Snapshot<T> {
    /// No items, at revision 0.
    pub fn empty() -> Self {
        Self {
            revision: 0,
            types: T::ALL.iter().map(|_| OrdMap::new()).collect(),
        }
    }

    /// The sender's revision that this set was derived from.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The items of a type, by name.
    pub fn items(&self, ty: T) -> &OrdMap<Name, Item<T>> {
        &self.types[ty.index()]
    }

    /// The same set at `revision`, with the items of some types replaced.
    #[must_use]
    pub fn with(
        &self,
        revision: u64,
        replaced: impl IntoIterator<Item = (T, OrdMap<Name, Item<T>>)>,
    ) -> Self {
        let mut types = self.types.to_vec();
        for (ty, items) in replaced {
            types[ty.index()] = items;
        }
        Self {
            revision,
            types: types.into(),
        }
    }
}

impl<T: TypeSet> Default for Snapshot<T> {
    fn default() -> Self {
        Self::empty()
    }
}
