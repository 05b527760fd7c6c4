//! What is refused, and that every reason is given at once.

use std::sync::Arc;

use async_trait::async_trait;
use http::StatusCode;
use mesh_api::{Admission, Admit, Admitted, Evict, Mode, Refusal, Settings};
use mesh_model::ResourceType;
use mesh_store::Op;
use serde_json::json;

use crate::support::{self, Api, route};

const ROUTE: &str = "/meshes/default/meshgatewayroutes/r";
const DISPLAY_NAME: &str = "labels[\"kuma.io/display-name\"]";

#[tokio::test]
async fn fields_names_and_labels_are_refused_together() {
    let api = support::global().await;
    let body = json!({
        "type": "MeshGateway", "mesh": "shop", "name": "UPPER",
        "labels": { "a b": "c", "kuma.io/origin": "zone", "kuma.io/display-name": "other" },
        "selectors": [],
        "conf": { "listeners": [{ "port": 0, "protocol": "HTTP" }] },
    });
    let answer = api.put("/meshes/default/meshgateways/edge", &body).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let mut fields = answer.fields();
    fields.sort();
    let expected = [
        "conf.listeners[0].port",
        "labels[\"a b\"]",
        DISPLAY_NAME,
        "labels[\"kuma.io/origin\"]",
        "mesh",
        "name",
        "name",
        "selectors",
    ];
    assert_eq!(fields, expected, "{}", answer.body);
}

/// Admits no route.
#[derive(Debug)]
struct NoRoutes;

#[async_trait]
impl Admission for NoRoutes {
    async fn admit(&self, _: Admit) -> Result<Admitted, Refusal> {
        Err(Refusal::new("conf", "is not wanted"))
    }

    async fn evict(&self, _: Evict) -> Result<Vec<Op>, Refusal> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn what_may_not_change_is_refused_together_with_what_the_control_plane_forbids() {
    let api = Api::new(Mode::Global, Settings::default(), Arc::new(NoRoutes)).await;
    let mut old = route("default", "r");
    old["labels"] = json!({ "kuma.io/origin": "global" });
    api.store(&old).await;
    let answer = api.put(ROUTE, &route("default", "r")).await;
    assert_eq!(answer.fields(), ["labels[\"kuma.io/origin\"]", "conf"]);
}

#[tokio::test]
async fn what_no_message_could_hold_is_refused_with_the_limit_and_its_setting() {
    let settings = Settings {
        max_resource: Some(10_000),
        ..Settings::default()
    };
    let api = Api::new(Mode::Global, settings, Arc::new(mesh_api::Open)).await;
    let path = "/meshes/default/secrets/s";
    let secret = |data: usize, labels: usize| {
        let labels: serde_json::Map<_, _> = (0..labels)
            .map(|n| (format!("label-{n}"), json!("value")))
            .collect();
        json!({
            "type": "Secret", "mesh": "default", "name": "s", "labels": labels,
            "data": "A".repeat(data),
        })
    };
    // 9,000 bytes in Base64, twice.
    let answer = api.put(path, &secret(12_000, 0)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    for body in [secret(16_000, 0), secret(12_000, 100)] {
        let answer = api.put(path, &body).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains("10000") && detail.contains("multizone.global.kds.maxMsgSize"),
            "{detail}"
        );
    }
    // What is not read, and so not stored, does not count.
    let mut body = secret(12_000, 0);
    body["surplus"] = json!("x".repeat(20_000));
    assert_eq!(api.put(path, &body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_display_name_is_the_name() {
    let api = support::global().await;
    let labelled = |name: &str| {
        let mut body = route("default", "r");
        body["labels"] = json!({ "kuma.io/display-name": name });
        body
    };
    let answer = api.put(ROUTE, &labelled("edge")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.fields(), [DISPLAY_NAME]);
    assert!(
        api.stored(ResourceType::MeshGatewayRoute, Some("default"), "r")
            .is_none()
    );
    let answer = api.put(ROUTE, &labelled("r")).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);

    // One that is there already neither goes nor becomes another.
    api.store(&labelled("edge")).await;
    assert_eq!(
        api.put(ROUTE, &labelled("edge")).await.status,
        StatusCode::OK
    );
    for body in [labelled("r"), labelled("b"), route("default", "r")] {
        let answer = api.put(ROUTE, &body).await;
        assert_eq!(answer.fields(), [DISPLAY_NAME], "{}", answer.body);
    }
}
