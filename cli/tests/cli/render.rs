use serde_json::Value;

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
