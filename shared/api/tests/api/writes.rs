//! Creating, replacing and deleting resources.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, StatusCode};
use mesh_api::{Admission, Admit, Admitted, Evict, Mode, Refusal, Settings};
use mesh_model::{Resource, ResourceType};
use mesh_store::{Batch, Op, SharedStore};
use parking_lot::Mutex;
use serde_json::json;

use crate::support::{self, Api, dataplane, route};

const ROUTE: &str = "/meshes/default/meshgatewayroutes/r";

#[tokio::test]
async fn a_resource_is_created_replaced_read_and_deleted() {
    let api = support::global().await;
    let created = api.put(ROUTE, &route("default", "r")).await;
    assert_eq!(
        (created.status, created.body.as_str()),
        (StatusCode::CREATED, "{}\n")
    );
    assert_eq!(created.header("content-type"), Some("application/json"));
    let replaced = api.put(ROUTE, &route("default", "r")).await;
    assert_eq!(
        (replaced.status, replaced.body.as_str()),
        (StatusCode::OK, "{}\n")
    );
    let read = api.get(ROUTE).await;
    assert_eq!(read.status, StatusCode::OK);
    assert!(
        read.body
            .starts_with("{\n \"type\": \"MeshGatewayRoute\",\n"),
        "{}",
        read.body
    );
    assert!(read.body.ends_with("}\n"));
    assert_eq!(read.json()["conf"], route("default", "r")["conf"]);
    let deleted = api.delete(ROUTE).await;
    assert_eq!(
        (deleted.status, deleted.body.as_str()),
        (StatusCode::OK, "{}\n")
    );
    assert_eq!(api.get(ROUTE).await.status, StatusCode::NOT_FOUND);
    assert_eq!(api.delete(ROUTE).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn unknown_fields_are_accepted_and_named() {
    let api = support::global().await;
    let mut body = route("default", "r");
    body["conf"]["http"]["rulez"] = json!([]);
    body["kri"] = json!("kri_x");
    body["status"] = json!({});
    let answer = api.put(ROUTE, &body).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let warnings = answer.json()["warnings"].clone();
    let [warning] = warnings.as_array().unwrap().as_slice() else {
        panic!("one warning, not {warnings}");
    };
    let warning = warning.as_str().unwrap();
    assert!(
        warning.contains("conf.http.rulez") && warning.contains("\"rules\""),
        "{warning}"
    );
}

#[tokio::test]
async fn a_body_that_is_not_the_resource_of_its_path_is_refused_with_every_reason() {
    let api = support::global().await;
    let other = json!({ "type": "Mesh", "mesh": "shop", "name": "x" });
    let mut body = route("default", "r");
    body.as_object_mut()
        .unwrap()
        .extend(other.as_object().unwrap().clone());
    let answer = api.put(ROUTE, &body).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.fields(), ["name", "type", "mesh"]);
    assert_eq!(answer.json()["details"], answer.json()["detail"]);
    assert_eq!(answer.json()["causes"][0]["field"], "name");

    for (absent, fields) in [("name", ["name", "name"]), ("mesh", ["mesh", "mesh"])] {
        let mut body = route("default", "r");
        body.as_object_mut().unwrap().remove(absent);
        assert_eq!(api.put(ROUTE, &body).await.fields(), fields);
    }
    assert!(
        api.stored(ResourceType::MeshGatewayRoute, Some("default"), "r")
            .is_none()
    );
}

#[tokio::test]
async fn names_of_new_resources_are_host_names() {
    let api = support::global().await;
    for (name, encoded) in [
        ("UPPER", "UPPER"),
        ("under_score", "under_score"),
        ("-dash", "-dash"),
        ("sp ace", "sp%20ace"),
        ("umläut", "uml%C3%A4ut"),
        ("..", "%2e%2e"),
        (&*"a".repeat(254), &*"a".repeat(254)),
    ] {
        let path = format!("/meshes/default/meshgatewayroutes/{encoded}");
        let answer = api.put(&path, &route("default", name)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}");
        assert_eq!(answer.fields(), ["name"], "{}", answer.body);
        assert_eq!(
            api.delete(&path).await.status,
            StatusCode::NOT_FOUND,
            "{name}"
        );
    }
    for name in ["dots.are.fine", &*"a".repeat(253)] {
        let path = format!("/meshes/default/meshgatewayroutes/{name}");
        let answer = api.put(&path, &route("default", name)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{name}");
    }
    let slash = api
        .put(
            "/meshes/default/meshgatewayroutes/a%2Fb",
            &route("default", "a/b"),
        )
        .await;
    assert_eq!(slash.status, StatusCode::NOT_FOUND);
    assert_eq!(slash.body, "404: Page Not Found");
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_a_bad_request() {
    let api = support::global().await;
    for body in [
        "",
        "{not json",
        "[]",
        "\"x\"",
        "{}{}",
        "name: yaml",
        r#"{"name":5}"#,
    ] {
        let answer = api.ask(Method::PUT, ROUTE, Some(body)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer.json()["title"], "Bad Request", "{body}");
        assert!(answer.fields().is_empty(), "{body}");
    }
}

#[tokio::test]
async fn the_mesh_must_exist_before_anything_else_is_looked_at() {
    let api = support::global().await;
    let path = "/meshes/nomesh/meshgatewayroutes/r";
    for answer in [
        api.get(path).await,
        api.ask(Method::PUT, path, Some("{not json")).await,
        api.delete(path).await,
        api.get("/meshes/nomesh/meshgatewayroutes").await,
        api.get("/meshes/no%20mesh/meshgatewayroutes").await,
    ] {
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.json()["title"], "Failed to retrieve Mesh");
    }
}

#[tokio::test]
async fn a_long_body_is_refused_with_the_limit() {
    let settings = Settings {
        max_body: 10_000,
        ..Settings::default()
    };
    let api = Api::new(Mode::Global, settings, Arc::new(mesh_api::Open)).await;
    let mut body = route("default", "r");
    body["surplus"] = json!("x".repeat(10_000));
    let answer = api.put(ROUTE, &body).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(
        answer.json()["detail"].as_str().unwrap().contains("10000"),
        "{}",
        answer.body
    );
    body["surplus"] = json!("x".repeat(1000));
    assert_eq!(api.put(ROUTE, &body).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn the_server_keeps_the_labels_that_are_its_own() {
    let api = support::global().await;
    let labels = |api: &Api| {
        api.stored(ResourceType::MeshGatewayRoute, Some("default"), "r")
            .unwrap()
            .labels()
            .as_ref()
            .clone()
    };
    let mut body = route("default", "r");
    body["labels"] = json!({ "team": "edge", "kuma.io/mesh": "other" });
    assert_eq!(api.put(ROUTE, &body).await.status, StatusCode::CREATED);
    let first = labels(&api);
    assert_eq!(first["team"], "edge");
    assert_eq!(first["kuma.io/mesh"], "default");
    assert_eq!(first["meridian.io/created"], "1772359200");

    // Replacing without labels takes the author's away and leaves the server's.
    assert_eq!(
        api.put(ROUTE, &route("default", "r")).await.status,
        StatusCode::OK
    );
    let second = labels(&api);
    assert!(!second.contains_key("team"));
    assert_eq!(second["meridian.io/created"], "1772359200");

    // Nobody can make a resource older than it is.
    body["labels"] = json!({ "meridian.io/created": "1" });
    assert_eq!(api.put(ROUTE, &body).await.status, StatusCode::OK);
    assert_eq!(labels(&api)["meridian.io/created"], "1772359200");
}

#[tokio::test]
async fn the_origin_of_a_resource_does_not_change() {
    let api = support::global().await;
    let with = |labels: serde_json::Value| {
        let mut body = route("default", "r");
        body["labels"] = labels;
        body
    };
    let origin = "labels[\"kuma.io/origin\"]";
    for wrong in ["zone", "moon"] {
        let answer = api
            .put(ROUTE, &with(json!({ "kuma.io/origin": wrong })))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(
            answer.fields().iter().all(|f| f == origin),
            "{}",
            answer.body
        );
    }
    let global = with(json!({ "kuma.io/origin": "global" }));
    assert_eq!(api.put(ROUTE, &global).await.status, StatusCode::CREATED);
    assert_eq!(api.put(ROUTE, &global).await.status, StatusCode::OK);
    let removed = api.put(ROUTE, &route("default", "r")).await;
    assert_eq!(removed.status, StatusCode::BAD_REQUEST);
    assert_eq!(removed.fields(), [origin]);
    assert_eq!(removed.json()["title"], "Could not update a resource");
    let bad = api.put(ROUTE, &with(json!({ "a b": "c" }))).await;
    assert_eq!(bad.fields(), ["labels[\"a b\"]"]);
}

#[tokio::test]
async fn a_zone_writes_its_inventory_and_nothing_of_the_globals() {
    let api = support::zone("east").await;
    let path = "/meshes/default/dataplanes/dp";
    assert_eq!(
        api.put(path, &dataplane("dp")).await.status,
        StatusCode::CREATED
    );
    let labels = api.get(path).await.json()["labels"].clone();
    assert_eq!(
        labels,
        json!({
            "kuma.io/env": "universal",
            "kuma.io/mesh": "default",
            "kuma.io/origin": "zone",
            "kuma.io/proxy-type": "sidecar",
            "kuma.io/zone": "east",
        })
    );
    let refused = api.put(ROUTE, &route("default", "r")).await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused.json()["title"], "Method not allowed");
    assert_eq!(refused.header("allow"), None);

    let mut elsewhere = dataplane("dp");
    elsewhere["labels"] = json!({ "kuma.io/zone": "west", "kuma.io/mesh": "other" });
    let answer = api.put(path, &elsewhere).await;
    assert_eq!(
        answer.fields(),
        ["labels[\"kuma.io/zone\"]", "labels[\"kuma.io/mesh\"]"]
    );

    let service = json!({
        "type": "ExternalService", "mesh": "default", "name": "es",
        "networking": { "address": "example.com:443" },
        "tags": { "kuma.io/service": "outside" },
    });
    let refused = api
        .put("/meshes/default/external-services/es", &service)
        .await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);

    // What came from the global stays, also where the zone may have its own of the type.
    let mut gateway = json!({
        "type": "MeshGateway", "mesh": "default", "name": "edge",
        "selectors": [{ "match": { "kuma.io/service": "edge" } }],
        "conf": { "listeners": [{ "port": 8080, "protocol": "HTTP" }] },
    });
    gateway["labels"] = json!({ "kuma.io/origin": "global" });
    api.store(&gateway).await;
    let path = "/meshes/default/meshgateways/edge";
    assert_eq!(
        api.delete(path).await.fields(),
        ["labels[\"kuma.io/origin\"]"]
    );
    gateway.as_object_mut().unwrap().remove("labels");
    assert_eq!(
        api.put(path, &gateway).await.fields(),
        ["labels[\"kuma.io/origin\"]"]
    );
}

#[tokio::test]
async fn external_services_need_their_mesh() {
    let api = support::global().await;
    let mut service = json!({
        "type": "ExternalService", "mesh": "default", "name": "es",
        "networking": { "address": "example.com:443" },
        "tags": { "kuma.io/service": "outside" },
    });
    let path = "/meshes/default/external-services/es";
    assert_eq!(api.put(path, &service).await.status, StatusCode::CREATED);
    service["networking"]["address"] = json!("example.com");
    assert_eq!(
        api.put(path, &service).await.fields(),
        ["networking.address"]
    );
    service["networking"]["address"] = json!("example.com:443");
    service["mesh"] = json!("nowhere");
    let answer = api
        .put("/meshes/nowhere/external-services/es", &service)
        .await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.body);
}

#[tokio::test]
async fn the_global_takes_no_inventory_over_its_api() {
    let api = support::global().await;
    for (path, body) in [
        ("/meshes/default/dataplanes/dp", dataplane("dp").to_string()),
        ("/meshes/default/dataplanes/dp", "{not json".to_owned()),
        ("/zoneingresses/i", "{}".to_owned()),
        ("/zone-insights/z", "{}".to_owned()),
        ("/meshes/default/dataplane-insights/dp", "{}".to_owned()),
    ] {
        let answer = api.ask(Method::PUT, path, Some(&body)).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(
            api.delete(path).await.status,
            StatusCode::METHOD_NOT_ALLOWED,
            "{path}"
        );
        assert_eq!(api.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

/// Writes the same resource behind the back of the first requests that ask.
#[derive(Debug)]
struct Rival {
    store: Mutex<Option<SharedStore>>,
    writes: Mutex<u32>,
}

impl Rival {
    async fn interfere(&self, key: &mesh_model::Key) {
        let store = self.store.lock().clone();
        let turn = {
            let mut writes = self.writes.lock();
            *writes = writes.saturating_sub(1);
            *writes
        };
        if let (Some(store), 1..) = (store, turn + 1)
            && turn > 0
        {
            let mut body = route("default", "r");
            body["selectors"][0]["match"]["turn"] = json!(turn.to_string());
            let spec = mesh_model::json::parse_document(&body).unwrap().spec;
            let now = support::noon();
            let resource = Resource::new(key.clone(), Default::default(), spec, now, now);
            store.commit(Batch::new().put(resource)).await.unwrap();
        }
    }
}

#[async_trait]
impl Admission for Rival {
    async fn admit(&self, request: Admit) -> Result<Admitted, Refusal> {
        self.interfere(request.new.key()).await;
        Ok(Admitted {
            resource: request.new,
            more: Vec::new(),
        })
    }

    async fn evict(&self, request: Evict) -> Result<Vec<Op>, Refusal> {
        self.interfere(request.old.key()).await;
        Ok(Vec::new())
    }
}

async fn with_rival(writes: u32) -> Api {
    let rival = Arc::new(Rival {
        store: Mutex::new(None),
        writes: Mutex::new(writes + 1),
    });
    let admission: Arc<dyn Admission> = Arc::clone(&rival) as _;
    let api = Api::new(Mode::Global, Settings::default(), admission).await;
    *rival.store.lock() = Some(Arc::clone(&api.store));
    api
}

#[tokio::test]
async fn a_write_that_meets_another_is_repeated() {
    let api = with_rival(3).await;
    let answer = api.put(ROUTE, &route("default", "r")).await;
    // The rival created it first.
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(
        api.get(ROUTE).await.json()["selectors"],
        route("default", "r")["selectors"]
    );
}

#[tokio::test]
async fn a_write_that_meets_others_again_and_again_is_a_conflict() {
    let api = with_rival(1000).await;
    let answer = api.put(ROUTE, &route("default", "r")).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert_eq!(answer.json()["title"], "Conflict");
    let answer = api.delete(ROUTE).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
}
