//! The connection between a zone and its global when something is wrong with it.

use std::path::PathBuf;

use mesh_harness::process::Signal;
use mesh_harness::{
    Api, ControlPlane, Global, Upstream, ZONE_TOKEN, Zone, ZoneOptions, eventually, free_port,
};
use mesh_kds::client::State;
use serde_json::Value;

use crate::support::{has_route, route};

fn reason(state: &State) -> String {
    match state {
        State::Cut { reason } => reason.clone(),
        other => panic!("{other:?}"),
    }
}

/// Another place for a global than where it is, or another CA than its own.
struct Elsewhere {
    kds: std::net::SocketAddr,
    ca: PathBuf,
    issuer: Option<Api>,
}

impl Upstream for Elsewhere {
    fn kds(&self) -> std::net::SocketAddr {
        self.kds
    }

    fn ca_file(&self) -> PathBuf {
        self.ca.clone()
    }

    fn issuer(&self) -> Option<&Api> {
        self.issuer.as_ref()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_with_a_wrong_ca_says_so_serves_and_recovers_when_it_is_right() -> anyhow::Result<()>
{
    let global = Global::start().await?;
    let other = Global::start().await?;
    let wrong = Elsewhere {
        kds: global.kds,
        ca: other.ca_file(),
        issuer: Some(global.api.clone()),
    };
    let zone = Zone::start_alone("zone-1", &wrong, ZoneOptions::default()).await?;
    let state = zone.state("cut", |s| matches!(s, State::Cut { .. })).await;
    let text = reason(&state);
    assert!(
        text.contains("certificate") || text.contains("UnknownIssuer"),
        "{text}"
    );
    // It serves: its API answers, as a zone that knows nothing yet.
    assert_eq!(zone.api.get("/meshes").await?["total"], 0);

    let mut zone = zone.stop().await?;
    zone.environment().insert(
        "KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE".to_owned(),
        global.ca_file().display().to_string(),
    );
    let zone = zone.start().await?;
    global.api.apply(&route("shop")).await?;
    has_route(&zone, "shop").await;
    assert_eq!(*zone.global.borrow(), State::Following);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_whose_global_is_not_there_says_so_and_follows_when_it_comes() -> anyhow::Result<()>
{
    let port = free_port([0, 0, 0, 0].into())?;
    let ca = Global::start().await?;
    let nowhere = Elsewhere {
        kds: ([127, 0, 0, 1], port).into(),
        ca: ca.ca_file(),
        issuer: None,
    };
    let zone = Zone::start_alone("zone-1", &nowhere, ZoneOptions::default()).await?;
    let state = zone.state("cut", |s| matches!(s, State::Cut { .. })).await;
    let text = reason(&state);
    assert!(
        text.contains("refused") && text.contains(&port.to_string()),
        "{text}"
    );

    // Something that is no global listens there.
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let accept = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((connection, _)) = silent.accept().await {
            kept.push(connection);
        }
    });
    let state = zone
        .state(
            "cut for another reason",
            |s| matches!(s, State::Cut { reason } if !reason.contains("refused")),
        )
        .await;
    eprintln!("a silent peer: {state:?}");
    accept.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_says_once_that_its_global_is_gone_however_often_it_tries() -> anyhow::Result<()> {
    let mut global = ControlPlane::global().await?;
    let zone = ControlPlane::zone("zone-1", &global).await?;
    global.kill().await?;
    // Somebody who hangs up sees every attempt.
    let listener = tokio::net::TcpListener::bind(global.kds()).await?;
    for _ in 0..12 {
        drop(listener.accept().await?);
    }
    drop(listener);
    let log = zone.process().log().await;
    let said = log.matches("no connection to the global").count();
    // The stream broke; nobody listened, perhaps; somebody hung up, early or late.
    assert!((1..=4).contains(&said), "{said} times:\n{log}");
    global.start().await?;
    eventually("it follows again", async || {
        let log = zone.process().log().await;
        anyhow::ensure!(log.matches("following the global").count() == 2, "{log}");
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_serves_while_its_global_is_down_and_catches_up() -> anyhow::Result<()> {
    let global = Global::start().await?;
    global.api.apply(&route("before")).await?;
    let zone = Zone::start("zone-1", &global).await?;
    has_route(&zone, "before").await;
    let stopped = global.stop().await;
    let state = zone.state("cut", |s| matches!(s, State::Cut { .. })).await;
    eprintln!("the global is down: {state:?}");
    has_route(&zone, "before").await;
    let zone = zone.stop().await?.start().await?;
    has_route(&zone, "before").await;
    zone.state("cut", |s| matches!(s, State::Cut { .. })).await;

    let global = stopped.start().await?;
    global
        .api
        .delete("/meshes/default/meshgatewayroutes/before")
        .await?;
    global.api.apply(&route("after")).await?;
    has_route(&zone, "after").await;
    let list = zone.api.get("/meshes/default/meshgatewayroutes").await?;
    assert_eq!(list["total"], 1, "{list:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_zones_with_one_name_the_second_is_refused_and_told() -> anyhow::Result<()> {
    let global = ControlPlane::global().await?;
    let first = Zone::start("zone-1", &global).await?;
    let second = Zone::start_alone("zone-1", &global, ZoneOptions::default()).await?;
    let state = second
        .state("refused", |s| matches!(s, State::Cut { .. }))
        .await;
    let text = reason(&state);
    assert!(text.contains("two zones cannot have one name"), "{text}");
    assert_eq!(*first.global.borrow(), State::Following);
    global.process().logs("refused a connection").await;
    // The first goes on getting changes, and the second gets none.
    global.api.apply(&route("shop")).await?;
    has_route(&first, "shop").await;
    assert_eq!(second.api.get("/meshes").await?["total"], 0);
    // When the first ends, the name is free.
    drop(first.stop().await?);
    has_route(&second, "shop").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_global_wipes_nothing() -> anyhow::Result<()> {
    let global = Global::start().await?;
    global.api.apply(&route("shop")).await?;
    let zone = Zone::start("zone-1", &global).await?;
    has_route(&zone, "shop").await;

    let empty = Global::start().await?;
    let mut stopped = zone.stop().await?;
    let environment = stopped.environment();
    environment.insert("KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS".to_owned(), empty.url());
    environment.insert(
        "KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE".to_owned(),
        empty.ca_file().display().to_string(),
    );
    let token = empty.api.zone_token("zone-1").await?;
    environment.insert(ZONE_TOKEN.to_owned(), token);
    let zone = stopped.start().await?;
    let before = zone.store.snapshot();
    zone.state("held", |s| matches!(s, State::Held { .. }))
        .await;
    has_route(&zone, "shop").await;
    assert_eq!(zone.store.snapshot().changes_since(&before).count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_is_deleted_while_it_is_connected_comes_back_and_keeps_everything()
-> anyhow::Result<()> {
    let global = Global::start().await?;
    let zone = Zone::start("zone-1", &global).await?;
    global.api.apply(&route("shop")).await?;
    has_route(&zone, "shop").await;
    let (status, body) = global
        .api
        .send(reqwest::Method::DELETE, "/zones/zone-1", None)
        .await?;
    if status != 200 {
        // An online zone may be protected; then nothing has changed.
        eprintln!("{status} {body}");
        global.api.get("/zones/zone-1").await?;
    }
    eventually("the zone is back", async || {
        global.api.get("/zones/zone-1").await
    })
    .await;
    global.api.apply(&route("late")).await?;
    has_route(&zone, "late").await;
    has_route(&zone, "shop").await;
    Ok(())
}

/// The subscriptions of a zone, as the API shows them.
async fn subscriptions(global: &mesh_harness::Api, zone: &str) -> anyhow::Result<Vec<Value>> {
    let overview = global.get(&format!("/zones+insights/{zone}")).await?;
    let list = overview["zoneInsight"]["subscriptions"].as_array();
    Ok(list.cloned().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_insight_of_a_zone_tells_when_it_came_what_it_took_and_when_it_left()
-> anyhow::Result<()> {
    let global = Global::start().await?;
    let zone = Zone::start("zone-1", &global).await?;
    let is_open = |s: &&Value| s.get("disconnectTime").is_none();
    let shown = eventually("one open subscription", async || {
        let list = subscriptions(&global.api, "zone-1").await?;
        anyhow::ensure!(list.iter().filter(is_open).count() == 1, "{list:#?}");
        Ok(list)
    })
    .await;
    let open = &shown[0];
    assert!(open["connectTime"].is_string(), "{open:#}");
    assert!(open["version"]["kumaCp"]["version"].is_string(), "{open:#}");
    assert!(open["zoneInstanceId"].is_string(), "{open:#}");
    // Counters are written every ten seconds.
    eventually("counters", async || {
        let list = subscriptions(&global.api, "zone-1").await?;
        let status = &list[0]["status"];
        let number = |value: &Value| match value {
            Value::String(text) => text.parse().unwrap_or(0),
            other => other.as_u64().unwrap_or(0),
        };
        let total = &status["total"];
        let acked = number(&total["responsesAcknowledged"]);
        anyhow::ensure!(acked >= 6, "{status:#}");
        anyhow::ensure!(number(&total["responsesSent"]) == acked, "{status:#}");
        anyhow::ensure!(status["stat"]["Mesh"].is_object(), "{status:#}");
        Ok(())
    })
    .await;
    drop(zone.stop().await?);
    eventually("it has left", async || {
        let list = subscriptions(&global.api, "zone-1").await?;
        anyhow::ensure!(!list.iter().any(|s| is_open(&s)), "{list:#?}");
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_global_that_was_killed_shows_nobody_online_who_is_not() -> anyhow::Result<()> {
    let mut global = ControlPlane::global().await?;
    let zone = Zone::start("zone-1", &global).await?;
    let is_open = |s: &&Value| s.get("disconnectTime").is_none();
    eventually("one open subscription", async || {
        let list = subscriptions(&global.api, "zone-1").await?;
        anyhow::ensure!(list.iter().filter(is_open).count() == 1, "{list:#?}");
        Ok(())
    })
    .await;
    global.kill().await?;
    drop(zone.stop().await?);
    global.start().await?;
    let list = subscriptions(&global.api, "zone-1").await?;
    assert_eq!(list.iter().filter(is_open).count(), 0, "{list:#?}");
    assert_eq!(list.len(), 1, "{list:#?}");
    assert_eq!(global.terminate().await?, Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_of_a_link_say_how_it_stands() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let zone = Zone::start("zone-1", &global).await?;
    for (api, what) in [(&global.api, "the global"), (&zone.api, "the zone")] {
        eventually(&format!("{what} knows the link"), async || {
            let links = api.get("/meridian/links").await?;
            let link = &links["items"][0];
            anyhow::ensure!(links["total"] == 1, "{links:#}");
            anyhow::ensure!(link["zone"] == "zone-1", "{links:#}");
            for direction in ["down", "up"] {
                let lag = &link[direction];
                anyhow::ensure!(lag["revision"].as_u64() > Some(0), "{links:#}");
                anyhow::ensure!(lag["lagRevisions"] == 0, "{links:#}");
            }
            anyhow::ensure!(link["differences"] == 0, "{links:#}");
            Ok(())
        })
        .await;
    }
    Ok(())
}

/// A zone that hangs: its connection is open, and nothing moves.
#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_hangs_is_seen_where_a_change_is() -> anyhow::Result<()> {
    let global = ControlPlane::global().await?;
    let zone = ControlPlane::zone("zone-1", &global).await?;
    let receipt = async |is_right: &(dyn Fn(&Value) -> bool + Sync)| {
        eventually("the receipt", async || {
            let path = "/meridian/receipts/meshes/default/meshgatewayroutes/shop";
            let receipt = global.api.get(path).await?;
            anyhow::ensure!(is_right(&receipt), "{receipt:#}");
            Ok(receipt)
        })
        .await
    };
    global.api.apply(&route("shop")).await?;
    receipt(&|receipt| receipt["isLive"] == true).await;

    zone.process().signal(Signal::STOP)?;
    let mut changed = route("shop");
    changed["conf"]["http"]["rules"][0]["matches"][0]["path"]["value"] = "/changed".into();
    global.api.apply(&changed).await?;
    let under_way = receipt(&|receipt| receipt["zones"][0]["sentAt"].is_string()).await;
    let shown = &under_way["zones"][0];
    assert_eq!(shown["state"], "underWay", "{under_way:#}");
    assert_eq!(under_way["isLive"], false);
    let times = [&under_way["storedAt"], &shown["sentAt"]].map(Value::as_str);
    assert!(times[0] <= times[1], "{under_way:#}");
    // Nothing of it is heard any more.
    let offline = receipt(&|receipt| receipt["zones"][0]["state"] == "offline").await;
    assert_eq!(offline["isLive"], false);

    zone.process().signal(Signal::CONT)?;
    let live = receipt(&|receipt| receipt["isLive"] == true).await;
    assert_eq!(live["zones"][0]["state"], "live", "{live:#}");
    Ok(())
}
