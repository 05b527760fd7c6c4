use mesh_proto::mesh::{self, dataplane};
use mesh_store::{Memory, Store as _};

use super::*;
use crate::mapping::{Mapped, Mapping};
use crate::peer::ZoneClass;

fn zone(name: &str) -> ZoneName {
    ZoneName::parse(name).unwrap()
}

fn key(ty: ResourceType, name: &str) -> Key {
    let mesh = ty
        .is_mesh_scoped()
        .then(|| MeshName::parse("default").unwrap());
    Key::try_new(ty, mesh, ResourceName::parse(name).unwrap()).unwrap()
}

fn resource(ty: ResourceType, name: &str, labels: &[(&str, &str)]) -> Resource {
    let labels = labels
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let spec = Spec::parse(ty, bytes::Bytes::new()).unwrap();
    Resource::new(
        key(ty, name),
        labels,
        spec,
        Timestamp::EPOCH,
        Timestamp::EPOCH,
    )
}

fn from_global() -> Intake {
    Intake::FromGlobal {
        zone: zone("here"),
        naming: Naming::Hashed,
    }
}

/// A zone under a global of 2.5.
fn from_25() -> Intake {
    Intake::FromGlobal {
        zone: zone("here"),
        naming: Naming::Plain,
    }
}

fn arrived(mapping: &Mapping, resource: &Resource) -> Arrived {
    let Mapped {
        kind, name, item, ..
    } = mapping.apply(resource).unwrap();
    Arrived {
        name,
        content: wire::decode(kind.resource_type(), item.payload.to_bytes()),
    }
}

fn delivery(
    ty: ResourceType,
    is_complete: bool,
    arrived: Vec<Arrived>,
    removed: &[&str],
) -> Delivery {
    Delivery {
        ty,
        is_complete,
        arrived,
        removed: removed.iter().map(|n| Name::from(*n)).collect(),
    }
}

async fn run(store: &Memory, intake: &Intake, delivery: Delivery) -> (Vec<String>, Vec<String>) {
    let plan = intake.plan(
        &store.snapshot(),
        &delivery,
        Timestamp::from_unix_seconds(1),
    );
    let ops = plan
        .batch
        .ops()
        .iter()
        .map(|op| match op {
            Op::Put { resource, .. } => format!("+{}", resource.key()),
            Op::Delete { key, .. } => format!("-{key}"),
        })
        .collect();
    store.commit(plan.batch).await.unwrap();
    (
        ops,
        plan.refused
            .into_iter()
            .map(|r| format!("{}: {}", r.name, r.reason))
            .collect(),
    )
}

#[tokio::test]
async fn a_zone_prunes_only_what_the_global_owns() {
    let store = Memory::new();
    let own = resource(ResourceType::GlobalSecret, "user-token-signing-key-1", &[]);
    store.commit(Batch::new().put(own)).await.unwrap();
    let down = Mapping::Down(ZoneClass::HASHED);
    let synced = resource(ResourceType::GlobalSecret, "zone-token-revocations", &[]);
    let first = delivery(
        ResourceType::GlobalSecret,
        true,
        vec![arrived(&down, &synced)],
        &[],
    );
    let (ops, refused) = run(&store, &from_global(), first).await;
    assert_eq!(ops, ["+GlobalSecret zone-token-revocations"]);
    assert!(refused.is_empty());
    let empty = delivery(ResourceType::GlobalSecret, true, vec![], &[]);
    let (ops, _) = run(&store, &from_global(), empty).await;
    assert_eq!(ops, ["-GlobalSecret zone-token-revocations"]);
    assert_eq!(store.snapshot().len(), 1);
}

#[tokio::test]
async fn what_a_zone_says_is_gone_of_others_stays_and_is_counted() {
    let store = Memory::new();
    let of = |name: &str, zone: &str| {
        let origin = (labels::ORIGIN, labels::ORIGIN_ZONE);
        resource(
            ResourceType::Dataplane,
            name,
            &[origin, (labels::ZONE, zone)],
        )
    };
    let batch = Batch::new()
        .put(of("east-1", "east"))
        .put(of("west-1", "west"));
    store.commit(batch).await.unwrap();
    let intake = Intake::FromZone {
        zone: zone("east"),
        naming: Naming::Hashed,
    };
    let gone = ["east-1.default", "west-1.default", "none.default"];
    let gone = delivery(ResourceType::Dataplane, false, vec![], &gone);
    let plan = intake.plan(&store.snapshot(), &gone, Timestamp::EPOCH);
    assert_eq!(plan.foreign_removals, 1);
    let (ops, _) = run(&store, &intake, gone).await;
    assert_eq!(ops, ["-Dataplane default/east-1"]);
    // What a complete response leaves out of others is no word about them.
    let empty = delivery(ResourceType::Dataplane, true, vec![], &[]);
    let plan = intake.plan(&store.snapshot(), &empty, Timestamp::EPOCH);
    assert!(plan.batch.is_empty() && plan.foreign_removals == 0);
}

#[tokio::test]
async fn a_global_without_labels_owns_what_it_sends() {
    let store = Memory::new();
    let gateway = resource(ResourceType::MeshGateway, "edge", &[]);
    let item = wire::encode(wire::Outgoing {
        ty: ResourceType::MeshGateway,
        name: "edge",
        mesh: "default",
        labels: BTreeMap::new(),
        spec: gateway.spec().bytes().clone(),
        status: None,
    });
    let arrived = Arrived {
        name: "edge.default".into(),
        content: wire::decode(ResourceType::MeshGateway, item.payload.to_bytes()),
    };
    let first = delivery(ResourceType::MeshGateway, true, vec![arrived], &[]);
    run(&store, &from_25(), first).await;
    let stored = store.get(gateway.key()).unwrap();
    assert_eq!(stored.label(labels::ORIGIN), Some(labels::ORIGIN_GLOBAL));
    let gone = delivery(ResourceType::MeshGateway, false, vec![], &["edge.default"]);
    let (ops, _) = run(&store, &from_25(), gone).await;
    assert_eq!(ops, ["-MeshGateway default/edge"]);
}

#[tokio::test]
async fn a_refused_resource_keeps_its_last_good_version() {
    let store = Memory::new();
    let good = resource(ResourceType::Mesh, "default", &[(labels::ORIGIN, "global")]);
    store.commit(Batch::new().put(good)).await.unwrap();
    let bad = Arrived {
        name: "default.".into(),
        content: wire::decode(ResourceType::Mesh, bytes::Bytes::from_static(b"\xff")),
    };
    let first = delivery(ResourceType::Mesh, true, vec![bad], &[]);
    let (ops, refused) = run(&store, &from_global(), first).await;
    assert!(ops.is_empty(), "{ops:?}");
    assert_eq!(refused.len(), 1);
    assert!(
        refused[0].starts_with("default.: not an encoded KumaResource"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_zone_writes_only_under_its_own_name() {
    let store = Memory::new();
    let theirs = resource(ResourceType::Dataplane, "echo", &[(labels::ZONE, "west")]);
    let prefixed = resource(ResourceType::Dataplane, "east.old", &[]);
    store
        .commit(Batch::new().put(theirs).put(prefixed))
        .await
        .unwrap();
    let east = Intake::FromZone {
        zone: zone("east"),
        naming: Naming::Hashed,
    };
    let incoming = Arrived {
        name: "echo.default".into(),
        content: Ok(Incoming {
            key: key(ResourceType::Dataplane, "echo"),
            labels: BTreeMap::new(),
            spec: Spec::parse(ResourceType::Dataplane, bytes::Bytes::new()).unwrap(),
            status: None,
        }),
    };
    let first = delivery(
        ResourceType::Dataplane,
        true,
        vec![incoming],
        &["echo.default"],
    );
    let (ops, refused) = run(&store, &east, first).await;
    assert_eq!(ops, ["-Dataplane default/east.old"]);
    assert_eq!(
        refused,
        ["echo.default: Dataplane default/echo exists already and belongs to zone west"]
    );
}

#[tokio::test]
async fn plain_names_are_prefixed_and_zone_tags_corrected() {
    let store = Memory::new();
    let spec = mesh::Dataplane {
        networking: Some(dataplane::Networking {
            inbound: vec![dataplane::networking::Inbound {
                tags: [(tags::ZONE.to_owned(), "west".to_owned())].into(),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    let incoming = Arrived {
        name: "echo.default".into(),
        content: Ok(Incoming {
            key: key(ResourceType::Dataplane, "echo"),
            labels: BTreeMap::new(),
            spec: Spec::encode(ResourceType::Dataplane, &spec),
            status: None,
        }),
    };
    let east = Intake::FromZone {
        zone: zone("east"),
        naming: Naming::Plain,
    };
    let first = delivery(ResourceType::Dataplane, true, vec![incoming], &[]);
    let (ops, _) = run(&store, &east, first).await;
    assert_eq!(ops, ["+Dataplane default/east.echo"]);
    let stored = store
        .get(&key(ResourceType::Dataplane, "east.echo"))
        .unwrap();
    assert_eq!(stored.display_name(), "echo");
    assert_eq!(stored.label(labels::ZONE), Some("east"));
    let stored: mesh::Dataplane = stored.decode();
    assert_eq!(
        stored.networking.unwrap().inbound[0].tags[tags::ZONE],
        "east"
    );
    let gone = delivery(ResourceType::Dataplane, false, vec![], &["echo.default"]);
    let (ops, _) = run(&store, &east, gone).await;
    assert_eq!(ops, ["-Dataplane default/east.echo"]);
}

#[tokio::test]
async fn the_same_content_again_writes_nothing() {
    let store = Memory::new();
    let mapping = Mapping::Up(zone("east"), Naming::Hashed);
    let east = Intake::FromZone {
        zone: zone("east"),
        naming: Naming::Hashed,
    };
    let echo = resource(ResourceType::Dataplane, "echo", &[]);
    for expected in [1, 0] {
        let first = delivery(
            ResourceType::Dataplane,
            true,
            vec![arrived(&mapping, &echo)],
            &[],
        );
        let (ops, _) = run(&store, &east, first).await;
        assert_eq!(ops.len(), expected);
    }
}

/// A resource as a peer says it.
fn said(resource: &Resource) -> Arrived {
    Arrived {
        name: wire::stream_name(resource.key().name().as_str(), resource.key().mesh_str()),
        content: Ok(Incoming {
            key: resource.key().clone(),
            labels: BTreeMap::clone(resource.labels()),
            spec: resource.spec().clone(),
            status: resource.status().cloned(),
        }),
    }
}

fn ingress(name: &str, zone: &str, labels: &[(&str, &str)]) -> Resource {
    let ty = ResourceType::ZoneIngress;
    let spec = mesh::ZoneIngress {
        zone: zone.to_owned(),
        ..Default::default()
    };
    resource_of(ty, name, labels, Spec::encode(ty, &spec))
}

#[tokio::test]
async fn a_zone_takes_from_each_kind_of_global_what_is_that_ones_to_give() {
    let global = (labels::ORIGIN, labels::ORIGIN_GLOBAL);
    let of_zone = (labels::ORIGIN, labels::ORIGIN_ZONE);
    let gateway = |labels: &[(&str, &str)]| resource(ResourceType::MeshGateway, "edge", labels);
    let secret =
        |name: &str, labels: &[(&str, &str)]| resource(ResourceType::GlobalSecret, name, labels);
    let taken = [
        (gateway(&[global]), true, true),
        // Without labels nobody can say whose it is, unless the global is one that has none.
        (gateway(&[]), false, true),
        (gateway(&[of_zone]), false, true),
        // A type that zones never own needs no label.
        (
            resource(ResourceType::MeshGatewayRoute, "r", &[]),
            true,
            true,
        ),
        (resource(ResourceType::Mesh, "default", &[]), true, true),
        (resource(ResourceType::Secret, "cert", &[]), false, true),
        (
            resource(ResourceType::Config, "kuma-cluster-id", &[global]),
            true,
            true,
        ),
        (
            resource(ResourceType::Config, "cp-catalog", &[global]),
            false,
            false,
        ),
        (secret("zone-token-revocations", &[global]), true, false),
        (
            secret("zone-token-signing-public-key-1", &[global]),
            true,
            true,
        ),
        (
            secret("zone-ingress-token-signing-key-1", &[global]),
            true,
            true,
        ),
        (secret("user-token-signing-key-1", &[global]), true, false),
        (ingress("there", "there", &[global]), true, true),
        (ingress("here", "here", &[global]), false, false),
        (ingress("nowhere", "", &[global]), false, false),
        (
            ingress("x", "there", &[global, (labels::ZONE, "here")]),
            false,
            false,
        ),
    ];
    for (resource, labelled, plain) in taken {
        for (intake, expected) in [(from_global(), labelled), (from_25(), plain)] {
            let store = Memory::new();
            let first = delivery(resource.key().ty(), true, vec![said(&resource)], &[]);
            let (ops, refused) = run(&store, &intake, first).await;
            let key = resource.key();
            assert_eq!(
                ops.len(),
                usize::from(expected),
                "{key} {:?} {intake:?}",
                resource.labels()
            );
            assert!(
                refused.is_empty(),
                "nothing is refused, which would stop its type: {key}"
            );
        }
    }
}

#[tokio::test]
async fn a_zone_keeps_the_status_that_it_wrote_itself() {
    let ty = ResourceType::MeshTrust;
    let global = [(labels::ORIGIN, labels::ORIGIN_GLOBAL)];
    let status = |json: &'static str| Some(mesh_model::Status::parse(json.into()).unwrap());
    let sent = resource_json(ty, r#"{"a":1}"#, &global).with_status(status("{}"));
    let store = Memory::new();
    let deliver = |resource: &Resource| delivery(ty, false, vec![said(resource)], &[]);
    run(&store, &from_global(), deliver(&sent)).await;
    let own = resource_json(ty, r#"{"a":1}"#, &global).with_status(status(r#"{"mine":true}"#));
    store.commit(Batch::new().put(own)).await.unwrap();
    let changed = resource_json(ty, r#"{"a":2}"#, &global).with_status(status("{}"));
    let (ops, _) = run(&store, &from_global(), deliver(&changed)).await;
    assert_eq!(ops.len(), 1);
    let stored = store.get(sent.key()).unwrap();
    assert_eq!(stored.status().unwrap().bytes(), r#"{"mine":true}"#);
    assert_eq!(stored.spec().bytes(), r#"{"a":2}"#);
}

#[tokio::test]
async fn what_was_taken_is_held_in_the_version_that_was_sent() {
    let mapping = Mapping::Down(ZoneClass::HASHED);
    for ty in crate::kind::Kind::down().map(crate::kind::Kind::resource_type) {
        let spec = match ty {
            ResourceType::ZoneIngress => ingress("it", "there", &[]).spec().clone(),
            _ if ty.is_json() => Spec::parse(ty, r#"{"a": 1}"#.into()).unwrap(),
            _ => Spec::parse(ty, bytes::Bytes::new()).unwrap(),
        };
        let of_zone = [
            (labels::ORIGIN, labels::ORIGIN_ZONE),
            (labels::ZONE, "there"),
        ];
        let labels = if ty.describe().ways.down {
            &[("team", "shop")][..]
        } else {
            &of_zone[..]
        };
        let name = match ty {
            ResourceType::Config => cluster::ID,
            _ => "it",
        };
        let stored = resource_of(ty, name, labels, spec);
        let sent = mapping
            .apply(&stored)
            .unwrap_or_else(|| panic!("{ty} travels"));
        let store = Memory::new();
        let first = delivery(ty, true, vec![arrived(&mapping, &stored)], &[]);
        run(&store, &from_global(), first).await;
        let snapshot = store.snapshot();
        let taken = snapshot
            .list(ty)
            .next()
            .unwrap_or_else(|| panic!("{ty} is taken"));
        assert_eq!(
            from_global().held(taken),
            Some((sent.name, sent.item.version)),
            "{ty}"
        );
    }
}

fn resource_json(ty: ResourceType, json: &'static str, labels: &[(&str, &str)]) -> Resource {
    resource_of(ty, "it", labels, Spec::parse(ty, json.into()).unwrap())
}

fn resource_of(ty: ResourceType, name: &str, labels: &[(&str, &str)], spec: Spec) -> Resource {
    let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into()));
    let now = Timestamp::EPOCH;
    Resource::new(key(ty, name), labels.collect(), spec, now, now)
}

#[tokio::test]
async fn zone_proxies_get_the_name_of_their_zone() {
    let east = Intake::FromZone {
        zone: zone("east"),
        naming: Naming::Plain,
    };
    let egress = mesh::ZoneEgress {
        zone: "west".into(),
        ..Default::default()
    };
    let egress = resource_of(
        ResourceType::ZoneEgress,
        "it",
        &[],
        Spec::encode(ResourceType::ZoneEgress, &egress),
    );
    let store = Memory::new();
    for resource in [egress, ingress("it", "", &[])] {
        let ty = resource.key().ty();
        run(
            &store,
            &east,
            delivery(ty, true, vec![said(&resource)], &[]),
        )
        .await;
        let stored = store.get(&key(ty, "east.it")).unwrap();
        let zone = match ty {
            ResourceType::ZoneEgress => stored.decode::<mesh::ZoneEgress>().zone,
            _ => stored.decode::<mesh::ZoneIngress>().zone,
        };
        assert_eq!(zone, "east");
    }
}
