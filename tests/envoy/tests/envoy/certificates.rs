//! Certificates as TLS clients of a gateway see them: which one, how soon, and what if it is bad.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::try_join_all;
use mesh_harness::{Certificate, Gateway, Key, Load, Signatures, TlsClient, eventually, secret};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Fleet, address, gateway_with, route};

const PORT: u16 = 18443;
const NAME: &str = "shop.example";

fn https(hostname: &str, certificates: Value) -> Value {
    json!({
        "port": PORT, "protocol": "HTTPS", "hostname": hostname,
        "tls": {"mode": "TERMINATE", "certificates": certificates},
    })
}

/// A fleet whose gateway serves [`NAME`] with the Secret `shop`.
async fn fleet(number: u8, shop: &Certificate) -> anyhow::Result<Fleet> {
    let fleet = Fleet::start(number).await?;
    fleet.global.api.apply(&shop.secret("shop")).await?;
    fleet.serve(json!([{"secret": "shop"}])).await?;
    fleet.global.api.apply(&route("/", "cart")).await?;
    fleet.shows(NAME, shop).await;
    Ok(fleet)
}

fn client(gateway: &Gateway, name: &str) -> TlsClient {
    TlsClient::new(gateway.at(PORT), name)
}

/// Waits until a client is shown a certificate and gets an answer.
async fn shows(client: &TlsClient, host: &str, expected: &Certificate) {
    eventually(&format!("{host} has the certificate"), async || {
        let mut connection = client.connect().await?;
        anyhow::ensure!(connection.certificate() == expected.der, "it has another");
        let response = connection.get(host, "/").await?;
        anyhow::ensure!(response.status() == 200, "{}", response.status());
        Ok(())
    })
    .await;
}

impl Fleet {
    async fn serve(&self, certificates: Value) -> anyhow::Result<()> {
        let gateway = gateway_with(json!([https(NAME, certificates)]));
        self.global.api.apply(&gateway).await
    }

    async fn shows(&self, name: &str, expected: &Certificate) {
        shows(&client(&self.gateway, name), name, expected).await;
    }

    /// How many listeners were added, modified and removed since its Envoy runs.
    async fn listeners(&self) -> anyhow::Result<String> {
        let stats = "/stats?filter=listener_(added|modified|removed)$";
        let stats = self.gateway.admin(stats).await?;
        let lines = stats
            .lines()
            .filter(|line| line.contains("listener_manager."));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_name_has_its_certificate_and_a_missing_one_takes_down_only_its_own()
-> anyhow::Result<()> {
    let fleet = Fleet::start(71).await?;
    let rsa = Certificate::rsa(&["a.example"]);
    let ecdsa = Certificate::ecdsa(&["a.example"]);
    let wide = Certificate::rsa(&["*.example"]);
    let late = Certificate::ecdsa(&["late.example"]);
    let (strange_rsa, strange_ecdsa) = (
        Certificate::rsa(&["strange.test"]),
        Certificate::ecdsa(&["strange.test"]),
    );
    for (name, certificate) in [
        ("a-rsa", &rsa),
        ("a-ecdsa", &ecdsa),
        ("wide", &wide),
        ("strange-rsa", &strange_rsa),
        ("strange-ecdsa", &strange_ecdsa),
    ] {
        fleet.global.api.apply(&certificate.secret(name)).await?;
    }
    let gateway = gateway_with(json!([
        https(
            "a.example",
            json!([{"secret": "a-rsa"}, {"secret": "a-ecdsa"}])
        ),
        https("*.example", json!([{"secret": "wide"}])),
        https("late.example", json!([{"secret": "late"}])),
        https(
            "c.test",
            json!([{"secret": "strange-ecdsa"}, {"secret": "strange-rsa"}])
        ),
    ]));
    fleet.global.api.apply(&gateway).await?;
    fleet.global.api.apply(&route("/", "cart")).await?;

    let of = |name: &str| client(&fleet.gateway, name);
    shows(&of("a.example"), "a.example", &ecdsa).await;
    let only_rsa = of("a.example").verifying(Signatures::Rsa);
    shows(&only_rsa, "a.example", &rsa).await;
    let only_ecdsa = of("a.example").verifying(Signatures::Ecdsa);
    shows(&only_ecdsa, "a.example", &ecdsa).await;
    // Also where no certificate has the name.
    let only_rsa = of("c.test").verifying(Signatures::Rsa);
    shows(&only_rsa, "c.test", &strange_rsa).await;
    shows(&of("b.example"), "b.example", &wide).await;
    let modern = of("b.example").offering(&["h2", "http/1.1"]);
    assert_eq!(modern.connect().await?.protocol(), Some("h2"));
    shows(&modern, "b.example", &wide).await;
    assert_eq!(
        of("b.example").connect().await?.protocol(),
        Some("http/1.1")
    );
    assert!(of("elsewhere.test").handshake().await.is_err());

    // The wider one does not answer for it: it has other routes.
    let finding = fleet.finding(&["MeshGateway", "no Secret", "late"]).await;
    assert_eq!(
        finding["field"], "conf.listeners[2].tls.certificates[0]",
        "{finding:#}"
    );
    assert!(of("late.example").handshake().await.is_err());
    fleet.global.api.apply(&late.secret("late")).await?;
    shows(&of("late.example"), "late.example", &late).await;
    shows(&of("a.example"), "a.example", &ecdsa).await;
    fleet.no_finding().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_is_live_at_once_and_drops_no_connection() -> anyhow::Result<()> {
    const ROTATIONS: u32 = 20;
    let fleet = fleet(72, &Certificate::ecdsa(&[NAME])).await?;
    let client = client(&fleet.gateway, NAME);
    let before = fleet.listeners().await?;
    assert!(!before.is_empty());
    let load = Load::start_tls(&client, NAME, "/", 6);
    load.go_on_for(200).await;
    let mut took = Vec::new();
    for _ in 0..ROTATIONS {
        let next = Certificate::ecdsa(&[NAME]);
        let document = next.secret("shop");
        let start = Instant::now();
        fleet.global.api.apply(&document).await?;
        let written = start.elapsed();
        eventually("the new certificate", async || {
            let shown = client.connect().await?;
            anyhow::ensure!(shown.certificate() == next.der, "the old one");
            Ok(())
        })
        .await;
        took.push((start.elapsed(), written));
        load.go_on_for(30).await;
    }
    let tally = load.stop().await;
    let mean = |times: &mut dyn Iterator<Item = Duration>| times.sum::<Duration>() / ROTATIONS;
    let slowest = took.iter().max().expect("there were rotations");
    eprintln!(
        "to the first handshake with the new certificate: mean {:?} from sending the PUT, {:?} from \
         its answer; slowest {:?}, of that the PUT {:?}\n{tally}",
        mean(&mut took.iter().map(|(live, _)| *live)),
        mean(&mut took.iter().map(|(live, put)| live.saturating_sub(*put))),
        slowest.0,
        slowest.1,
    );
    assert_eq!(tally.other_than(&["200 cart-1"]), 0, "{tally}");
    assert_eq!(fleet.listeners().await?, before, "a listener was touched");
    assert!(slowest.0 < Duration::from_secs(5), "{took:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_secret_keeps_the_last_good_certificate_over_a_restart() -> anyhow::Result<()> {
    let good = Certificate::ecdsa(&[NAME]);
    let mut fleet = fleet(73, &good).await?;
    let other = Certificate::ecdsa(&[NAME]);
    let (certificate, key) = (parts(&good.pem).0, parts(&other.pem).1);
    let mixed = format!("{certificate}{key}");
    let expired = Certificate::expired(&[NAME]);
    for (text, words) in [
        ("rubbish", "is not PEM"),
        (mixed.as_str(), "does not belong to its first certificate"),
        (expired.pem.as_str(), "expired at"),
    ] {
        fleet.global.api.apply(&secret("shop", text)).await?;
        let words = ["MeshGateway", words, "the last good certificate stays"];
        let finding = fleet.finding(&words).await;
        assert_eq!(finding["field"], "conf.listeners[0].tls.certificates[0]");
        fleet.shows(NAME, &good).await;
    }
    let key_line = key.lines().nth(1).expect("a line of the key");
    let shown = fleet
        .global
        .api
        .get("/dataplanes/_overview")
        .await?
        .to_string()
        + &fleet.gateway.admin("/config_dump").await?;
    assert!(!shown.contains(key_line), "{shown}");

    // The control plane is replaced, and an Envoy that has nothing yet asks it.
    let before = fleet.listeners().await?;
    fleet.zone = fleet.zone.stop().await?.start().await?;
    fleet.shows(NAME, &good).await;
    let at = address([73, 2]);
    let new = Gateway::start(&fleet.zone, "gateway-2", "edge-gateway", at).await?;
    shows(&client(&new, NAME), NAME, &good).await;
    let gone = "/meshes/default/secrets/shop";
    fleet.global.api.delete(gone).await?;
    fleet
        .finding(&["no Secret", "the last good certificate stays"])
        .await;
    fleet.shows(NAME, &good).await;

    let mended = Certificate::ecdsa(&[NAME]);
    fleet.global.api.apply(&mended.secret("shop")).await?;
    fleet.shows(NAME, &mended).await;
    // By now its Envoy has taken something from the new control plane, and nothing else.
    assert_eq!(fleet.listeners().await?, before, "a listener was touched");
    fleet.no_finding().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_come_from_files_and_from_the_gateway_too() -> anyhow::Result<()> {
    let fleet = fleet(74, &Certificate::ecdsa(&[NAME])).await?;
    let inline = Certificate::rsa(&[NAME]);
    fleet.serve(json!([{"inlineString": inline.pem}])).await?;
    fleet.shows(NAME, &inline).await;
    let inline = Certificate::ecdsa(&[NAME]);
    let encoded = STANDARD.encode(&inline.pem);
    fleet.serve(json!([{"inline": encoded}])).await?;
    fleet.shows(NAME, &inline).await;

    let folder = tempfile::tempdir()?;
    let (path, new) = (
        folder.path().join("shop.pem"),
        folder.path().join("new.pem"),
    );
    let first = Certificate::ecdsa(&[NAME]);
    std::fs::write(&path, &first.pem)?;
    fleet
        .serve(json!([{"file": path.display().to_string()}]))
        .await?;
    fleet.shows(NAME, &first).await;
    let second = Certificate::ecdsa(&[NAME]);
    std::fs::write(&new, &second.pem)?;
    std::fs::rename(&new, &path)?;
    fleet.shows(NAME, &second).await;
    fleet.no_finding().await;
    Ok(())
}

#[tokio::test]
async fn envoy_takes_a_certificate_if_and_only_if_it_is_offered() -> anyhow::Result<()> {
    let with = |key: Key| Certificate::with(key, &[NAME]).pem;
    let (one, other) = (with(Key::P256), with(Key::Rsa));
    let (certificate, key) = parts(&one);
    let (other, _) = parts(&other);
    let mut texts = vec![
        ("RSA", with(Key::Rsa)),
        ("P-256", one.clone()),
        ("P-384", with(Key::P384)),
        ("P-521", with(Key::P521)),
        ("Ed25519", with(Key::Ed25519)),
        ("expired", Certificate::expired(&[NAME]).pem),
        ("the key first", format!("{key}{certificate}")),
        ("a chain", format!("{one}{other}")),
        ("a chain the wrong way round", format!("{other}{one}")),
        ("no key", certificate.to_owned()),
        ("no certificate", key.to_owned()),
        ("another's key", format!("{other}{key}")),
        ("nothing", String::new()),
        ("rubbish", "rubbish".to_owned()),
    ];
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../zone-cp/translate/tests/certificates");
    for name in ["rsa-1024", "ec-parameters", "key-agreement", "secp256k1"] {
        texts.push((
            name,
            std::fs::read_to_string(folder.join(name).with_extension("pem"))?,
        ));
    }
    let verdicts = texts.iter().map(async |(name, text)| {
        anyhow::Ok((
            *name,
            zone_translate::Certificate::parse(text.as_bytes()),
            validate(text).await?,
        ))
    });
    let mut count = 0;
    for (name, ours, envoys) in try_join_all(verdicts).await? {
        assert_eq!(
            ours.is_ok(),
            envoys.is_ok(),
            "{name}: we say {ours:?}, Envoy says {envoys:?}"
        );
        if let Ok(read) = ours {
            // What is offered is what was read, not what was written.
            assert_eq!(validate(&read.to_pem()).await?, Ok(()), "{name}");
            count += 1;
        }
    }
    assert_eq!(count, 8);
    Ok(())
}

/// The certificate and the key of a PEM text.
fn parts(pem: &str) -> (&str, &str) {
    let key = pem.find("-----BEGIN PRIVATE").expect("there is a key");
    pem.split_at(key)
}

/// Whether Envoy takes a text as certificate chain and key of a listener; if not, its words.
async fn validate(text: &str) -> anyhow::Result<Result<(), String>> {
    let inline = json!({"inline_string": text});
    let context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "tls_certificates": [{"certificate_chain": inline, "private_key": inline}],
        },
    });
    let proxy = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "x", "cluster": "x",
    });
    let config = json!({"static_resources": {
        "clusters": [{"name": "x"}],
        "listeners": [{
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [{
                "filters": [{"name": "x", "typed_config": proxy}],
                "transport_socket": {"name": "x", "typed_config": context},
            }],
        }],
    }});
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("envoy.json");
    std::fs::write(&file, config.to_string())?;
    let output = tokio::process::Command::new(mesh_harness::envoy())
        .args(["--mode", "validate", "--log-level", "error", "-c"])
        .arg(&file)
        .output()
        .await?;
    let words = String::from_utf8(output.stderr)?;
    Ok(if output.status.success() {
        Ok(())
    } else {
        Err(words)
    })
}
