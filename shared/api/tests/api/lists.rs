//! Lists: pages, filters, overviews.

use http::StatusCode;
use serde_json::json;

use crate::support::{self, Api, dataplane, route};

async fn with_routes(count: usize) -> Api {
    let api = support::global().await;
    for i in 0..count {
        api.store(&route("default", &format!("page-{i:03}"))).await;
    }
    api
}

const ROUTES: &str = "/meshes/default/meshgatewayroutes";

#[tokio::test]
async fn pages_follow_one_another() {
    let api = with_routes(5).await;
    let first = api.get(&format!("{ROUTES}?size=2&x=y%26z&name=page")).await;
    assert_eq!(first.json()["total"], 5);
    assert_eq!(first.names(), ["page-000", "page-001"]);
    let next = first.json()["next"].as_str().unwrap().to_owned();
    assert_eq!(
        next,
        format!("http://127.0.0.1:5681{ROUTES}?name=page&offset=2&size=2&x=y%26z")
    );
    let second = api
        .get(next.strip_prefix("http://127.0.0.1:5681").unwrap())
        .await;
    assert_eq!(second.names(), ["page-002", "page-003"]);
    let last = api.get(&format!("{ROUTES}?size=2&offset=4")).await;
    assert_eq!(last.names(), ["page-004"]);
    assert_eq!(last.json()["next"], json!(null));
    let beyond = api.get(&format!("{ROUTES}?offset=99")).await;
    assert_eq!(
        beyond.body,
        "{\n \"total\": 5,\n \"items\": [],\n \"next\": null\n}\n"
    );
}

#[tokio::test]
async fn a_page_has_a_hundred_items_unless_asked_otherwise() {
    let api = with_routes(105).await;
    let page = api.get(ROUTES).await;
    assert_eq!(page.names().len(), 100);
    let next = format!("http://127.0.0.1:5681{ROUTES}?offset=100");
    assert_eq!(page.json()["next"], json!(next));
    assert_eq!(
        api.get(&format!("{ROUTES}?size=1000")).await.names().len(),
        105
    );
}

#[tokio::test]
async fn a_list_over_all_meshes_is_ordered_by_mesh_and_name() {
    let api = support::global().await;
    api.store(&json!({ "type": "Mesh", "name": "shop" })).await;
    for (mesh, name) in [("shop", "a"), ("default", "z"), ("default", "b")] {
        api.store(&route(mesh, name)).await;
    }
    assert_eq!(api.get("/meshgatewayroutes").await.names(), ["b", "z", "a"]);
    assert_eq!(
        api.get("/meshes/shop/meshgatewayroutes/").await.names(),
        ["a"]
    );
}

#[tokio::test]
async fn bad_sizes_and_filters_name_their_field() {
    let api = support::global().await;
    for size in ["0", "-1", "abc", "1.5", "1001"] {
        let answer = api.get(&format!("/meshes?size={size}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{size}");
        assert_eq!(answer.fields(), ["size"], "{size}");
        assert_eq!(answer.json()["detail"], "Invalid page size");
    }
    for offset in ["-1", "abc"] {
        let answer = api.get(&format!("/meshes?offset={offset}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{offset}");
        assert!(answer.fields().is_empty());
    }
    let answer = api.get("/meshes/default/dataplanes?gateway=maybe").await;
    assert_eq!(answer.fields(), ["/meshes/{mesh}/dataplanes.gateway"]);
    let answer = api.get("/dataplanes+insights?filter[name]=x").await;
    assert_eq!(answer.fields(), ["/dataplanes+insights.filter[name]"]);
}

#[tokio::test]
async fn one_set_of_tags_must_have_all_that_are_asked_for() {
    let api = support::global().await;
    let mut two = dataplane("two");
    two["networking"]["inbound"] = json!([
        { "port": 1, "tags": { "kuma.io/service": "a", "version": "v1" } },
        { "port": 2, "tags": { "kuma.io/service": "b", "version": "v2" } },
    ]);
    api.store(&two).await;
    let total =
        async |query: &str| api.get(&format!("/dataplanes?{query}")).await.json()["total"].clone();
    assert_eq!(total("tag=kuma.io/service:a&tag=version:v1").await, 1);
    assert_eq!(total("tag=kuma.io/service:a&tag=version:v2").await, 0);
    assert_eq!(total("tag=kuma.io/service:*&tag=version:v").await, 1);
    assert_eq!(total("tag=malformed").await, 1);
    assert_eq!(total("tag=:").await, 0);
}

#[tokio::test]
async fn external_services_are_found_by_their_tags() {
    let api = support::global().await;
    for (name, version) in [("one", "v1"), ("two", "v2")] {
        let service = json!({
            "type": "ExternalService", "mesh": "default", "name": name,
            "networking": { "address": "example.com:443" },
            "tags": { "kuma.io/service": "outside", "version": version },
        });
        api.store(&service).await;
    }
    let names = async |query: &str| {
        let path = format!("/meshes/default/external-services?{query}");
        api.get(&path).await.names()
    };
    assert_eq!(
        names("tag=kuma.io/service:out&tag=version:*").await,
        ["one", "two"]
    );
    assert_eq!(names("tag=version:v2").await, ["two"]);
    assert_eq!(names("tag=version:v1&tag=team:*").await, [""; 0]);
    assert_eq!(names("gateway=true").await, ["one", "two"]);
}

#[tokio::test]
async fn an_overview_joins_a_resource_with_its_insight() {
    let api = support::global().await;
    api.store(&dataplane("a")).await;
    api.store(&dataplane("b")).await;
    api.store(&json!({
        "type": "DataplaneInsight", "mesh": "default", "name": "a",
        "subscriptions": [{ "id": "s", "status": { "total": { "responsesSent": "12" } } }],
    }))
    .await;
    for path in [
        "/dataplanes+insights",
        "/meshes/default/dataplanes/_overview",
    ] {
        let list = api.get(path).await.json();
        let [a, b] = list["items"].as_array().unwrap().as_slice() else {
            panic!("{list}");
        };
        assert_eq!(a["type"], "DataplaneOverview");
        assert_eq!(a["dataplane"]["networking"]["address"], "192.0.2.1");
        let sent = &a["dataplaneInsight"]["subscriptions"][0]["status"]["total"]["responsesSent"];
        assert_eq!(sent, "12");
        assert!(b.get("dataplaneInsight").is_none());
    }
    let item = api
        .get("/meshes/default/dataplanes/b/_overview")
        .await
        .json();
    assert_eq!(item["dataplaneInsight"], json!({}));
}

#[tokio::test]
async fn a_route_runs_on_the_proxies_whose_listeners_it_selects() {
    let api = support::global().await;
    api.store(&json!({
        "type": "Dataplane", "mesh": "default", "name": "gw",
        "networking": {"address": "10.0.0.7", "gateway": {
            "type": "BUILTIN", "tags": {"kuma.io/service": "edge"},
        }},
    }))
    .await;
    api.store(&json!({
        "type": "MeshGateway", "mesh": "default", "name": "edge",
        "selectors": [{"match": {"kuma.io/service": "edge"}}],
        "conf": {"listeners": [{"port": 80, "protocol": "HTTP", "tags": {"vhost": "shop"}}]},
    }))
    .await;
    for (name, vhost, total) in [("on-it", "shop", 1), ("on-none", "other", 0)] {
        api.store(&json!({
            "type": "MeshGatewayRoute", "mesh": "default", "name": name,
            "selectors": [{"match": {"kuma.io/service": "edge", "vhost": vhost}}],
            "conf": {"tcp": {"rules": []}},
        }))
        .await;
        let selected = api.get(&format!("{ROUTES}/{name}/dataplanes")).await;
        assert_eq!(selected.json()["total"], total, "{name}: {}", selected.body);
    }
}
