//! A router to ask, and what it answered.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use mesh_api::{Admission, Context, Metrics, Mode, Open, Settings};
use mesh_model::json::parse_document;
use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Timestamp, ZoneName};
use mesh_runtime::serve::{PeerAddr, Scheme};
use mesh_store::{Batch, Memory, SharedStore};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// 2026-03-01T10:00:00Z.
pub(crate) fn noon() -> Timestamp {
    Timestamp::from_unix_seconds(1_772_359_200)
}

pub(crate) struct Api {
    pub(crate) store: SharedStore,
    router: Router,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }

    /// The fields that an error names.
    pub(crate) fn fields(&self) -> Vec<String> {
        let body = self.json();
        body["invalid_parameters"]
            .as_array()
            .map(|list| {
                list.iter()
                    .map(|v| v["field"].as_str().unwrap().to_owned())
                    .collect()
            })
            .unwrap_or_default()
    }

    /// The names of a list's items.
    pub(crate) fn names(&self) -> Vec<String> {
        self.json()["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// Rules without rules, on a global control plane with the mesh `default`.
pub(crate) async fn global() -> Api {
    Api::new(Mode::Global, Settings::default(), Arc::new(Open)).await
}

pub(crate) async fn zone(name: &str) -> Api {
    let zone = ZoneName::parse(name).unwrap();
    Api::new(
        Mode::FederatedZone { zone },
        Settings::default(),
        Arc::new(Open),
    )
    .await
}

impl Api {
    pub(crate) async fn new(mode: Mode, settings: Settings, admission: Arc<dyn Admission>) -> Self {
        Self::over(Arc::new(Memory::new()), mode, settings, admission).await
    }

    pub(crate) async fn over(
        store: SharedStore,
        mode: Mode,
        settings: Settings,
        admission: Arc<dyn Admission>,
    ) -> Self {
        let router = mesh_api::router(Context {
            store: Arc::clone(&store),
            mode,
            admission,
            settings,
            config: json!({ "mode": "global" }),
            hostname: "host".to_owned(),
            instance_id: "host-1234".to_owned(),
            now: noon,
            metrics: Metrics::new(),
            reports: mesh_api::Reports::default(),
            receipts: None,
            proxies: None,
        });
        let api = Self { store, router };
        api.store(&json!({ "type": "Mesh", "name": "default" }))
            .await;
        api
    }

    /// Puts a document into the store, past the API.
    pub(crate) async fn store(&self, document: &Value) {
        let parsed = parse_document(document).unwrap();
        let mesh = parsed.mesh.map(|m| MeshName::parse(&m).unwrap());
        let name = ResourceName::parse(&parsed.name).unwrap();
        let time = |key: &str| {
            let text = document[key].as_str().unwrap_or("2026-03-01T10:00:00Z");
            text.parse().unwrap_or(noon())
        };
        let resource = Resource::new(
            Key::try_new(parsed.ty, mesh, name).unwrap(),
            parsed.labels,
            parsed.spec,
            time("creationTime"),
            time("modificationTime"),
        );
        self.store.commit(Batch::new().put(resource)).await.unwrap();
    }

    pub(crate) fn stored(
        &self,
        ty: ResourceType,
        mesh: Option<&str>,
        name: &str,
    ) -> Option<Arc<Resource>> {
        let mesh = mesh.map(|m| MeshName::parse(m).unwrap());
        let name = ResourceName::parse(name).unwrap();
        self.store.get(&Key::try_new(ty, mesh, name).unwrap())
    }

    /// Sends any request, from a peer of one's choice.
    pub(crate) async fn send(&self, mut request: Request<Body>, peer: SocketAddr) -> Answer {
        let extensions = request.extensions_mut();
        extensions.insert(PeerAddr(peer));
        extensions.insert(Scheme::Http);
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    /// Sends a request as an administrator on the same host would.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<&str>) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1:5681");
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Body::empty, |b| Body::from(b.to_owned()));
        self.send(
            request.body(body).unwrap(),
            "127.0.0.1:40000".parse().unwrap(),
        )
        .await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::PUT, path, Some(&body.to_string())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, None).await
    }
}

/// A route document.
pub(crate) fn route(mesh: &str, name: &str) -> Value {
    json!({
        "type": "MeshGatewayRoute",
        "mesh": mesh,
        "name": name,
        "selectors": [{ "match": { "kuma.io/service": "edge" } }],
        "conf": { "http": { "rules": [{
            "matches": [{ "path": { "match": "PREFIX", "value": "/" } }],
            "backends": [{ "weight": 1, "destination": { "kuma.io/service": "echo" } }],
        }] } },
    })
}

/// A Dataplane document.
pub(crate) fn dataplane(name: &str) -> Value {
    json!({
        "type": "Dataplane",
        "mesh": "default",
        "name": name,
        "networking": {
            "address": "192.0.2.1",
            "inbound": [{ "port": 8080, "tags": { "kuma.io/service": "echo" } }],
        },
    })
}
