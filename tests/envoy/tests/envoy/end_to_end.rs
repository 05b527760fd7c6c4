//! From the global's admin API to an HTTP answer in two zones, and back up.

use mesh_harness::{Backend, Gateway, Global, Zone, eventually};
use serde_json::Value;

use crate::support::{PORT, address, mesh_gateway, route};

#[tokio::test(flavor = "multi_thread")]
async fn a_route_written_once_answers_in_two_zones() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let mut zones = Vec::new();
    for (index, name) in ["zone-1", "zone-2"].into_iter().enumerate() {
        let zone = Zone::start(name, &global).await?;
        let backend = Backend::start(&format!("cart-{name}")).await;
        zone.api.apply(&backend.dataplane("cart")).await?;
        let at = address([11, u8::try_from(index)? + 1]);
        let gateway = Gateway::start(&zone, &format!("gateway-{name}"), "edge-gateway", at).await?;
        zones.push((zone, backend, gateway));
    }
    global.api.apply(&mesh_gateway()).await?;
    global.api.apply(&route("/cart", "cart")).await?;
    for (zone, _, gateway) in &zones {
        let backend = gateway.answers(PORT, "shop.example", "/cart/1", 200).await;
        assert_eq!(backend, Some(format!("cart-{}", zone.name)));
        gateway.answers(PORT, "shop.example", "/cartoon", 404).await;
    }

    // A change.
    global.api.apply(&route("/basket", "cart")).await?;
    for (_, _, gateway) in &zones {
        gateway.answers(PORT, "shop.example", "/basket", 200).await;
        gateway.answers(PORT, "shop.example", "/cart/1", 404).await;
    }

    // Inventory comes back up: both gateways online, nothing to complain about.
    eventually("both gateways online on the global", async || {
        let list = global.api.get("/dataplanes/_overview").await?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let online = |item: &&Value| {
            let subscriptions = item["dataplaneInsight"]["subscriptions"].as_array();
            subscriptions.is_some_and(|s| s.iter().any(|s| s.get("disconnectTime").is_none()))
        };
        anyhow::ensure!(items.iter().filter(online).count() == 2, "{list:#}");
        Ok(())
    })
    .await;
    let list = global.api.get("/zones/_overview").await?;
    assert_eq!(list["total"], 2, "{list:#}");

    // And it goes.
    global
        .api
        .delete("/meshes/default/meshgatewayroutes/shop")
        .await?;
    for (_, _, gateway) in &zones {
        gateway.answers(PORT, "shop.example", "/basket", 404).await;
    }
    global
        .api
        .delete("/meshes/default/meshgateways/edge")
        .await?;
    for (_, _, gateway) in &zones {
        eventually("the listener is gone", async || {
            match gateway.get(PORT, "shop.example", "/").await {
                Err(_) => Ok(()),
                Ok(response) => Err(format!("it answers {}", response.status())),
            }
        })
        .await;
    }
    for (_, _, gateway) in zones {
        assert_eq!(gateway.stop().await?, Some(0));
    }
    Ok(())
}
