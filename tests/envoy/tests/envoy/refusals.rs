//! What Envoy refuses although nothing here foresaw it hurts nothing but itself.
//!
//! The Envoys of these tests take smaller regular expressions than others do, so that some which
//! are right by every rule are refused.

use std::collections::BTreeSet;

use mesh_harness::{Gateway, eventually};
use mesh_model::Resource;
use mesh_store::Batch;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::edits::resource;
use crate::support::{
    Fleet, HOST, PORT, address, findings, gateway_with, named_route, route, route_of,
};

const OTHER_PORT: u16 = 18081;

/// What `[a-z]{50}` is too large for.
fn small_regexes() -> Value {
    json!({"re2.max_program_size.error_level": 40})
}

fn refused(name: &str) -> Value {
    let path = json!({"match": "REGEX", "value": format!("/{name}/[a-z]{{50}}")});
    route_of(name, path, "cart")
}

/// A route whose words cannot be told from those of others: it looks for the same header value.
fn alike(mut route: Value, value: &str) -> Value {
    let matching = &mut route["conf"]["http"]["rules"][0]["matches"][0];
    matching["headers"] = json!([{"match": "EXACT", "name": "x-none", "value": value}]);
    let other =
        json!({"path": {"match": "EXACT", "value": "/never"}, "headers": matching["headers"]});
    matching["headers"] = json!([]);
    route["conf"]["http"]["rules"][0]["matches"] = json!([matching.clone(), other]);
    route
}

fn batch(documents: impl IntoIterator<Item = Value>) -> anyhow::Result<Batch> {
    let mut batch = Batch::new();
    for document in documents {
        batch = batch.put(resource(&document)?);
    }
    Ok(batch)
}

fn number_of_routes() -> anyhow::Result<usize> {
    Ok(std::env::var("MERIDIAN_ROUTES").map_or(Ok(5000), |text| text.parse())?)
}

/// How many route configurations an Envoy refused and took.
async fn pushes(gateway: &Gateway) -> anyhow::Result<(u64, u64)> {
    let stats = gateway.admin("/stats?filter=rds.*update_").await?;
    let count = |what: &str| -> u64 {
        let of_name = stats.lines().filter(|line| line.contains(what));
        of_name
            .filter_map(|line| line.rsplit(' ').next()?.trim().parse::<u64>().ok())
            .sum()
    };
    Ok((count("update_rejected"), count("update_success")))
}

struct Scene {
    fleet: Fleet,
    gateway: Gateway,
}

impl Scene {
    async fn start(number: u8) -> anyhow::Result<Self> {
        let fleet = Fleet::start(number).await?;
        let at = address([number, 2]);
        let gateway =
            Gateway::start_with(&fleet.zone, "strict", "edge-gateway", at, &small_regexes())
                .await?;
        Ok(Self { fleet, gateway })
    }

    async fn write(&self, documents: impl IntoIterator<Item = Value>) -> anyhow::Result<()> {
        self.fleet.zone.store.commit(batch(documents)?).await?;
        Ok(())
    }

    async fn status(&self, path: &str) -> anyhow::Result<u16> {
        let response = self.gateway.get(PORT, HOST, path).await?;
        Ok(response.status().as_u16())
    }

    async fn pushes(&self) -> anyhow::Result<(u64, u64)> {
        pushes(&self.gateway).await
    }

    /// Waits until findings with Envoy's words are on exactly these routes.
    async fn refused_are(&self, names: &[&str]) {
        let expected: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        eventually("findings on the refused routes", async || {
            let all = findings(&self.fleet.global).await?;
            let refused: BTreeSet<String> = all
                .iter()
                .filter(|f| {
                    f["type"] == "MeshGatewayRoute" && f["message"].to_string().contains("RE2")
                })
                .map(|f| f["name"].as_str().unwrap_or_default().to_owned())
                .collect();
            anyhow::ensure!(refused == expected, "{all:#?}");
            Ok(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_refused_routes_of_a_hundred_changed_do_not_hold_up_the_others() -> anyhow::Result<()>
{
    let scene = Scene::start(46).await?;
    let routes = number_of_routes()?;
    let route = |n: usize| named_route(&format!("r-{n}"), &format!("/r/{n}"), "cart");
    scene.write((0..routes).map(route)).await?;
    let last = format!("/r/{}", routes - 1);
    scene.gateway.answers(PORT, HOST, &last, 200).await;

    // Once where Envoy's words tell the bad ones from the good ones, and once where they do not.
    for round in ["plain", "alike"] {
        let name = |n: usize| format!("{round}-{n}");
        let bad = [17, 55, 98];
        let value: String = bad
            .iter()
            .map(|n| format!("/{}/[a-z]{{50}} ", name(*n)))
            .collect();
        let changed = (0..100).map(|n| {
            let name = name(n);
            let route = match bad.contains(&n) {
                true => refused(&name),
                false => named_route(&name, &format!("/{name}"), "cart"),
            };
            match round {
                "alike" => alike(route, &value),
                _ => route,
            }
        });
        let changed = batch(changed)?;
        let before = scene.pushes().await?;
        let begun = Instant::now();
        scene.fleet.zone.store.commit(changed).await?;
        for n in (0..100).filter(|n| !bad.contains(n)) {
            let path = format!("/{}", name(n));
            scene.gateway.answers(PORT, HOST, &path, 200).await;
        }
        let took = begun.elapsed();
        let names: Vec<String> = bad.iter().map(|n| name(*n)).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        scene.refused_are(&names).await;
        let after = scene.pushes().await?;
        let (rejected, taken) = (after.0 - before.0, after.1 - before.1);
        eprintln!(
            "{round}: 97 of 100 changed routes among {routes} live after {took:?}, \
             {rejected} pushes refused, {taken} taken"
        );
        // The first refusal is no push of the search; 2·k·log₂ 100 = 39.8.
        assert!(rejected - 1 + taken <= 39, "{rejected} + {taken}");
        scene.gateway.answers(PORT, HOST, &last, 200).await;

        // What is mended or goes away is no longer reported.
        let mended = name(17);
        scene
            .write([named_route(&mended, &format!("/{mended}"), "cart")])
            .await?;
        scene
            .gateway
            .answers(PORT, HOST, &format!("/{mended}"), 200)
            .await;
        names.remove(0);
        scene.refused_are(&names).await;
        let mut gone = Batch::new();
        for name in &names {
            gone = gone.delete(resource(&refused(name))?.key().clone());
        }
        scene.fleet.zone.store.commit(gone).await?;
        scene.refused_are(&[]).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_version_of_a_refused_route_stays() -> anyhow::Result<()> {
    let scene = Scene::start(47).await?;
    scene
        .write([
            named_route("shop", "/shop", "cart"),
            named_route("a", "/a", "cart"),
        ])
        .await?;
    scene.gateway.answers(PORT, HOST, "/shop", 200).await;
    scene
        .write([refused("shop"), named_route("a", "/b", "cart")])
        .await?;
    scene.gateway.answers(PORT, HOST, "/b", 200).await;
    scene.refused_are(&["shop"]).await;
    assert_eq!(scene.status("/shop").await?, 200);
    let finding = scene.fleet.finding(&["shop", "stays live"]).await;
    eprintln!("{finding:#}");
    // A gateway that comes later has the same.
    let at = address([47, 3]);
    let later = Gateway::start(&scene.fleet.zone, "later", "edge-gateway", at).await?;
    later.answers(PORT, HOST, "/shop", 200).await;

    // A second bad version changes nothing; a good one goes live.
    let path = json!({"match": "REGEX", "value": "/other/[a-z]{60}"});
    scene
        .write([
            route_of("shop", path, "cart"),
            named_route("a", "/c", "cart"),
        ])
        .await?;
    scene.gateway.answers(PORT, HOST, "/c", 200).await;
    scene.refused_are(&["shop"]).await;
    assert_eq!(scene.status("/shop").await?, 200);
    scene
        .write([named_route("shop", "/mended", "cart")])
        .await?;
    scene.gateway.answers(PORT, HOST, "/mended", 200).await;
    scene.refused_are(&[]).await;
    assert_eq!(scene.status("/shop").await?, 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_in_place_of_a_refused_route_survives_a_restart_of_the_zone()
-> anyhow::Result<()> {
    let scene = Scene::start(56).await?;
    // From the global, which a zone that starts again asks what there is.
    let api = &scene.fleet.global.api;
    api.apply(&named_route("shop", "/shop", "cart")).await?;
    scene.gateway.answers(PORT, HOST, "/shop", 200).await;
    api.apply(&refused("shop")).await?;
    scene.refused_are(&["shop"]).await;
    let before = scene.pushes().await?;

    let Scene { fleet, gateway } = scene;
    let Fleet { global, zone, .. } = fleet;
    let zone = zone.stop().await?.start().await?;
    global
        .api
        .apply(&named_route("new", "/new", "cart"))
        .await?;
    eventually("the gateway follows the zone again", async || {
        let shop = gateway.get(PORT, HOST, "/shop").await?.status();
        assert_eq!(shop, 200);
        let status = gateway.get(PORT, HOST, "/new").await?.status();
        anyhow::ensure!(status == 200, "{status}");
        Ok(())
    })
    .await;
    let status = gateway.get(PORT, HOST, "/shop").await?.status();
    assert_eq!(status, 200);
    assert_eq!(pushes(&gateway).await?.0, before.0, "it is not tried again");
    drop(zone);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_route_that_comes_while_the_zone_is_away_costs_no_request() -> anyhow::Result<()> {
    let scene = Scene::start(251).await?;
    let paths: Vec<String> = (0..20).map(|n| format!("/r/{n}")).collect();
    let api = &scene.fleet.global.api;
    for (n, path) in paths.iter().enumerate() {
        api.apply(&named_route(&format!("r-{n}"), path, "cart"))
            .await?;
    }
    for path in &paths {
        scene.gateway.answers(PORT, HOST, path, 200).await;
    }
    let Scene { fleet, gateway } = scene;
    let Fleet { global, zone, .. } = fleet;
    let zone = zone.stop().await?;
    for route in [refused("bad"), named_route("new", "/new", "cart")] {
        global.api.apply(&route).await?;
    }
    let zone = zone.start().await?;
    eventually(
        "the bad one is found, and all others are live",
        async || {
            // Those that Envoy served all the time are never away.
            for path in &paths {
                let status = gateway.get(PORT, HOST, path).await?.status();
                assert_eq!(status, 200, "{path}");
            }
            let status = gateway.get(PORT, HOST, "/new").await?.status();
            anyhow::ensure!(status == 200, "/new: {status}");
            let all = findings(&global).await?;
            let is_found = |f: &Value| f["type"] == "MeshGatewayRoute" && f["name"] == "bad";
            anyhow::ensure!(all.iter().any(is_found), "{all:#?}");
            Ok(())
        },
    )
    .await;
    eprintln!("{:?} pushes refused and taken", pushes(&gateway).await?);
    drop(zone);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_route_is_found_by_an_envoy_that_starts_with_it() -> anyhow::Result<()> {
    let fleet = Fleet::start(48).await?;
    let good = (0..200).map(|n| named_route(&format!("r-{n}"), &format!("/r/{n}"), "cart"));
    let bad = ["bad-1", "bad-2"].map(refused);
    let documents: Vec<Resource> = good
        .chain(bad)
        .map(|document| resource(&document))
        .collect::<anyhow::Result<_>>()?;
    let mut all = Batch::new();
    for document in documents {
        all = all.put(document);
    }
    fleet.zone.store.commit(all).await?;
    fleet.answers("/r/199", 200).await;
    let at = address([48, 2]);
    let gateway =
        Gateway::start_with(&fleet.zone, "strict", "edge-gateway", at, &small_regexes()).await?;
    let scene = Scene { fleet, gateway };
    for n in 0..200 {
        scene
            .gateway
            .answers(PORT, HOST, &format!("/r/{n}"), 200)
            .await;
    }
    scene.refused_are(&["bad-1", "bad-2"]).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_on_the_host_is_reported_and_taken_when_it_is_free()
-> anyhow::Result<()> {
    let fleet = Fleet::start(49).await?;
    let taken = tokio::net::TcpListener::bind(fleet.gateway.at(OTHER_PORT)).await?;
    let listeners = json!([
        {"port": PORT, "protocol": "HTTP"},
        {"port": OTHER_PORT, "protocol": "HTTP"},
    ]);
    fleet.global.api.apply(&gateway_with(listeners)).await?;
    let words = [
        "MeshGateway",
        "conf.listeners[1].port",
        "port 18081 of 127.0.49.1 is taken by another process",
        "cannot bind",
    ];
    let finding = fleet.finding(&words).await;
    eprintln!("{finding:#}");

    // The other port goes on.
    fleet.global.api.apply(&route("/cart", "cart")).await?;
    fleet.answers("/cart", 200).await;
    drop(taken);
    fleet.gateway.answers(OTHER_PORT, HOST, "/cart", 200).await;
    fleet.no_finding().await;
    Ok(())
}
