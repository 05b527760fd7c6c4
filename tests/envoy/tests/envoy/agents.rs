//! The agent's life: how it leaves, and how it is turned away.

use std::time::Duration;

use mesh_harness::{Agent, Gateway, eventually, free_port};
use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Fleet, HOST, PORT, address, route};

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_ends_is_gone_from_zone_and_global_at_once() -> anyhow::Result<()> {
    let mut fleet = Fleet::start(51).await?;
    let zone = &fleet.zone.api;
    let global = &fleet.global.api;
    let shown = async |api: &mesh_harness::Api| -> anyhow::Result<usize> {
        let list = api.get("/dataplanes?gateway=builtin").await?;
        Ok(list["items"].as_array().map_or(0, Vec::len))
    };
    eventually("the gateway on the global", async || {
        anyhow::ensure!(shown(global).await? == 1, "it is not there");
        Ok(())
    })
    .await;
    assert_eq!(shown(zone).await?, 1);

    let asked = Instant::now();
    fleet.gateway.process().signal(Signal::TERM)?;
    let mut gone = Vec::new();
    for api in [zone, global] {
        eventually("the gateway is gone", async || {
            anyhow::ensure!(shown(api).await? == 0, "it is still there");
            Ok(())
        })
        .await;
        gone.push(asked.elapsed());
    }
    eprintln!(
        "gone from the zone after {:?}, from the global after {:?}",
        gone[0], gone[1]
    );
    assert!(gone[1] < Duration::from_secs(1), "{gone:?}");
    assert_eq!(fleet.gateway.process().wait().await?, Some(0));
    // And it does not come back with the last word of its stream.
    assert_eq!(shown(zone).await?, 0);
    assert_eq!(shown(global).await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_gateway_that_is_deleted_by_hand_comes_back() -> anyhow::Result<()> {
    let fleet = Fleet::start(54).await?;
    let path = "/meshes/default/dataplanes/gateway-1";
    let before = fleet.zone.api.get(path).await?["creationTime"].clone();
    fleet.zone.api.delete(path).await?;
    eventually("the gateway is registered again", async || {
        let after = fleet.zone.api.get(path).await?["creationTime"].clone();
        anyhow::ensure!(after != before, "it is still there");
        Ok(())
    })
    .await;
    // And it follows changes as before.
    fleet.global.api.apply(&route("/cart", "cart")).await?;
    let answered = fleet.answers("/cart", 200).await;
    assert_eq!(answered.as_deref(), Some("cart-1"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_takes_over_keeps_the_dataplane() -> anyhow::Result<()> {
    let mut fleet = Fleet::start(55).await?;
    let path = "/meshes/default/dataplanes/gateway-1";
    let mut successor =
        Gateway::start(&fleet.zone, "gateway-1", "edge-gateway", address([55, 2])).await?;
    fleet.gateway.process().signal(Signal::TERM)?;
    assert_eq!(fleet.gateway.process().wait().await?, Some(0));
    let dataplane = fleet.zone.api.get(path).await?;
    assert_eq!(dataplane["networking"]["address"], "127.0.55.2");
    fleet.global.api.apply(&route("/cart", "cart")).await?;
    let answered = successor.answers(PORT, HOST, "/cart", 200).await;
    assert_eq!(answered.as_deref(), Some("cart-1"));

    // Its own goodbye counts.
    successor.process().signal(Signal::TERM)?;
    assert_eq!(successor.process().wait().await?, Some(0));
    assert!(fleet.zone.api.get(path).await.is_err(), "it is still there");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_proxy_is_refused_and_the_agent_says_so() -> anyhow::Result<()> {
    let fleet = Fleet::start(52).await?;
    let token = fleet.zone.api.dataplane_token("default", "other").await?;
    let admin = free_port([127, 0, 0, 1].into())?;
    let dataplane = Gateway::dataplane("gateway-2", "edge-gateway", address([52, 2]), admin);
    for (token, expected) in [
        (token.as_str(), "token is for another proxy"),
        ("eyJhbGciOiJub25lIn0.e30.", "token is not valid"),
    ] {
        let agent = Agent::start(&fleet.zone, &dataplane, token)?;
        eventually("the agent says why", async || {
            // Envoy prints a gRPC status as it travels: percent-encoded.
            let log = agent.process.log().await.replace("%20", " ");
            anyhow::ensure!(log.contains(expected), "{log}");
            Ok(())
        })
        .await;
        let path = "/meshes/default/dataplanes/gateway-2";
        assert!(fleet.zone.api.get(path).await.is_err(), "it was registered");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataplane_that_is_no_gateway_is_refused_clearly() -> anyhow::Result<()> {
    let fleet = Fleet::start(53).await?;
    let token = fleet.zone.api.dataplane_token("default", "sidecar").await?;
    let dataplane = json!({
        "type": "Dataplane", "mesh": "default", "name": "sidecar",
        "networking": {
            "address": "127.0.53.2",
            "inbound": [{"port": 9999, "tags": {"kuma.io/service": "cart"}}],
        },
    });
    let mut agent = Agent::start(&fleet.zone, &dataplane, &token)?;
    let code = agent.process.wait().await?;
    let log = agent.process.log().await;
    assert!(
        code.is_some_and(|code| code != 0),
        "it ended with {code:?}: {log}"
    );
    assert!(log.contains("gateway"), "{log}");
    let path = "/meshes/default/dataplanes/sidecar";
    assert!(fleet.zone.api.get(path).await.is_err(), "it was registered");
    Ok(())
}
