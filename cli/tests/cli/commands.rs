use mesh_runtime::tls::Identity;
use serde_json::{Value, json};

use crate::support::{ControlPlane, meridian, route, routes};

fn columns(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .map(|line| line.split("   ").map(|cell| cell.trim().to_owned()))
        .map(|cells| cells.filter(|cell| !cell.is_empty()).collect())
        .collect()
}

#[tokio::test]
async fn get_shows_lists_and_items() {
    let cp = ControlPlane::start().await;
    cp.run_with("apply -f -", &routes(2)).await.ok();
    let table = cp.run("get meshgatewayroutes").await.ok();
    let rows = columns(&table);
    assert_eq!(rows[0], ["MESH", "NAME", "AGE"]);
    assert_eq!(rows[1][..2], ["default", "r0"]);
    assert_eq!(rows.len(), 3);
    let all = cp.run("get meshgatewayroutes --all-meshes").await.ok();
    assert_eq!(columns(&all).len(), 3);
    let list: Value =
        serde_json::from_str(&cp.run("get meshgatewayroutes -o json").await.ok()).unwrap();
    assert_eq!(list["total"], 2);
    assert_eq!(list["items"][1]["name"], "r1");
    let item: Value =
        serde_json::from_str(&cp.run("get meshgatewayroute r1 -o json").await.ok()).unwrap();
    assert_eq!(
        item["conf"]["http"]["rules"][0]["matches"][0]["path"]["value"],
        "/1"
    );
    let meshes = columns(&cp.run("get meshes").await.ok());
    assert_eq!(meshes[1][..4], ["default", "off", "off", "off"]);
}

#[tokio::test]
async fn get_follows_pages_unless_told_how_many() {
    let cp = ControlPlane::start().await;
    cp.run_with("apply -f -", &routes(1003)).await.ok();
    let all = cp.run("get meshgatewayroutes").await;
    assert_eq!(all.ok().lines().count(), 1 + 1003);
    let some = cp.run("get meshgatewayroutes --size 2 --offset 1").await;
    assert_eq!(some.stdout.lines().count(), 3);
    assert!(some.stderr.contains("2 of 1003 shown"), "{}", some.stderr);
    assert!(some.stderr.contains("--offset=3"), "{}", some.stderr);
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let cp = ControlPlane::start().await;
    for line in [
        "get meshgateway nosuch",
        "delete meshgateway nosuch",
        "inspect meshgateway nosuch",
    ] {
        let stderr = cp.run(line).await.failed();
        assert!(
            stderr.contains("there is no MeshGateway \"nosuch\" in mesh \"default\""),
            "{line}: {stderr}"
        );
    }
    let stderr = cp.run("get meshgatway x").await.failed();
    assert!(stderr.contains("did you mean meshgateway?"), "{stderr}");
    let stderr = cp.run("inspect dataplane nosuch").await.failed();
    assert!(stderr.contains("there is no Dataplane"), "{stderr}");
}

#[tokio::test]
async fn delete_deletes() {
    let cp = ControlPlane::start().await;
    cp.run_with("apply -f -", &route("shop", "/", "echo"))
        .await
        .ok();
    assert_eq!(
        cp.run("delete meshgatewayroute shop").await.ok(),
        "deleted MeshGatewayRoute \"shop\"\n"
    );
    assert_eq!(
        cp.run("get meshgatewayroutes").await.ok().lines().count(),
        1
    );
}

#[tokio::test]
async fn an_external_service_is_applied_shown_and_deleted() {
    let cp = ControlPlane::start().await;
    let text = "type: ExternalService\nmesh: default\nname: es1\n\
        tags: {kuma.io/service: outside, kuma.io/protocol: http}\n\
        networking: {address: 'example.com:443', tls: {enabled: true}}\n";
    cp.run_with("apply -f -", text).await.ok();
    let shown = columns(&cp.run("get external-services").await.ok());
    assert_eq!(shown[0], ["MESH", "NAME", "TAGS", "ADDRESS", "AGE"]);
    assert_eq!(shown[1][1], "es1");
    assert!(
        shown[1].contains(&"example.com:443".to_owned()),
        "{shown:?}"
    );
    let one = cp.run("get external-service es1 -o yaml").await.ok();
    assert!(one.contains("address: example.com:443"), "{one}");
    for document in [
        json!({
            "type": "Dataplane", "mesh": "default", "name": "gw-1",
            "networking": {"address": "127.0.1.1",
                "gateway": {"type": "BUILTIN", "tags": {"kuma.io/service": "edge"}}},
        }),
        json!({
            "type": "DataplaneInsight", "mesh": "default", "name": "gw-1",
            "findings": [{"type": "ExternalService", "name": "es1",
                "field": "networking.tls.caCert", "message": "no such Secret"}],
        }),
    ] {
        cp.store(&document).await;
    }
    assert_eq!(
        cp.run("inspect external-service es1").await.ok(),
        "ExternalService default/es1\n\nFindings:\n  networking.tls.caCert: no such Secret \
         (says gw-1)\n"
    );
    let wrong = text.replace("example.com:443", "example.com");
    let stderr = cp.run_with("apply -f -", &wrong).await.failed();
    assert!(stderr.contains("networking.address"), "{stderr}");
    assert_eq!(
        cp.run("delete external-service es1").await.ok(),
        "deleted ExternalService \"es1\"\n"
    );
}

/// A gateway in zone east that has something to say about the route `shop`, and its zone.
async fn with_a_gateway() -> ControlPlane {
    let cp = ControlPlane::start().await;
    let labels = json!({"kuma.io/display-name": "gw-1", "kuma.io/zone": "east"});
    let connected = "2026-03-01T10:00:00Z";
    for document in [
        json!({
            "type": "Dataplane", "mesh": "default", "name": "gw-1-cc8x45xdddfb45c6",
            "labels": labels,
            "networking": {"address": "127.0.1.1",
                "gateway": {"type": "BUILTIN", "tags": {"kuma.io/service": "edge"}}},
        }),
        json!({
            "type": "DataplaneInsight", "mesh": "default", "name": "gw-1-cc8x45xdddfb45c6",
            "subscriptions": [{"id": "1", "connectTime": connected, "status": {"total": {}},
                "version": {"envoy": {"version": "1.36.2"}}}],
            "findings": [{"type": "MeshGatewayRoute", "name": "shop",
                "field": "conf.http.rules[0].backends[0]", "message": "no such service \"cart\""}],
        }),
        json!({"type": "Zone", "name": "east", "enabled": true}),
        json!({
            "type": "ZoneInsight", "name": "east",
            "subscriptions": [{"id": "1", "connectTime": connected, "status": {"total": {}},
                "version": {"kumaCp": {"version": "2.14.3"}}}],
        }),
    ] {
        cp.store(&document).await;
    }
    let text = format!(
        "{}---\n{}",
        route("shop", "/cart", "cart"),
        route("fine", "/", "echo")
    );
    cp.run_with("apply -f -", &text).await.ok();
    cp
}

#[tokio::test]
async fn zones_and_dataplanes_show_how_they_are() {
    let cp = with_a_gateway().await;
    let zones = columns(&cp.run("get zones").await.ok());
    assert_eq!(zones[1][..3], ["east", "Online", "2.14.3"]);
    let dataplanes = columns(&cp.run("get dataplanes").await.ok());
    assert_eq!(
        dataplanes[1][..7],
        [
            "default",
            "gw-1-cc8x45xdddfb45c6",
            "east",
            "kuma.io/service=edge",
            "127.0.1.1",
            "Online",
            "1"
        ]
    );
    let one = columns(&cp.run("get zone east").await.ok());
    assert_eq!(one[1][..2], ["east", "Online"]);
    let zones = columns(&cp.run("inspect zones").await.ok());
    assert_eq!(zones[1][..2], ["east", "Online"]);
    let gateways = cp.run("inspect dataplanes --gateway").await.ok();
    assert!(gateways.contains("1.36.2"), "{gateways}");
}

#[tokio::test]
async fn inspect_shows_the_findings_about_a_route() {
    let cp = with_a_gateway().await;
    let shop = cp.run("inspect meshgatewayroute shop").await.ok();
    assert!(
        shop.contains("  conf.http.rules[0].backends[0]: no such service \"cart\" (says gw-1-"),
        "{shop}"
    );
    assert!(
        shop.contains("gw-1-cc8x45xdddfb45c6   east   Online"),
        "{shop}"
    );
    let fine = cp.run("inspect meshgatewayroute fine").await.ok();
    assert!(fine.ends_with("\nno findings\n"), "{fine}");
    let proxy = cp.run("inspect dataplane gw-1").await.ok();
    assert!(
        proxy.contains("MeshGatewayRoute shop: conf.http"),
        "{proxy}"
    );
    let json = cp.run("inspect meshgatewayroute shop -o json").await.ok();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["findings"][0]["field"],
        "conf.http.rules[0].backends[0]"
    );
}

#[tokio::test]
async fn a_token_needs_a_key_and_rights() {
    let cp = ControlPlane::start().await;
    let line = "generate dataplane-token --name gw-1 --valid-for 1h";
    let stderr = cp.run(line).await.failed();
    assert!(stderr.contains("Signing Key not found"), "{stderr}");

    let key = meridian(&["generate", "signing-key"]).await.ok();
    cp.store(&json!({
        "type": "Secret", "mesh": "default", "name": "dataplane-token-signing-key-default-1",
        "data": key,
    }))
    .await;
    let token = cp.run(line).await.ok();
    assert_eq!(token.split('.').count(), 3, "{token}");
    assert!(!token.ends_with('\n'));

    let closed = ControlPlane::start_closed().await;
    let stderr = closed.run(line).await.failed();
    assert!(stderr.contains("--token-file"), "{stderr}");
}

#[tokio::test]
async fn a_zone_is_told_which_cluster_to_follow() {
    let id = "0b1f7e5c-2a7f-4a53-9a55-d4c7c1a0f3be";
    let zone = ControlPlane::start_zone().await;
    let shown = zone.run(&format!("accept-cluster {id}")).await.ok();
    assert!(shown.contains(id), "{shown}");
    let stderr = zone.run("accept-cluster nonsense").await.failed();
    assert!(stderr.contains("clusterId"), "{stderr}");
    let global = ControlPlane::start().await;
    let stderr = global.run(&format!("accept-cluster {id}")).await.failed();
    assert!(
        stderr.contains("is not the control plane of a zone"),
        "{stderr}"
    );
}

#[tokio::test]
async fn tls_is_checked_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::load_or_create(folder.path()).unwrap();
    let cp = ControlPlane::start_with_tls(&identity).await;
    let ca = folder.path().join("kuma-cp.crt").display().to_string();
    cp.run(&format!("get meshes --ca-cert-file {ca}"))
        .await
        .ok();
    cp.run("get meshes --skip-verify").await.ok();
    let other = tempfile::tempdir().unwrap();
    Identity::load_or_create(other.path()).unwrap();
    let ca = other.path().join("kuma-cp.crt").display().to_string();
    let stderr = cp
        .run(&format!("get meshes --ca-cert-file {ca}"))
        .await
        .failed();
    assert!(
        stderr.contains("check the address and the CA file"),
        "{stderr}"
    );
    let stderr = cp
        .run("get meshes --ca-cert-file absent.crt")
        .await
        .failed();
    assert!(stderr.contains("absent.crt"), "{stderr}");
    let plain = cp.address.replace("https:", "http:");
    let stderr = meridian(&["get", "meshes", "--address", &plain])
        .await
        .failed();
    assert!(stderr.contains("begin with https"), "{stderr}");
}

#[tokio::test]
async fn versions_are_shown_with_and_without_a_control_plane() {
    let cp = ControlPlane::start().await;
    let shown = cp.run("version").await.ok();
    assert!(shown.starts_with("Client: Meridian "), "{shown}");
    assert!(shown.contains("\nServer: Meridian "), "{shown}");
    let alone = meridian(&["version", "--address", "http://127.0.0.1:1"]).await;
    assert!(alone.stderr.contains("unknown"), "{alone:?}");
    assert_eq!(alone.ok().lines().count(), 1);
    let flag = meridian(&["--version"]).await.ok();
    assert!(flag.contains("compatible with Kuma"), "{flag}");
}
