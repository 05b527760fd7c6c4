use std::sync::Arc;

use mesh_model::json::parse_document;
use mesh_model::{Timestamp, labels};
use mesh_proto::mesh::service_insight::service::{Status, Type};
use mesh_runtime::shutdown;
use mesh_store::{Memory, Store as _};
use serde_json::{Value, json};

use super::*;

fn resource(document: &Value) -> Resource {
    let parsed = parse_document(document).unwrap();
    let mesh = parsed.mesh.map(|mesh| MeshName::parse(&mesh).unwrap());
    let name = ResourceName::parse(&parsed.name).unwrap();
    let key = Key::try_new(parsed.ty, mesh, name).unwrap();
    let now = Timestamp::EPOCH;
    Resource::new(key, parsed.labels, parsed.spec, now, now)
}

fn gateway(name: &str, zone: &str) -> Resource {
    resource(&json!({
        "type": "Dataplane", "mesh": "default", "name": name,
        "labels": { labels::ZONE: zone },
        "networking": {
            "address": "192.0.2.1",
            "gateway": { "type": "BUILTIN", "tags": { "kuma.io/service": "edge" } },
        },
    }))
}

fn sidecar(name: &str, states: &[&str]) -> Resource {
    let inbounds = states.iter().enumerate().map(|(i, state)| {
        json!({
            "port": 8000 + i, "state": state,
            "tags": { "kuma.io/service": format!("svc-{i}"), "kuma.io/zone": "east" },
        })
    });
    resource(&json!({
        "type": "Dataplane", "mesh": "default", "name": name,
        "networking": { "address": "192.0.2.2", "inbound": inbounds.collect::<Vec<_>>() },
    }))
}

fn insight(name: &str, is_online: bool) -> Resource {
    let ended = if is_online {
        Value::Null
    } else {
        json!("2026-03-01T11:00:00Z")
    };
    resource(&json!({
        "type": "DataplaneInsight", "mesh": "default", "name": name,
        "subscriptions": [{
            "id": "s", "connectTime": "2026-03-01T10:00:00Z", "disconnectTime": ended,
        }],
        "mTLS": { "issuedBackend": "ca-1" },
    }))
}

fn mesh() -> Resource {
    resource(&json!({ "type": "Mesh", "name": "default" }))
}

/// The insight after these resources were written.
async fn after(store: &Memory, batch: Batch) -> ServiceInsight {
    let snapshot = store.commit(batch).await.unwrap();
    let mut fleet = Fleet::new(Snapshot::empty(store.id()));
    fleet.follow(&snapshot);
    let mesh = MeshName::parse("default").unwrap();
    fleet.services(&mesh).unwrap_or_default()
}

#[tokio::test]
async fn services_are_counted_by_what_their_proxies_say() {
    let store = Memory::new();
    let batch = Batch::new()
        .put(gateway("edge-1", "west"))
        .put(gateway("edge-2", "east"))
        .put(insight("edge-1", true))
        .put(sidecar("a", &["Ready", "NotReady", "Ignored"]))
        .put(insight("a", true))
        .put(sidecar("b", &["Ready"]))
        .put(insight("b", true));
    let found = after(&store, batch).await.services;
    let edge = &found["edge"];
    assert_eq!(edge.status(), Status::PartiallyDegraded);
    assert_eq!(edge.service_type(), Type::GatewayBuiltin);
    assert_eq!(edge.zones, ["east", "west"]);
    let counts = edge.dataplanes.unwrap();
    assert_eq!((counts.total, counts.online, counts.offline), (0, 1, 1));
    assert_eq!(edge.issued_backends, [("ca-1".to_owned(), 1)].into());
    // A proxy that is ready in part is not up, for any of its services.
    assert_eq!(found["svc-0"].status(), Status::PartiallyDegraded);
    assert_eq!(found["svc-1"].status(), Status::Offline);
    assert!(!found.contains_key("svc-2"));

    let batch = Batch::new()
        .put(insight("edge-2", true))
        .put(sidecar("a", &["Ready"]));
    let found = after(&store, batch).await.services;
    assert_eq!(found["edge"].status(), Status::Online);
    assert_eq!(found["svc-0"].status(), Status::Online);
    assert!(!found.contains_key("svc-1"));
}

#[tokio::test]
async fn external_services_are_shown_beside_proxies_only() {
    let store = Memory::new();
    let external = resource(&json!({
        "type": "ExternalService", "mesh": "default", "name": "bank",
        "tags": { "kuma.io/service": "bank" },
        "networking": { "address": "bank.example:443" },
    }));
    let alone = after(&store, Batch::new().put(external)).await;
    assert!(alone.services.is_empty());
    let found = after(&store, Batch::new().put(gateway("edge-1", "west"))).await;
    let bank = &found.services["bank"];
    assert_eq!(bank.status(), Status::NotAvailable);
    assert_eq!(bank.service_type(), Type::External);
    assert_eq!(bank.address_port, "bank.example:443");
    assert!(bank.dataplanes.is_some());
}

#[tokio::test]
async fn counting_by_differences_ends_where_counting_anew_does() {
    let store = Memory::new();
    let mut fleet = Fleet::new(Snapshot::empty(store.id()));
    let mesh = MeshName::parse("default").unwrap();
    let states = ["Ready", "NotReady", "Ignored"];
    for step in 0..200_usize {
        let name = format!("p{}", step % 7);
        let batch = match step % 5 {
            0 => Batch::new().put(gateway(&name, ["east", "west"][step % 2])),
            1 => Batch::new().put(sidecar(&name, &states[step % 3..])),
            2 | 3 => Batch::new().put(insight(&name, step % 2 == 0)),
            _ => Batch::new().delete(gateway(&name, "east").key().clone()),
        };
        let snapshot = store.commit(batch).await.unwrap();
        fleet.follow(&snapshot);
        let mut anew = Fleet::new(Snapshot::empty(store.id()));
        anew.follow(&snapshot);
        assert_eq!(fleet.services(&mesh), anew.services(&mesh), "step {step}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_insight_comes_with_the_first_dataplane_and_goes_with_its_mesh() {
    let store: SharedStore = Arc::new(Memory::new());
    let (trigger, shutdown) = shutdown::channel();
    let task = tokio::spawn(keep(Arc::clone(&store), shutdown));
    let key = insight_key(&MeshName::parse("default").unwrap()).unwrap();
    let reaches = async |holds: &dyn Fn(Option<ServiceInsight>) -> bool| {
        let mut states = store.watch();
        let is_there = states.wait_for(|s| holds(s.get(&key).map(|r| r.decode())));
        drop(is_there.await.unwrap());
    };
    store.commit(Batch::new().put(mesh())).await.unwrap();
    let batch = Batch::new().put(gateway("edge-1", "east"));
    store.commit(batch).await.unwrap();
    reaches(&|found| found.is_some_and(|i| i.services["edge"].status() == Status::Offline)).await;
    store
        .commit(Batch::new().put(insight("edge-1", true)))
        .await
        .unwrap();
    reaches(&|found| found.is_some_and(|i| i.services["edge"].status() == Status::Online)).await;

    // The last one goes: the insight stays, and says that there is nothing.
    let gone = gateway("edge-1", "east").key().clone();
    store.commit(Batch::new().delete(gone)).await.unwrap();
    reaches(&|found| found.is_some_and(|i| i.services.is_empty())).await;
    // Somebody else's hand does not last.
    store
        .commit(Batch::new().delete(key.clone()))
        .await
        .unwrap();
    let batch = Batch::new().put(gateway("edge-1", "east"));
    store.commit(batch).await.unwrap();
    reaches(&|found| found.is_some()).await;
    // Nor does an insight of a mesh that went.
    store
        .commit(Batch::new().delete(mesh().key().clone()))
        .await
        .unwrap();
    reaches(&|found| found.is_none()).await;
    trigger.trigger();
    task.await.unwrap();
}
