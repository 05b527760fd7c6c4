//! What a class of peers should hold, kept up to date as the store changes.
//!
//! All streams whose peers want the same mapping share one projection: a resource is mapped and
//! encoded once, when the first of them looks, and its bytes are shared. Looking costs time in
//! proportion to what changed since the last look.

mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use mesh_delta::{Index, Item, Name, Snapshot, TypeSet as _};
use mesh_model::{Key, Resource, ResourceType, ZoneName};
use mesh_proto::system;
use mesh_store::Change;
use parking_lot::Mutex;

pub(crate) use self::view::View;
use crate::kind::Kind;
use crate::mapping::{Audience, Mapped, Mapping};

/// The largest resource for which a message of `max_message` bytes has room.
pub(crate) fn largest_item(max_message: usize) -> usize {
    const ENVELOPE: usize = 16 << 10;
    max_message.saturating_sub(ENVELOPE)
}

/// The items of one mapping over a store.
#[derive(Debug)]
pub struct Projection {
    mapping: Mapping,
    max_item: usize,
    state: Mutex<State>,
    /// The items of a kind by the hash of their names, for zones that come back.
    indexes: Mutex<BTreeMap<Kind, (Items, Arc<Index>)>>,
}

/// The items of a kind.
type Items = OrdMap<Name, Item<Kind>>;

/// What is offered to peers of a class. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The items for all of them, and those for some.
    pub items: Snapshot<Kind>,
    /// Whom the items are for that are not for all.
    audiences: OrdMap<(Kind, Name), Audience>,
    /// Zones that are disabled: what they own is for nobody.
    disabled: OrdSet<ZoneName>,
}

#[derive(Debug)]
struct State {
    source: Option<mesh_store::Snapshot>,
    offer: Offer,
    /// The resources that map to a name, smallest key first: the first one has the name. There
    /// is more than one only where somebody wrote another resource's display name into a label.
    claims: BTreeMap<(Kind, Name), Vec<Key>>,
}

impl Projection {
    /// A projection that has not looked yet. Resources of more than `max_item` encoded bytes are
    /// left out: no message could carry them.
    pub fn new(mapping: Mapping, max_item: usize) -> Self {
        Self {
            mapping,
            max_item,
            state: Mutex::new(State {
                source: None,
                offer: Offer {
                    items: Snapshot::empty(),
                    audiences: OrdMap::new(),
                    disabled: OrdSet::new(),
                },
                claims: BTreeMap::new(),
            }),
            indexes: Mutex::default(),
        }
    }

    /// The names and versions of a kind's items, for comparison with what a peer holds. Peers
    /// that come back at the same time share it.
    pub(crate) fn index(&self, kind: Kind, items: &Items) -> Arc<Index> {
        let mut indexes = self.indexes.lock();
        if let Some((of, index)) = indexes.get(&kind)
            && of.ptr_eq(items)
        {
            return Arc::clone(index);
        }
        let members = items.iter();
        let members = members.map(|(name, item)| (name.clone(), item.version.clone()));
        let index = Arc::new(Index::new(members));
        indexes.insert(kind, (items.clone(), Arc::clone(&index)));
        index
    }

    /// What the peers call a resource; `None` if they do not get it.
    pub(crate) fn stream_name(&self, resource: &Resource) -> Option<(Kind, Name)> {
        self.mapping.stream_name(resource)
    }

    /// What the peers should hold at `latest` or, if another caller brought a later snapshot, at
    /// that one.
    pub fn at(&self, latest: &mesh_store::Snapshot) -> Offer {
        let state = &mut *self.state.lock();
        let empty = mesh_store::Snapshot::empty(latest.store());
        let source = state.source.as_ref().unwrap_or(&empty);
        if state.source.is_some() && source.revision() >= latest.revision() {
            return state.offer.clone();
        }
        let mut edits = Edits::new(&state.offer);
        let changes: Vec<Change> = latest
            .changes_since(source)
            .filter(Change::is_of_content)
            .collect();
        for change in &changes {
            note_disabled(&mut state.offer.disabled, change);
            self.edit(&mut edits, &mut state.claims, latest, change);
        }
        state.offer = edits.finish(&state.offer, latest.revision().0);
        state.source = Some(latest.clone());
        state.offer.clone()
    }

    fn edit(
        &self,
        edits: &mut Edits,
        claims: &mut BTreeMap<(Kind, Name), Vec<Key>>,
        latest: &mesh_store::Snapshot,
        change: &Change,
    ) {
        let old = match change {
            Change::Put { old, .. } => old.as_ref(),
            Change::Deleted { old } => Some(old),
        };
        let key = change.key();
        let old_name = old.and_then(|old| self.mapping.stream_name(old));
        let new_name = change
            .new_resource()
            .and_then(|new| self.mapping.stream_name(new));
        // A changed label can change the name: that is a removal and an addition.
        if let Some(place) = old_name
            && new_name.as_ref() != Some(&place)
        {
            if let Some(claimants) = claims.get_mut(&place) {
                claimants.retain(|claimant| claimant != key);
            }
            self.fill(edits, claims, latest, place);
        }
        if let Some(place) = new_name {
            let claimants = claims.entry(place.clone()).or_default();
            if let Err(at) = claimants.binary_search(key) {
                claimants.insert(at, key.clone());
            }
            if let [holder, others @ ..] = claimants.as_slice()
                && !others.is_empty()
            {
                tracing::warn!(
                    name = %place.1,
                    "{key} would travel under the same name as {holder}, which has it; check the \
                     label kuma.io/display-name"
                );
            }
            self.fill(edits, claims, latest, place);
        }
    }

    /// Puts the first claimant of a name in its place, or nothing.
    fn fill(
        &self,
        edits: &mut Edits,
        claims: &mut BTreeMap<(Kind, Name), Vec<Key>>,
        latest: &mesh_store::Snapshot,
        place: (Kind, Name),
    ) {
        let holder = claims.get(&place).and_then(|claimants| claimants.first());
        let mapped = holder.and_then(|key| self.mapping.apply(latest.get(key)?));
        match mapped.filter(|mapped| self.fits(mapped)) {
            Some(mapped) => edits.put(mapped),
            None => edits.remove(&place),
        }
        if claims.get(&place).is_some_and(Vec::is_empty) {
            claims.remove(&place);
        }
    }

    fn fits(&self, mapped: &Mapped) -> bool {
        let Mapped {
            kind, name, item, ..
        } = mapped;
        let size = item.payload.len();
        if size > self.max_item {
            tracing::error!(
                %name,
                size,
                limit = self.max_item,
                "a {kind} is too large to travel and is left out"
            );
        }
        size <= self.max_item
    }
}

/// Keeps the set of disabled zones.
fn note_disabled(disabled: &mut OrdSet<ZoneName>, change: &Change) {
    let key = change.key();
    if key.ty() != ResourceType::Zone {
        return;
    }
    let Ok(zone) = ZoneName::parse(key.name().as_str()) else {
        return;
    };
    let is_disabled = |zone: &Arc<Resource>| {
        let zone: system::Zone = zone.decode();
        zone.enabled == Some(false)
    };
    if change.new_resource().is_some_and(is_disabled) {
        disabled.insert(zone);
    } else {
        disabled.remove(&zone);
    }
}

/// The maps that change, by kind; the others are not touched.
struct Edits {
    maps: Vec<(Items, bool)>,
    audiences: OrdMap<(Kind, Name), Audience>,
}

impl Edits {
    fn new(offer: &Offer) -> Self {
        Self {
            maps: Kind::ALL
                .iter()
                .map(|kind| (offer.items.items(*kind).clone(), false))
                .collect(),
            audiences: offer.audiences.clone(),
        }
    }

    fn of(&mut self, kind: Kind) -> &mut Items {
        let (map, is_edited) = &mut self.maps[kind.index()];
        *is_edited = true;
        map
    }

    fn put(&mut self, mapped: Mapped) {
        let Mapped {
            kind,
            name,
            item,
            audience,
        } = mapped;
        match audience {
            Some(audience) => drop(self.audiences.insert((kind, name.clone()), audience)),
            None => drop(self.audiences.remove(&(kind, name.clone()))),
        }
        self.of(kind).insert(name, item);
    }

    fn remove(&mut self, place: &(Kind, Name)) {
        self.audiences.remove(place);
        self.of(place.0).remove(&place.1);
    }

    fn finish(self, base: &Offer, revision: u64) -> Offer {
        let edited = Kind::ALL
            .iter()
            .zip(self.maps)
            .filter_map(|(kind, (map, is_edited))| is_edited.then_some((*kind, map)));
        Offer {
            items: base.items.with(revision, edited),
            audiences: self.audiences,
            disabled: base.disabled.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
