use bytes::Bytes;
use mesh_model::{MeshName, Resource, ResourceName, ResourceType, Spec, Timestamp};
use mesh_store::{Batch, Memory, Store as _};

use super::*;
use crate::peer::ZoneClass;

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

fn names(offer: &Offer) -> Vec<String> {
    Kind::ALL
        .iter()
        .flat_map(|kind| offer.items.items(*kind).keys().map(ToString::to_string))
        .collect()
}

#[tokio::test]
async fn a_projection_follows_its_store() {
    let store = Memory::new();
    let projection = Projection::new(Mapping::Down(ZoneClass::PLAIN), 1 << 20);
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
    let projection = Projection::new(Mapping::Down(ZoneClass::HASHED), 1 << 20);
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
    assert!(before.items.items(kind).ptr_eq(after.items.items(kind)));
    assert_eq!(after.items.revision(), second.revision().0);
}

#[tokio::test]
async fn a_copy_under_a_foreign_display_name_takes_nothing_away() {
    let store = Memory::new();
    let projection = Projection::new(Mapping::Down(ZoneClass::HASHED), 1 << 20);
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
    let projection = Projection::new(Mapping::Down(ZoneClass::PLAIN), 1000);
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

fn zone(name: &str, is_enabled: bool) -> Resource {
    let ty = ResourceType::Zone;
    let spec = system::Zone {
        enabled: Some(is_enabled),
    };
    Resource::new(
        Key::global(ty, ResourceName::parse(name).unwrap()),
        BTreeMap::new(),
        Spec::encode(ty, &spec),
        Timestamp::EPOCH,
        Timestamp::EPOCH,
    )
}

fn ingress(name: &str, zone: &str, note: &str) -> Resource {
    let ty = ResourceType::ZoneIngress;
    let labels = [
        ("kuma.io/origin", "zone"),
        ("kuma.io/zone", zone),
        ("note", note),
    ];
    Resource::new(
        Key::global(ty, ResourceName::parse(name).unwrap()),
        labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        Spec::parse(ty, Bytes::new()).unwrap(),
        Timestamp::EPOCH,
        Timestamp::EPOCH,
    )
}

/// The same views asked after each change, and fresh ones.
#[tokio::test]
async fn a_view_follows_what_other_zones_own() {
    let store = Memory::new();
    let projection = Projection::new(Mapping::Down(ZoneClass::PLAIN), 1 << 20);
    let zones = ["east", "west", "south"].map(|name| ZoneName::parse(name).unwrap());
    let mut views = zones.clone().map(View::new);
    let steps = [
        (
            Batch::new()
                .put(ingress("e1", "east", ""))
                .put(ingress("w1", "west", ""))
                .put(zone("east", true)),
            ["w1", "e1", "e1 w1"],
        ),
        (
            Batch::new().put(ingress("e2", "east", "")),
            ["w1", "e1 e2", "e1 e2 w1"],
        ),
        // A zone that is disabled is out of use, whether or not it is connected.
        (Batch::new().put(zone("east", false)), ["w1", "", "w1"]),
        (
            Batch::new().put(ingress("e2", "east", "new")),
            ["w1", "", "w1"],
        ),
        (
            Batch::new().put(ingress("s1", "south", "")),
            ["s1 w1", "s1", "w1"],
        ),
        (
            Batch::new().put(zone("east", true)),
            ["s1 w1", "e1 e2 s1", "e1 e2 w1"],
        ),
        // One changes hands.
        (
            Batch::new().put(ingress("w1", "south", "")),
            ["s1 w1", "e1 e2 s1 w1", "e1 e2"],
        ),
        (
            Batch::new().delete(ingress("e1", "east", "").key().clone()),
            ["s1 w1", "e2 s1 w1", "e2"],
        ),
        (
            Batch::new().delete(zone("east", true).key().clone()),
            ["s1 w1", "e2 s1 w1", "e2"],
        ),
    ];
    let kind = Kind::of(ResourceType::ZoneIngress).unwrap();
    let shown = |items: &Snapshot<Kind>| {
        let names: Vec<&str> = items
            .items(kind)
            .keys()
            .map(|n| n.trim_end_matches('.'))
            .collect();
        names.join(" ")
    };
    for (batch, expected) in steps {
        let snapshot = store.commit(batch).await.unwrap();
        let offer = projection.at(&snapshot);
        for ((view, zone), expected) in views.iter_mut().zip(&zones).zip(expected) {
            let kept = view.at(offer.clone());
            assert_eq!(shown(&kept), expected, "{zone}");
            let fresh = View::new(zone.clone()).at(offer.clone());
            assert_eq!(fresh.items(kind), kept.items(kind));
        }
    }
}
