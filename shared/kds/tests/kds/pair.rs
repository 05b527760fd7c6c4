//! Our global and our zone.

use std::sync::Arc;

use mesh_kds::client::State;
use mesh_model::{ResourceType, labels};
use mesh_store::{Batch, Memory, SharedStore};

use crate::support::{Global, Zone, cluster_id, eventually, key, labelled, names, resource};

const EDGE: &str = "edge-5c75xw87847wvc4c";

#[tokio::test]
async fn what_the_global_owns_comes_down_changes_and_goes() {
    let global = Global::start().await;
    global.put(resource(ResourceType::Mesh, "default")).await;
    let zone = Zone::start("east", global.address);
    eventually(&zone.store, "the mesh", |s| {
        s.get(&key(ResourceType::Mesh, "default")).is_some()
    })
    .await;

    global
        .put(resource(ResourceType::MeshGateway, "edge"))
        .await;
    let edge = key(ResourceType::MeshGateway, EDGE);
    eventually(&zone.store, "the gateway", |s| s.get(&edge).is_some()).await;
    let stored = zone.store.get(&edge).unwrap();
    assert_eq!(stored.display_name(), "edge");
    assert_eq!(stored.label(labels::ORIGIN), Some("global"));

    global
        .put(labelled(
            ResourceType::MeshGateway,
            "edge",
            &[("team", "shop")],
        ))
        .await;
    eventually(&zone.store, "the label", |s| {
        s.get(&edge)
            .is_some_and(|r| r.label("team") == Some("shop"))
    })
    .await;

    global.delete(ResourceType::MeshGateway, "edge").await;
    eventually(&zone.store, "no gateway", |s| s.get(&edge).is_none()).await;
    assert_eq!(
        zone.state("following", |s| *s == State::Following).await,
        State::Following
    );
}

#[tokio::test]
async fn what_a_zone_owns_goes_up_under_its_name() {
    let global = Global::start().await;
    let zone = Zone::start("zone-1", global.address);
    zone.store
        .commit(Batch::new().put(resource(ResourceType::Dataplane, "echo-1")))
        .await
        .unwrap();
    let echo = key(ResourceType::Dataplane, "echo-1-f4bvx7x6bwfv64wz");
    eventually(&global.store, "the dataplane", |s| s.get(&echo).is_some()).await;
    let stored = global.store.get(&echo).unwrap();
    assert_eq!(stored.label(labels::ZONE), Some("zone-1"));
    assert_eq!(stored.display_name(), "echo-1");
    let gone = Batch::new().delete(key(ResourceType::Dataplane, "echo-1"));
    zone.store.commit(gone).await.unwrap();
    eventually(&global.store, "no dataplane", |s| s.get(&echo).is_none()).await;
}

#[tokio::test]
async fn the_book_learns_of_streams_and_their_ends() {
    let global = Global::start().await;
    let zone = Zone::start("east", global.address);
    eventually(&zone.store, "the cluster id", |s| !s.is_empty()).await;
    let book = Arc::clone(&global.book);
    zone.stop().await;
    let closed = async {
        while !book.has("closed east") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), closed)
        .await
        .expect("closed");
    for said in [
        "admit east",
        "opened east east-1",
        "east Config Sent",
        "east Config Acked",
        "pinged east",
    ] {
        assert!(book.has(said), "{said}: {:?}", book.said.lock());
    }
}

#[tokio::test]
async fn a_zone_keeps_everything_while_the_global_is_down_and_catches_up() {
    let global = Global::start().await;
    global.put(resource(ResourceType::Mesh, "default")).await;
    let zone = Zone::start("east", global.address);
    let mesh = key(ResourceType::Mesh, "default");
    eventually(&zone.store, "the mesh", |s| s.get(&mesh).is_some()).await;
    let (store, address) = global.stop().await;
    zone.state("cut", |s| matches!(s, State::Cut { .. })).await;
    assert!(zone.store.get(&mesh).is_some());

    let batch = Batch::new()
        .delete(mesh.clone())
        .put(resource(ResourceType::Mesh, "other"));
    store.commit(batch).await.unwrap();
    let _global = Global::serve(store, &address).await;
    let other = key(ResourceType::Mesh, "other");
    eventually(&zone.store, "the new state", |s| {
        s.get(&other).is_some() && s.get(&mesh).is_none()
    })
    .await;
}

#[tokio::test]
async fn an_empty_global_never_wipes_a_zone_until_an_operator_accepts_it() {
    let global = Global::start().await;
    global.put(resource(ResourceType::Mesh, "default")).await;
    let zone = Zone::start("east", global.address);
    let mesh = key(ResourceType::Mesh, "default");
    eventually(&zone.store, "the mesh", |s| s.get(&mesh).is_some()).await;
    let (_, address) = global.stop().await;

    let empty: SharedStore = Arc::new(Memory::new());
    empty
        .commit(Batch::new().put(cluster_id("fleet-2")))
        .await
        .unwrap();
    let _global = Global::serve(empty, &address).await;
    let held = zone
        .state("held", |s| matches!(s, State::Held { .. }))
        .await;
    assert_eq!(
        held,
        State::Held {
            known: "fleet-1".into(),
            offered: "fleet-2".into()
        }
    );
    assert!(zone.store.get(&mesh).is_some());

    let accepted = {
        let id = cluster_id("fleet-2");
        let key = key(ResourceType::Config, mesh_model::cluster::ACCEPTED_ID);
        mesh_model::Resource::new(
            key,
            Default::default(),
            id.spec().clone(),
            id.created(),
            id.modified(),
        )
    };
    zone.store.commit(Batch::new().put(accepted)).await.unwrap();
    eventually(&zone.store, "the new global's state", |s| {
        s.get(&mesh).is_none()
    })
    .await;
    zone.state("following", |s| *s == State::Following).await;
}

#[tokio::test]
async fn a_second_zone_under_a_live_name_is_refused_and_both_say_so() {
    let global = Global::start().await;
    let first = Zone::start("east", global.address);
    first.state("following", |s| *s == State::Following).await;
    let second = Zone::start("east", global.address);
    let state = second
        .state("refused", |s| matches!(s, State::Cut { .. }))
        .await;
    let State::Cut { reason } = state else {
        unreachable!("just matched")
    };
    assert!(
        reason.contains("two zones cannot have one name"),
        "{reason}"
    );
    assert_eq!(*first.client.state().borrow(), State::Following);
    first.stop().await;
    second
        .state("following once the name is free", |s| {
            *s == State::Following
        })
        .await;
}

#[tokio::test]
async fn one_resource_that_cannot_be_taken_stops_no_other() {
    let global = Global::start().await;
    let zone = Zone::start("east", global.address);
    // The zone has a gateway of its own under the name that is about to come down.
    let own = resource(ResourceType::MeshGateway, EDGE);
    zone.store.commit(Batch::new().put(own)).await.unwrap();
    let batch = Batch::new()
        .put(resource(ResourceType::MeshGateway, "edge"))
        .put(resource(ResourceType::MeshGateway, "other"));
    global.store.commit(batch).await.unwrap();
    eventually(&zone.store, "the other gateway", |s| {
        names(s)
            .iter()
            .any(|n| n.starts_with("MeshGateway default/other-"))
    })
    .await;
    assert_eq!(
        zone.store
            .get(&key(ResourceType::MeshGateway, EDGE))
            .unwrap()
            .label(labels::ORIGIN),
        None
    );
    // And it goes on working.
    global
        .put(resource(ResourceType::MeshGatewayRoute, "shop"))
        .await;
    eventually(&zone.store, "a route", |s| {
        s.list(ResourceType::MeshGatewayRoute).next().is_some()
    })
    .await;
}

#[tokio::test]
async fn what_was_refused_for_a_local_resource_comes_when_that_has_gone() {
    let global = Global::start().await;
    let zone = Zone::start("east", global.address);
    let own = resource(ResourceType::Secret, "certificate");
    zone.store
        .commit(Batch::new().put(own.clone()))
        .await
        .unwrap();
    global
        .put(resource(ResourceType::Secret, "certificate"))
        .await;
    global.put(resource(ResourceType::Mesh, "later")).await;
    let later = key(ResourceType::Mesh, "later");
    eventually(&zone.store, "another resource", |s| s.get(&later).is_some()).await;
    assert_eq!(
        zone.store.get(own.key()).unwrap().label(labels::ORIGIN),
        None
    );

    zone.store
        .commit(Batch::new().delete(own.key().clone()))
        .await
        .unwrap();
    eventually(&zone.store, "the global's secret", |s| {
        s.get(own.key())
            .is_some_and(|r| r.label(labels::ORIGIN) == Some("global"))
    })
    .await;
}

#[tokio::test]
async fn a_type_that_outgrows_the_limit_of_stock_messages_reaches_our_zones() {
    let global = Global::start().await;
    let note = "x".repeat(1 << 20);
    let mut batch = Batch::new();
    for number in 0..12 {
        batch = batch.put(labelled(
            ResourceType::MeshGateway,
            &format!("edge-{number}"),
            &[("note", &note)],
        ));
    }
    global.store.commit(batch).await.unwrap();
    let zone = Zone::start("east", global.address);
    eventually(&zone.store, "all twelve", |s| {
        s.list(ResourceType::MeshGateway).count() == 12
    })
    .await;
}
