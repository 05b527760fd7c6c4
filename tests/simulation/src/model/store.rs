//! The durable part of a control plane: what survives every crash.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use mesh_delta::{History, Item, Name, Snapshot, TypeSet, Version};

/// The types of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Ty {
    /// Travels down.
    Mesh,
    /// Travels down.
    Route,
    /// Travels up.
    Dataplane,
    /// Travels up, and on to the other zones.
    Ingress,
}

impl TypeSet for Ty {
    const ALL: &'static [Self] = &[Self::Mesh, Self::Route, Self::Dataplane, Self::Ingress];

    fn index(self) -> usize {
        self as usize
    }
}

impl Ty {
    /// What zones subscribe to.
    pub(super) const DOWN: [Self; 3] = [Self::Mesh, Self::Route, Self::Ingress];
    /// What the global subscribes to.
    pub(super) const UP: [Self; 2] = [Self::Dataplane, Self::Ingress];
}

/// Whose a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Owner {
    /// The global's.
    Global,
    /// A zone's.
    Zone(usize),
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Zone(zone) => write!(f, "z{zone}"),
        }
    }
}

/// What travels of a resource: its content, under the name of its owner.
pub(super) fn item(owner: Owner, content: u64) -> Item<Ty> {
    let payload = owner.to_string().into_bytes();
    Item::new(Arc::<str>::from(content.to_string()), payload)
}

/// The store of one control plane.
#[derive(Debug)]
pub(super) struct Store {
    /// Its identity.
    pub history: History,
    /// Counts writes.
    pub revision: u64,
    /// The store of the global that a zone has all of.
    pub followed: Option<History>,
    owned: BTreeMap<(Owner, Ty), OrdMap<Name, Item<Ty>>>,
    owners: BTreeMap<(Ty, Name), Owner>,
    /// When what is held was said, on the world's clock.
    said_at: BTreeMap<(Ty, Name), u64>,
    /// When a name was without a resource last.
    absent: BTreeMap<(Ty, Name), u64>,
}

impl Store {
    /// An empty one.
    pub(super) fn new(history: History) -> Self {
        Self {
            history,
            revision: 0,
            followed: None,
            owned: BTreeMap::new(),
            owners: BTreeMap::new(),
            said_at: BTreeMap::new(),
            absent: BTreeMap::new(),
        }
    }

    /// What an owner has of a type.
    pub(super) fn of(&self, owner: Owner, ty: Ty) -> OrdMap<Name, Item<Ty>> {
        self.owned.get(&(owner, ty)).cloned().unwrap_or_default()
    }

    /// The owner of a name.
    pub(super) fn owner(&self, ty: Ty, name: &Name) -> Option<Owner> {
        self.owners.get(&(ty, name.clone())).copied()
    }

    /// When what is held under a name was said.
    pub(super) fn said_at(&self, ty: Ty, name: &Name) -> Option<u64> {
        self.said_at.get(&(ty, name.clone())).copied()
    }

    /// Whether there was no such resource at some time after `then`.
    pub(super) fn was_absent_after(&self, ty: Ty, name: &Name, then: u64) -> bool {
        match self.absent.get(&(ty, name.clone())) {
            _ if self.owner(ty, name).is_none() => true,
            Some(absent) => *absent > then,
            None => false,
        }
    }

    /// Writes a resource that was said at `said_at`, at time `now`.
    pub(super) fn put(
        &mut self,
        owner: Owner,
        (ty, name): (Ty, &Name),
        item: Item<Ty>,
        said_at: u64,
        now: u64,
    ) {
        self.revision += 1;
        let key = (ty, name.clone());
        if self.owners.insert(key.clone(), owner).is_none() {
            self.absent.insert(key.clone(), now);
        }
        self.said_at.insert(key, said_at);
        let map = self.owned.entry((owner, ty)).or_default();
        map.insert(name.clone(), item);
    }

    /// Removes a resource.
    pub(super) fn remove(&mut self, ty: Ty, name: &Name) {
        let key = (ty, name.clone());
        let Some(owner) = self.owners.remove(&key) else {
            return;
        };
        self.revision += 1;
        self.said_at.remove(&key);
        if let Some(map) = self.owned.get_mut(&(owner, ty)) {
            map.remove(name);
        }
    }

    /// What the global has for a zone, or a zone for the global.
    pub(super) fn offer(&self, from: Owner, to: Owner) -> Snapshot<Ty> {
        let items = |ty| match (from, to) {
            (Owner::Global, Owner::Zone(zone)) => self.for_zone(ty, zone),
            _ => self.of(from, ty),
        };
        let types = match from {
            Owner::Global => &Ty::DOWN[..],
            Owner::Zone(_) => &Ty::UP[..],
        };
        Snapshot::empty().with(self.revision, types.iter().map(|ty| (*ty, items(*ty))))
    }

    fn for_zone(&self, ty: Ty, zone: usize) -> OrdMap<Name, Item<Ty>> {
        if ty != Ty::Ingress {
            return self.of(Owner::Global, ty);
        }
        let others = self.owned.iter();
        others
            .filter(|((owner, of), _)| *of == ty && *owner != Owner::Zone(zone))
            .flat_map(|(_, map)| map.iter())
            .map(|(name, item)| (name.clone(), item.clone()))
            .collect()
    }

    /// What `here` holds of the resources that `peer` sends it.
    pub(super) fn received(&self, here: Owner, peer: Owner, ty: Ty) -> OrdMap<Name, Version> {
        let owned = self.owned.iter();
        owned
            .filter(|((owner, of), _)| {
                *of == ty
                    && match here {
                        Owner::Global => *owner == peer,
                        Owner::Zone(_) => *owner != here,
                    }
            })
            .flat_map(|(_, map)| map.iter())
            .map(|(name, item)| (name.clone(), item.version.clone()))
            .collect()
    }
}
