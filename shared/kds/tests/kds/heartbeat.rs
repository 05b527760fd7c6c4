//! Two of ours notice that they are cut off from one another, or differ, and repair it.

use std::time::Duration;

use mesh_kds::client::State;
use mesh_kds::peer;
use mesh_model::ResourceType;
use mesh_proto::link::link_client::LinkClient;
use mesh_proto::link::{Heartbeat, Holding, Lag};
use mesh_store::{Batch, SharedStore};
use tokio::time::Instant;
use tonic::transport::Endpoint;
use uuid::Uuid;

use crate::relay::Relay;
use crate::support::{Global, Zone, eventually, key, labelled, resource, shown, zone_name};
use crate::tamper::Tamper;

/// How long a difference may last.
const FOUND_WITHIN: Duration = Duration::from_secs(5);

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let reached = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reached)
        .await
        .unwrap_or_else(|_| panic!("not within 20 s: {what}"));
}

fn has(store: &SharedStore, ty: ResourceType, name: &str) -> bool {
    store.list(ty).iter().any(|r| r.display_name() == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_was_lost_on_the_way_is_found_and_repaired() {
    let global = Global::start().await;
    let tamper = Tamper::start(global.address).await;
    for name in ["edge", "other"] {
        global.put(resource(ResourceType::MeshGateway, name)).await;
    }
    let zone = Zone::start("east", tamper.address);
    eventually(&zone.store, "both gateways", |s| {
        s.list(ResourceType::MeshGateway).count() == 2
    })
    .await;
    assert!(!shown(&global.metrics).contains("kds_differences_total{"));

    tamper.lie_down(|response| {
        let is_removal = !response.removed_resources.is_empty();
        response.removed_resources.clear();
        is_removal
    });
    global.delete(ResourceType::MeshGateway, "edge").await;
    until("the removal is lost", || tamper.has_lied()).await;
    let lost = Instant::now();
    assert!(has(&zone.store, ResourceType::MeshGateway, "edge"));
    eventually(&zone.store, "the removal after all", |s| {
        s.list(ResourceType::MeshGateway).count() == 1
    })
    .await;
    assert!(lost.elapsed() < FOUND_WITHIN, "{:?}", lost.elapsed());
    let counted = "kds_differences_total{zone=\"east\",direction=\"down\",\
                   resource_type=\"MeshGateway\"} 1";
    let metrics = shown(&global.metrics);
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changes_in_a_zones_store_is_found_and_repaired() {
    let global = Global::start().await;
    for name in ["changed", "gone", "kept"] {
        global.put(resource(ResourceType::MeshGateway, name)).await;
    }
    let zone = Zone::start("east", global.address);
    let gateways = |s: &mesh_store::Snapshot| -> Vec<_> {
        let all = s.list(ResourceType::MeshGateway);
        all.map(|r| (r.key().clone(), r.version())).collect()
    };
    eventually(&zone.store, "all gateways", |s| gateways(s).len() == 3).await;
    // The other direction is in use, too: what the zone itself writes is no difference.
    zone.store
        .commit(Batch::new().put(resource(ResourceType::Dataplane, "own")))
        .await
        .unwrap();
    let before = gateways(&zone.store.snapshot());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let differences = || zone.client.link().map_or(0, |link| link.differences);
    assert_eq!(differences(), 0, "nobody changed anything");

    let named = |name: &str| {
        let snapshot = zone.store.snapshot();
        let mut all = snapshot.list(ResourceType::MeshGateway);
        let found = all.find(|r| r.display_name() == name);
        mesh_model::Resource::clone(found.unwrap())
    };
    let mut labels = std::collections::BTreeMap::clone(named("changed").labels());
    labels.insert("note".to_owned(), "by somebody else".to_owned());
    let changed = named("changed");
    let changed = mesh_model::Resource::new(
        changed.key().clone(),
        labels,
        changed.spec().clone(),
        changed.created(),
        changed.modified(),
    );
    let batch = Batch::new()
        .delete(named("gone").key().clone())
        .put(changed);
    zone.store.commit(batch).await.unwrap();
    let since = Instant::now();
    eventually(&zone.store, "all as it was", |s| gateways(s) == before).await;
    assert!(since.elapsed() < FOUND_WITHIN, "{:?}", since.elapsed());
    until("the difference is told", || differences() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_was_changed_on_the_way_is_found_and_repaired() {
    let global = Global::start().await;
    let tamper = Tamper::start(global.address).await;
    let zone = Zone::start("east", tamper.address);
    let dataplane = |note| labelled(ResourceType::Dataplane, "echo", &[("note", note)]);
    zone.store
        .commit(Batch::new().put(dataplane("one")))
        .await
        .unwrap();
    let noted = |note: &'static str| {
        move |s: &mesh_store::Snapshot| {
            s.list(ResourceType::Dataplane)
                .any(|r| r.label("note") == Some(note))
        }
    };
    eventually(&global.store, "the dataplane", noted("one")).await;
    // The update is lost, and answered for all the same.
    tamper.lie_up(|response| {
        let is_update = !response.resources.is_empty();
        response.resources.clear();
        is_update
    });
    zone.store
        .commit(Batch::new().put(dataplane("two")))
        .await
        .unwrap();
    until("the update is lost", || tamper.has_lied()).await;
    let lost = Instant::now();
    eventually(&global.store, "the update after all", noted("two")).await;
    assert!(lost.elapsed() < FOUND_WITHIN, "{:?}", lost.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_and_what_is_refused_is_no_difference() {
    let global = Global::start().await;
    let zone = Zone::start("east", global.address);
    // The zone has a gateway of its own under the name that is about to come down.
    let own = resource(ResourceType::MeshGateway, "edge-5c75xw87847wvc4c");
    zone.store.commit(Batch::new().put(own)).await.unwrap();
    global
        .put(resource(ResourceType::MeshGateway, "edge"))
        .await;
    // For three heartbeats, changes are under way all the time.
    let until = Instant::now() + Duration::from_secs(7);
    let mut n = 0;
    while Instant::now() < until {
        n += 1;
        let note = n.to_string();
        let (name, ty) = (format!("r{}", n % 50), ResourceType::MeshGateway);
        if n % 3 == 0 {
            let gone = Batch::new().delete(key(ty, &format!("r{}", (n + 1) % 50)));
            drop(global.store.commit(gone).await);
        }
        global.put(labelled(ty, &name, &[("note", &note)])).await;
        let dataplane = labelled(ResourceType::Dataplane, &name, &[("note", &note)]);
        zone.store
            .commit(Batch::new().put(dataplane))
            .await
            .unwrap();
        tokio::task::yield_now().await;
    }
    let metrics = shown(&global.metrics);
    assert!(!metrics.contains("kds_differences_total{"), "{metrics}");
    assert!(
        metrics.contains("kds_lag_revisions{zone=\"east\",direction=\"down\"}"),
        "{metrics}"
    );
    assert!(
        metrics.contains("kds_lag_seconds{zone=\"east\",direction=\"up\"}"),
        "{metrics}"
    );
    let opened = "opened east east-1".to_owned();
    let said = global.book.said.lock();
    assert_eq!(said.iter().filter(|s| **s == opened).count(), 1);
    drop(zone);
}

/// Whether a heartbeat of the global reached the zone on its connection.
fn hears(zone: &Zone) -> bool {
    zone.client
        .link()
        .is_some_and(|link| link.down.revision > 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_global_that_says_late_who_it_is_hears_heartbeats_all_the_same() {
    let global = Global::start().await;
    let tamper = Tamper::start(global.address).await;
    tamper.hold_up(true);
    let zone = Zone::start("east", tamper.address);
    // As a stock one, since it does not say that it is one of ours.
    zone.state("following", |s| *s == State::Following).await;
    assert!(zone.client.link().is_none());
    tamper.hold_up(false);
    until("the zone hears heartbeats", || hears(&zone)).await;
    let said = global.book.said.lock();
    let opened = said.iter().filter(|s| **s == "opened east east-1");
    assert_eq!(opened.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_on_which_nothing_passes_is_cut_at_both_ends() {
    let global = Global::start().await;
    let relay = Relay::start(global.address).await;
    let zone = Zone::start("east", relay.address);
    zone.state("following", |s| *s == State::Following).await;
    until("the zone hears heartbeats", || hears(&zone)).await;
    relay.silence();
    let silent = Instant::now();
    let cut = zone.state("cut", |s| matches!(s, State::Cut { .. })).await;
    let State::Cut { reason } = cut else {
        unreachable!("just matched");
    };
    assert!(reason.contains("nothing came from the peer"), "{reason}");
    until("the global ends the stream", || {
        global.book.has("closed east")
    })
    .await;
    assert!(silent.elapsed() < Duration::from_secs(8));
    relay.open();
    zone.state("following again", |s| *s == State::Following)
        .await;
}

#[tokio::test]
async fn heartbeats_of_nobody_are_refused_and_odd_ones_move_nothing() {
    let global = Global::start().await;
    let zone = Zone::start("east", global.address);
    zone.state("following", |s| *s == State::Following).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", global.address)).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let mut client = LinkClient::new(channel);
    let refused = client
        .heartbeats(tokio_stream::pending::<Heartbeat>())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let mut stock = tonic::Request::new(tokio_stream::pending::<Heartbeat>());
    let name = "west".parse().unwrap();
    stock.metadata_mut().insert(peer::CLIENT_ID, name);
    let refused = client.heartbeats(stock).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);

    let odd = Heartbeat {
        holding: Some(Holding {
            answered: u64::MAX,
            root: vec![1; 1000],
            digests: [("Nothing".to_owned(), vec![])].into(),
        }),
        lag: Some(Lag {
            revision: u64::MAX,
            answered_revision: 7,
            milliseconds: u64::MAX,
        }),
        wants_digests: true,
    };
    let too_large = Heartbeat {
        holding: Some(Holding {
            root: vec![1; 1 << 20],
            ..Holding::default()
        }),
        ..Heartbeat::default()
    };
    let said = tokio_stream::iter([odd.clone(), Heartbeat::default(), odd, too_large]);
    let mut request = tonic::Request::new(said);
    let west = zone_name("west");
    let introduction = peer::Introduction {
        zone: &west,
        version: "2.14.3",
        store_id: Uuid::new_v4(),
        session: Uuid::new_v4(),
        max_message: 1 << 20,
    };
    introduction.write(request.metadata_mut());
    let mut heard = client.heartbeats(request).await.unwrap().into_inner();
    let mut answers = 0;
    let status = loop {
        match heard.message().await {
            Ok(message) => answers += u32::from(message.is_some()),
            Err(status) => break status,
        }
    };
    assert_eq!(answers, 3);
    assert_eq!(status.code(), tonic::Code::OutOfRange, "{status:?}");
    assert_eq!(*zone.client.state().borrow(), State::Following);
}
