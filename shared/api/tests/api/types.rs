//! Resources of every type: written as `kumactl` 2.14 wrote them, shown as Kuma 2.14 showed them.
//!
//! `recorded/types-2.14.jsonl` has for each type what was sent to which path of a global or a
//! zone's control plane, and how the resource was shown afterwards.

use std::collections::BTreeSet;

use http::StatusCode;
use mesh_model::ResourceType;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{self, Api};

#[derive(Debug, Deserialize)]
struct Recorded {
    server: String,
    path: String,
    request: Value,
    shown: Value,
}

fn recorded() -> Vec<Recorded> {
    include_str!("../recorded/types-2.14.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What control planes of Kuma had done to a resource before it was shown, and ours does not do
/// yet: those fields, in the document or its spec.
fn is_computed(ty: &str, field: &str) -> bool {
    match ty {
        // Services get addresses, identities and names of their own.
        "MeshService" => ["status", "snis", "state", "identities"].contains(&field),
        "MeshExternalService" => ["status", "snis"].contains(&field),
        "MeshMultiZoneService" => field == "snis",
        "ZoneIngress" => field == "availableServices",
        // The zone's own rules are not these.
        "Dataplane" => field == "networking",
        _ => false,
    }
}

fn comparable(ty: &str, mut document: Value) -> Value {
    let fields = document.as_object_mut().unwrap();
    fields.retain(|field, _| {
        !matches!(field.as_str(), "creationTime" | "modificationTime") && !is_computed(ty, field)
    });
    if let Some(spec) = fields.get_mut("spec") {
        spec.as_object_mut()
            .unwrap()
            .retain(|field, _| !is_computed(ty, field));
    }
    if let Some(Value::Object(labels)) = fields.get_mut("labels") {
        labels.remove("meridian.io/created");
    }
    document
}

async fn servers() -> [(&'static str, Api); 2] {
    [
        ("global", support::global().await),
        ("zone", support::zone("zone-1").await),
    ]
}

#[tokio::test]
async fn every_type_is_taken_shown_listed_and_deleted_as_recorded() {
    let servers = servers().await;
    let mut seen = BTreeSet::new();
    for Recorded {
        server,
        path,
        request,
        shown,
    } in recorded()
    {
        let api = &servers.iter().find(|(name, _)| *name == server).unwrap().1;
        let name = request["type"].as_str().unwrap();
        let ty: ResourceType = name.parse().unwrap();
        seen.insert(ty);
        let written = api.put(&path, &request).await;
        assert!(written.status.is_success(), "{path}: {}", written.body);
        let is_warned = written.body.contains("does not apply");
        assert_eq!(is_warned, !ty.describe().is_applied, "{path}");

        let item = api.get(&path).await.json();
        assert_eq!(
            comparable(name, item.clone()),
            comparable(name, shown),
            "{path}"
        );
        let (collection, _) = path.rsplit_once('/').unwrap();
        let list = api.get(collection).await.json();
        assert!(list["items"].as_array().unwrap().contains(&item), "{path}");
        // The same again, as a client that edits it sends it back.
        let again = api.put(&path, &item).await;
        assert_eq!(again.status, StatusCode::OK, "{path}: {}", again.body);
        if ty != ResourceType::Mesh {
            assert_eq!(api.delete(&path).await.status, StatusCode::OK, "{path}");
            assert_eq!(api.get(&path).await.status, StatusCode::NOT_FOUND, "{path}");
        }
    }
    let unseen: Vec<_> = ResourceType::ALL
        .into_iter()
        .filter(|ty| !seen.contains(ty) && !ty.describe().is_read_only)
        .collect();
    // A Workload was written and never asked for; Config is in no API.
    assert_eq!(unseen, [ResourceType::Workload, ResourceType::Config]);
}

/// W14 of the type table: who takes writes of what, by Kuma 2.14.
#[tokio::test]
async fn the_global_and_its_zones_take_writes_of_what_is_theirs_only() {
    let [(_, global), (_, zone)] = servers().await;
    let of_zones = [
        "Dataplane",
        "MeshService",
        "MeshZoneAddress",
        "Workload",
        "ZoneEgress",
        "ZoneIngress",
    ];
    let of_the_global = [
        "CircuitBreaker",
        "ExternalService",
        "FaultInjection",
        "HealthCheck",
        "Mesh",
        "MeshGatewayRoute",
        "MeshMultiZoneService",
        "ProxyTemplate",
        "RateLimit",
        "Retry",
        "Timeout",
        "TrafficLog",
        "TrafficPermission",
        "TrafficRoute",
        "TrafficTrace",
        "VirtualOutbound",
    ];
    for ty in ResourceType::ALL {
        let d = ty.describe();
        let Some(collection) = d.collections.first() else {
            continue;
        };
        let path = if ty.is_mesh_scoped() {
            format!("/meshes/default/{collection}/x")
        } else {
            format!("/{collection}/x")
        };
        let refuses = async |api: &Api| {
            let status = api.put(&path, &json!({})).await.status;
            assert!(status.is_client_error(), "{path}: {status}");
            status == StatusCode::METHOD_NOT_ALLOWED
        };
        let expected = (
            d.is_read_only || of_zones.contains(&d.name),
            d.is_read_only || of_the_global.contains(&d.name),
        );
        assert_eq!(
            (refuses(&global).await, refuses(&zone).await),
            expected,
            "{ty}"
        );
    }
}

fn timeout(labels: &Value, spec: &Value) -> Value {
    json!({
        "type": "MeshTimeout", "mesh": "default", "name": "t", "labels": labels, "spec": spec,
    })
}

const TIMEOUT: &str = "/meshes/default/meshtimeouts/t";

#[tokio::test]
async fn a_policy_of_one_zone_says_that_it_is_the_zones() {
    let zone = support::zone("zone-1").await;
    let answer = zone.put(TIMEOUT, &timeout(&json!({}), &json!({}))).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.fields(), ["labels[\"kuma.io/origin\"]"]);
    let labels = json!({ "kuma.io/origin": "zone" });
    let answer = zone.put(TIMEOUT, &timeout(&labels, &json!({}))).await;
    assert_eq!(answer.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_json_spec_is_kept_as_it_was_given_and_must_be_an_object() {
    let api = support::global().await;
    let spec = json!({
        "zebra": { "b": [1, -0.5, 1e300, 9_007_199_254_740_993_u64], "a": null },
        "apple": "\u{1F34E}", "": {},
    });
    let answer = api.put(TIMEOUT, &timeout(&json!({}), &spec)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    let stored = api
        .stored(ResourceType::MeshTimeout, Some("default"), "t")
        .unwrap();
    assert_eq!(stored.spec().bytes(), spec.to_string().as_bytes());
    assert_eq!(api.get(TIMEOUT).await.json()["spec"], spec);

    for spec in [json!(null), json!([]), json!("{}"), json!(5)] {
        let answer = api.put(TIMEOUT, &timeout(&json!({}), &spec)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{spec}");
        assert_eq!(answer.fields(), ["spec"], "{spec}");
    }
    let deep = (0..60).fold(json!({}), |inner, _| json!({ "a": inner }));
    let answer = api.put(TIMEOUT, &timeout(&json!({}), &deep)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_status_is_not_its_authors() {
    let api = support::global().await;
    let path = "/meshes/default/meshtraces/t";
    let mut trace = json!({
        "type": "MeshTrace", "mesh": "default", "name": "t", "spec": {}, "status": { "mine": 1 },
    });
    api.put(path, &trace).await;
    assert_eq!(api.get(path).await.json()["status"], json!({}));
    let key = |api: &Api| {
        api.stored(ResourceType::MeshTrace, Some("default"), "t")
            .unwrap()
    };
    let status = mesh_model::Status::parse(r#"{"theirs": 2}"#.into()).unwrap();
    let with = mesh_model::Resource::clone(&key(&api)).with_status(Some(status));
    let batch = mesh_store::Batch::new().put(with);
    api.store.commit(batch).await.unwrap();
    trace["spec"] = json!({ "default": {} });
    api.put(path, &trace).await;
    let shown = api.get(path).await.json();
    assert_eq!(shown["status"], json!({ "theirs": 2 }));
    assert_eq!(shown["spec"], json!({ "default": {} }));
}
