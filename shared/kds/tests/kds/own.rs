//! What only our own control planes do for one another: resuming, chunks, rejections by name.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_kds::client::State;
use mesh_kds::peer::{self, own_features};
use mesh_model::{Key, ResourceType, labels};
use mesh_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_proto::link::{Held, Part, Resume};
use mesh_proto::mesh::kds_sync_service_client::KdsSyncServiceClient;
use mesh_store::{Batch, SharedStore};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use crate::relay::Relay;
use crate::support::{Global, Zone, eventually, global_node, key, labelled, resource, zone_name};
use crate::tamper::Tamper;

/// The largest message between our own, with a little for what is around resources.
const LARGEST: usize = 256 << 10;

/// Set this to sync so many resources of one type instead of some thousands.
const SIZE: &str = "MERIDIAN_TEST_RESOURCES";

fn size() -> usize {
    std::env::var(SIZE).map_or(5_000, |size| size.parse().unwrap())
}

async fn fill(store: &SharedStore, ty: ResourceType, count: usize) {
    let mut batch = Batch::new();
    for n in 0..count {
        batch = batch.put(resource(ty, &format!("r{n}")));
    }
    store.commit(batch).await.unwrap();
}

fn count(store: &SharedStore, ty: ResourceType) -> usize {
    store.snapshot().list(ty).count()
}

async fn change(store: &SharedStore, ty: ResourceType, changed: usize, note: &str) {
    let mut batch = Batch::new();
    for n in 0..changed {
        let name = format!("r{}", n * 3);
        batch = batch.put(labelled(ty, &name, &[("note", note)]));
    }
    store.commit(batch).await.unwrap();
}

fn noted(store: &mesh_store::Snapshot, ty: ResourceType, note: &str) -> usize {
    let list = store.list(ty);
    list.filter(|r| r.label("note") == Some(note)).count()
}

/// How many bytes a reconnect costs while `missed` resources change on either side.
async fn reconnect(global: &Global, zone: &Zone, relay: &Relay, missed: usize) -> usize {
    relay.close();
    zone.state("cut", |s| matches!(s, State::Cut { .. })).await;
    let note = Uuid::new_v4().to_string();
    change(&global.store, ResourceType::MeshGateway, missed, &note).await;
    change(&zone.store, ResourceType::Dataplane, missed, &note).await;
    relay.open();
    zone.state("following", |s| *s == State::Following).await;
    // What changes now comes after what was missed.
    let last = Uuid::new_v4().to_string();
    change(&global.store, ResourceType::MeshGateway, 1, &last).await;
    change(&zone.store, ResourceType::Dataplane, 1, &last).await;
    for (store, ty) in [
        (&zone.store, ResourceType::MeshGateway),
        (&global.store, ResourceType::Dataplane),
    ] {
        eventually(store, "what was missed, and the last", |s| {
            noted(s, ty, &last) == 1 && noted(s, ty, &note) == missed.saturating_sub(1)
        })
        .await;
    }
    relay.passed()
}

#[tokio::test]
async fn a_reconnect_costs_what_was_missed_and_not_what_is_held() {
    let mut quiet = Vec::new();
    for size in [100, 5_000] {
        let global = Global::start().await;
        let relay = Relay::start(global.address).await;
        fill(&global.store, ResourceType::MeshGateway, size).await;
        let zone = Zone::start("east", relay.address);
        fill(&zone.store, ResourceType::Dataplane, size).await;
        eventually(&zone.store, "all gateways", |s| {
            s.list(ResourceType::MeshGateway).count() == size
        })
        .await;
        eventually(&global.store, "all dataplanes", |s| {
            s.list(ResourceType::Dataplane).count() == size
        })
        .await;
        let nothing = reconnect(&global, &zone, &relay, 0).await;
        let few = reconnect(&global, &zone, &relay, 10).await;
        // 20 resources, of which each is found with up to five questions.
        assert!(few < nothing + 20 * 6_000, "{size}: {nothing}, {few}");
        assert_eq!(count(&zone.store, ResourceType::MeshGateway), size);
        quiet.push(nothing);
    }
    let [small, large] = quiet[..] else {
        unreachable!("there are two sizes");
    };
    assert!(small < 40_000, "{small}");
    assert!(large < small + 10_000, "{small}, {large}");
}

#[tokio::test]
async fn what_went_while_a_zone_was_away_is_removed_and_nothing_else() {
    let global = Global::start().await;
    let relay = Relay::start(global.address).await;
    fill(&global.store, ResourceType::MeshGateway, 200).await;
    let zone = Zone::start("east", relay.address);
    eventually(&zone.store, "all gateways", |s| {
        s.list(ResourceType::MeshGateway).count() == 200
    })
    .await;
    relay.close();
    zone.state("cut", |s| matches!(s, State::Cut { .. })).await;
    let gone = Batch::new()
        .delete(key(ResourceType::MeshGateway, "r7"))
        .put(resource(ResourceType::MeshGateway, "new"));
    global.store.commit(gone).await.unwrap();
    let before = zone.store.snapshot();
    relay.open();
    let named = |s: &mesh_store::Snapshot, name: &str| {
        s.list(ResourceType::MeshGateway)
            .any(|r| r.display_name() == name)
    };
    eventually(&zone.store, "one less, one more", |s| {
        named(s, "new") && !named(s, "r7")
    })
    .await;
    let after = zone.store.snapshot();
    let changed: Vec<Key> = after
        .changes_since(&before)
        .map(|change| change.key().clone())
        .filter(|key| key.ty() == ResourceType::MeshGateway)
        .collect();
    assert_eq!(changed.len(), 2, "{changed:?}");
}

#[tokio::test]
async fn another_store_of_the_same_deployment_is_followed_in_full() {
    let global = Global::start().await;
    fill(&global.store, ResourceType::MeshGateway, 100).await;
    let zone = Zone::start("east", global.address);
    eventually(&zone.store, "all gateways", |s| {
        s.list(ResourceType::MeshGateway).count() == 100
    })
    .await;
    let (_, address) = global.stop().await;
    let restored = Global::store_of("fleet-1").await;
    fill(&restored, ResourceType::MeshGateway, 99).await;
    let _global = Global::serve(restored, &address).await;
    eventually(&zone.store, "the restored state", |s| {
        s.list(ResourceType::MeshGateway).count() == 99
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_remembers_a_global_once_it_holds_all_of_it() {
    let global = Global::start().await;
    global
        .put(resource(ResourceType::MeshGateway, "edge"))
        .await;
    let tamper = Tamper::start(global.address).await;
    tamper.hold_down(Some("MeshGateway"));
    let zone = Zone::start("east", tamper.address);
    let remembers = |s: &mesh_store::Snapshot| {
        s.get(&key(ResourceType::Config, "meridian-followed-store"))
            .is_some()
    };
    zone.state("following", |s| *s == State::Following).await;
    // A heartbeat came and went since the gate opened.
    let heard = async {
        while zone.client.link().is_none_or(|l| l.down.revision == 0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), heard)
        .await
        .expect("a heartbeat");
    assert!(!remembers(&zone.store.snapshot()), "it holds no gateway");
    tamper.hold_down(None);
    eventually(&zone.store, "it remembers", remembers).await;
    let gateways = zone.store.snapshot();
    assert_eq!(gateways.list(ResourceType::MeshGateway).count(), 1);
}

/// A zone that announces what ours do and is driven by hand, with the first that it says.
async fn driven(global: &Global, first: DeltaDiscoveryRequest) -> Driven {
    let mut metadata = MetadataMap::new();
    let zone = zone_name("east");
    let introduction = peer::Introduction {
        zone: &zone,
        version: "2.14.3",
        store_id: Uuid::from_u128(1),
        session: Uuid::new_v4(),
        max_message: 1 << 28,
    };
    introduction.write(&mut metadata);
    // It says no heartbeats.
    metadata.remove(peer::SESSION);
    open(global, metadata, 1 << 28, Some(first)).await
}

/// What a zone that is driven by hand says, and what it hears.
type Driven = (
    mpsc::Sender<DeltaDiscoveryRequest>,
    tonic::Streaming<DeltaDiscoveryResponse>,
);

/// Opens a zone's down stream; what it says `first` is said before the global answers.
async fn open(
    global: &Global,
    metadata: MetadataMap,
    max_message: usize,
    first: Option<DeltaDiscoveryRequest>,
) -> Driven {
    let endpoint = format!("http://{}", global.address);
    let channel = tonic::transport::Endpoint::from_shared(endpoint)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let (say, said) = mpsc::channel(16);
    let mut request = tonic::Request::new(ReceiverStream::new(said));
    *request.metadata_mut() = metadata;
    if let Some(first) = first {
        say.send(first).await.unwrap();
    }
    let stream = KdsSyncServiceClient::new(channel)
        .max_decoding_message_size(max_message)
        .global_to_zone_sync(request)
        .await
        .unwrap()
        .into_inner();
    (say, stream)
}

fn subscription(type_url: &str, resume: Option<Resume>) -> DeltaDiscoveryRequest {
    let node = peer::NodeInfo {
        id: "east".into(),
        ..global_node()
    };
    DeltaDiscoveryRequest {
        node: Some(node.to_node()),
        type_url: type_url.into(),
        resource_names_subscribe: vec!["*".into()],
        resume,
        ..DeltaDiscoveryRequest::default()
    }
}

fn part(prefix: &str, digests: usize, held: &[&str]) -> Resume {
    let part = Part {
        prefix: prefix.into(),
        digests: vec![1; digests],
        is_listed: digests == 0,
        held: held
            .iter()
            .map(|name| Held {
                name: (*name).into(),
                version: "v".into(),
            })
            .collect(),
    };
    Resume {
        parts: vec![part],
        asked: Vec::new(),
    }
}

#[tokio::test]
async fn what_cannot_be_held_ends_the_stream_and_says_why() {
    let global = Global::start().await;
    fill(&global.store, ResourceType::MeshGateway, 100).await;
    for (said, reason) in [
        (vec![part("", 255, &[])], "16 of 16 bytes"),
        (vec![part("xyz", 0, &[])], "names no part"),
        (vec![part("0123456789abcdef0", 0, &[])], "names no part"),
        (vec![part("a", 0, &[])], "was not asked for"),
        (
            vec![part("", 256, &[]), part("", 256, &[])],
            "was not asked for",
        ),
        (
            vec![
                part("", 256, &[]),
                part("0", 0, &["a.default", "b.default", "c.default"]),
            ],
            "is not in part",
        ),
        (
            vec![part("", 0, &[]), part("", 0, &[])],
            "subscribed already",
        ),
    ] {
        let mut said = said
            .into_iter()
            .map(|resume| subscription("MeshGateway", Some(resume)));
        let (say, mut stream) = driven(&global, said.next().unwrap()).await;
        for next in said {
            say.send(next).await.unwrap();
        }
        let status = loop {
            match stream.message().await {
                Ok(message) => assert!(message.is_some(), "{reason}"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
        assert!(status.message().contains(reason), "{status:?}");
    }
    // Nobody else noticed.
    let zone = Zone::start("west", global.address);
    zone.state("following", |s| *s == State::Following).await;
}

#[tokio::test]
async fn what_differs_is_asked_for_and_sent_and_nothing_else() {
    let global = Global::start().await;
    fill(&global.store, ResourceType::MeshGateway, 3).await;
    let (_say, mut complete) = driven(&global, subscription("MeshGateway", None)).await;
    let complete = complete.message().await.unwrap().unwrap();
    let held = |version: &dyn Fn(usize, &str) -> String| Part {
        is_listed: true,
        held: complete
            .resources
            .iter()
            .enumerate()
            .map(|(n, resource)| Held {
                name: resource.name.clone(),
                version: version(n, &resource.version),
            })
            .collect(),
        ..Part::default()
    };
    let mut known = held(&|n, version| if n == 0 { "old".into() } else { version.into() });
    known.held.push(Held {
        name: "gone.default".into(),
        version: "old".into(),
    });
    let resume = Resume {
        parts: vec![known],
        asked: Vec::new(),
    };
    let (_say, mut stream) = driven(&global, subscription("MeshGateway", Some(resume))).await;
    let response = stream.message().await.unwrap().unwrap();
    let sent: Vec<_> = response.resources.iter().map(|r| r.name.clone()).collect();
    assert_eq!(sent, [complete.resources[0].name.clone()]);
    assert_eq!(response.removed_resources, ["gone.default"]);
}

#[tokio::test]
async fn a_large_type_travels_in_small_messages_of_one_response() {
    assert!(own_features().contains(&peer::FEATURE_CHUNKS.to_owned()));
    let global = Global::start().await;
    let size = size();
    fill(&global.store, ResourceType::MeshGateway, size).await;
    let (_say, mut stream) = driven(&global, subscription("MeshGateway", None)).await;
    let mut resources = 0;
    let mut messages = 0;
    loop {
        let message = stream.message().await.unwrap().unwrap();
        assert_eq!(message.nonce, "1");
        assert!(
            message.encoded_len() <= LARGEST,
            "{}",
            message.encoded_len()
        );
        resources += message.resources.len();
        messages += 1;
        if !message.has_more {
            break;
        }
    }
    assert_eq!(resources, size);
    assert!(messages > 3, "{messages}");
}

#[tokio::test]
async fn a_complete_state_in_chunks_is_applied_at_once() {
    let global = Global::start().await;
    let size = size();
    fill(&global.store, ResourceType::MeshGateway, size).await;
    let zone = Zone::start("east", global.address);
    let mut states = zone.store.watch();
    let all = async {
        loop {
            states.changed().await.unwrap();
            let count = states
                .borrow_and_update()
                .list(ResourceType::MeshGateway)
                .count();
            assert!(count == 0 || count == size, "{count}");
            if count == size {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), all)
        .await
        .expect("all are there");
}

#[tokio::test]
async fn one_bad_resource_costs_one_rejection_until_it_changes() {
    let global = Global::start().await;
    let zone = Zone::start("east", global.address);
    // The zone has a gateway of its own under the name that is about to come down.
    let own = resource(ResourceType::MeshGateway, "edge-5c75xw87847wvc4c");
    zone.store.commit(Batch::new().put(own)).await.unwrap();
    let mut batch = Batch::new().put(resource(ResourceType::MeshGateway, "edge"));
    for n in 0..50 {
        batch = batch.put(resource(ResourceType::MeshGateway, &format!("r{n}")));
    }
    global.store.commit(batch).await.unwrap();
    let down = |s: &mesh_store::Snapshot, note: Option<&str>| {
        s.list(ResourceType::MeshGateway)
            .filter(|r| r.label(labels::ORIGIN) == Some("global") && r.label("note") == note)
            .count()
    };
    eventually(&zone.store, "all others", |s| down(s, None) == 50).await;
    for note in ["one", "two"] {
        change(&global.store, ResourceType::MeshGateway, 10, note).await;
        eventually(&zone.store, "a change", |s| down(s, Some(note)) == 10).await;
    }
    let rejections = || {
        let said = global.book.said.lock();
        let rejected = said.iter().filter(|s| *s == "east MeshGateway Rejected");
        rejected.count()
    };
    assert_eq!(rejections(), 1, "{:?}", global.book.said.lock());
    // A changed one is tried again.
    global
        .put(labelled(
            ResourceType::MeshGateway,
            "edge",
            &[("note", "three")],
        ))
        .await;
    tokio::time::timeout(Duration::from_secs(10), async {
        while rejections() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the changed one is refused again");
}

#[tokio::test]
async fn a_burst_of_large_resources_blocks_no_stock_zone() {
    let global = Global::start().await;
    let (say, mut stream) = stock(&global).await;
    say.send(asks("MeshGateway", "")).await.unwrap();
    let first = stream.message().await.unwrap().unwrap();
    assert!(first.resources.is_empty());
    assert!(!first.has_more && first.resume.is_none());
    let note = "x".repeat(3 << 20);
    let mut batch = Batch::new();
    for n in 0..8 {
        let name = format!("r{n}");
        batch = batch.put(labelled(
            ResourceType::MeshGateway,
            &name,
            &[("note", &note)],
        ));
    }
    global.store.commit(batch).await.unwrap();
    say.send(asks("MeshGateway", &first.nonce)).await.unwrap();
    let mut arrived = 0;
    while arrived < 8 {
        let next = tokio::time::timeout(Duration::from_secs(20), stream.message());
        let next = next.await.expect("it goes on").unwrap().unwrap();
        arrived += next.resources.len();
        say.send(asks("MeshGateway", &next.nonce)).await.unwrap();
    }
}

#[tokio::test]
async fn a_type_that_fits_no_message_comes_in_parts_and_stops_no_other() {
    let global = Global::start().await;
    let note = "x".repeat(3 << 20);
    let mut batch = Batch::new().put(resource(ResourceType::Mesh, "default"));
    for n in 0..8 {
        let name = format!("r{n}");
        batch = batch.put(labelled(
            ResourceType::MeshGateway,
            &name,
            &[("note", &note)],
        ));
    }
    global.store.commit(batch).await.unwrap();
    let (say, mut stream) = stock(&global).await;
    for ty in ["MeshGateway", "Mesh"] {
        say.send(asks(ty, "")).await.unwrap();
    }
    let mut arrived = BTreeMap::new();
    while arrived.get("MeshGateway") != Some(&8) || arrived.get("Mesh") != Some(&1) {
        let next = tokio::time::timeout(Duration::from_secs(20), stream.message());
        let next = next.await.expect("it goes on").unwrap().unwrap();
        assert!(next.encoded_len() < 10 << 20);
        *arrived.entry(next.type_url.clone()).or_insert(0) += next.resources.len();
        say.send(asks(&next.type_url, &next.nonce)).await.unwrap();
    }
}

/// A request of a stock zone.
fn asks(type_url: &str, nonce: &str) -> DeltaDiscoveryRequest {
    let node = peer::NodeInfo {
        id: "east".into(),
        features: vec!["hash-suffix".into()],
        ..peer::NodeInfo::default()
    };
    DeltaDiscoveryRequest {
        node: Some(node.to_node()),
        type_url: type_url.into(),
        response_nonce: nonce.into(),
        ..DeltaDiscoveryRequest::default()
    }
}

/// A stock zone, which takes messages of 10 MiB.
async fn stock(global: &Global) -> Driven {
    let mut metadata = MetadataMap::new();
    for (name, value) in [("client-id", "east"), ("version", "2.14.3")] {
        metadata.insert(name, value.parse().unwrap());
    }
    open(global, metadata, 10 << 20, None).await
}
