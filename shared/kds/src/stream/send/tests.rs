use futures_util::stream;
use mesh_model::{Key, Resource, ResourceName, ResourceType, Spec, Timestamp};
use mesh_store::{Batch, Memory, Store as _};

use super::*;
use crate::mapping::Mapping;
use crate::peer::{ZoneClass, own_features};

fn asks(type_url: &str, features: &[String]) -> DeltaDiscoveryRequest {
    let node = NodeInfo {
        id: "east".into(),
        features: features.to_vec(),
        ..NodeInfo::default()
    };
    DeltaDiscoveryRequest {
        node: Some(node.to_node()),
        type_url: type_url.into(),
        ..DeltaDiscoveryRequest::default()
    }
}

/// How a stream ends on which a peer with these features asks for meshes, of which there are
/// so many, and then never says anything; and how long that took.
async fn end(features: Vec<String>, meshes: usize, outbox: usize) -> (End, Duration) {
    let asks = (Duration::ZERO, asks("Mesh", &features));
    let (end, after, _) = end_after(vec![asks], meshes, outbox).await;
    (end, after)
}

/// The same for a peer that says these, each after a while; and the texts of its refusals.
async fn end_after(
    says: Vec<(Duration, DeltaDiscoveryRequest)>,
    meshes: usize,
    outbox: usize,
) -> (End, Duration, Vec<String>) {
    let store = Memory::new();
    let mut batch = Batch::new();
    for n in 0..meshes {
        let ty = ResourceType::Mesh;
        let name = ResourceName::parse(&format!("m{n}")).unwrap();
        let note = ("note".to_owned(), "x".repeat(10_000));
        batch = batch.put(Resource::new(
            Key::global(ty, name),
            [note].into_iter().collect::<BTreeMap<_, _>>(),
            Spec::parse(ty, bytes::Bytes::new()).unwrap(),
            Timestamp::EPOCH,
            Timestamp::EPOCH,
        ));
    }
    store.commit(batch).await.unwrap();
    // What is received is kept, and nobody reads it.
    let (outbox, _inbox) = mpsc::channel(outbox);
    let projection = |zone: &NodeInfo| {
        let mapping = Mapping::Down(ZoneClass::of(zone));
        Arc::new(Projection::new(mapping, 1 << 20))
    };
    let start = Instant::now();
    let mut refusals = Vec::new();
    let sending = Sending {
        node_id: "east",
        identifier: "global",
        kinds: &Kind::down().collect::<Vec<_>>(),
        store: Arc::new(store),
        max_message: 10 << 20,
        says_version: true,
        projection: &projection,
        zone: ZoneName::parse("east").ok(),
        outbox,
        may_send: watch::Sender::new(true).subscribe(),
        pulse: None,
        probes: None,
        on_event: &mut |happened| {
            if let Happened::Rejected(_, text) = happened {
                refusals.push(text.to_owned());
            }
        },
    };
    let said = stream::iter(says).then(|(wait, request)| async move {
        tokio::time::sleep(wait).await;
        Ok(request)
    });
    let inbound = Box::pin(said.chain(stream::pending()));
    let end = sending.run(inbound).await;
    (end, start.elapsed(), refusals)
}

#[tokio::test(start_paused = true)]
async fn a_stock_peer_that_takes_one_type_after_the_other_has_time_for_each() {
    let stock = ["hash-suffix".to_owned()];
    let answers = |nonce: &str| DeltaDiscoveryRequest {
        response_nonce: nonce.into(),
        ..asks("Mesh", &stock)
    };
    let says = vec![
        (Duration::ZERO, asks("Mesh", &stock)),
        (Duration::ZERO, asks("MeshGateway", &stock)),
        (Duration::from_secs(29), answers("1")),
    ];
    let (end, after, _) = end_after(says, 1, CHANNEL).await;
    assert!(
        matches!(end, End::Unanswered(kind) if kind.to_string() == "MeshGateway"),
        "{end}"
    );
    assert_eq!(after.as_secs(), 59);
}

#[tokio::test(start_paused = true)]
async fn of_a_long_refusal_the_start_is_told() {
    let stock = ["hash-suffix".to_owned()];
    let refuses = DeltaDiscoveryRequest {
        response_nonce: "1".into(),
        error_detail: Some(mesh_proto::rpc::Status {
            message: "no ".repeat(1 << 20),
            ..mesh_proto::rpc::Status::default()
        }),
        ..asks("Mesh", &stock)
    };
    let says = vec![
        (Duration::ZERO, asks("Mesh", &stock)),
        (Duration::ZERO, refuses),
    ];
    let (_, _, refusals) = end_after(says, 1, CHANNEL).await;
    assert!(refusals[0].starts_with("no no "));
    assert!(refusals[0].len() < 1100, "{}", refusals[0].len());
}

/// What a peer of ours says first of meshes: these parts of what it holds.
fn holds(parts: Vec<link::Part>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        resume: Some(link::Resume {
            parts,
            asked: Vec::new(),
        }),
        ..asks("Mesh", &own_features())
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_asked_what_it_holds_and_says_nothing_loses_its_stream() {
    let differs = link::Part {
        digests: vec![1; 256],
        ..link::Part::default()
    };
    let says = vec![(Duration::ZERO, holds(vec![differs]))];
    let stuck = end_after(says, 1, CHANNEL);
    let stuck = tokio::time::timeout(Duration::from_secs(60), stuck).await;
    let (end, after, _) = stuck.expect("it ends");
    assert!(matches!(end, End::Unanswered(_)), "{end}");
    assert_eq!(after.as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_lists_more_than_anybody_holds_loses_its_stream() {
    let held = link::Held {
        name: "m0.".into(),
        version: "v".repeat(MOST_LISTED),
    };
    let listed = link::Part {
        is_listed: true,
        held: vec![held],
        ..link::Part::default()
    };
    let says = vec![(Duration::ZERO, holds(vec![listed]))];
    let (end, _, _) = end_after(says, 1, CHANNEL).await;
    assert!(end.to_string().contains("67108864 bytes"), "{end}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_nothing_loses_its_stream() {
    let stock = vec!["hash-suffix".to_owned()];
    for features in [stock, own_features()] {
        let (end, after) = end(features, 1, CHANNEL).await;
        assert!(matches!(end, End::Unanswered(_)), "{end}");
        assert_eq!(after.as_secs(), 30);
        assert_eq!(end.to_status().code(), tonic::Code::Unavailable);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_its_chunks_loses_its_stream() {
    let (end, after) = end(own_features(), 1000, CHANNEL).await;
    assert!(matches!(end, End::NotReading), "{end}");
    assert_eq!(after.as_secs(), 30);
}
