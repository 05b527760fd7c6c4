use std::collections::BTreeMap;

use axum::body::Body;
use axum::http;
use http_body_util::BodyExt as _;
use mesh_model::{Resource, Spec, Timestamp, ZoneName};
use mesh_proto::mesh;
use mesh_runtime::shutdown::Shutdown;
use mesh_store::{Batch, Memory, Store as _};
use tower::ServiceExt as _;

use super::*;
use crate::dataplane::auth::ProxyAuth;

fn server_certificate() -> ServerCertificate {
    let names = ["127.0.0.1", "::1", "localhost", "zone-host"];
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(names.map(str::to_owned))
        .unwrap()
        .self_signed(&key)
        .unwrap();
    ServerCertificate::from_pem(&certificate.pem()).unwrap()
}

async fn context() -> Context {
    let store = Memory::new();
    let resource = |key: Key, spec| {
        Resource::new(
            key,
            BTreeMap::new(),
            spec,
            Timestamp::EPOCH,
            Timestamp::EPOCH,
        )
    };
    let default = resource(
        Key::global(ResourceType::Mesh, ResourceName::parse("default").unwrap()),
        Spec::encode(ResourceType::Mesh, &mesh::Mesh::default()),
    );
    let document = json::parse_document(&gateway("stored")).unwrap();
    let stored = resource(
        Key::in_mesh(
            ResourceType::Dataplane,
            MeshName::parse("default").unwrap(),
            ResourceName::parse("stored").unwrap(),
        ),
        document.spec,
    );
    let batch = Batch::new().put(default).put(stored);
    store.commit(batch).await.unwrap();
    let store: SharedStore = Arc::new(store);
    let zone = ZoneName::parse("zone-1").unwrap();
    let never = Shutdown::never();
    Context {
        registrar: Arc::new(Registrar::new(
            Arc::clone(&store),
            zone,
            ProxyAuth::Off,
            never,
        )),
        store,
        certificate: tokio::sync::watch::Sender::new(server_certificate()).subscribe(),
        token_required: true,
        params: Params::default(),
    }
}

fn gateway(name: &str) -> Value {
    json!({
        "type": "Dataplane", "mesh": "default", "name": name,
        "creationTime": "0001-01-01T00:00:00Z", "modificationTime": "0001-01-01T00:00:00Z",
        "kri": format!("kri_dp_default___{name}_"),
        "networking": {
            "address": "127.0.0.1",
            "gateway": {"type": "BUILTIN", "tags": {"kuma.io/service": "edge"}},
        },
    })
}

/// A request as agents send it, with one thing changed.
struct Ask {
    method: &'static str,
    path: &'static str,
    host: &'static str,
    accept: Option<&'static str>,
    body: Value,
    raw: Option<&'static str>,
}

fn ask() -> Ask {
    Ask {
        method: "POST",
        path: "/bootstrap",
        host: "127.0.0.1:5678",
        accept: Some("application/json"),
        body: json!({
            "mesh": "default",
            "name": "edge",
            "proxyType": "dataplane",
            "dataplaneToken": "a.b.c",
            "dataplaneResource": gateway("edge").to_string(),
            "version": {"kumaDp": {"version": "2.14.3"}, "envoy": {"version": "1.36.2"}},
            "readinessPort": 9902,
            "workdir": "/run/dp",
        }),
        raw: None,
    }
}

impl Ask {
    fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.body[field] = value.into();
        self
    }

    fn without(mut self, field: &str) -> Self {
        self.body.as_object_mut().unwrap().remove(field);
        self
    }

    fn resource(self, value: &Value) -> Self {
        self.with("dataplaneResource", value.to_string())
    }
}

#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    content_type: Option<String>,
    body: String,
}

async fn send(context: Context, ask: Ask) -> Answer {
    let mut request = http::Request::builder()
        .method(ask.method)
        .uri(ask.path)
        .header(header::HOST, ask.host)
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(accept) = ask.accept {
        request = request.header(header::ACCEPT, accept);
    }
    let body = match ask.raw {
        Some(raw) => raw.to_owned(),
        None => ask.body.to_string(),
    };
    let request = request.body(Body::from(body)).unwrap();
    let response = router(Arc::new(context)).oneshot(request).await.unwrap();
    let content_type = response.headers().get(header::CONTENT_TYPE);
    Answer {
        status: response.status().as_u16(),
        content_type: content_type.map(|value| value.to_str().unwrap().to_owned()),
        body: {
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            String::from_utf8(bytes.to_vec()).unwrap()
        },
    }
}

/// How the recording describes a body that holds a bootstrap.
fn described(answer: &Answer) -> String {
    if answer.status != 200 {
        return answer.body.clone();
    }
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let (kind, bootstrap) = match body.get("bootstrap") {
        Some(text) => {
            let text = BASE64.decode(text.as_str().unwrap()).unwrap();
            let bootstrap: Value = serde_json::from_slice(&text).unwrap();
            ("JSON with bootstrap", bootstrap)
        }
        None => ("bare YAML", body),
    };
    let admin = match bootstrap["admin"]["address"].get("pipe") {
        Some(_) => "pipe",
        None => "TCP",
    };
    format!("{kind}, {admin} admin")
}

#[tokio::test]
async fn odd_requests_get_the_recorded_answers() {
    let mut no_address = gateway("edge");
    no_address["networking"]["address"] = json!("");
    let ingress = json!({"type": "ZoneIngress", "name": "edge", "networking": {}});
    let raw = |raw| Ask {
        raw: Some(raw),
        ..ask()
    };
    let cases = [
        ("as it should be", ask()),
        (
            "no accept header",
            Ask {
                accept: None,
                ..ask()
            },
        ),
        (
            "accept */*",
            Ask {
                accept: Some("*/*"),
                ..ask()
            },
        ),
        ("not JSON", raw("nonsense")),
        ("empty body", raw("")),
        ("JSON array", raw("[]")),
        ("no token", ask().without("dataplaneToken")),
        ("garbage token", ask().with("dataplaneToken", "garbage")),
        (
            "only a token path",
            ask()
                .without("dataplaneToken")
                .with("dataplaneTokenPath", "/token"),
        ),
        (
            "no resource, not in store",
            ask().without("dataplaneResource"),
        ),
        ("unknown mesh", ask().with("mesh", "nope")),
        ("unknown proxyType", ask().with("proxyType", "bridge")),
        ("no proxyType", ask().without("proxyType")),
        ("resource invalid (no address)", ask().resource(&no_address)),
        (
            "resource not JSON",
            ask().with("dataplaneResource", "nonsense"),
        ),
        ("resource of another type", ask().resource(&ingress)),
        (
            "resource name differs from request",
            ask().with("name", "other"),
        ),
        ("caCert garbage", ask().with("caCert", "garbage")),
        ("unknown field", ask().with("future", json!([1]))),
        ("no version", ask().without("version")),
        ("no readinessPort", ask().without("readinessPort")),
        ("no workdir", ask().without("workdir")),
        (
            "ingress, no token",
            ask().with("proxyType", "ingress").without("dataplaneToken"),
        ),
        (
            "GET",
            Ask {
                method: "GET",
                raw: Some(""),
                ..ask()
            },
        ),
        ("another path", Ask { path: "/", ..ask() }),
    ];
    let recorded = include_str!("../../../tests/recorded/bootstrap-errors-2.14.json");
    let recorded: Value = serde_json::from_str(recorded).unwrap();
    for (name, ask) in cases {
        let answer = send(context().await, ask).await;
        let expected = &recorded[name];
        assert_eq!(answer.status, expected["status"], "{name}");
        assert_eq!(
            json!(answer.content_type),
            expected["content-type"],
            "{name}"
        );
        let (body, expected) = (described(&answer), expected["body"].as_str().unwrap());
        if name.starts_with("resource invalid") {
            // The words of a violation are the model's; the field is the contract.
            assert!(body.starts_with("networking.address: "), "{body}");
        } else {
            assert_eq!(body, expected, "{name}");
        }
    }
}

#[tokio::test]
async fn a_host_outside_the_certificate_is_refused_with_what_is_inside() {
    let strange = Ask {
        host: "strange.example:5678",
        ..ask()
    };
    let answer = send(context().await, strange).await;
    assert_eq!(answer.status, 400);
    for part in [
        "\"strange.example\"",
        "127.0.0.1, ::1, localhost, zone-host",
        "--cp-address",
    ] {
        assert!(answer.body.contains(part), "{}", answer.body);
    }

    let mut context = context().await;
    context.params.xds_host = Some("zone.example".to_owned());
    let strange = Ask {
        host: "strange.example:5678",
        ..ask()
    };
    let answer = send(context, strange).await;
    assert_eq!(
        answer.status, 200,
        "a configured host is not the agent's choice"
    );
}

#[tokio::test]
async fn a_certificate_that_is_no_ca_is_refused() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["zone-host".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    let leaf = params.self_signed(&key).unwrap().pem();
    let answer = send(context().await, ask().with("caCert", leaf)).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("is not a CA"), "{}", answer.body);
}

#[tokio::test]
async fn a_stored_dataplane_needs_no_resource() {
    let ask = ask().without("dataplaneResource").with("name", "stored");
    let answer = send(context().await, ask).await;
    assert_eq!(answer.status, 200);
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    let expected = json!({
        "networking": {
            "isUsingTransparentProxy": false, "corefileTemplate": null, "address": "127.0.0.1",
        },
        "metrics": {"aggregate": []},
    });
    assert_eq!(body["kumaSidecarConfiguration"], expected);
}

#[tokio::test]
async fn other_kinds_of_proxies_are_refused_in_words() {
    let mut delegated = gateway("edge");
    delegated["networking"]["gateway"]["type"] = json!("DELEGATED");
    let mut sidecar = gateway("edge");
    sidecar["networking"] = json!({
        "address": "127.0.0.1",
        "inbound": [{"port": 80, "tags": {"kuma.io/service": "web"}}],
    });
    for (kind, ask) in [
        ("delegated gateway", ask().resource(&delegated)),
        ("sidecar", ask().resource(&sidecar)),
        ("ingress", ask().with("proxyType", "ingress")),
        ("egress", ask().with("proxyType", "egress")),
    ] {
        let answer = send(context().await, ask).await;
        assert_eq!(answer.status, 422, "{kind}");
        assert!(
            answer.body.ends_with(&format!("of the kind {kind}")),
            "{}",
            answer.body
        );
        assert!(answer.body.contains("builtin gateways (type BUILTIN) only"));
    }
}

#[tokio::test]
async fn without_authentication_no_token_is_needed() {
    let mut context = context().await;
    context.token_required = false;
    let answer = send(context, ask().without("dataplaneToken")).await;
    assert_eq!(answer.status, 200);
}

#[test]
fn ports_are_cut_off_whatever_the_host_looks_like() {
    for (authority, host) in [
        ("zone.example:5678", "zone.example"),
        ("zone.example", "zone.example"),
        ("127.0.0.1:5678", "127.0.0.1"),
        ("[::1]:5678", "::1"),
        ("[::1]", "::1"),
        ("", ""),
    ] {
        assert_eq!(without_port(authority), host, "{authority}");
    }
}

#[tokio::test]
async fn a_bootstrap_announces_a_new_agent() {
    let context = context().await;
    let registrar = Arc::clone(&context.registrar);
    let register = || async {
        let resource = gateway("edge").to_string();
        let registrar = Arc::clone(&registrar);
        let registered = registrar.register("default.edge", Some(&resource), None);
        registered.await
    };
    let _draining = register().await.unwrap();
    let key = Key::in_mesh(
        ResourceType::Dataplane,
        MeshName::parse("default").unwrap(),
        ResourceName::parse("edge").unwrap(),
    );
    registrar.deregister(&key, None).await.unwrap();
    assert!(register().await.is_err());

    assert_eq!(send(context, ask()).await.status, 200);
    assert!(register().await.is_ok());
}
