//! Our global towards stock zones: what they cannot take or refuse costs nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_harness::{Global, eventually};
use mesh_kds::peer::NodeInfo;
use mesh_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_proto::mesh::ZoneHealthCheckRequest;
use mesh_proto::mesh::global_kds_service_client::GlobalKdsServiceClient;
use mesh_proto::rpc;
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::recorded::resources;
use crate::replay_global::{plaintext_global, plaintext_global_with};
use crate::stock_admin::known_dataplane;
use crate::support::{Down, ack, connect, down, metadata, request, route, subscription, up};

const TYPE: &str = "MeshGatewayRoute";

/// A stock zone that follows routes.
struct StockZone {
    name: &'static str,
    call: Down,
    /// What it holds, by the names that their authors gave.
    held: BTreeMap<String, String>,
    /// How many responses it refused.
    refusals: usize,
}

impl StockZone {
    async fn start(global: &Global, name: &'static str, features: &[&str]) -> anyhow::Result<Self> {
        let node = NodeInfo {
            id: name.to_owned(),
            features: features.iter().map(|f| (*f).to_owned()).collect(),
            ..NodeInfo::default()
        };
        let mut metadata = metadata(name);
        metadata.push(("version".to_owned(), "2.10.0".to_owned()));
        if !features.contains(&"hash-suffix") {
            metadata.retain(|(_, value)| value != "hash-suffix");
        }
        let first = DeltaDiscoveryRequest {
            node: Some(node.to_node()),
            ..subscription(name, TYPE)
        };
        let mut client = connect(global.kds).await;
        let call = down(&mut client, &metadata, vec![first]).await?;
        Ok(Self {
            name,
            call,
            held: BTreeMap::new(),
            refusals: 0,
        })
    }

    async fn hear(&mut self) -> DeltaDiscoveryResponse {
        let response = self.call.hear().await.unwrap().expect("a response");
        assert_eq!(response.type_url, TYPE);
        response
    }

    /// Takes a response but what `refuses`, and answers as zones from 2.7 on do: what is good is
    /// stored, and the answer is for all of it.
    async fn take(&mut self, refuses: impl Fn(&str) -> bool) {
        let response = self.hear().await;
        let mut is_refused = false;
        for sent in resources(&response).into_values() {
            let display = sent.labels.get("kuma.io/display-name");
            let display = display.unwrap_or(&sent.name).clone();
            if refuses(&display) {
                is_refused = true;
            } else {
                self.held.insert(display, sent.version);
            }
        }
        self.refusals += usize::from(is_refused);
        self.answer(&response, is_refused).await;
    }

    /// The same for all that comes, until nothing comes for a while.
    async fn take_all(&mut self, refuses: impl Fn(&str) -> bool) {
        let a_while = Duration::from_secs(1);
        while tokio::time::timeout(a_while, self.take(&refuses))
            .await
            .is_ok()
        {}
    }

    async fn answer(&self, response: &DeltaDiscoveryResponse, is_refused: bool) {
        let answer = ack(self.name, response);
        self.call
            .say(if is_refused {
                DeltaDiscoveryRequest {
                    resource_names_subscribe: vec!["*".to_owned()],
                    error_detail: Some(rpc::Status {
                        message: "spec.conf: value 'bad' is not supported".to_owned(),
                        ..rpc::Status::default()
                    }),
                    ..answer
                }
            } else {
                answer
            })
            .await;
    }

    fn holds(&self) -> Vec<&str> {
        self.held.keys().map(String::as_str).collect()
    }
}

/// What is reported of a zone.
async fn findings(global: &Global) -> anyhow::Result<Vec<Value>> {
    let findings = global.api.get("/meridian/findings").await?;
    Ok(findings["items"].as_array().cloned().unwrap_or_default())
}

const FEATURES: [&str; 2] = ["zone-token", "hash-suffix"];
/// Those of 2.5.
const OLD: [&str; 1] = ["zone-token"];

/// A route that takes some 60 kB.
fn large(name: &str) -> Value {
    let mut route = route(name);
    let long = |n: usize| json!({ "path": { "match": "EXACT", "value": format!("/{n}/{}", "x".repeat(5000)) } });
    route["conf"]["http"]["rules"][0]["matches"] = (0..12).map(long).collect();
    route
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_no_message_with_the_rest_is_left_out_and_reported() -> anyhow::Result<()> {
    let global =
        plaintext_global_with(&[("KUMA_MULTIZONE_GLOBAL_KDS_MAX_MSG_SIZE", "200000")]).await?;
    let mut zone = StockZone::start(&global, "east", &OLD).await?;
    zone.take(|_| false).await;
    for name in ["c", "b", "a"] {
        // Ages count in seconds.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        global.api.apply(&large(name)).await?;
        zone.take(|_| false).await;
    }
    assert_eq!(zone.holds(), ["a", "b", "c"]);
    assert!(findings(&global).await?.is_empty());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    global.api.apply(&large("0")).await?;
    eventually("the finding", async || {
        let found = findings(&global).await?;
        anyhow::ensure!(found.len() == 1, "{found:?}");
        let only = &found[0];
        anyhow::ensure!(only["zone"] == "east" && only["type"] == TYPE, "{only}");
        anyhow::ensure!(only["mesh"] == "default" && only["name"] == "0", "{only}");
        anyhow::ensure!(only["refusedByPeer"] == false, "{only}");
        let reason = only["reason"].as_str().unwrap();
        anyhow::ensure!(reason.contains("raise kds.maxMsgSize"), "{reason}");
        Ok(())
    })
    .await;
    // Who comes back gets what it had; the type is not held up.
    drop(zone);
    let mut zone = StockZone::start(&global, "east", &OLD).await?;
    zone.take(|_| false).await;
    assert_eq!(zone.holds(), ["a", "b", "c"]);
    global
        .api
        .delete("/meshes/default/meshgatewayroutes/b")
        .await?;
    zone.take(|_| false).await;
    assert_eq!(zone.held.keys().next().unwrap(), "0");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stock_zone_refuses_is_found_and_costs_no_other_resource() -> anyhow::Result<()> {
    let global = plaintext_global().await?;
    for name in ["a", "b", "bad", "c", "d"] {
        global.api.apply(&route(name)).await?;
    }
    let mut zone = StockZone::start(&global, "east", &FEATURES).await?;
    let refuses = |name: &str| name == "bad";
    zone.take_all(refuses).await;
    eventually("the refused one found", async || {
        let found = findings(&global).await?;
        anyhow::ensure!(found.len() == 1, "{found:?}");
        anyhow::ensure!(found[0]["name"] == "bad" && found[0]["refusedByPeer"] == true);
        let reason = found[0]["reason"].as_str().unwrap();
        anyhow::ensure!(reason.contains("value 'bad' is not supported"), "{reason}");
        Ok(())
    })
    .await;
    assert_eq!(zone.holds(), ["a", "b", "c", "d"]);
    let standing = async |name: &str| {
        let path = format!("/meridian/receipts/meshes/default/meshgatewayroutes/{name}");
        let receipt = global.api.get(&path).await?;
        let zone = receipt["zones"][0].clone();
        Ok::<_, anyhow::Error>((zone["state"].clone(), receipt["isLive"].clone()))
    };
    assert_eq!(standing("a").await?, (json!("accepted"), json!(true)));
    assert_eq!(standing("bad").await?, (json!("refused"), json!(false)));
    // Nothing else waits for it, and it is not said again before it changes.
    let before = zone.refusals;
    assert!(before > 1, "it was searched for");
    global.api.apply(&route("e")).await?;
    zone.take_all(refuses).await;
    assert_eq!(zone.holds(), ["a", "b", "c", "d", "e"]);
    assert_eq!(zone.refusals, before);
    let mut mended = route("bad");
    mended["labels"] = json!({ "mended": "true" });
    global.api.apply(&mended).await?;
    zone.take_all(|_| false).await;
    assert_eq!(zone.holds(), ["a", "b", "bad", "c", "d", "e"]);
    eventually("no finding", async || {
        anyhow::ensure!(findings(&global).await?.is_empty());
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_of_2_5_gets_the_whole_type_again_until_it_takes_it() -> anyhow::Result<()> {
    let global = plaintext_global().await?;
    global.api.apply(&route("a")).await?;
    global.api.apply(&route("b")).await?;
    let mut zone = StockZone::start(&global, "old", &OLD).await?;
    // Its store was not ready: it refuses what it will take a little later.
    let first = zone.hear().await;
    zone.answer(&first, true).await;
    let refused = tokio::time::Instant::now();
    // A change meanwhile is no reason to send less than everything.
    global.api.apply(&route("c")).await?;
    zone.take(|_| false).await;
    assert!(refused.elapsed().as_secs() >= 4, "{:?}", refused.elapsed());
    assert_eq!(zone.holds(), ["a", "b", "c"]);
    let change = zone_changes(&global, &mut zone).await?;
    assert_eq!(change, 1, "after an ACK a response has what changed");
    Ok(())
}

/// How many resources come when one changes.
async fn zone_changes(global: &Global, zone: &mut StockZone) -> anyhow::Result<usize> {
    let mut changed = route("a");
    changed["labels"] = json!({ "changed": "true" });
    global.api.apply(&changed).await?;
    let response = zone.hear().await;
    zone.answer(&response, false).await;
    Ok(response.resources.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_zone_says_nothing_about_may_be_stale() -> anyhow::Result<()> {
    let global = plaintext_global().await?;
    known_dataplane(&global).await?;
    let mut said = metadata("east");
    said.retain(|(_, value)| value != "hash-suffix");
    let mut client = connect(global.kds).await;
    let mut zone = up(&mut client, &said).await?;
    let asked = loop {
        let request = zone.hear().await?.expect("a request");
        if request.type_url == "Dataplane" {
            break request;
        }
    };
    assert_eq!(asked.response_nonce, "");
    assert!(findings(&global).await?.is_empty(), "it may still report");
    eventually("what may be stale", async || {
        let found = findings(&global).await?;
        anyhow::ensure!(found.len() == 1, "{found:?}");
        let only = &found[0];
        anyhow::ensure!(
            only["zone"] == "east" && only["type"] == "Dataplane",
            "{only}"
        );
        let reason = only["reason"].as_str().unwrap_or_default();
        anyhow::ensure!(reason.contains("1 in number, may be stale"), "{reason}");
        Ok(())
    })
    .await;
    // Once it says that there is none, that is known.
    zone.say(DeltaDiscoveryResponse {
        type_url: "Dataplane".to_owned(),
        nonce: "1".to_owned(),
        ..DeltaDiscoveryResponse::default()
    })
    .await;
    eventually("the report", async || {
        let found = findings(&global).await?;
        anyhow::ensure!(found.is_empty(), "{found:?}");
        let dataplanes = global.api.get("/meshes/default/dataplanes").await?;
        anyhow::ensure!(dataplanes["total"] == 0, "{dataplanes}");
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_promised_health_checks_and_makes_none_is_cut_off() -> anyhow::Result<()> {
    let key = |rest: &str| format!("KUMA_MULTIZONE_GLOBAL_KDS_ZONE_HEALTH_CHECK_{rest}");
    let (poll, timeout) = (key("POLL_INTERVAL"), key("TIMEOUT"));
    let global = plaintext_global_with(&[(&poll, "200ms"), (&timeout, "2s")]).await?;
    let connected = |name: &'static str, pings: bool| {
        let mut said = metadata(name);
        said.retain(|(_, value)| pings || value != "zone-ping-health");
        said
    };
    let mut client = connect(global.kds).await;
    let mut silent = up(&mut client, &connected("silent", true)).await?;
    let mut old = up(&mut client, &connected("old", false)).await?;
    let said = connected("alive", true);
    let mut alive = up(&mut client, &said).await?;
    let channel = Channel::from_shared(format!("http://{}", global.kds))?;
    let mut health = GlobalKdsServiceClient::new(channel.connect().await?);
    let pinging = async {
        loop {
            let ping = request(ZoneHealthCheckRequest {}, &said);
            let answer = health.health_check(ping).await?.into_inner();
            let interval = Duration::try_from(answer.interval.unwrap_or_default())?;
            anyhow::ensure!(interval == Duration::from_millis(200));
            tokio::time::sleep(interval).await;
        }
    };
    tokio::select! {
        ended = pinging => ended,
        status = silent.end() => {
            assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
            // Neither is one that makes its checks, nor one that promised none.
            for zone in [&mut alive, &mut old] {
                while let Ok(more) = tokio::time::timeout(
                    Duration::from_millis(300),
                    zone.rx.message(),
                )
                .await
                {
                    more?.expect("the stream is open");
                }
            }
            Ok(())
        }
    }
}
