use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{meridian, meridian_with, route};

#[tokio::test]
async fn the_examples_make_a_configuration_for_envoy() {
    let run = meridian(&[
        "render",
        "-f",
        "examples/",
        "--dataplane",
        "gateway-1",
        "--zone",
        "east",
        "-o",
        "json",
    ])
    .await;
    assert_eq!(run.stderr, "");
    let config: Value = serde_json::from_str(&run.ok()).unwrap();
    let listeners = config["static_resources"]["listeners"].as_array().unwrap();
    assert_eq!(listeners.len(), 1);
    let address = &listeners[0]["address"]["socket_address"];
    assert_eq!(address["port_value"], 8080);
    let clusters = config["static_resources"]["clusters"].as_array().unwrap();
    assert_eq!(clusters.len(), 2, "{clusters:#?}");
    let yaml = meridian(&["render", "-f", "examples/"]).await.ok();
    assert!(yaml.contains("static_resources:\n  listeners:\n"), "{yaml}");
}

#[tokio::test]
async fn envoy_accepts_what_the_examples_make() {
    let envoy =
        mesh_envoy_binary::locate_or_install(None, &mut |step| eprintln!("{step}")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for format in ["yaml", "json"] {
        let text = meridian(&["render", "-f", "examples/", "-o", format])
            .await
            .ok();
        let file = folder.path().join(format!("envoy.{format}"));
        std::fs::write(&file, text).unwrap();
        let output = tokio::process::Command::new(&envoy)
            .args(["--mode", "validate", "--log-level", "warning", "-c"])
            .arg(&file)
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{format}: {output:#?}");
    }
}

#[tokio::test]
async fn rendering_twice_gives_the_same_bytes() {
    let arguments = ["render", "-f", "examples/", "--resources"];
    assert_eq!(
        meridian(&arguments).await.ok(),
        meridian(&arguments).await.ok()
    );
}

const GATEWAY: &str = "\
type: MeshGateway
mesh: default
name: edge
selectors:
- match:
    kuma.io/service: edge
conf:
  listeners:
  - port: 8080
    protocol: HTTP
---
type: Dataplane
mesh: default
name: gw
networking:
  address: 127.0.0.1
  gateway:
    type: BUILTIN
    tags:
      kuma.io/service: edge
---
";

#[tokio::test]
async fn findings_are_told_beside_the_configuration() {
    let text = format!("{GATEWAY}{}", route("shop", "/", "nosuch"));
    let run = meridian_with(&["render", "-f", "-"], &text).await;
    assert!(
        run.stderr
            .starts_with("MeshGatewayRoute default/shop: conf.http.rules[0].backends[0]"),
        "{}",
        run.stderr
    );
    assert!(run.ok().contains("static_resources:"));
}

#[tokio::test]
async fn a_dataplane_that_cannot_be_rendered_is_explained() {
    let sidecar = GATEWAY.replace(
        "  gateway:\n    type: BUILTIN\n    tags:\n      kuma.io/service: edge\n",
        "  inbound:\n  - port: 80\n    tags:\n      kuma.io/service: echo\n",
    );
    let two = format!(
        "{GATEWAY}{}",
        GATEWAY
            .replace("name: gw", "name: gw-2")
            .replace("name: edge", "name: edge-2")
    );
    for (text, arguments, expected) in [
        (
            sidecar.as_str(),
            &["--dataplane", "gw"][..],
            "is no builtin gateway",
        ),
        (&sidecar, &[], "have no Dataplane of a builtin gateway"),
        (GATEWAY, &["--dataplane", "other"], "they have gw"),
        (GATEWAY, &["-m", "other"], "in mesh \"other\""),
        (GATEWAY, &["--zone", "No Zone"], "--zone"),
        (&two, &[], "--dataplane"),
    ] {
        let mut line = vec!["render", "-f", "-"];
        line.extend(arguments);
        let stderr = meridian_with(&line, text).await.failed();
        assert!(stderr.contains(expected), "{expected}: {stderr}");
    }
}

/// A certificate and its key.
const CERTIFICATE: &str =
    include_str!("../../../zone-cp/translate/tests/certificates/ec-parameters.pem");

#[tokio::test]
async fn secrets_and_files_become_certificates_and_keys_are_shown_only_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edge.pem");
    std::fs::write(&file, CERTIFICATE).unwrap();
    let listener = |hostname: &str, source: Value| {
        json!({
            "port": 8443, "protocol": "HTTPS", "hostname": hostname,
            "tls": {"mode": "TERMINATE", "certificates": [source]},
        })
    };
    let gateway = json!({
        "type": "MeshGateway", "mesh": "default", "name": "edge",
        "selectors": [{"match": {"kuma.io/service": "edge"}}],
        "conf": {"listeners": [
            listener("a.example", json!({"secret": "shop"})),
            listener("b.example", json!({"file": file.display().to_string()})),
            listener("c.example", json!({"secret": "none"})),
        ]},
    });
    let secret = json!({
        "type": "Secret", "mesh": "default", "name": "shop", "data": STANDARD.encode(CERTIFICATE),
    });
    let (_, dataplane) = GATEWAY.split_once("---\n").unwrap();
    let text = format!("{dataplane}{gateway}\n---\n{secret}\n");
    // The key as it is, and as JSON has it, without the ends that depend on what is around it.
    let line = CERTIFICATE.lines().rev().nth(2).unwrap();
    let shows_key = |output: &str| {
        let encoded = STANDARD.encode(&line[..line.len() - line.len() % 3]);
        let texts = output
            .split('"')
            .filter_map(|text| STANDARD.decode(text).ok());
        let mut texts = texts.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        output.contains(line) || output.contains(&encoded) || texts.any(|text| text.contains(line))
    };

    for arguments in [&["-o", "json"][..], &["-o", "json", "--resources"]] {
        let arguments = [&["render", "-f", "-"], arguments].concat();
        let run = meridian_with(&arguments, &text).await;
        assert!(run.stderr.contains("no Secret \"none\""), "{}", run.stderr);
        assert!(!shows_key(&run.stderr), "{}", run.stderr);
        let output = run.ok();
        assert!(output.contains("[redacted]"), "{output}");
        assert!(!shows_key(&output), "{output}");
        assert!(output.contains("b.example") && !output.contains("c.example"));
    }
    let run = meridian_with(&["render", "-f", "-", "-o", "json"], &text).await;
    assert!(run.stderr.contains("--with-keys"), "{}", run.stderr);

    let run = meridian_with(&["render", "-f", "-", "-o", "json", "--with-keys"], &text).await;
    let output = run.ok();
    assert!(shows_key(&output), "{output}");
    let config = folder.path().join("envoy.json");
    std::fs::write(&config, output).unwrap();
    let envoy =
        mesh_envoy_binary::locate_or_install(None, &mut |step| eprintln!("{step}")).unwrap();
    let output = tokio::process::Command::new(&envoy)
        .args(["--mode", "validate", "--log-level", "warning", "-c"])
        .arg(&config)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:#?}");
}
