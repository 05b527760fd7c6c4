//! What a sender offers: named items per type, in structure-sharing maps.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use imbl::OrdMap;

use crate::payload::Payload;

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

    /// Whether a [state-of-the-world](crate::World) response holds every item of the type, so that
    /// what it lacks is gone. In xDS these are clusters and listeners.
    fn is_whole(self) -> bool {
        false
    }

    /// Whether removals of this type linger once no held item refers to the name.
    fn lingers(self) -> bool {
        false
    }

    /// Whether an item that needs an item of this type is never sent before that was accepted.
    /// Otherwise it is sent after [`Policy::need_timeout`](crate::Policy::need_timeout) all the
    /// same. Unless overridden, lingering types are hard needs. A receiver that does not
    /// subscribe to a hard need never gets what needs it.
    fn is_hard_need(self) -> bool {
        self.lingers()
    }
}

/// One resource as it is offered to a receiver.
///
/// Items are equal when their versions and needs are: equal content has equal versions.
#[derive(Debug, Clone)]
pub struct Item<T> {
    /// Its content version.
    pub version: Version,
    /// Its encoded form, shared by all streams that send it.
    pub payload: Payload,
    /// What the receiver must hold before it can use this item; empty for most types. A name
    /// that is not offered counts as held.
    pub needs: Arc<[(T, Name)]>,
}

impl<T: PartialEq> PartialEq for Item<T> {
    fn eq(&self, other: &Self) -> bool {
        // Comparing snapshots compares whole neighbourhoods of a change; payloads may be large.
        self.version == other.version && self.needs == other.needs
    }
}

impl<T: Eq> Eq for Item<T> {}

impl<T> Item<T> {
    /// An item without needs.
    pub fn new(version: impl Into<Version>, payload: impl Into<Payload>) -> Self {
        Self {
            version: version.into(),
            payload: payload.into(),
            needs: Arc::new([]),
        }
    }

    /// The same item, with needs.
    #[must_use]
    pub fn needing(self, needs: impl IntoIterator<Item = (T, Name)>) -> Self {
        Self {
            needs: needs.into_iter().collect(),
            ..self
        }
    }
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
