//! What a start finds, makes and leaves.

use base64::Engine as _;
use reqwest::{Certificate, Client, StatusCode};
use serde_json::json;

use crate::support::{config, in_memory, start};

#[tokio::test]
async fn a_first_start_makes_what_every_fleet_has_and_a_second_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(config(dir.path(), &[])).await;
    let index = first.get("/").await.body;
    assert_eq!(index["product"], "Kuma");
    assert_eq!(index["tagline"], "Kuma");
    let id = index["clusterId"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 36, "{id}");
    for path in [
        "/meshes/default",
        "/meshes/default/secrets/dataplane-token-signing-key-default-1",
        "/globalsecrets/user-token-signing-key-1",
        "/globalsecrets/zone-token-signing-key-1",
        "/globalsecrets/admin-user-token",
    ] {
        assert_eq!(first.get(path).await.status, StatusCode::OK, "{path}");
    }
    let secrets = first.get("/globalsecrets").await.body;
    let revision = first.cp.store().snapshot().revision();
    first.cp.stop().await;

    let second = start(config(dir.path(), &[])).await;
    assert_eq!(second.get("/").await.body["clusterId"], id.as_str());
    assert_eq!(second.get("/globalsecrets").await.body, secrets);
    assert_eq!(second.cp.store().snapshot().revision(), revision);
    second.cp.stop().await;
}

#[tokio::test]
async fn what_is_not_wanted_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let off = [
        ("STORE_TYPE", "memory"),
        ("DEFAULTS_SKIP_MESH_CREATION", "true"),
        ("API_SERVER_AUTHN_TOKENS_BOOTSTRAP_ADMIN_TOKEN", "false"),
    ];
    let running = start(config(dir.path(), &off)).await;
    assert_eq!(running.get("/meshes").await.body["total"], 0);
    let token = running.get("/globalsecrets/admin-user-token").await;
    assert_eq!(token.status, StatusCode::NOT_FOUND);
    running.cp.stop().await;
}

#[tokio::test]
async fn the_administrators_token_opens_secrets_from_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let running = in_memory(dir.path()).await;
    let secret = running.get("/globalsecrets/admin-user-token").await.body;
    let token = base64::engine::general_purpose::STANDARD
        .decode(secret["data"].as_str().unwrap())
        .unwrap();
    let token = String::from_utf8(token).unwrap();
    let url = format!(
        "http://{}/globalsecrets",
        running.cp.addresses().http.unwrap()
    );
    // Relayed, so that coming from this host gives no rights.
    let request = || {
        running
            .client
            .get(&url)
            .header("x-forwarded-for", "192.0.2.1")
    };
    let status = request().send().await.unwrap().status();
    assert_eq!(status, StatusCode::FORBIDDEN);
    let status = request().bearer_auth(token).send().await.unwrap().status();
    assert_eq!(status, StatusCode::OK);
    let status = request().bearer_auth("junk").send().await.unwrap().status();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    running.cp.stop().await;
}

#[tokio::test]
async fn the_api_speaks_tls_with_a_certificate_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let running = in_memory(dir.path()).await;
    let pem = std::fs::read(dir.path().join("kuma-cp.crt")).unwrap();
    let roots = Certificate::from_pem_bundle(&pem).unwrap();
    let client = Client::builder().tls_certs_only(roots).build().unwrap();
    let port = running.cp.addresses().https.unwrap().port();
    let url = format!("https://localhost:{port}/meshes?size=1");
    let response = client.get(url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    running.cp.stop().await;
}

#[tokio::test]
async fn diagnostics_tell_readiness_and_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(config(dir.path(), &[])).await;
    running.get("/meshes/default").await;
    let base = format!(
        "http://127.0.0.1:{}",
        running.cp.addresses().diagnostics.port()
    );
    for path in ["/ready", "/healthy"] {
        let response = running
            .client
            .get(format!("{base}{path}"))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    let response = running
        .client
        .get(format!("{base}/metrics"))
        .send()
        .await
        .unwrap();
    let metrics = response.text().await.unwrap();
    for line in [
        "api_server_http_request_duration_seconds_count{code=\"200\",handler=\"/meshes/{name}\",method=\"GET\",service=\"api\"} 1",
        "api_server_http_requests_inflight{service=\"api\"} 0",
        "store_revision 1",
        "store_commits_total 1",
        "store_resources{resource_type=\"Mesh\"} 1",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }
    running.cp.stop().await;
}

#[tokio::test]
async fn a_taken_port_and_a_used_directory_say_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(config(dir.path(), &[])).await;
    let port = running.cp.addresses().http.unwrap().port().to_string();
    let other = tempfile::tempdir().unwrap();
    let taken = config(other.path(), &[("API_SERVER_HTTP_PORT", &port)]);
    let error = format!("{:#}", global_cp::GlobalCp::start(taken).await.unwrap_err());
    assert!(
        error.contains(&port) && error.contains("apiServer.http.port"),
        "{error}"
    );

    let error = global_cp::GlobalCp::start(config(dir.path(), &[]))
        .await
        .unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains(dir.path().to_str().unwrap()), "{error}");
    running.cp.stop().await;
}

#[tokio::test]
async fn nobody_is_online_after_a_start_before_connecting() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(config(dir.path(), &[])).await;
    first
        .store(&json!({ "type": "Zone", "name": "east" }))
        .await;
    first
        .store(&json!({
            "type": "ZoneInsight", "name": "east",
            "subscriptions": [{ "id": "s", "connectTime": "2026-03-01T10:00:00Z" }],
        }))
        .await;
    let active = first.get("/status/zones").await.body;
    assert_eq!(active, json!([{ "name": "east", "active": true }]));
    first.cp.stop().await;

    let second = start(config(dir.path(), &[])).await;
    let active = second.get("/status/zones").await.body;
    assert_eq!(active, json!([{ "name": "east", "active": false }]));
    second.cp.stop().await;
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(config(dir.path(), &[])).await;
    let gateway = json!({
        "type": "MeshGateway", "mesh": "default", "name": "edge",
        "selectors": [{ "match": { "kuma.io/service": "edge" } }],
        "conf": { "listeners": [{ "port": 8080, "protocol": "HTTP" }] },
    });
    let path = "/meshes/default/meshgateways/edge";
    assert_eq!(first.put(path, &gateway).await.status, StatusCode::CREATED);
    let written = first.get(path).await.body;
    first.cp.stop().await;
    let second = start(config(dir.path(), &[])).await;
    assert_eq!(second.get(path).await.body, written);
    second.cp.stop().await;
}
