//! What a class of peers should hold, kept up to date as the store changes.
//!
//! All streams whose peers want the same mapping share one projection: a resource is mapped and
//! encoded once, when the first of them looks, and its bytes are shared. Looking costs time in
//! proportion to what changed since the last look.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use mesh_delta::{Index, Item, Name, Snapshot, TypeSet as _};
use mesh_model::Key;
use mesh_store::Change;
use parking_lot::Mutex;

use crate::kind::Kind;
use crate::mapping::{Mapped, Mapping};

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

#[derive(Debug)]
struct State {
    source: Option<mesh_store::Snapshot>,
    items: Snapshot<Kind>,
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
                items: Snapshot::empty(),
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

    /// What the peers should hold at `latest` or, if another caller brought a later snapshot, at
    /// that one.
    pub fn at(&self, latest: &mesh_store::Snapshot) -> Snapshot<Kind> {
        let mut state = self.state.lock();
        let empty = mesh_store::Snapshot::empty(latest.store());
        let source = state.source.as_ref().unwrap_or(&empty);
        if state.source.is_some() && source.revision() >= latest.revision() {
            return state.items.clone();
        }
        let mut edits = Edits::new(&state.items);
        let changes: Vec<Change> = latest
            .changes_since(source)
            .filter(Change::is_of_content)
            .collect();
        for change in &changes {
            self.edit(&mut edits, &mut state.claims, latest, change);
        }
        state.items = edits.finish(&state.items, latest.revision().0);
        state.source = Some(latest.clone());
        state.items.clone()
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
            Some((kind, name, item)) => {
                edits.of(kind).insert(name, item);
            }
            None => {
                edits.of(place.0).remove(&place.1);
            }
        }
        if claims.get(&place).is_some_and(Vec::is_empty) {
            claims.remove(&place);
        }
    }

    fn fits(&self, (kind, name, item): &Mapped) -> bool {
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

/// The maps that change, by kind; the others are not touched.
struct Edits {
    maps: Vec<(OrdMap<Name, Item<Kind>>, bool)>,
}

impl Edits {
    fn new(items: &Snapshot<Kind>) -> Self {
        Self {
            maps: Kind::ALL
                .iter()
                .map(|kind| (items.items(*kind).clone(), false))
                .collect(),
        }
    }

    fn of(&mut self, kind: Kind) -> &mut OrdMap<Name, Item<Kind>> {
        let (map, is_edited) = &mut self.maps[kind.index()];
        *is_edited = true;
        map
    }

    fn finish(self, base: &Snapshot<Kind>, revision: u64) -> Snapshot<Kind> {
        let edited = Kind::ALL
            .iter()
            .zip(self.maps)
            .filter_map(|(kind, (map, is_edited))| is_edited.then_some((*kind, map)));
        base.with(revision, edited)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mesh_model::{MeshName, Resource, ResourceName, ResourceType, Spec, Timestamp};
    use mesh_store::{Batch, Memory, Store as _};

    use super::*;
    use crate::peer::Naming;

    fn gateway(name: &str, labels: &[(&str, &str)], modified: i64) -> Resource {
        Resource::new(
            Key::in_mesh(
                ResourceType::MeshGateway,
                MeshName::parse("default").unwrap(),
                ResourceName::parse(name).unwrap(),
            ),
            labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect::<BTreeMap<_, _>>(),
            Spec::parse(ResourceType::MeshGateway, Bytes::new()).unwrap(),
            Timestamp::EPOCH,
            Timestamp::from_unix_seconds(modified),
        )
    }

    fn names(snapshot: &Snapshot<Kind>) -> Vec<String> {
        Kind::ALL
            .iter()
            .flat_map(|kind| snapshot.items(*kind).keys().map(ToString::to_string))
            .collect()
    }

    #[tokio::test]
    async fn a_projection_follows_its_store() {
        let store = Memory::new();
        let projection = Projection::new(Mapping::Down(Naming::Plain), 1 << 20);
        assert!(names(&projection.at(&store.snapshot())).is_empty());

        let batch = Batch::new()
            .put(gateway("a", &[], 0))
            .put(gateway("b", &[], 0));
        let first = store.commit(batch).await.unwrap();
        assert_eq!(names(&projection.at(&first)), ["a.default", "b.default"]);

        let batch = Batch::new()
            .delete(gateway("a", &[], 0).key().clone())
            .put(gateway("b", &[("kuma.io/kds-sync", "disabled")], 0));
        let second = store.commit(batch).await.unwrap();
        assert!(names(&projection.at(&second)).is_empty());
        // A slower stream that still holds the first snapshot sees the later state.
        assert!(names(&projection.at(&first)).is_empty());
    }

    #[tokio::test]
    async fn writing_the_same_content_again_changes_no_item() {
        let store = Memory::new();
        let projection = Projection::new(Mapping::Down(Naming::Hashed), 1 << 20);
        let first = store
            .commit(Batch::new().put(gateway("a", &[], 1)))
            .await
            .unwrap();
        let before = projection.at(&first);
        let second = store
            .commit(Batch::new().put(gateway("a", &[], 2)))
            .await
            .unwrap();
        let after = projection.at(&second);
        let kind = Kind::of(ResourceType::MeshGateway).unwrap();
        assert!(before.items(kind).ptr_eq(after.items(kind)));
        assert_eq!(after.revision(), second.revision().0);
    }

    #[tokio::test]
    async fn a_copy_under_a_foreign_display_name_takes_nothing_away() {
        let store = Memory::new();
        let projection = Projection::new(Mapping::Down(Naming::Hashed), 1 << 20);
        let copy = gateway("edge-copy", &[("kuma.io/display-name", "edge")], 0);
        let batch = Batch::new().put(gateway("edge", &[], 0)).put(copy.clone());
        let both = store.commit(batch).await.unwrap();
        assert_eq!(names(&projection.at(&both)).len(), 1);
        let kept = store
            .commit(Batch::new().delete(copy.key().clone()))
            .await
            .unwrap();
        assert_eq!(
            names(&projection.at(&kept)),
            ["edge-5c75xw87847wvc4c.default"]
        );
        // And the other way round: the copy takes over when the first one goes.
        store.commit(Batch::new().put(copy)).await.unwrap();
        let batch = Batch::new().delete(gateway("edge", &[], 0).key().clone());
        let taken_over = store.commit(batch).await.unwrap();
        assert_eq!(
            names(&projection.at(&taken_over)),
            ["edge-5c75xw87847wvc4c.default"]
        );
    }

    #[tokio::test]
    async fn a_resource_that_no_message_could_carry_is_left_out_alone() {
        let store = Memory::new();
        let projection = Projection::new(Mapping::Down(Naming::Plain), 1000);
        let large = gateway("large", &[("note", &"x".repeat(1000))], 0);
        let batch = Batch::new().put(large).put(gateway("small", &[], 0));
        let both = store.commit(batch).await.unwrap();
        assert_eq!(names(&projection.at(&both)), ["small.default"]);
        let shrunk = store
            .commit(Batch::new().put(gateway("large", &[], 0)))
            .await
            .unwrap();
        assert_eq!(
            names(&projection.at(&shrunk)),
            ["large.default", "small.default"]
        );
    }
}
