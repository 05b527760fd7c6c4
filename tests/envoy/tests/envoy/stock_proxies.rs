//! Envoys that were started under a stock zone: they speak state of the world and report their
//! health, and come to our zone when it takes the other's place.

mod proxy;
mod stock_zone;

use std::time::Duration;

use anyhow::Context as _;
use mesh_harness::{Backend, Certificate, Load, TlsClient, Zone, eventually};
use mesh_store::Batch;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::proxy::{Setup, StockProxy};
use self::stock_zone::StockZone;
use crate::edits::resource;
use crate::support::{
    Fleet, HOST, PORT, address, edit_under, gateway_with, named_route, route, route_of,
};

const HTTPS: u16 = 18443;
const TLS: u16 = 18444;
const TCP: u16 = 18090;

/// Starts the Envoy `gateway-stock` under a zone of ours.
pub(crate) async fn start(zone: &Zone, number: u8) -> anyhow::Result<StockProxy> {
    let name = "gateway-stock";
    StockProxy::start(&Setup {
        name,
        address: address([number, 9]),
        control_plane: zone.data_plane,
        trusted: std::fs::read_to_string(zone.ca_file())?,
        token: zone.api.dataplane_token("default", name).await?,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn it_registers_and_follows_edits_without_losing_a_request() -> anyhow::Result<()> {
    let fleet = Fleet::start(81).await?;
    let basket = Backend::start("basket-1").await;
    fleet.zone.api.apply(&basket.dataplane("basket")).await?;
    fleet.global.api.apply(&route("/", "cart")).await?;
    let proxy = start(&fleet.zone, 81).await?;
    assert_eq!(proxy.answers("/a/b", 200).await.as_deref(), Some("cart-1"));
    let insight = "/meshes/default/dataplanes/gateway-stock/_overview";
    eventually("it shows online, and its health is asked for", async || {
        let shown = fleet.zone.api.get(insight).await?;
        let subscriptions = &shown["dataplaneInsight"]["subscriptions"];
        anyhow::ensure!(subscriptions[0]["connectTime"].is_string(), "{shown:#}");
        let stats = proxy.admin("/stats?filter=hds_delegate").await?;
        let is_healthy = stats.contains("hds_delegate.requests: 1");
        anyhow::ensure!(
            is_healthy && stats.contains("hds_delegate.errors: 0"),
            "{stats}"
        );
        Ok(())
    })
    .await;

    let load = Load::start(proxy.at(PORT), HOST, "/a/b", 4);
    edit_under(load, &fleet.global, 40, "nobody").await?;

    let routes = "/meshes/default/meshgatewayroutes/shop";
    fleet.global.api.delete(routes).await?;
    proxy.answers("/a/b", 404).await;
    // Clusters that nothing names any more go.
    eventually("no cluster is left", async || {
        let clusters = proxy.admin("/clusters").await?;
        let has_one = clusters.contains("cart-") || clusters.contains("basket-");
        anyhow::ensure!(!has_one, "{clusters}");
        Ok(())
    })
    .await;
    fleet
        .global
        .api
        .delete("/meshes/default/meshgateways/edge")
        .await?;
    proxy.closes().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_refuses_hurts_nothing_else() -> anyhow::Result<()> {
    let fleet = Fleet::start(86).await?;
    fleet.global.api.apply(&route("/cart", "cart")).await?;
    let proxy = start(&fleet.zone, 86).await?;
    proxy.answers("/cart", 200).await;
    // Right by its grammar, and larger than Envoy's library compiles; the API would refuse it, a
    // stock global does not.
    let huge = json!({"match": "REGEX", "value": "/(\\pL{500}\\pL{500}){2}"});
    let huge = resource(&route_of("huge", huge, "cart"))?;
    let key = huge.key().clone();
    fleet.zone.store.commit(Batch::new().put(huge)).await?;
    let good = named_route("good", "/good", "cart");
    fleet.global.api.apply(&good).await?;
    proxy.answers("/good", 200).await;
    proxy.answers("/cart", 200).await;
    let insight = "/meshes/default/dataplanes/gateway-stock/_overview";
    let findings = async || -> anyhow::Result<String> {
        let shown = fleet.zone.api.get(insight).await?;
        Ok(shown["dataplaneInsight"]["findings"].to_string())
    };
    eventually("the finding is on the route", async || {
        let findings = findings().await?;
        let is_said = findings.contains("huge") && findings.contains("too large");
        anyhow::ensure!(is_said, "{findings}");
        Ok(())
    })
    .await;
    fleet.zone.store.commit(Batch::new().delete(key)).await?;
    eventually("the finding is gone", async || {
        let findings = findings().await?;
        anyhow::ensure!(!findings.contains("huge"), "{findings}");
        Ok(())
    })
    .await;
    Ok(())
}

/// Counters that move when an Envoy's configuration does, and what it holds.
async fn state(admin: impl AsyncFn(&str) -> anyhow::Result<String>) -> anyhow::Result<String> {
    const COUNTERS: [&str; 9] = [
        "listener_added",
        "listener_modified",
        "listener_removed",
        "listener_create_success",
        "listener_in_place_updated",
        "cluster_added",
        "cluster_modified",
        "cluster_removed",
        "config_reload",
    ];
    let stats = body(&admin("/stats").await?)?;
    let is_counter = |line: &&str| {
        let name = line.split(": ").next().unwrap_or_default();
        COUNTERS.iter().any(|counter| name.ends_with(counter))
    };
    let mut lines: Vec<String> = stats
        .lines()
        .filter(is_counter)
        .map(str::to_owned)
        .collect();
    let mut dump: Value = serde_json::from_str(&body(&admin("/config_dump").await?)?)?;
    if let Some(parts) = dump["configs"].as_array_mut() {
        // It is printed in any order.
        parts.retain(|part| !part["@type"].to_string().contains("Bootstrap"));
    }
    without_times(&mut dump);
    lines.push(format!("{dump:#}"));
    Ok(lines.join("\n"))
}

/// The body of an answer that came in chunks.
fn body(answer: &str) -> anyhow::Result<String> {
    let (_, mut rest) = answer.split_once("\r\n\r\n").context("no body")?;
    let mut body = String::new();
    while let Some((size, chunk)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16)?;
        body.push_str(&chunk[..size]);
        rest = &chunk[size + 2..];
    }
    Ok(body)
}

/// Takes out when something was updated.
fn without_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("last_updated");
            fields.values_mut().for_each(without_times);
        }
        Value::Array(items) => items.iter_mut().for_each(without_times),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_restarts_changes_nothing_on_envoys_of_either_dialect() -> anyhow::Result<()> {
    let Fleet {
        global,
        zone,
        gateway,
        cart: _cart,
    } = Fleet::start(82).await?;
    let certificate = Certificate::ecdsa(&[HOST]);
    global.api.apply(&certificate.secret("shop")).await?;
    let secrets = json!([{"secret": "shop"}]);
    let listeners = json!([
        {"port": PORT, "protocol": "HTTP"},
        {"port": HTTPS, "protocol": "HTTPS", "hostname": HOST,
            "tls": {"mode": "TERMINATE", "certificates": secrets}},
        {"port": TLS, "protocol": "TLS", "hostname": HOST, "tls": {"mode": "PASSTHROUGH"}},
        {"port": TCP, "protocol": "TCP"},
    ]);
    global.api.apply(&gateway_with(listeners)).await?;
    for service in ["cart", "basket", "wine"] {
        let path = format!("/{service}");
        global
            .api
            .apply(&named_route(service, &path, service))
            .await?;
    }
    let destination = json!({"weight": 1, "destination": {"kuma.io/service": "cart"}});
    global
        .api
        .apply(&json!({
            "type": "MeshGatewayRoute", "mesh": "default", "name": "streams",
            "selectors": [{"match": {"kuma.io/service": "edge-gateway"}}],
            "conf": {"tcp": {"rules": [{"backends": [destination]}]}},
        }))
        .await?;
    let began = Instant::now();
    let stock = start(&zone, 82).await?;
    let tls = [gateway.at(HTTPS), stock.at(HTTPS)].map(|at| TlsClient::new(at, HOST));
    for client in &tls {
        eventually("HTTPS is answered", async || {
            let response = client.connect().await?.get(HOST, "/cart").await?;
            anyhow::ensure!(response.status() == 200, "{}", response.status());
            Ok(())
        })
        .await;
    }
    // A stock zone takes 15 s, because it answers who asks for some of what there is with nothing.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "HTTPS works after {took:?}");
    stock.answers("/cart", 200).await;
    stock.answers("/wine", 503).await;
    gateway.answers(PORT, HOST, "/cart", 200).await;
    gateway.answers(PORT, HOST, "/wine", 503).await;
    for at in [gateway.at(TCP), stock.at(TCP)] {
        eventually("TCP is answered", async || {
            let response = reqwest::get(format!("http://{at}/")).await?;
            anyhow::ensure!(response.status() == 200, "{}", response.status());
            Ok(())
        })
        .await;
    }
    let ours = async |path: &str| gateway.admin(path).await;
    let theirs = async |path: &str| stock.admin(path).await;
    let before = (state(ours).await?, state(theirs).await?);
    let http = [gateway.at(PORT), stock.at(PORT)].map(|at| Load::start(at, HOST, "/cart", 2));
    let https = tls.map(|client| Load::start_tls(&client, HOST, "/cart", 2));
    let loads: Vec<Load> = http.into_iter().chain(https).collect();

    let zone = zone.stop().await?;
    for load in &loads {
        load.go_on_for(100).await;
    }
    let zone = zone.start().await?;
    // Endpoints come after everything that a stream begins with.
    let wine = Backend::start("wine-1").await;
    zone.api.apply(&wine.dataplane("wine")).await?;
    stock.answers("/wine", 200).await;
    gateway.answers(PORT, HOST, "/wine", 200).await;
    for load in loads {
        load.go_on_for(50).await;
        let tally = load.stop().await;
        assert_eq!(tally.other_than(&["200 cart-1"]), 0, "{tally}");
    }
    for (before, after) in [
        (before.0, state(ours).await?),
        (before.1, state(theirs).await?),
    ] {
        // Four for traffic, and one before the admin interface where the bootstrap names that.
        let is_complete = ["listener_added: 4", "listener_added: 5"];
        assert!(
            is_complete.iter().any(|count| before.contains(count)),
            "{before}"
        );
        if before != after {
            let changed = before.lines().zip(after.lines()).find(|(b, a)| b != a);
            panic!("it changed: {changed:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn our_zone_takes_the_place_of_a_stock_one_and_no_request_is_lost() -> anyhow::Result<()> {
    // Both call a gateway from the global by the same name.
    takes_the_place(83, "edge-5c75xw87847wvc4c", None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_is_one_lost_if_every_listener_gets_another_name() -> anyhow::Result<()> {
    takes_the_place(84, "edge-of-another-name", None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_if_every_cluster_does() -> anyhow::Result<()> {
    let cluster = Some("cart-of-another-name");
    takes_the_place(87, "edge-5c75xw87847wvc4c", cluster).await
}

async fn takes_the_place(
    number: u8,
    stock_name: &str,
    stock_cluster: Option<&str>,
) -> anyhow::Result<()> {
    let Fleet {
        global,
        zone,
        gateway,
        cart,
    } = Fleet::start(number).await?;
    for path in ["/cart", "/old", "/new"] {
        global
            .api
            .apply(&named_route(&path[1..], path, "cart"))
            .await?;
    }
    gateway.answers(PORT, HOST, "/new", 200).await;
    // Both give a cluster the same name, which is a hash over the tags of its destination.
    let clusters = gateway.admin("/clusters").await?;
    let cluster = clusters.lines().find_map(|line| {
        let (name, _) = line.split_once("::")?;
        name.starts_with("cart-").then(|| name.to_owned())
    });
    let cluster = cluster.context("no cluster")?;
    let token = zone.api.dataplane_token("default", "gateway-stock").await?;
    let trusted = std::fs::read_to_string(zone.ca_file())?;
    let at = zone.data_plane;
    let zone = zone.stop().await?;

    let mut stock = StockZone::new()?;
    let replaced = [
        ("cart-same", stock_cluster.map_or(cluster, str::to_owned)),
        ("7777", cart.address().port().to_string()),
        ("edge-5c75xw87847wvc4c", stock_name.to_owned()),
        ("127.0.0.99", address([number, 9]).to_string()),
    ];
    stock.start(at, &replaced).await?;
    let proxy = StockProxy::start(&Setup {
        name: "gateway-stock",
        address: address([number, 9]),
        control_plane: at,
        trusted: trusted + &stock.certificate,
        token,
    })?;
    proxy.answers("/old", 200).await;
    proxy.answers("/new", 404).await;
    let loads = ["/cart", "/old"].map(|path| Load::start(proxy.at(PORT), HOST, path, 20));
    for load in &loads {
        load.go_on_for(100).await;
    }

    stock.stop().await;
    for load in &loads {
        load.go_on_for(100).await;
    }
    let zone = zone.start().await?;
    proxy.answers("/new", 200).await;
    // What only the stock zone knew goes last.
    eventually("the stock zone's cluster is gone", async || {
        let held = proxy.admin("/clusters").await?;
        anyhow::ensure!(!held.contains("cart-0ca6c34f29eea531"), "{held}");
        Ok(())
    })
    .await;
    let listeners = proxy.admin("/listeners").await?;
    let ours = "edge-5c75xw87847wvc4c:HTTP:18080::";
    assert!(listeners.contains(ours), "{listeners}");
    assert_eq!(listeners.matches(":HTTP:").count(), 1, "{listeners}");
    for load in loads {
        load.go_on_for(100).await;
        let tally = load.stop().await;
        eprintln!("{tally}");
        assert_eq!(tally.other_than(&["200 cart-1"]), 0, "{tally}");
    }
    drop(zone);
    Ok(())
}
