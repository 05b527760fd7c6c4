//! Listeners of every protocol while they are used: TCP and TLS connections go where their routes
//! say, and listeners come, change and go without a lost connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mesh_harness::{Backend, Certificate, Load, TlsClient, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::support::{Fleet, HOST, PORT, gateway_with, route};

const OTHER: u16 = PORT + 1;

/// A server that says its name to whoever connects, before it hears anything, and closes.
struct Greeter {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Greeter {
    async fn start(name: &'static str, certificate: Option<&Certificate>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let tls = certificate.map(acceptor).transpose()?;
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            let mut stream = tls.accept(stream).await?;
                            stream.write_all(name.as_bytes()).await?;
                            stream.shutdown().await
                        }
                        None => {
                            stream.write_all(name.as_bytes()).await?;
                            stream.shutdown().await
                        }
                    }
                });
            }
        });
        Ok(Self { address, task })
    }

    fn dataplane(&self, service: &str) -> Value {
        json!({
            "type": "Dataplane", "mesh": "default", "name": service,
            "networking": {
                "address": self.address.ip().to_string(),
                "inbound": [{
                    "port": self.address.port(),
                    "tags": {"kuma.io/service": service, "kuma.io/protocol": "tcp"},
                }],
            },
        })
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn acceptor(certificate: &Certificate) -> anyhow::Result<TlsAcceptor> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::from_pem_slice(certificate.pem.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(certificate.pem.as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What a server says until it closes.
async fn hear(mut stream: impl AsyncRead + Unpin) -> anyhow::Result<String> {
    let mut text = String::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut text)).await??;
    Ok(text)
}

async fn greeting(at: SocketAddr) -> anyhow::Result<String> {
    hear(TcpStream::connect(at).await?).await
}

async fn tls_greeting(at: SocketAddr, name: &str) -> anyhow::Result<String> {
    hear(TlsClient::new(at, name).handshake().await?).await
}

fn tcp_route(name: &str, tag: Option<(&str, &str)>, backends: Value) -> Value {
    let mut selector = json!({"kuma.io/service": "edge-gateway"});
    if let Some((key, value)) = tag {
        selector[key] = value.into();
    }
    json!({
        "type": "MeshGatewayRoute", "mesh": "default", "name": name,
        "selectors": [{"match": selector}],
        "conf": {"tcp": {"rules": [{"backends": backends}]}},
    })
}

fn backend(service: &str) -> Value {
    json!({"weight": 1, "destination": {"kuma.io/service": service}})
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_follow_their_tcp_route_and_none_is_lost() -> anyhow::Result<()> {
    let fleet = Fleet::start(91).await?;
    let (one, two) = (
        Greeter::start("one", None).await?,
        Greeter::start("two", None).await?,
    );
    fleet.zone.api.apply(&one.dataplane("one")).await?;
    fleet.zone.api.apply(&two.dataplane("two")).await?;
    let listener = json!([{"port": OTHER, "protocol": "TCP"}]);
    fleet.global.api.apply(&gateway_with(listener)).await?;
    let at = fleet.gateway.at(OTHER);
    eventually("a listener without a route closes", async || {
        anyhow::ensure!(greeting(at).await? == "");
        Ok(())
    })
    .await;

    let to_one = tcp_route("t", None, json!([backend("one")]));
    fleet.global.api.apply(&to_one).await?;
    let follows = async |name: &str| {
        eventually("the route is followed", async || {
            let heard = greeting(at).await?;
            anyhow::ensure!(heard == name, "{heard:?}");
            Ok(())
        })
        .await;
    };
    follows("one").await;
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<JoinHandle<Vec<String>>> = (0..4)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            tokio::spawn(async move {
                let mut lost = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    match greeting(at).await {
                        Ok(heard) if heard == "one" || heard == "two" => {}
                        other => lost.push(format!("{other:?}")),
                    }
                }
                lost
            })
        })
        .collect();
    for _ in 0..10 {
        for (name, backends) in [
            ("two", json!([backend("two")])),
            (
                "one",
                json!([backend("one"), {"weight": 0, "destination": {"kuma.io/service": "two"}}]),
            ),
        ] {
            fleet
                .global
                .api
                .apply(&tcp_route("t", None, backends))
                .await?;
            follows(name).await;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        assert_eq!(client.await?, Vec::<String>::new());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_connections_go_by_the_name_that_they_ask_for() -> anyhow::Result<()> {
    let fleet = Fleet::start(92).await?;
    let (ours, theirs) = (
        Certificate::ecdsa(&["*.example"]),
        Certificate::ecdsa(&["pass.example"]),
    );
    let (passed, ended, rest) = (
        Greeter::start("passed", Some(&theirs)).await?,
        Greeter::start("ended", None).await?,
        Greeter::start("rest", Some(&theirs)).await?,
    );
    for (greeter, service) in [(&passed, "passed"), (&ended, "ended"), (&rest, "rest")] {
        fleet.zone.api.apply(&greeter.dataplane(service)).await?;
        let tag = Some(("name", service));
        let route = tcp_route(service, tag, json!([backend(service)]));
        fleet.global.api.apply(&route).await?;
    }
    fleet.global.api.apply(&ours.secret("ours")).await?;
    let listener = |hostname: &str, name: &str, tls: Value| {
        json!({
            "port": OTHER, "protocol": "TLS", "hostname": hostname, "tags": {"name": name}, "tls": tls,
        })
    };
    let terminate = json!({"mode": "TERMINATE", "certificates": [{"secret": "ours"}]});
    let listeners = json!([
        listener("pass.example", "passed", json!({"mode": "PASSTHROUGH"})),
        listener("*.example", "ended", terminate),
        listener("*", "rest", json!({"mode": "PASSTHROUGH"})),
    ]);
    fleet.global.api.apply(&gateway_with(listeners)).await?;
    let at = fleet.gateway.at(OTHER);
    for (name, expected, certificate) in [
        ("pass.example", "passed", &theirs),
        ("other.example", "ended", &ours),
        ("elsewhere.test", "rest", &theirs),
    ] {
        eventually(name, async || {
            let stream = TlsClient::new(at, name).handshake().await?;
            let shown = stream.get_ref().1.peer_certificates();
            let shown = shown.and_then(<[_]>::first).map(|der| der.to_vec());
            anyhow::ensure!(
                shown == Some(certificate.der.clone()),
                "another certificate"
            );
            let heard = hear(stream).await?;
            anyhow::ensure!(heard == expected, "{heard:?}");
            Ok(())
        })
        .await;
    }
    // Whoever asks for a name that nobody has any more is not passed on to another.
    let listeners = json!([listener(
        "pass.example",
        "passed",
        json!({"mode": "PASSTHROUGH"})
    )]);
    fleet.global.api.apply(&gateway_with(listeners)).await?;
    eventually("the name is refused", async || {
        anyhow::ensure!(tls_greeting(at, "other.example").await.is_err());
        Ok(())
    })
    .await;
    assert_eq!(tls_greeting(at, "pass.example").await?, "passed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_goes_answers_what_it_was_asked() -> anyhow::Result<()> {
    let fleet = Fleet::start(93).await?;
    fleet.global.api.apply(&route("/", "cart")).await?;
    let (stays, goes) = (
        json!({"port": PORT, "protocol": "HTTP"}),
        json!({"port": OTHER, "protocol": "HTTP"}),
    );
    let both = gateway_with(json!([stays, goes]));
    fleet.global.api.apply(&both).await?;
    fleet.gateway.answers(OTHER, HOST, "/", 200).await;
    let before = fleet.cart.requests();
    let slow = fleet
        .gateway
        .request(reqwest::Method::GET, OTHER, HOST, "/?delay=700");
    let slow = tokio::spawn(slow.send());
    eventually("the request is under way", async || {
        anyhow::ensure!(fleet.cart.requests() > before);
        Ok(())
    })
    .await;
    fleet
        .global
        .api
        .apply(&gateway_with(json!([stays])))
        .await?;
    eventually("nobody listens there any more", async || {
        anyhow::ensure!(TcpStream::connect(fleet.gateway.at(OTHER)).await.is_err());
        Ok(())
    })
    .await;
    // Envoy gives what is under way the agent's drain time, in tests a second.
    assert_eq!(slow.await??.status(), 200);
    // And it comes back.
    fleet.global.api.apply(&both).await?;
    fleet.gateway.answers(OTHER, HOST, "/", 200).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_that_come_and_go_disturb_no_other() -> anyhow::Result<()> {
    let fleet = Fleet::start(94).await?;
    let basket = Backend::start("basket-1").await;
    fleet.zone.api.apply(&basket.dataplane("basket")).await?;
    let certificate = Certificate::ecdsa(&[HOST, "other.example"]);
    fleet.global.api.apply(&certificate.secret("ours")).await?;
    fleet.global.api.apply(&route("/", "cart")).await?;
    let https = |hostname: &str| {
        json!({
            "port": OTHER, "protocol": "HTTPS", "hostname": hostname,
            "tls": {"mode": "TERMINATE", "certificates": [{"secret": "ours"}]},
        })
    };
    let http = json!({"port": PORT, "protocol": "HTTP"});
    let more = [
        json!([http, https(HOST)]),
        json!([http, https(HOST), https("other.example")]),
        json!([http, https(HOST), {"port": OTHER + 1, "protocol": "TCP"}]),
        json!([http, https(HOST), https("*"), {"port": OTHER + 1, "protocol": "HTTP"}]),
    ];
    fleet
        .global
        .api
        .apply(&gateway_with(more[0].clone()))
        .await?;
    fleet.answers("/", 200).await;
    let tls = TlsClient::new(fleet.gateway.at(OTHER), HOST);
    eventually("HTTPS is served", async || {
        let response = tls.connect().await?.get(HOST, "/").await?;
        anyhow::ensure!(response.status() == 200);
        Ok(())
    })
    .await;
    let plain = Load::start(fleet.gateway.at(PORT), HOST, "/", 2);
    let secure = Load::start_tls(&tls, HOST, "/", 2);
    for edit in 0..20 {
        let listeners = more[edit % more.len()].clone();
        fleet.global.api.apply(&gateway_with(listeners)).await?;
        let service = if edit % 3 == 0 { "basket" } else { "cart" };
        fleet.global.api.apply(&route("/", service)).await?;
        secure.go_on_for(10).await;
    }
    for (name, load) in [("HTTP", plain), ("HTTPS", secure)] {
        let tally = load.stop().await;
        let other = tally.other_than(&["200 cart-1", "200 basket-1"]);
        assert_eq!(other, 0, "{name}: {tally}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_changes_its_protocol() -> anyhow::Result<()> {
    let fleet = Fleet::start(95).await?;
    let greeter = Greeter::start("hello", None).await?;
    let certificate = Certificate::ecdsa(&[HOST]);
    fleet.zone.api.apply(&greeter.dataplane("greeter")).await?;
    for document in [
        certificate.secret("ours"),
        route("/", "cart"),
        tcp_route("t", None, json!([backend("greeter")])),
    ] {
        fleet.global.api.apply(&document).await?;
    }
    let at = fleet.gateway.at(OTHER);
    let tls = TlsClient::new(at, HOST);
    let http = json!({"port": PORT, "protocol": "HTTP"});
    let block = json!({"mode": "TERMINATE", "certificates": [{"secret": "ours"}]});
    for _ in 0..2 {
        for protocol in ["HTTP", "HTTPS", "TCP", "TLS"] {
            let mut listener = json!({"port": OTHER, "protocol": protocol});
            if matches!(protocol, "HTTPS" | "TLS") {
                listener["tls"] = block.clone();
            }
            let gateway = gateway_with(json!([http, listener]));
            fleet.global.api.apply(&gateway).await?;
            eventually(protocol, async || {
                let is_served = match protocol {
                    "HTTP" => fleet.gateway.get(OTHER, HOST, "/").await?.status() == 200,
                    "HTTPS" => tls.connect().await?.get(HOST, "/").await?.status() == 200,
                    "TCP" => greeting(at).await? == "hello",
                    _ => tls_greeting(at, HOST).await? == "hello",
                };
                anyhow::ensure!(is_served, "it is not served");
                Ok(())
            })
            .await;
        }
    }
    fleet.no_finding().await;
    Ok(())
}
