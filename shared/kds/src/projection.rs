//! What a class of peers should hold, kept up to date as the store changes.
//!
//! All streams whose peers want the same mapping share one projection: a resource is mapped and
//! encoded once, when the first of them looks, and its bytes are shared. Looking costs time in
//! proportion to what changed since the last look.

use imbl::OrdMap;
use mesh_delta::{Item, Name, Snapshot, TypeSet as _};
use mesh_store::Change;
use parking_lot::Mutex;

use crate::kind::Kind;
use crate::mapping::Mapping;

/// The items of one mapping over a store.
#[derive(Debug)]
pub struct Projection {
    mapping: Mapping,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    source: Option<mesh_store::Snapshot>,
    items: Snapshot<Kind>,
}

impl Projection {
    /// A projection that has not looked yet.
    pub fn new(mapping: Mapping) -> Self {
        Self {
            mapping,
            state: Mutex::new(State {
                source: None,
                items: Snapshot::empty(),
            }),
        }
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
        for change in latest.changes_since(source).filter(Change::is_of_content) {
            self.edit(&mut edits, &change);
        }
        state.items = edits.finish(&state.items, latest.revision().0);
        state.source = Some(latest.clone());
        state.items.clone()
    }

    fn edit(&self, edits: &mut Edits, change: &Change) {
        let (old, new) = match change {
            Change::Put { old, new } => (old.as_ref(), Some(new)),
            Change::Deleted { old } => (Some(old), None),
        };
        let old_name = old.and_then(|old| self.mapping.stream_name(old));
        let mapped = new.and_then(|new| self.mapping.apply(new));
        // A changed label can change the name: that is a removal and an addition.
        if let Some((kind, name)) = old_name
            && mapped
                .as_ref()
                .is_none_or(|(_, new_name, _)| *new_name != name)
        {
            edits.of(kind).remove(&name);
        }
        if let Some((kind, name, item)) = mapped {
            edits.of(kind).insert(name, item);
        }
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
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Spec, Timestamp};
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
        let projection = Projection::new(Mapping::Down(Naming::Plain));
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
        let projection = Projection::new(Mapping::Down(Naming::Hashed));
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
}
