//! What Envoys say of themselves, through the control planes.

use mesh_harness::{Api, Backend, Environment, Gateway, Global, Zone, ZoneOptions, eventually};
use serde_json::Value;

use crate::support::{PORT, address, mesh_gateway, route};

/// What an API answers: status, type of content, text.
async fn ask(api: &Api, path: &str) -> anyhow::Result<(u16, String, String)> {
    let response = reqwest::get(format!("{}{path}", api.base())).await?;
    let status = response.status().as_u16();
    let content_type = response.headers()["content-type"].to_str()?.to_owned();
    Ok((status, content_type, response.text().await?))
}

/// What stands in the way of an answer.
async fn refusal(api: &Api, path: &str) -> anyhow::Result<(u16, String)> {
    let (status, _, text) = ask(api, path).await?;
    let error: Value = serde_json::from_str(&text)?;
    if status != 404 {
        assert_eq!(error["title"], "Could not execute admin operation");
    }
    Ok((status, error["detail"].as_str().unwrap_or("?").to_owned()))
}

/// The path of a Dataplane, once the control plane has it.
async fn path_of(api: &Api, name: &str) -> String {
    let name = eventually(&format!("Dataplane {name}"), async || {
        let list = api.get("/meshes/default/dataplanes").await?;
        let mut items = list["items"].as_array().into_iter().flatten();
        let is_it =
            |item: &&Value| item["name"] == name || item["labels"]["kuma.io/display-name"] == name;
        let found = items.find(is_it);
        let found = found.and_then(|item| item["name"].as_str());
        found
            .map(str::to_owned)
            .ok_or_else(|| anyhow::anyhow!("{list:#}"))
    })
    .await;
    format!("/meshes/default/dataplanes/{name}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_is_asked_through_its_zone_and_through_the_global() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let zone = Zone::start("zone-1", &global).await?;
    let backend = Backend::start("cart").await;
    zone.api.apply(&backend.dataplane("cart")).await?;
    let gateway = Gateway::start(&zone, "edge-1", "edge-gateway", address([66, 1])).await?;
    global.api.apply(&mesh_gateway()).await?;
    global.api.apply(&route("/cart", "cart")).await?;
    gateway.answers(PORT, "shop.example", "/cart/1", 200).await;

    for api in [&zone.api, &global.api] {
        let proxy = path_of(api, "edge-1").await;
        let (status, content_type, dump) = ask(api, &format!("{proxy}/xds")).await?;
        assert_eq!(
            (status, content_type.as_str()),
            (200, "application/json"),
            "{dump}"
        );
        let parsed: Value = serde_json::from_str(&dump)?;
        let types: Vec<&str> = parsed["configs"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|config| config["@type"].as_str()?.rsplit('.').next())
            .collect();
        for ty in [
            "BootstrapConfigDump",
            "ListenersConfigDump",
            "RoutesConfigDump",
        ] {
            assert!(types.contains(&ty), "{types:?}");
        }
        assert!(!types.contains(&"EndpointsConfigDump"), "{types:?}");
        assert!(dump.contains("\"/cart\""), "the route");
        assert!(
            dump.contains("[redacted]") && !dump.contains("eyJ"),
            "the token shows"
        );
        let (_, _, dump) = ask(api, &format!("{proxy}/xds?include_eds=true")).await?;
        assert!(dump.contains("EndpointsConfigDump"));

        let (status, content_type, stats) = ask(api, &format!("{proxy}/stats")).await?;
        assert_eq!((status, content_type.as_str()), (200, "text/plain"));
        assert!(
            stats
                .lines()
                .any(|line| line.starts_with("cluster_manager.cds.")),
            "{stats}"
        );
        let (_, _, all) = ask(api, &format!("{proxy}/stats?usedonly=false")).await?;
        assert!(all.lines().count() > stats.lines().count());
        let (_, content_type, stats) = ask(api, &format!("{proxy}/stats?format=json")).await?;
        assert_eq!(content_type, "application/json");
        assert!(serde_json::from_str::<Value>(&stats)?["stats"].is_array());

        let (status, content_type, clusters) = ask(api, &format!("{proxy}/clusters")).await?;
        assert_eq!((status, content_type.as_str()), (200, "text/plain"));
        assert!(clusters.contains("cart-"), "{clusters}");
        let (status, _, text) = ask(api, &format!("{proxy}/stats?format=xml")).await?;
        assert_eq!(status, 400);
        assert!(text.contains("format is text or json"), "{text}");
        let absent = "/meshes/default/dataplanes/nosuch/xds";
        assert_eq!(refusal(api, absent).await?.0, 404);
    }

    // A Dataplane on which no Envoy runs.
    let service = path_of(&global.api, "cart").await;
    let (status, detail) = refusal(&global.api, &format!("{service}/clusters")).await?;
    assert_eq!(status, 400);
    assert!(
        detail.contains("cannot reach Envoy's admin interface"),
        "{detail}"
    );

    // One that does not move any more.
    let proxy = path_of(&global.api, "edge-1").await;
    let stopped = gateway.suspend_envoy()?;
    let (status, detail) = refusal(&global.api, &format!("{proxy}/stats")).await?;
    assert_eq!(status, 400);
    assert!(detail.contains("did not answer within 8s"), "{detail}");
    drop(stopped);
    let (status, ..) = ask(&global.api, &format!("{proxy}/stats")).await?;
    assert_eq!(status, 200);

    // One that has ended.
    gateway.stop().await?;
    let (status, detail) = eventually("the Envoy is gone", async || {
        let (status, detail) = refusal(&zone.api, "/meshes/default/dataplanes/cart/xds").await?;
        anyhow::ensure!(status == 500, "{detail}");
        Ok((status, detail))
    })
    .await;
    assert_eq!(status, 500, "{detail}");

    // A zone that is not there.
    let _stopped = zone.stop().await?;
    eventually("the zone is missed", async || {
        let (status, detail) = refusal(&global.api, &format!("{service}/xds")).await?;
        anyhow::ensure!(
            status == 400 && detail.contains("not connected"),
            "{detail}"
        );
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_fits_no_message_says_so() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let limit = (
        "KUMA_MULTIZONE_ZONE_KDS_MAX_MSG_SIZE".to_owned(),
        "20000".to_owned(),
    );
    let options = ZoneOptions {
        environment: Environment::from([limit]),
    };
    let zone = Zone::start_with("zone-1", &global, options).await?;
    let _gateway = Gateway::start(&zone, "edge-1", "edge-gateway", address([66, 2])).await?;
    let proxy = path_of(&global.api, "edge-1").await;
    let (status, detail) = refusal(&global.api, &format!("{proxy}/xds")).await?;
    assert_eq!(status, 400);
    assert!(
        detail.contains("more than the 20000 of a message"),
        "{detail}"
    );
    // Smaller answers come.
    let (status, ..) = ask(&global.api, &format!("{proxy}/clusters")).await?;
    assert_eq!(status, 200);
    Ok(())
}
