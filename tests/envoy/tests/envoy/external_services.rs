//! External services as backends of a gateway, through a real Envoy.

mod backend;
mod dns;

use std::net::{Ipv4Addr, SocketAddr};

use mesh_harness::{Backend, Gateway, Load, eventually, free_port, secret};
use serde_json::{Value, json};

use self::backend::{Authority, TlsBackend};
use self::dns::NameServer;
use crate::cases::lone::Envoy;
use crate::support::{Fleet, HOST, PORT, address, gateway_with, mesh_gateway, named_route, route};

fn external(name: &str, service: &str, address: &str) -> Value {
    with_tls(name, service, address, &json!(null))
}

fn with_tls(name: &str, service: &str, address: &str, tls: &Value) -> Value {
    json!({
        "type": "ExternalService", "mesh": "default", "name": name,
        "tags": {"kuma.io/service": service, "kuma.io/protocol": "http"},
        "networking": {"address": address, "tls": tls},
    })
}

impl Fleet {
    /// Waits until the gateway answers `path` with 200; the body, as JSON.
    async fn says(&self, path: &str) -> Value {
        eventually(&format!("{path} answers"), async || {
            let response = self.gateway.get(PORT, HOST, path).await?;
            let status = response.status();
            let text = response.text().await?;
            anyhow::ensure!(status == 200, "{status}: {text}");
            Ok(serde_json::from_str(&text)?)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_by_name_sees_what_clients_send_and_nothing_about_the_gateway() -> anyhow::Result<()> {
    let fleet = Fleet::start(91).await?;
    let outside = Backend::start("c").await;
    let address = format!("localhost:{}", outside.address().port());
    let service = external("es", "ext", &address);
    fleet.global.api.apply(&service).await?;
    let mut plain = route("/", "ext");
    let auto = json!({
        "matches": [{"path": {"match": "PREFIX", "value": "/auto"}}],
        "filters": [{"rewrite": {"host_to_backend_hostname": true}}],
        "backends": [{"weight": 1, "destination": {"kuma.io/service": "ext"}}],
    });
    let both = json!({
        "matches": [{"path": {"match": "PREFIX", "value": "/both"}}],
        "filters": [{"mirror": {
            "percentage": 100, "backend": {"destination": {"kuma.io/service": "ext"}},
        }}],
        "backends": [
            {"weight": 1, "destination": {"kuma.io/service": "ext"}},
            {"weight": 1, "destination": {"kuma.io/service": "cart"}},
        ],
    });
    let rules = plain["conf"]["http"]["rules"].as_array_mut();
    rules.expect("rules").extend([auto, both]);
    fleet.global.api.apply(&plain).await?;

    // As stock gateways answer: the client's host goes there.
    let answer = fleet.says("/x").await;
    assert_eq!(answer["instance"], "c");
    assert_eq!(answer["path"], "/x");
    let seen = &answer["seen"];
    assert_eq!(seen["host"], json!([HOST]));
    assert_eq!(seen["x-forwarded-proto"], json!(["http"]));
    assert_eq!(seen["x-kuma-tags"], json!(null), "{answer:#}");

    let seen = &fleet.says("/auto").await["seen"];
    assert_eq!(seen["host"], json!(["localhost"]));
    assert_eq!(seen["x-envoy-original-host"], json!([HOST]));

    // Beside a service of the mesh each sees its own.
    let mut tags = std::collections::BTreeMap::new();
    while tags.len() < 2 {
        let answer = fleet.says("/both").await;
        let instance = answer["instance"].to_string();
        tags.insert(instance, answer["seen"]["x-kuma-tags"].clone());
    }
    assert_eq!(tags["\"c\""], json!(null));
    assert!(tags["\"cart-1\""].to_string().contains("edge-gateway"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_as_each_service_asks() -> anyhow::Result<()> {
    let fleet = Fleet::start(92).await?;
    let authority = Authority::new();
    let apply = async |document: Value| fleet.global.api.apply(&document).await;
    apply(secret("ca", &authority.pem)).await?;
    let by_name = TlsBackend::start(&authority.issue(&["localhost"]), None).await?;
    let by_address = TlsBackend::start(&authority.issue(&["127.0.0.1"]), None).await?;
    let elsewhere = TlsBackend::start(&authority.issue(&["x.example.com"]), None).await?;
    let pair = authority.issue(&["localhost"]);
    let strict = TlsBackend::start(&pair, Some(&authority)).await?;
    let client = authority.issue(&["gateway"]);
    let ca = json!({"secret": "ca"});
    let localhost = |backend: &TlsBackend| format!("localhost:{}", backend.port());
    for (name, address, tls) in [
        (
            "by-name",
            localhost(&by_name),
            json!({"enabled": true, "caCert": ca}),
        ),
        (
            "unverified",
            localhost(&elsewhere),
            json!({"enabled": true}),
        ),
        (
            "by-address",
            format!("127.0.0.1:{}", by_address.port()),
            json!({"enabled": true, "caCert": ca}),
        ),
        (
            "by-server-name",
            format!("127.0.0.1:{}", elsewhere.port()),
            json!({"enabled": true, "caCert": ca, "serverName": "x.example.com"}),
        ),
        (
            "of-another-name",
            localhost(&elsewhere),
            json!({"enabled": true, "caCert": ca}),
        ),
        (
            "any-name",
            localhost(&elsewhere),
            json!({"enabled": true, "caCert": ca, "skipHostnameVerification": true}),
        ),
        (
            "mutual",
            localhost(&strict),
            json!({
                "enabled": true, "caCert": ca, "allowRenegotiation": true,
                "clientCert": {"inlineString": client.certificate},
                "clientKey": {"inlineString": client.key},
            }),
        ),
        (
            "without-client",
            localhost(&strict),
            json!({"enabled": true, "caCert": ca}),
        ),
    ] {
        let mut service = with_tls(name, name, &address, &tls);
        if name == "by-address" {
            service["tags"]["kuma.io/protocol"] = json!("http2");
        }
        apply(service).await?;
        apply(named_route(name, &format!("/{name}"), name)).await?;
    }
    for (name, server_name) in [
        ("by-name", json!("localhost")),
        ("unverified", json!("localhost")),
        ("by-address", json!(null)),
        ("by-server-name", json!("x.example.com")),
        ("any-name", json!("localhost")),
        ("mutual", json!("localhost")),
    ] {
        let answer = fleet.says(&format!("/{name}")).await;
        assert_eq!(answer["server_name"], server_name, "{name}: {answer}");
        assert_eq!(answer["client_certificate"], name == "mutual");
        assert_eq!(answer["host"], HOST);
        let version = if name == "by-address" {
            "HTTP/2.0"
        } else {
            "HTTP/1.1"
        };
        assert_eq!(answer["http"], version);
    }
    fleet.answers("/of-another-name", 503).await;
    fleet.answers("/without-client", 503).await;

    // What Envoy can be asked about does not show the key.
    let dump = fleet.gateway.admin("/config_dump").await?;
    assert!(dump.contains("by-name"));
    let secret = client.key.lines().nth(1).expect("a key of several lines");
    assert!(!dump.contains(secret));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_connections_get_tls_on_their_way_out() -> anyhow::Result<()> {
    let fleet = Fleet::start(98).await?;
    let authority = Authority::new();
    let outside = TlsBackend::start(&authority.issue(&["localhost"]), None).await?;
    let address = format!("localhost:{}", outside.port());
    let tls = json!({"enabled": true, "caCert": {"inlineString": authority.pem}});
    let mut route = named_route("tcp", "/", "ext");
    route["conf"] = json!({"tcp": {"rules": [
        {"backends": [{"destination": {"kuma.io/service": "ext"}}]},
    ]}});
    for document in [
        gateway_with(json!([{"port": PORT, "protocol": "TCP"}])),
        with_tls("es", "ext", &address, &tls),
        route,
    ] {
        fleet.global.api.apply(&document).await?;
    }
    let answer = fleet.says("/").await;
    assert_eq!(answer["server_name"], "localhost");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_ca_hurts_only_who_asks_for_it() -> anyhow::Result<()> {
    let fleet = Fleet::start(93).await?;
    let (right, wrong) = (Authority::new(), Authority::new());
    let outside = TlsBackend::start(&right.issue(&["localhost"]), None).await?;
    let address = format!("localhost:{}", outside.port());
    let tls = json!({"enabled": true, "caCert": {"secret": "ca"}});
    let service = with_tls("es", "ext", &address, &tls);
    for document in [
        service,
        route("/cart", "cart"),
        named_route("e", "/ext", "ext"),
    ] {
        fleet.global.api.apply(&document).await?;
    }
    fleet.answers("/cart", 200).await;

    // Missing, then not one, then another's, then right: each by the Secret alone.
    let finding = fleet.finding(&["ExternalService", "no Secret"]).await;
    assert_eq!(finding["field"], "networking.tls.caCert", "{finding:#}");
    fleet.answers("/ext", 503).await;
    fleet.global.api.apply(&secret("ca", "not PEM")).await?;
    fleet.finding(&["ExternalService", "is not PEM"]).await;
    fleet.answers("/ext", 503).await;
    fleet.global.api.apply(&secret("ca", &right.pem)).await?;
    fleet.answers("/ext", 200).await;
    let load = Load::start(fleet.gateway.at(PORT), HOST, "/cart", 2);
    fleet.global.api.apply(&secret("ca", &wrong.pem)).await?;
    fleet.answers("/ext", 503).await;
    fleet.global.api.apply(&secret("ca", &right.pem)).await?;
    fleet.answers("/ext", 200).await;
    let tally = load.stop().await;
    assert_eq!(tally.other_than(&["200 cart-1"]), 0, "{tally}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn services_move_out_of_the_mesh_and_back_without_a_lost_request() -> anyhow::Result<()> {
    let fleet = Fleet::start(94).await?;
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    fleet.global.api.apply(&route("/", "cart")).await?;
    fleet.answers("/", 200).await;
    let load = Load::start(fleet.gateway.at(PORT), HOST, "/", 4);
    let answers = async |backend: &str| {
        eventually(backend, async || {
            let response = fleet.gateway.get(PORT, HOST, "/").await?;
            let status = response.status();
            let by = response.headers().get("x-backend").cloned();
            anyhow::ensure!(by.is_some_and(|by| by == backend), "{status}");
            Ok(())
        })
        .await;
    };
    let service = |host: &str, backend: &Backend| {
        let address = format!("{host}:{}", backend.address().port());
        external("es", "cart", &address)
    };
    for _ in 0..5 {
        // By name, by address, by name again: each is a cluster of another kind.
        for (document, backend) in [
            (service("localhost", &one), "one"),
            (service("127.0.0.1", &two), "two"),
            (service("localhost", &two), "two"),
            (service("localhost", &one), "one"),
        ] {
            fleet.global.api.apply(&document).await?;
            answers(backend).await;
        }
        let path = "/meshes/default/external-services/es";
        fleet.global.api.delete(path).await?;
        answers("cart-1").await;
    }
    let tally = load.stop().await;
    eprintln!("{tally}");
    let expected = ["200 cart-1", "200 one", "200 two"];
    assert_eq!(tally.other_than(&expected), 0, "{tally}");
    for backend in expected {
        let others: Vec<_> = expected.into_iter().filter(|e| *e != backend).collect();
        assert!(tally.other_than(&others) > 0, "{backend} was never seen");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nobody_knows_holds_up_nothing_else() -> anyhow::Result<()> {
    let fleet = Fleet::start(95).await?;
    let unknown = external("es", "ext", "no-such-host.invalid:80");
    fleet.global.api.apply(&unknown).await?;
    fleet
        .global
        .api
        .apply(&named_route("e", "/ext", "ext"))
        .await?;
    fleet.global.api.apply(&route("/cart", "cart")).await?;
    let before = tokio::time::Instant::now();
    fleet.answers("/cart", 200).await;
    eprintln!("after {:?}", before.elapsed());
    fleet.answers("/ext", 503).await;
    Ok(())
}

/// An Envoy alone that asks `names` for names: `/` goes to an external service that has one, and
/// `/other` to a service of the mesh.
async fn with_names(number: u8, names: &NameServer, es: &str, other: &Backend) -> Lone {
    mesh_runtime::tls::install_crypto_provider();
    let admin = free_port([127, 0, 0, 1].into()).expect("a free port");
    let documents = [
        Gateway::dataplane("gateway-1", "edge-gateway", address([number, 1]), admin),
        mesh_gateway(),
        external("es", "ext", es),
        route("/", "ext"),
        named_route("other", "/other", "other"),
        other.dataplane("other"),
    ];
    let at = names.at();
    let server = json!({"socket_address": {
        "address": at.ip().to_string(), "port_value": at.port(), "protocol": "UDP",
    }});
    let envoy = Envoy::start_changed(&documents, |configuration| {
        let clusters = configuration["static_resources"]["clusters"].as_array_mut();
        for cluster in clusters.into_iter().flatten() {
            if cluster["type"] == "STRICT_DNS" {
                cluster["typed_dns_resolver_config"]["typed_config"]["resolvers"] = json!([server]);
            }
        }
    });
    Lone {
        _envoy: envoy.await.expect("an Envoy"),
        at: SocketAddr::new(address([number, 1]), PORT),
    }
}

struct Lone {
    _envoy: Envoy,
    at: SocketAddr,
}

impl Lone {
    /// Waits until `path` is answered with `status` by `backend`.
    async fn answers(&self, path: &str, status: u16, backend: Option<&str>) {
        eventually(path, async || {
            let client = reqwest::Client::builder().no_proxy().build()?;
            let url = format!("http://{}{path}", self.at);
            let response = client.get(url).send().await?;
            let by = response.headers().get("x-backend");
            let by = by.and_then(|by| by.to_str().ok());
            anyhow::ensure!(response.status() == status && by == backend, "{response:?}");
            Ok(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_moves_is_followed() -> anyhow::Result<()> {
    let (here, there) = (Ipv4Addr::new(127, 0, 96, 2), Ipv4Addr::new(127, 0, 96, 3));
    let first = Backend::start_at("first", (here, 0).into()).await;
    let port = first.address().port();
    let second = Backend::start_at("second", (there, port).into()).await;
    let names = NameServer::start(Some(here)).await?;
    let lone = with_names(96, &names, &format!("moving.example:{port}"), &first).await;
    lone.answers("/", 200, Some("first")).await;
    let load = Load::start(lone.at, HOST, "/", 2);
    names.set(there);
    lone.answers("/", 200, Some("second")).await;
    let tally = load.stop().await;
    assert_eq!(tally.other_than(&["200 first", "200 second"]), 0, "{tally}");
    drop(second);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_that_says_nothing_holds_up_nothing_for_long() -> anyhow::Result<()> {
    let other = Backend::start("other").await;
    let names = NameServer::start(None).await?;
    let lone = with_names(97, &names, "silent.example:80", &other).await;
    // Envoy opens no listener before it knows all clusters: with its own patience, in a minute.
    lone.answers("/other", 200, Some("other")).await;
    lone.answers("/", 503, None).await;
    Ok(())
}
