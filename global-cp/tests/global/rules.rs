//! The rules that only a global control plane has.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Running, config, in_memory, start};

fn mesh(name: &str, more: &Value) -> Value {
    let mut mesh = json!({ "type": "Mesh", "name": name });
    mesh.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    mesh
}

fn mtls(backend: &str, ty: &str) -> Value {
    json!({ "mtls": { "enabledBackend": backend, "backends": [{ "name": backend, "type": ty }] } })
}

async fn report_dataplane(running: &Running, mesh: &str, zone: &str, name: &str) {
    let labels = json!({ "kuma.io/zone": zone, "kuma.io/origin": "zone" });
    running
        .store(&json!({
            "type": "Dataplane", "mesh": mesh, "name": name, "labels": labels,
            "networking": { "address": "192.0.2.1" },
        }))
        .await;
    running
        .store(&json!({ "type": "DataplaneInsight", "mesh": mesh, "name": name }))
        .await;
}

async fn total(running: &Running, path: &str) -> u64 {
    running.get(path).await.body["total"].as_u64().unwrap()
}

#[tokio::test]
async fn a_mesh_comes_with_its_signing_key_and_goes_with_everything_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let running = in_memory(dir.path()).await;
    let before = running.cp.store().snapshot();
    let created = running.put("/meshes/shop", &mesh("shop", &json!({}))).await;
    assert_eq!(created.status, StatusCode::CREATED);
    let after = running.cp.store().snapshot();
    assert_eq!(after.revision().0, before.revision().0 + 1, "one batch");
    let token = json!({ "mesh": "shop", "name": "a", "validFor": "1h" });
    let token = running
        .ask(reqwest::Method::POST, "/tokens/dataplane", Some(&token))
        .await;
    assert_eq!(token.status, StatusCode::OK);

    report_dataplane(&running, "shop", "east", "a").await;
    let refused = running.delete("/meshes/shop").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.fields(), ["mesh"]);
    assert_eq!(total(&running, "/meshes/shop/secrets").await, 1);

    let dataplane = running.cp.store().list(mesh_model::ResourceType::Dataplane);
    let batch = mesh_store::Batch::new().delete(dataplane[0].key().clone());
    running.cp.store().commit(batch).await.unwrap();
    assert_eq!(running.delete("/meshes/shop").await.status, StatusCode::OK);
    let left = running.cp.store().snapshot();
    assert!(left.iter().all(|r| r.key().mesh_str() != "shop"));
    assert_eq!(
        running.get("/meshes/shop/secrets").await.status,
        StatusCode::NOT_FOUND
    );
    running.cp.stop().await;
}

#[tokio::test]
async fn a_mesh_in_use_goes_where_the_operator_allows_that() {
    let dir = tempfile::tempdir().unwrap();
    let unsafe_delete = [("STORE_TYPE", "memory"), ("STORE_UNSAFE_DELETE", "true")];
    let running = start(config(dir.path(), &unsafe_delete)).await;
    report_dataplane(&running, "default", "east", "a").await;
    assert_eq!(
        running.delete("/meshes/default").await.status,
        StatusCode::OK
    );
    assert_eq!(total(&running, "/dataplanes").await, 0);
    running.cp.stop().await;
}

#[tokio::test]
async fn the_certificate_authority_of_a_mesh_does_not_change_while_it_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let running = in_memory(dir.path()).await;
    let put = async |more: Value| running.put("/meshes/shop", &mesh("shop", &more)).await;
    let odd = put(mtls("ca-1", "nosuch")).await;
    assert_eq!(odd.fields(), ["mtls.backends[0].type"]);
    assert_eq!(odd.body["title"], "Failed to create a resource");
    assert_eq!(
        put(mtls("ca-1", "builtin")).await.status,
        StatusCode::CREATED
    );
    let changed = put(mtls("ca-2", "builtin")).await;
    assert_eq!(changed.fields(), ["mtls.enabledBackend"]);
    assert_eq!(changed.body["title"], "Failed to update a resource");
    assert_eq!(put(json!({})).await.status, StatusCode::OK);
    assert_eq!(put(mtls("ca-2", "builtin")).await.status, StatusCode::OK);

    let path = "/meshes/shop/secrets/shop.ca-builtin-key-ca-2";
    assert_eq!(running.delete(path).await.fields(), ["name"]);
    assert_eq!(put(json!({})).await.status, StatusCode::OK);
    assert_eq!(running.delete(path).await.status, StatusCode::OK);
    running.cp.stop().await;
}

#[tokio::test]
async fn a_builtin_backend_comes_with_its_certificate_authority_once() {
    let dir = tempfile::tempdir().unwrap();
    let running = in_memory(dir.path()).await;
    let put = async |more: Value| running.put("/meshes/shop", &mesh("shop", &more)).await;
    let secret = async |part: &str| {
        let path = format!("/meshes/shop/secrets/shop.ca-builtin-{part}-ca-1");
        let answer = running.get(&path).await;
        let data = answer.body["data"].as_str().map(str::to_owned);
        data.map(|data| BASE64_STANDARD.decode(data).unwrap())
    };
    let mut odd = mtls("ca-1", "builtin");
    odd["mtls"]["backends"][0]["conf"] = json!({ "caCert": { "RSAbits": 1 } });
    let odd = put(odd).await;
    assert_eq!(odd.fields(), ["mtls.backends[0].conf.caCert.RSAbits"]);

    let before = running.cp.store().snapshot().revision().0;
    let created = put(mtls("ca-1", "builtin")).await;
    assert_eq!(created.status, StatusCode::CREATED);
    let after = running.cp.store().snapshot().revision().0;
    assert_eq!(after, before + 1, "one batch");
    let [cert, key] = [secret("cert").await.unwrap(), secret("key").await.unwrap()];
    assert!(cert.starts_with(b"-----BEGIN CERTIFICATE-----"));
    assert!(key.starts_with(b"-----BEGIN RSA PRIVATE KEY-----"));

    // Whatever else changes, who trusts the authority today does so tomorrow.
    let mut more = mtls("ca-1", "builtin");
    more["mtls"]["backends"][0]["mode"] = json!("PERMISSIVE");
    assert_eq!(put(more).await.status, StatusCode::OK);
    assert_eq!(put(json!({})).await.status, StatusCode::OK);
    assert_eq!(put(mtls("ca-1", "builtin")).await.status, StatusCode::OK);
    assert_eq!(secret("cert").await.unwrap(), cert);
    assert_eq!(secret("key").await.unwrap(), key);

    assert_eq!(put(json!({})).await.status, StatusCode::OK);
    let path = "/meshes/shop/secrets/shop.ca-builtin-key-ca-1";
    assert_eq!(running.delete(path).await.status, StatusCode::OK);
    let half = put(mtls("ca-1", "builtin")).await;
    assert_eq!(half.fields(), ["mtls.backends[0].name"]);
    running.cp.stop().await;
}

#[tokio::test]
async fn a_zone_goes_with_what_it_sent_but_not_while_it_is_connected() {
    let dir = tempfile::tempdir().unwrap();
    let running = in_memory(dir.path()).await;
    for zone in ["east", "west"] {
        let body = json!({ "type": "Zone", "name": zone, "enabled": true });
        let path = format!("/zones/{zone}");
        assert_eq!(running.put(&path, &body).await.status, StatusCode::CREATED);
        report_dataplane(&running, "default", zone, zone).await;
    }
    let insight = |ended: Value| {
        json!({
            "type": "ZoneInsight", "name": "east",
            "subscriptions": [{
                "id": "s", "connectTime": "2026-03-01T10:00:00Z", "disconnectTime": ended,
            }],
        })
    };
    running.store(&insight(Value::Null)).await;
    let refused = running.delete("/zones/east").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.fields(), ["zone"]);
    assert_eq!(total(&running, "/dataplanes").await, 2);

    running.store(&insight(json!("2026-03-01T11:00:00Z"))).await;
    assert_eq!(running.delete("/zones/east").await.status, StatusCode::OK);
    let left = running.get("/dataplanes+insights").await.body;
    assert_eq!(left["total"], 1);
    assert_eq!(left["items"][0]["name"], "west");
    assert_eq!(total(&running, "/zone-insights").await, 0);
    assert_eq!(total(&running, "/dataplane-insights").await, 1);
    running.cp.stop().await;
}

#[tokio::test]
async fn many_writers_of_one_resource_leave_one_of_their_texts() {
    let dir = tempfile::tempdir().unwrap();
    let running = in_memory(dir.path()).await;
    let gateway = |port: u16| {
        json!({
            "type": "MeshGateway", "mesh": "default", "name": "edge",
            "selectors": [{ "match": { "kuma.io/service": "edge" } }],
            "conf": { "listeners": [{ "port": port, "protocol": "HTTP" }] },
        })
    };
    let path = "/meshes/default/meshgateways/edge";
    let bodies: Vec<Value> = (8000..8004).map(gateway).collect();
    let answers = tokio::join!(
        running.put(path, &bodies[0]),
        running.put(path, &bodies[1]),
        running.put(path, &bodies[2]),
        running.put(path, &bodies[3]),
    );
    let statuses = [
        answers.0.status,
        answers.1.status,
        answers.2.status,
        answers.3.status,
    ];
    let created = statuses
        .iter()
        .filter(|s| **s == StatusCode::CREATED)
        .count();
    let replaced = statuses.iter().filter(|s| **s == StatusCode::OK).count();
    assert_eq!((created, replaced), (1, 3), "{statuses:?}");
    let conf = running.get(path).await.body["conf"].clone();
    assert!(bodies.iter().any(|b| b["conf"] == conf), "{conf}");
    running.cp.stop().await;
}

#[tokio::test]
async fn a_resource_that_no_message_to_a_zone_could_hold_is_refused() {
    let secret = |length: usize| {
        json!({
            "type": "Secret", "mesh": "default", "name": "s", "data": "A".repeat(length),
        })
    };
    let path = "/meshes/default/secrets/s";
    let dir = tempfile::tempdir().unwrap();
    let running = in_memory(dir.path()).await;
    // Kuma takes a body of 10 MB, and so do we.
    let answer = running.put(path, &secret(10_000_000)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    // Decoded, this is 12 MB, and a message has 10 MiB.
    let answer = running.put(path, &secret(16_000_000)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(
        detail.contains("multizone.global.kds.maxMsgSize"),
        "{detail}"
    );
    running.cp.stop().await;

    let dir = tempfile::tempdir().unwrap();
    let more = [
        ("STORE_TYPE", "memory"),
        ("MULTIZONE_GLOBAL_KDS_MAX_MSG_SIZE", "200000"),
    ];
    let running = start(config(dir.path(), &more)).await;
    let answer = running.put(path, &secret(200_000)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(
        running.put(path, &secret(150_000)).await.status,
        StatusCode::CREATED
    );
    running.cp.stop().await;
}
