//! Who may speak for a zone: tokens, the list of those that need none, and what is taken back
//! while streams are open. Over TLS, as zones connect.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use mesh_harness::{ControlPlane, eventually};
use mesh_harness::{DEADLINE, Environment, Global, ZONE_TOKEN, Zone, ZoneOptions};
use mesh_kds::client::State;
use mesh_model::{Key, ResourceName, ResourceType, Timestamp};
use mesh_proto::discovery::DeltaDiscoveryResponse;
use mesh_proto::link::Heartbeat;
use mesh_proto::link::link_client::LinkClient;
use mesh_proto::mesh::ZoneHealthCheckRequest;
use mesh_proto::mesh::global_kds_service_client::GlobalKdsServiceClient;
use mesh_proto::mesh::kds_sync_service_client::KdsSyncServiceClient;
use mesh_proto::mesh::{KumaResource, kuma_resource};
use mesh_proto::system::Secret;
use mesh_runtime::tls::{self, Trust};
use mesh_runtime::tokens::{self, SigningKey, ZoneClaims};
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::support::{
    Down, down, has_route, metadata, request, route, subscription, tls_channel, up,
};

/// Within this the streams of a zone end that may no longer speak.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A connection over TLS.
pub(crate) async fn connect(global: &Global) -> Channel {
    let ca = std::fs::read(global.ca_file()).unwrap();
    let config = tls::client_config(&Trust::Ca(ca), &[tls::ALPN_H2]).unwrap();
    tls_channel(global.kds, config).await.unwrap()
}

/// The metadata of a zone that presents something.
pub(crate) fn presenting(zone: &str, authorization: &str) -> Vec<(String, String)> {
    let mut all = metadata(zone);
    all.push(("authorization".to_owned(), authorization.to_owned()));
    all
}

/// Opens a down stream and waits for its first response.
pub(crate) async fn follow(
    channel: &Channel,
    zone: &str,
    said: &[(String, String)],
) -> Result<Down, Status> {
    let mut client = KdsSyncServiceClient::new(channel.clone());
    let mut call = down(&mut client, said, vec![subscription(zone, "Mesh")]).await?;
    call.hear().await?;
    Ok(call)
}

pub(crate) async fn refused(channel: &Channel, zone: &str, said: &[(String, String)]) -> Status {
    let call = follow(channel, zone, said).await;
    call.err().expect("the call is refused")
}

fn global_secret(name: &str, content: &str) -> Value {
    let data = BASE64_STANDARD.encode(content);
    json!({"type": "GlobalSecret", "name": name, "data": data})
}

/// The id by which a token is revoked.
fn id_of(token: &str) -> String {
    let claims = token.split('.').nth(1).unwrap();
    let claims: Value =
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    claims["jti"].as_str().unwrap().to_owned()
}

async fn revoke(global: &Global, tokens: &[&str]) -> anyhow::Result<()> {
    let ids: Vec<String> = tokens.iter().map(|token| id_of(token)).collect();
    let list = global_secret("zone-token-revocations", &ids.join(","));
    global.api.apply(&list).await
}

/// A token of which the API issues none: signed by the global's own key.
fn signed(global: &Global, key_id: &str, from: Timestamp, zone: &str) -> String {
    let name = ResourceName::parse("zone-token-signing-key-1").unwrap();
    let secret = global
        .store()
        .get(&Key::global(ResourceType::GlobalSecret, name))
        .unwrap();
    let key = SigningKey::parse(&secret.decode::<Secret>().data.unwrap()).unwrap();
    let claims = ZoneClaims {
        zone: zone.to_owned(),
        scope: vec!["cp".to_owned()],
    };
    let hour = Duration::from_secs(3600);
    tokens::issue(&key, key_id, &claims, from, hour).unwrap()
}

async fn issue(global: &Global, request: Value) -> String {
    let send = global
        .api
        .send(reqwest::Method::POST, "/tokens/zone", Some(&request));
    let (status, token) = send.await.unwrap();
    assert_eq!(status, 200, "{token}");
    token
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_prove_to_be_the_zone_is_refused_and_told_why() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let now = mesh_runtime::clock::now();
    let tomorrow = Timestamp::from_unix_seconds(now.unix_seconds() + 24 * 3600);
    let good = global.api.zone_token("east").await?;
    let revoked = global.api.zone_token("east").await?;
    revoke(&global, &[&revoked]).await?;
    let expired = json!({"zone": "east", "scope": ["cp"], "validFor": "-1h"});
    let proxies = json!({"zone": "east", "scope": ["ingress", "egress"]});
    let cases = [
        ("malformed", "nonsense".to_owned(), Code::Unauthenticated),
        (
            "other_zone",
            global.api.zone_token("west").await?,
            Code::PermissionDenied,
        ),
        (
            "scope",
            issue(&global, proxies).await,
            Code::PermissionDenied,
        ),
        (
            "expired",
            issue(&global, expired).await,
            Code::Unauthenticated,
        ),
        (
            "not_yet_valid",
            signed(&global, "1", tomorrow, "east"),
            Code::Unauthenticated,
        ),
        (
            "unknown_key",
            signed(&global, "7", now, "east"),
            Code::Unauthenticated,
        ),
        ("revoked", revoked, Code::Unauthenticated),
    ];
    let channel = connect(&global).await;
    let status = refused(&channel, "east", &metadata("east")).await;
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("presented none"), "{status}");
    let todo = "meridian generate zone-token --zone east --scope cp";
    assert!(status.message().contains(todo), "{status}");
    for (reason, token, code) in &cases {
        for text in [token.clone(), format!("Bearer {token}")] {
            let status = refused(&channel, "east", &presenting("east", &text)).await;
            assert_eq!(status.code(), *code, "{reason}: {status}");
            assert!(status.message().contains(todo), "{reason}: {status}");
            assert!(!status.message().contains(token.as_str()), "{reason}");
        }
    }
    let metrics = global.metrics().await?;
    let counted = |reason: &str| {
        let line = format!("kds_authentications_refused_total{{reason=\"{reason}\"}} ");
        let value = metrics.lines().find_map(|l| l.strip_prefix(&line));
        value.map_or(0, |value| value.parse::<u32>().unwrap())
    };
    assert_eq!(counted("missing"), 1, "{metrics}");
    for (reason, ..) in &cases {
        assert_eq!(counted(reason), 2, "{reason}: {metrics}");
    }

    // Nobody became a zone by asking, and the same connection is good for who is the zone.
    assert_eq!(global.api.get("/zones").await?["total"], 0);
    for text in [
        good.clone(),
        format!("Bearer {good}"),
        format!("bearer {good}"),
    ] {
        let call = follow(&channel, "east", &presenting("east", &text)).await;
        assert!(call.is_ok(), "{:?}", call.err());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_comes_through_the_same_gate() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let channel = connect(&global).await;
    let none = metadata("east");
    let mut sync = KdsSyncServiceClient::new(channel.clone());
    let mut admin = GlobalKdsServiceClient::new(channel.clone());
    let mut link = LinkClient::new(channel.clone());
    let empty = || futures_util::stream::pending();
    let heartbeats = || futures_util::stream::pending::<Heartbeat>();
    let ends: Vec<(&str, Option<Status>)> = vec![
        ("down", down(&mut sync, &none, Vec::new()).await.err()),
        ("up", up(&mut sync, &none).await.err()),
        (
            "health",
            admin
                .health_check(request(ZoneHealthCheckRequest {}, &none))
                .await
                .err(),
        ),
        (
            "configs",
            admin
                .stream_xds_configs(request(empty(), &none))
                .await
                .err(),
        ),
        (
            "stats",
            admin
                .stream_stats(request(futures_util::stream::pending(), &none))
                .await
                .err(),
        ),
        (
            "clusters",
            admin
                .stream_clusters(request(futures_util::stream::pending(), &none))
                .await
                .err(),
        ),
        (
            "link",
            link.heartbeats(request(heartbeats(), &none)).await.err(),
        ),
    ];
    for (call, status) in ends {
        let status = status.expect("refused");
        assert_eq!(status.code(), Code::Unauthenticated, "{call}: {status}");
    }
    let token = global.api.zone_token("east").await?;
    let mut health = request(ZoneHealthCheckRequest {}, &presenting("east", &token));
    health.set_timeout(DEADLINE);
    admin.health_check(health).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_zone_needs_no_token_and_shows_as_unauthenticated() -> anyhow::Result<()> {
    let list = "KUMA_MULTIZONE_GLOBAL_KDS_ALLOW_UNAUTHENTICATED_ZONES";
    let environment = Environment::from([(list.to_owned(), "stock, other".to_owned())]);
    let global = Global::start_with(environment).await?;
    let channel = connect(&global).await;
    let _stock = follow(&channel, "stock", &metadata("stock")).await?;
    let status = refused(&channel, "east", &metadata("east")).await;
    assert!(status.message().contains("presented none"), "{status}");
    // One that presents something is held to it.
    let status = refused(&channel, "stock", &presenting("stock", "nonsense")).await;
    assert_eq!(status.code(), Code::Unauthenticated);
    let west = global.api.zone_token("west").await?;
    let status = refused(&channel, "stock", &presenting("stock", &west)).await;
    assert_eq!(status.code(), Code::PermissionDenied);

    let token = global.api.zone_token("east").await?;
    let _east = follow(&channel, "east", &presenting("east", &token)).await?;
    for (zone, is_proven) in [("stock", false), ("east", true)] {
        eventually("the insight says so", async || {
            let zone = global.api.get(&format!("/zones+insights/{zone}")).await?;
            let subscription = &zone["zoneInsight"]["subscriptions"][0];
            anyhow::ensure!(subscription["connectTime"].is_string(), "{zone:#}");
            let provided = subscription["authTokenProvided"] == true;
            anyhow::ensure!(provided == is_proven, "{zone:#}");
            Ok(())
        })
        .await;
    }
    Ok(())
}

/// A zone whose token is in a file.
async fn zone_with_file(global: &Global, file: &std::path::Path) -> anyhow::Result<Zone> {
    let path = "KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH".to_owned();
    let environment = Environment::from([(path, file.display().to_string())]);
    Zone::start_alone("east", global, ZoneOptions { environment }).await
}

async fn is_cut(zone: &Zone, why: &str) {
    let is = |s: &State| matches!(s, State::Cut { reason } if reason.contains(why));
    zone.state(why, is).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_rotated_by_its_file_and_a_revoked_zone_goes_on_serving() -> anyhow::Result<()> {
    let global = Global::start().await?;
    global.api.apply(&route("before")).await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token");
    let zone = zone_with_file(&global, &file).await?;
    is_cut(&zone, "cannot read the zone token in").await;
    std::fs::write(&file, global.api.zone_token("west").await?)?;
    is_cut(&zone, "for the zone \"west\", not for \"east\"").await;
    assert_eq!(zone.api.get("/meshes").await?["total"], 0);

    // Without a restart of either.
    let first = global.api.zone_token("east").await?;
    std::fs::write(&file, &first)?;
    zone.state("following", |s| *s == State::Following).await;
    has_route(&zone, "before").await;

    let second = global.api.zone_token("east").await?;
    std::fs::write(&file, &second)?;
    revoke(&global, &[&first]).await?;
    global.api.apply(&route("rotated")).await?;
    has_route(&zone, "rotated").await;

    revoke(&global, &[&first, &second]).await?;
    let since = Instant::now();
    is_cut(&zone, "is revoked").await;
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    has_route(&zone, "rotated").await;
    eventually("the global says that it is offline", async || {
        let zone = global.api.get("/zones+insights/east").await?;
        let all = zone["zoneInsight"]["subscriptions"].as_array().cloned();
        let is_open = |s: &Value| s.get("disconnectTime").is_none();
        anyhow::ensure!(!all.unwrap_or_default().iter().any(is_open), "{zone:#}");
        Ok(())
    })
    .await;
    Ok(())
}

/// Opens both sync streams; when both have ended, and how.
async fn ends(
    channel: &Channel,
    said: &[(String, String)],
    act: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Vec<Status>> {
    let mut down = follow(channel, "east", said).await?;
    let mut up = up(&mut KdsSyncServiceClient::new(channel.clone()), said).await?;
    up.hear().await?;
    act.await?;
    let both = async { vec![down.end().await, up.end().await] };
    let ended = tokio::time::timeout(AT_ONCE, both).await;
    Ok(ended.expect("streams end at once"))
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_end_when_their_token_is_revoked_expires_or_loses_its_key()
-> anyhow::Result<()> {
    let global = Global::start().await?;
    let channel = connect(&global).await;

    let token = global.api.zone_token("east").await?;
    let said = presenting("east", &token);
    let statuses = ends(&channel, &said, revoke(&global, &[&token])).await?;
    for status in statuses {
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        assert!(status.message().contains("is revoked"), "{status}");
    }

    let short = json!({"zone": "east", "scope": ["cp"], "validFor": "3s"});
    let said = presenting("east", &issue(&global, short).await);
    for status in ends(&channel, &said, async { Ok(()) }).await? {
        assert!(status.message().contains("expired at"), "{status}");
    }

    // A new key signs new tokens, and the old one is good for the old ones until it goes.
    let old = global.api.zone_token("east").await?;
    let key = SigningKey::generate()?.to_pem();
    let key = global_secret("zone-token-signing-key-2", &key);
    let said = presenting("east", &old);
    let rotate = async {
        global.api.apply(&key).await?;
        let new = global.api.zone_token("west").await?;
        let _west = follow(&channel, "west", &presenting("west", &new)).await?;
        global
            .api
            .delete("/global-secrets/zone-token-signing-key-1")
            .await
    };
    for status in ends(&channel, &said, rotate).await? {
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        assert!(status.message().contains("serial number \"1\""), "{status}");
    }
    let new = global.api.zone_token("east").await?;
    follow(&channel, "east", &presenting("east", &new)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_without_a_token_says_once_what_to_do() -> anyhow::Result<()> {
    let global = ControlPlane::global().await?;
    let none = Environment::from([(ZONE_TOKEN.to_owned(), String::new())]);
    let environment = none.clone();
    let zone = Zone::start_alone("east", &global, ZoneOptions { environment }).await?;
    let todo = "meridian generate zone-token --zone east --scope cp";
    is_cut(&zone, todo).await;
    global.process().logs("refused a connection").await;
    // It has tried again several times since, and so has another.
    let mut attempts = zone.global.clone();
    let _ = tokio::time::timeout(Duration::from_secs(3), attempts.changed()).await;
    let log = global.process().log().await;
    assert_eq!(log.matches("refused a connection").count(), 1, "{log}");
    drop(zone.stop().await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_without_a_restart() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let zone = Zone::start("east", &global).await?;
    let folder = tempfile::tempdir()?;
    let new = tls::Identity::load_or_create(folder.path())?;
    let new_ca = new.cert_pem().as_bytes().to_vec();
    let files = |dir: PathBuf| (dir.join("kuma-cp.crt"), dir.join("kuma-cp.key"));
    let (new_cert, new_key) = files(folder.path().to_owned());
    let (cert, key) = files(global.ca_file().parent().unwrap().to_owned());
    let config = tls::client_config(&Trust::Ca(new_ca), &[tls::ALPN_H2])?;
    assert!(tls_channel(global.kds, config.clone()).await.is_err());
    std::fs::copy(&new_cert, &cert)?;
    std::fs::copy(&new_key, &key)?;
    let channel = eventually("the new certificate", async || {
        tls_channel(global.kds, config.clone()).await
    })
    .await;
    let token = global.api.zone_token("west").await?;
    follow(&channel, "west", &presenting("west", &token)).await?;
    // Who was connected has not noticed.
    global.api.apply(&route("later")).await?;
    has_route(&zone, "later").await;
    assert_eq!(*zone.global.borrow(), State::Following);
    // It connects anew by the new certificate, which its file of CAs has meanwhile.
    let stopped = global.stop().await;
    is_cut(&zone, "").await;
    let global = stopped.start().await?;
    global.api.apply(&route("renewed")).await?;
    has_route(&zone, "renewed").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_shows_a_new_certificate_to_its_proxies_and_tells_their_agents() -> anyhow::Result<()>
{
    let global = Global::start().await?;
    let zone = Zone::start("east", &global).await?;
    let folder = tempfile::tempdir()?;
    let new = tls::Identity::load_or_create(folder.path())?.cert_pem();
    let work_dir = zone.ca_file().parent().unwrap();
    for file in ["kuma-cp.key", "kuma-cp.crt"] {
        std::fs::copy(folder.path().join(file), work_dir.join(file))?;
    }
    let trust = Trust::Ca(new.as_bytes().to_vec());
    let config = tls::client_config(&trust, &[tls::ALPN_HTTP11])?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_backend_preconfigured((*config).clone())
        .build()?;
    let token = zone.api.dataplane_token("default", "edge-1").await?;
    let gateway = json!({
        "type": "Dataplane", "mesh": "default", "name": "edge-1",
        "networking": {"address": "127.0.0.1", "gateway": {
            "type": "BUILTIN", "tags": {"kuma.io/service": "edge"},
        }},
    });
    let request = json!({
        "mesh": "default", "name": "edge-1", "dataplaneToken": token,
        "dataplaneResource": gateway.to_string(), "operatingSystem": "linux",
    });
    let url = format!("https://localhost:{}/bootstrap", zone.data_plane.port());
    let answer = eventually("a bootstrap over the new certificate", async || {
        let sent = client.post(&url).header("accept", "application/json");
        sent.json(&request)
            .send()
            .await?
            .error_for_status()?
            .text()
            .await
    })
    .await;
    let answer: Value = serde_json::from_str(&answer)?;
    let bootstrap = BASE64_STANDARD.decode(answer["bootstrap"].as_str().unwrap())?;
    let bootstrap = String::from_utf8(bootstrap)?;
    let shown = BASE64_STANDARD.encode(new.as_bytes());
    assert!(bootstrap.contains(&shown), "{bootstrap}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_writes_only_what_is_its_own_and_the_rest_is_counted() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let west = Zone::start("west", &global).await?;
    let service = json!({
        "type": "Dataplane", "mesh": "default", "name": "cart-1",
        "networking": {"address": "192.0.2.1", "inbound": [
            {"port": 80, "tags": {"kuma.io/service": "cart"}},
        ]},
    });
    west.api.apply(&service).await?;
    let theirs = eventually("the Dataplane of west", async || {
        let snapshot = global.store().snapshot();
        let first = snapshot.list(ResourceType::Dataplane).next().cloned();
        first.ok_or("none")
    })
    .await;
    let name = format!("{}.default", theirs.key().name());

    // Another zone, which is who it says it is, claims it, says that it is gone, and sends what
    // is a global's alone.
    let token = global.api.zone_token("east").await?;
    let channel = connect(&global).await;
    let mut client = KdsSyncServiceClient::new(channel);
    let mut east = up(&mut client, &presenting("east", &token)).await?;
    let envelope = KumaResource {
        meta: Some(kuma_resource::Meta {
            name: theirs.key().name().to_string(),
            mesh: "default".to_owned(),
            labels: [("kuma.io/zone".to_owned(), "west".to_owned())].into(),
            ..Default::default()
        }),
        spec: Some(mesh_proto::Any {
            type_url: "type.googleapis.com/kuma.mesh.v1alpha1.Dataplane".to_owned(),
            value: bytes::Bytes::new(),
        }),
        status: None,
    };
    let claim = |type_url: &str, nonce: &str| DeltaDiscoveryResponse {
        type_url: type_url.to_owned(),
        nonce: nonce.to_owned(),
        resources: vec![mesh_proto::discovery::Resource {
            name: name.clone(),
            resource: Some(mesh_proto::Any {
                type_url: "type.googleapis.com/kuma.mesh.v1alpha1.KumaResource".to_owned(),
                value: prost::Message::encode_to_vec(&envelope).into(),
            }),
            ..Default::default()
        }],
        ..DeltaDiscoveryResponse::default()
    };
    let gone = DeltaDiscoveryResponse {
        type_url: "Dataplane".to_owned(),
        nonce: "2".to_owned(),
        removed_resources: vec![name.clone()],
        ..DeltaDiscoveryResponse::default()
    };
    let mut answers = Vec::new();
    for response in [claim("Dataplane", "1"), gone, claim("Mesh", "3")] {
        let nonce = response.nonce.clone();
        east.say(response).await;
        let answer = loop {
            let request = east.hear().await?.expect("an answer");
            if request.response_nonce == nonce {
                break request;
            }
        };
        answers.push(answer.error_detail.map(|error| error.message));
    }
    let refusal = answers[0].as_deref().expect("a NACK");
    assert!(refusal.contains("belongs to zone west"), "{refusal}");
    assert_eq!(answers[1..], [None, None]);
    let snapshot = global.store().snapshot();
    assert_eq!(snapshot.get(theirs.key()), Some(&theirs));
    assert_eq!(snapshot.list(ResourceType::Mesh).count(), 1);
    let metrics = global.metrics().await?;
    for line in [
        "kds_resources_refused_total{resource_type=\"Dataplane\"} 1",
        "kds_removals_refused_total{resource_type=\"Dataplane\"} 1",
        "kds_responses_passed_over_total 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    Ok(())
}
