//! HTTPS listeners that take hosts over from one another while connections are open: what is
//! asked on such a connection is answered as one of the configurations says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mesh_harness::{Backend, Certificate, Gateway, TlsClient, TlsConnection, eventually};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{Fleet, address, gateway_with, route_of};

const PORT: u16 = 18443;
const FOO: &str = "foo.shop.example";
const BAR: &str = "bar.shop.example";
const PROTOCOLS: [&str; 2] = ["http/1.1", "h2"];
/// Longer than clusters stay that nothing names any more.
const LONG: Duration = Duration::from_secs(7);

/// The tag `name` of the listener for a hostname.
fn tag(hostname: &str) -> String {
    hostname.replace('*', "any")
}

fn https(hostname: &str) -> Value {
    json!({
        "port": PORT, "protocol": "HTTPS", "hostname": hostname, "tags": {"name": tag(hostname)},
        "tls": {"mode": "TERMINATE", "certificates": [{"secret": "ours"}]},
    })
}

fn listeners(hostnames: &[&str]) -> Value {
    let all = hostnames.iter().map(|hostname| https(hostname));
    gateway_with(all.collect())
}

/// A route for [`FOO`] and [`BAR`] on the listener of a hostname, or on all of them.
fn hosts_route(name: &str, on: Option<&str>, path: &str, service: &str) -> Value {
    let path = json!({"match": "PREFIX", "value": path});
    let mut route = route_of(name, path, service);
    if let Some(hostname) = on {
        route["selectors"][0]["match"]["name"] = tag(hostname).into();
    }
    route["conf"]["http"]["hostnames"] = json!([FOO, BAR]);
    route
}

/// A fleet whose backends are `cart-1` and `basket-1`: `/` is for the first on every listener,
/// `/which` for the second on the narrower ones.
async fn fleet(number: u8) -> anyhow::Result<(Fleet, Backend)> {
    let fleet = Fleet::start(number).await?;
    let basket = Backend::start("basket-1").await;
    fleet.zone.api.apply(&basket.dataplane("basket")).await?;
    let certificate = Certificate::ecdsa(&["*.shop.example"]);
    for document in [
        certificate.secret("ours"),
        hosts_route("all", None, "/", "cart"),
        hosts_route("foo", Some(FOO), "/which", "basket"),
        hosts_route("shop", Some("*.shop.example"), "/which", "basket"),
        listeners(&["*"]),
    ] {
        fleet.global.api.apply(&document).await?;
    }
    Ok((fleet, basket))
}

fn client(gateway: &Gateway, name: &str, protocol: &str) -> TlsClient {
    TlsClient::new(gateway.at(PORT), name).offering(&[protocol])
}

/// `200 cart-1`: the status, and who answered.
async fn ask(connection: &mut TlsConnection, host: &str, path: &str) -> anyhow::Result<Answer> {
    let response = connection.get(host, path).await?;
    let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
    Ok(Answer {
        text: format!(
            "{} {}",
            response.status().as_u16(),
            header("x-backend").unwrap_or_default()
        ),
        is_last: header("connection") == Some("close"),
    })
}

struct Answer {
    text: String,
    /// The connection ends with it.
    is_last: bool,
}

/// Waits for an answer on a new connection.
async fn answers(gateway: &Gateway, name: &str, host: &str, path: &str, expected: &str) {
    eventually(expected, async || {
        let mut connection = client(gateway, name, "http/1.1").connect().await?;
        let answer = ask(&mut connection, host, path).await?;
        anyhow::ensure!(answer.text == expected, "{}", answer.text);
        Ok(())
    })
    .await;
}

/// A client that keeps its connection until it is told that it ends.
struct Kept {
    outcomes: Arc<Mutex<BTreeMap<String, u64>>>,
    /// The last of them.
    last: Arc<Mutex<String>>,
    is_over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Kept {
    /// Starts one for a host, and waits for its first answer.
    async fn start(client: TlsClient, host: &'static str, path: &'static str) -> Self {
        let (outcomes, last, is_over) = <(Arc<Mutex<_>>, Arc<Mutex<String>>, Arc<_>)>::default();
        let task = tokio::spawn(ask_on(
            client,
            (host, path),
            Arc::clone(&outcomes),
            Arc::clone(&last),
            Arc::clone(&is_over),
        ));
        let kept = Self {
            outcomes,
            last,
            is_over,
            task,
        };
        eventually("the first answer", async || {
            let last = kept.last.lock().clone();
            anyhow::ensure!(!last.is_empty());
            Ok(())
        })
        .await;
        kept
    }

    async fn stop(self) -> BTreeMap<String, u64> {
        self.is_over.store(true, Ordering::Relaxed);
        self.task.await.expect("the client does not panic");
        std::mem::take(&mut self.outcomes.lock())
    }
}

async fn ask_on(
    client: TlsClient,
    (host, path): (&str, &str),
    outcomes: Arc<Mutex<BTreeMap<String, u64>>>,
    last: Arc<Mutex<String>>,
    is_over: Arc<AtomicBool>,
) {
    let count = |text: String| {
        *outcomes.lock().entry(text.clone()).or_default() += 1;
        *last.lock() = text;
    };
    while !is_over.load(Ordering::Relaxed) {
        let mut connection = match client.connect().await {
            Ok(connection) => connection,
            Err(error) => {
                count(format!("cannot connect: {error:#}"));
                continue;
            }
        };
        while !is_over.load(Ordering::Relaxed) {
            match ask(&mut connection, host, path).await {
                Ok(answer) => {
                    count(answer.text);
                    if answer.is_last {
                        break;
                    }
                }
                Err(error) => {
                    // Over HTTP/2 the peer says on its own that it takes no more requests, so that
                    // this one was not sent.
                    let error = error.downcast_ref::<hyper::Error>();
                    if !error.is_some_and(|e| e.is_closed() || e.is_canceled()) {
                        count(format!("the connection broke: {error:?}"));
                    }
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_takes_a_host_over_leaves_open_connections_their_answers()
-> anyhow::Result<()> {
    let (fleet, _basket) = fleet(87).await?;
    answers(&fleet.gateway, FOO, FOO, "/", "200 cart-1").await;
    let mut clients = Vec::new();
    for protocol in PROTOCOLS {
        for (host, path) in [(FOO, "/"), (FOO, "/which"), (BAR, "/"), (BAR, "/which")] {
            let client = client(&fleet.gateway, host, protocol);
            let kept = Kept::start(client, host, path).await;
            clients.push((protocol, host, path, kept));
        }
    }
    // A narrower listener comes, goes, comes wider, gets another name; the widest does.
    for hostnames in [
        &["*", FOO][..],
        &["*"],
        &["*", "*.shop.example"],
        &["*", "*.shop.example", FOO],
        &["*", FOO],
        &["*", "other.shop.example"],
        &["*.shop.example"],
        &["*"],
    ] {
        fleet.global.api.apply(&listeners(hostnames)).await?;
        // What an edit changes reaches connections that were open before, too.
        for (protocol, host, path, kept) in &clients {
            let is_shop = hostnames.contains(&"*.shop.example");
            let is_basket = *path == "/which" && (is_shop || hostnames.contains(host));
            let expected = ["200 cart-1", "200 basket-1"][usize::from(is_basket)];
            let what = format!("{hostnames:?}: {host}{path} by {protocol} is {expected}");
            eventually(&what, async || {
                let last = kept.last.lock().clone();
                anyhow::ensure!(last == expected, "{last}");
                Ok(())
            })
            .await;
        }
        // More than Envoy gives the connections of a listener that has changed.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let mut lost = Vec::new();
    for (protocol, host, path, kept) in clients {
        let outcomes = kept.stop().await;
        eprintln!("{host}{path} by {protocol}: {outcomes:?}");
        let expected = match path {
            "/" => &["200 cart-1"][..],
            _ => &["200 cart-1", "200 basket-1"],
        };
        let other = outcomes.into_keys();
        lost.extend(other.filter(|outcome| !expected.contains(&outcome.as_str())));
    }
    assert_eq!(lost, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_silent_since_its_listener_changed_is_answered_as_before()
-> anyhow::Result<()> {
    let (fleet, _basket) = fleet(88).await?;
    let (at, path) = (address([88, 2]), "/only");
    let drain_time = Duration::from_secs(60);
    let gateway =
        Gateway::start_draining(&fleet.zone, "gateway-2", "edge-gateway", at, drain_time).await?;
    // Each listener sends it to a cluster of its own, which nothing else names.
    for (name, on, service) in [("wide", "*", "cart"), ("narrow", FOO, "basket")] {
        let mut route = hosts_route(name, Some(on), path, service);
        route["conf"]["http"]["hostnames"] = json!([FOO]);
        fleet.global.api.apply(&route).await?;
    }
    for hostname in ["all", "foo", "shop"] {
        let at = format!("/meshes/default/meshgatewayroutes/{hostname}");
        fleet.global.api.delete(&at).await?;
    }
    let [wide, narrow] = ["200 cart-1", "200 basket-1"];
    for (before, after, old, new) in [
        (&["*"][..], &["*", FOO][..], wide, narrow),
        (&["*", FOO], &["*"], narrow, wide),
        (&["*", FOO], &["*", "other.shop.example"], narrow, wide),
    ] {
        fleet.global.api.apply(&listeners(before)).await?;
        answers(&gateway, FOO, FOO, path, old).await;
        let mut connections = Vec::new();
        for protocol in PROTOCOLS {
            let mut connection = client(&gateway, FOO, protocol).connect().await?;
            assert_eq!(ask(&mut connection, FOO, path).await?.text, old);
            connections.push(connection);
        }
        fleet.global.api.apply(&listeners(after)).await?;
        answers(&gateway, FOO, FOO, path, new).await;
        tokio::time::sleep(LONG).await;
        for mut connection in connections {
            let answer = ask(&mut connection, FOO, path).await?;
            assert_eq!(answer.text, old, "{before:?} to {after:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wider_listener_has_no_host_of_a_narrower_one() -> anyhow::Result<()> {
    let (fleet, _basket) = fleet(89).await?;
    fleet.global.api.apply(&listeners(&["*", FOO])).await?;
    answers(&fleet.gateway, FOO, FOO, "/which", "200 basket-1").await;
    answers(&fleet.gateway, BAR, FOO, "/which", "404 ").await;
    answers(&fleet.gateway, FOO, BAR, "/which", "404 ").await;
    answers(&fleet.gateway, BAR, BAR, "/which", "200 cart-1").await;
    Ok(())
}
