//! Control planes that stop, die and come back, while requests flow.

use mesh_harness::{Backend, ControlPlane, Gateway, Global, Load, Zone, eventually};
use tokio::time::Instant;

use crate::support::{Fleet, HOST, PORT, address, mesh_gateway, named_route, route};

const CLIENTS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_restarts_and_changes_while_the_global_is_down() -> anyhow::Result<()> {
    let Fleet {
        global,
        zone,
        gateway,
        cart: _cart,
    } = Fleet::start(31).await?;
    global.api.apply(&route("/cart", "cart")).await?;
    global
        .api
        .apply(&named_route("late", "/late", "late"))
        .await?;
    gateway.answers(PORT, HOST, "/cart", 200).await;
    gateway.answers(PORT, HOST, "/late", 503).await;
    let load = Load::start(gateway.at(PORT), HOST, "/cart", CLIENTS);
    load.go_on_for(100).await;

    let global = global.stop().await;
    let zone = zone.stop().await?;
    load.go_on_for(100).await;
    let zone = zone.start().await?;
    let started = Instant::now();
    // A change of the zone's own goes live, without the global.
    let late = Backend::start("late-1").await;
    zone.api.apply(&late.dataplane("late")).await?;
    let answered = gateway.answers(PORT, HOST, "/late", 200).await;
    assert_eq!(answered.as_deref(), Some("late-1"));
    let back = started.elapsed();
    eprintln!("the gateway followed its restarted zone after {back:?}");
    assert!(back.as_secs() < 5, "Envoy came back only after {back:?}");

    let global = global.start().await?;
    global
        .api
        .apply(&named_route("new", "/new", "cart"))
        .await?;
    gateway.answers(PORT, HOST, "/new", 200).await;
    load.go_on_for(100).await;
    let tally = load.stop().await;
    assert_eq!(tally.other_than(&["200 cart-1"]), 0, "{tally}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_while_its_zone_was_away_is_gone_and_what_lived_is_not() -> anyhow::Result<()> {
    let Fleet {
        global: _global,
        zone,
        gateway,
        cart: _cart,
    } = Fleet::start(34).await?;
    let other = Gateway::start(&zone, "gateway-2", "edge-gateway", address([34, 2])).await?;
    let mut zone = zone.stop().await?;
    // Its agent is killed, and so does not say goodbye.
    drop(other);
    let delay = "KUMA_XDS_SERVER_DATAPLANE_DEREGISTRATION_DELAY".to_owned();
    zone.environment().insert(delay, "3s".to_owned());
    let zone = zone.start().await?;
    eventually(
        "only the Dataplane of the dead gateway is gone",
        async || {
            let dataplanes = zone.api.get("/dataplanes").await?;
            let items = dataplanes["items"].as_array().cloned().unwrap_or_default();
            let names: Vec<_> = items.iter().filter_map(|d| d["name"].as_str()).collect();
            let expected = ["cart-1", gateway.name()];
            anyhow::ensure!(names == expected, "{names:?}");
            Ok(())
        },
    )
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_global_that_is_killed_loses_no_request_and_nothing_it_acknowledged() -> anyhow::Result<()>
{
    let mut global = ControlPlane::global().await?;
    let zone = Zone::start("zone-1", &global).await?;
    let cart = Backend::start("cart-1").await;
    zone.api.apply(&cart.dataplane("cart")).await?;
    let gateway = Gateway::start(&zone, "gateway-1", "edge-gateway", address([32, 1])).await?;
    global.api.apply(&mesh_gateway()).await?;
    global.api.apply(&route("/cart", "cart")).await?;
    gateway.answers(PORT, HOST, "/cart", 200).await;
    let load = Load::start(gateway.at(PORT), HOST, "/cart", CLIENTS);
    for round in 0..3 {
        load.go_on_for(50).await;
        // Written, and killed before anyone can be sure that the zone has it.
        let path = format!("/round-{round}");
        global
            .api
            .apply(&named_route(&format!("round-{round}"), &path, "cart"))
            .await?;
        global.kill().await?;
        load.go_on_for(50).await;
        let start = Instant::now();
        global.start().await?;
        gateway.answers(PORT, HOST, &path, 200).await;
        let path = format!("/after-{round}");
        global
            .api
            .apply(&named_route(&format!("after-{round}"), &path, "cart"))
            .await?;
        gateway.answers(PORT, HOST, &path, 200).await;
        eprintln!("killed and again in charge after {:?}", start.elapsed());
    }
    let tally = load.stop().await;
    eprintln!("{tally}");
    assert_eq!(tally.other_than(&["200 cart-1"]), 0, "{tally}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_is_killed_loses_no_request() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let mut zone = ControlPlane::zone("zone-1", &global).await?;
    let cart = Backend::start("cart-1").await;
    zone.api.apply(&cart.dataplane("cart")).await?;
    let gateway = Gateway::start(&zone, "gateway-1", "edge-gateway", address([33, 1])).await?;
    global.api.apply(&mesh_gateway()).await?;
    global.api.apply(&route("/cart", "cart")).await?;
    gateway.answers(PORT, HOST, "/cart", 200).await;
    let load = Load::start(gateway.at(PORT), HOST, "/cart", CLIENTS);
    for round in 0..3 {
        load.go_on_for(50).await;
        zone.kill().await?;
        // The global learns of it while the zone is away, and the zone when it is back.
        let path = format!("/round-{round}");
        global
            .api
            .apply(&named_route(&format!("round-{round}"), &path, "cart"))
            .await?;
        load.go_on_for(50).await;
        let start = Instant::now();
        zone.start().await?;
        let ready = start.elapsed();
        gateway.answers(PORT, HOST, &path, 200).await;
        eprintln!(
            "killed; ready after {ready:?}, the change live after {:?}",
            start.elapsed()
        );
    }
    let tally = load.stop().await;
    eprintln!("{tally}");
    assert_eq!(tally.other_than(&["200 cart-1"]), 0, "{tally}");
    // Nobody shows online twice.
    eventually("one open subscription", async || {
        let list = global.api.get("/dataplanes/_overview").await?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let open = items
            .iter()
            .filter_map(|item| item["dataplaneInsight"]["subscriptions"].as_array())
            .flatten()
            .filter(|s| s.get("disconnectTime").is_none())
            .count();
        anyhow::ensure!(open == 1, "{open} of {list:#}");
        Ok(())
    })
    .await;
    Ok(())
}
