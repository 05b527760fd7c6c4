//! Where a change is, as the global tells it, against what Envoys answer.

use mesh_harness::process::Process;
use mesh_harness::{Gateway, eventually};
use serde_json::{Value, json};

use crate::support::{Fleet, PORT, address, route, route_of};

const ROUTE: &str = "/meridian/receipts/meshes/default/meshgatewayroutes/shop";

/// The receipt, once it is as it should be.
async fn receipt(
    fleet: &Fleet,
    what: &str,
    is_right: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    Ok(eventually(what, async || {
        let receipt = fleet.global.api.get(ROUTE).await?;
        anyhow::ensure!(is_right(&receipt), "{receipt:#}");
        Ok::<_, anyhow::Error>(receipt)
    })
    .await)
}

/// What `meridian wait` exits with, and what it tells.
async fn wait(fleet: &Fleet, timeout: &str) -> anyhow::Result<(Option<i32>, String)> {
    let arguments = [
        "wait",
        "meshgatewayroute",
        "shop",
        "--for=live",
        "--timeout",
        timeout,
        "--address",
        fleet.global.api.base(),
    ];
    let mut process = Process::start("meridian", arguments, [])?;
    let code = process.wait().await?;
    Ok((code, process.log().await))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_to_be_live_is_answered() -> anyhow::Result<()> {
    let fleet = Fleet::start(67).await?;
    let second = Gateway::start(&fleet.zone, "gateway-2", "edge-gateway", address([67, 2])).await?;
    for n in 0..20 {
        let path = format!("/cart-{n}");
        fleet.global.api.apply(&route(&path, "cart")).await?;
        let live = receipt(&fleet, "the change is live", |r| r["isLive"] == true).await?;
        // At once, and in every Envoy.
        for gateway in [&fleet.gateway, &second] {
            let response = gateway.get(PORT, "shop.example", &path).await?;
            assert_eq!(response.status(), 200, "{n}: {live:#}");
        }
        let zone = &live["zones"][0];
        assert_eq!(zone["zone"], "zone-1");
        assert_eq!(zone["state"], "live");
        let proxies = zone["proxies"].as_array().map_or(0, Vec::len);
        assert_eq!(proxies, 2, "{live:#}");
        // Times go one way: on one machine there is one clock.
        let times = [
            &live["storedAt"],
            &zone["sentAt"],
            &zone["storedAt"],
            &zone["proxies"][0]["liveAt"],
        ];
        let times: Vec<&str> = times.iter().filter_map(|time| time.as_str()).collect();
        assert!(times.len() == 4 && times.is_sorted(), "{live:#}");
    }

    // An Envoy that does not move.
    let stopped = second.suspend_envoy()?;
    fleet.global.api.apply(&route("/later", "cart")).await?;
    fleet
        .gateway
        .answers(PORT, "shop.example", "/later", 200)
        .await;
    let waiting = receipt(&fleet, "one has it", |receipt| {
        receipt["zones"][0]["proxies"][1]["isLive"] == true
    })
    .await?;
    assert_eq!(waiting["isLive"], false);
    let zone = &waiting["zones"][0];
    assert_eq!(zone["state"], "stored");
    assert_eq!(
        zone["proxies"][0]["name"], "gateway-2",
        "who waits comes first"
    );
    assert_eq!(zone["proxies"][0]["isLive"], false);
    assert_eq!(zone["proxies"][0]["liveAt"], Value::Null);
    let (code, told) = wait(&fleet, "500ms").await?;
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("zone zone-1, gateway-2: not yet"), "{told}");
    assert!(!told.contains("gateway-1"), "{told}");
    drop(stopped);
    let (code, told) = wait(&fleet, "30s").await?;
    assert_eq!(code, Some(0), "{told}");
    receipt(&fleet, "both have it", |receipt| receipt["isLive"] == true).await?;

    // A zone that is not there.
    let Fleet { global, zone, .. } = fleet;
    let _stopped = zone.stop().await?;
    global.api.apply(&route("/unseen", "cart")).await?;
    eventually("the zone is missed", async || {
        let receipt = global.api.get(ROUTE).await?;
        let zone = &receipt["zones"][0];
        let is_right = zone["state"] == "offline" && zone["since"].is_string();
        anyhow::ensure!(is_right && receipt["isLive"] == false, "{receipt:#}");
        Ok(())
    })
    .await;
    // Of what does not exist nothing is said.
    let absent = ROUTE.replace("shop", "nosuch");
    let (status, _) = global.api.send(reqwest::Method::GET, &absent, None).await?;
    assert_eq!(status, 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_envoy_refuses_is_not_said_to_be_live() -> anyhow::Result<()> {
    let fleet = Fleet::start(68).await?;
    // An Envoy that takes smaller regular expressions than others do.
    let small = json!({"re2.max_program_size.error_level": 40});
    let at = address([68, 2]);
    let _strict = Gateway::start_with(&fleet.zone, "strict", "edge-gateway", at, &small).await?;
    fleet.global.api.apply(&route("/cart", "cart")).await?;
    receipt(&fleet, "it is live", |receipt| receipt["isLive"] == true).await?;
    let large = json!({"match": "REGEX", "value": "/cart/[a-z]{50}"});
    fleet
        .global
        .api
        .apply(&route_of("shop", large, "cart"))
        .await?;
    let refused = receipt(&fleet, "one goes without", |receipt| {
        let proxies = &receipt["zones"][0]["proxies"];
        let words = proxies[0]["refused"].as_str();
        words.is_some_and(|words| words.contains("RE2")) && proxies[1]["isLive"] == true
    })
    .await?;
    let zone = &refused["zones"][0];
    assert_eq!(zone["proxies"][0]["name"], "strict");
    assert_eq!(zone["proxies"][0]["isLive"], false);
    assert_eq!(refused["isLive"], false);
    let (code, told) = wait(&fleet, "300ms").await?;
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("strict: goes without: "), "{told}");
    fleet.global.api.apply(&route("/cart", "cart")).await?;
    receipt(&fleet, "it is live again", |receipt| {
        receipt["isLive"] == true
    })
    .await?;
    Ok(())
}
