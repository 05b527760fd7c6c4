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
    assert!(detail.contains("no connection within 3s"), "{detail}");
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
async fn nobody_but_the_zone_reaches_an_admin_interface() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let zone = Zone::start("zone-1", &global).await?;
    let at = address([66, 3]);
    let gateway = Gateway::start(&zone, "edge-1", "edge-gateway", at).await?;
    let dataplane = zone.api.get("/meshes/default/dataplanes/edge-1").await?;
    let port = dataplane["networking"]["admin"]["port"].clone();
    let listener = format!("{at}:{port}");
    eventually("the listener says that the proxy is ready", async || {
        let response = reqwest::get(format!("http://{listener}/ready")).await?;
        anyhow::ensure!(response.status() == 200, "{}", response.status());
        Ok(())
    })
    .await;
    for path in ["/config_dump", "/quitquitquit", "/ready/../config_dump"] {
        let response = reqwest::get(format!("http://{listener}{path}")).await?;
        assert_eq!(response.status(), 404, "{path}");
    }
    let stranger = reqwest::Client::builder()
        .no_proxy()
        .danger_accept_invalid_certs(true)
        .build()?;
    let refused = stranger.get(format!("https://{listener}/config_dump"));
    assert!(refused.send().await.is_err(), "without a certificate");
    // A certificate for the right name from another authority.
    let other = rcgen::generate_simple_self_signed(["kuma-cp".to_owned()])?;
    let pem = other.cert.pem() + &other.signing_key.serialize_pem();
    let stranger = reqwest::Client::builder()
        .no_proxy()
        .danger_accept_invalid_certs(true)
        .identity(reqwest::Identity::from_pem(pem.as_bytes())?)
        .build()?;
    let refused = stranger.get(format!("https://{listener}/config_dump"));
    assert!(refused.send().await.is_err(), "with a foreign certificate");

    // The zone is let in, also after a restart, of which the listener notices nothing.
    let proxy = "/meshes/default/dataplanes/edge-1";
    let (status, _, dump) = ask(&zone.api, &format!("{proxy}/xds")).await?;
    assert_eq!(status, 200, "{dump}");
    assert!(dump.contains("kuma:envoy:admin"));
    assert!(!dump.contains("PRIVATE KEY"), "the listener's key shows");
    let secret = zone.store.snapshot();
    let secret = secret.list(mesh_model::ResourceType::GlobalSecret);
    let names: Vec<&str> = secret.map(|secret| secret.key().name().as_str()).collect();
    assert!(names.contains(&"envoy-admin-ca"), "{names:?}");
    let before = listener_updates(&gateway).await?;
    let zone = zone.stop().await?.start().await?;
    eventually("the zone asks after a restart", async || {
        let (status, _, clusters) = ask(&zone.api, &format!("{proxy}/clusters")).await?;
        anyhow::ensure!(status == 200, "{clusters}");
        Ok(())
    })
    .await;
    assert_eq!(listener_updates(&gateway).await?, before);
    // The authority stays in its zone.
    let (_, _, secrets) = ask(&global.api, "/global-secrets").await?;
    assert!(!secrets.contains("envoy-admin-ca"), "{secrets}");
    Ok(())
}

/// How often listeners were added or changed.
async fn listener_updates(gateway: &Gateway) -> anyhow::Result<Vec<String>> {
    let stats = gateway
        .admin("/stats?filter=listener_manager.listener_.%2A")
        .await?;
    let lines = stats
        .lines()
        .filter(|line| line.starts_with("listener_manager"));
    Ok(lines.map(str::to_owned).collect())
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
    // Where its admin interface is, on a socket, it is asked there.
    let here = std::net::Ipv4Addr::LOCALHOST.into();
    let _gateway = Gateway::start(&zone, "edge-1", "other-gateway", here).await?;
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
