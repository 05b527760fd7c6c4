//! The agent as a process: against a control plane that the test plays over real sockets, with
//! a script in Envoy's place where its end matters, and with a real Envoy where its life does.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod control_plane;
mod process;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use axum::http::StatusCode;
use control_plane::{ControlPlane, Reply};
use process::{Agent, TOKEN, free_port};
use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::json;

#[tokio::test]
async fn a_refusal_ends_the_agent_with_the_reason() {
    let text = "networking.address: cannot be empty";
    let refusal = Reply::Text(StatusCode::UNPROCESSABLE_ENTITY, text);
    let control_plane = ControlPlane::start(vec![refusal]).await;
    let agent = Agent::start(&control_plane, &[]);
    let ended = agent.ended().await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(text), "{}", ended.stderr);
    assert_eq!(control_plane.bootstraps().len(), 1);
}

#[tokio::test]
async fn what_passes_is_waited_for() {
    let control_plane = ControlPlane::start(vec![
        Reply::Text(StatusCode::NOT_FOUND, ""),
        Reply::Text(StatusCode::SERVICE_UNAVAILABLE, "starting"),
        Reply::Bootstrap(json!({"admin": {"address": {"pipe": {"path": "/nowhere"}}}})),
    ])
    .await;
    let agent = Agent::start(&control_plane, &["--concurrency=3"]);
    let ended = agent.ended().await;
    // The script that stands for Envoy ends with this status.
    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    for expected in [
        "doesn't know this Dataplane yet",
        "503",
        "starting",
        "[critical] no luck",
    ] {
        assert!(
            ended.stderr.contains(expected),
            "{expected}: {}",
            ended.stderr
        );
    }

    let requests = control_plane.bootstraps();
    assert_eq!(requests.len(), 3);
    let request = &requests[2];
    assert_eq!(request.accept.as_deref(), Some("application/json"));
    assert_eq!(request.body["mesh"], "default");
    assert_eq!(request.body["name"], "edge");
    assert_eq!(request.body["dataplaneToken"], TOKEN);
    assert_eq!(request.body["caCert"], control_plane.ca());
    assert_eq!(request.body["version"]["envoy"]["version"], "1.36.4");

    let file = ended.directory.path().join("work/bootstrap.yaml");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(fs::read_to_string(&file).unwrap().contains("/nowhere"));
    let arguments = fs::read_to_string(ended.directory.path().join("arguments")).unwrap();
    let expected = format!("--config-path {} --drain-time-s 1", file.display());
    assert!(arguments.starts_with(&expected), "{arguments}");
    assert!(arguments.trim().ends_with("--concurrency 3"), "{arguments}");
}

#[tokio::test]
async fn another_ca_is_named_as_the_reason() {
    let control_plane = ControlPlane::start(Vec::new()).await;
    let stranger = ControlPlane::start(Vec::new()).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), stranger.ca()).unwrap();
    let ca = format!("--ca-cert-file={}", file.path().display());
    let strict = ["--retry-max-duration=300ms", &ca];
    let ended = Agent::start(&control_plane, &strict).ended().await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("certificate"), "{}", ended.stderr);
    assert_eq!(control_plane.bootstraps().len(), 0);

    let skip = ["--retry-max-duration=300ms", "--skip-verify", &ca];
    let ended = Agent::start(&control_plane, &skip).ended().await;
    assert_ne!(control_plane.bootstraps().len(), 0, "{}", ended.stderr);
}

#[tokio::test]
async fn a_signal_ends_the_wait_for_a_control_plane() {
    let control_plane = ControlPlane::start(Vec::new()).await;
    let agent = Agent::start(&control_plane, &[]);
    control_plane.asked().await;
    agent.signal(Signal::TERM);
    assert_eq!(agent.ended().await.code, Some(0));
}

/// The bootstrap of an Envoy that needs no control plane: it answers 200 by itself.
fn self_contained(socket: &std::path::Path, port: u16) -> serde_json::Value {
    let hcm = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    json!({
        "node": {"id": "default.edge", "cluster": "edge"},
        "admin": {"address": {"pipe": {"path": socket, "mode": 0o600}}},
        "staticResources": {"listeners": [{
            "name": "edge",
            "address": {"socketAddress": {"address": "127.0.0.1", "portValue": port}},
            "filterChains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typedConfig": {
                    "@type": format!("type.googleapis.com/{hcm}"),
                    "statPrefix": "edge",
                    "routeConfig": {"virtualHosts": [{
                        "name": "edge",
                        "domains": ["*"],
                        "routes": [{
                            "match": {"prefix": "/"},
                            "directResponse": {"status": 200, "body": {"inlineString": "hello"}},
                        }],
                    }]},
                    "httpFilters": [{
                        "name": "envoy.filters.http.router",
                        "typedConfig": {
                            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                        },
                    }],
                },
            }]}],
        }]},
    })
}

#[tokio::test]
async fn envoy_runs_says_that_it_is_ready_drains_and_ends() {
    let (port, readiness) = (free_port(), free_port());
    let mut start = Agent::prepare();
    let socket = start.directory.path().join("work/admin.sock");
    let bootstrap = Reply::Bootstrap(self_contained(&socket, port));
    let control_plane = ControlPlane::start(vec![bootstrap]).await;
    start.use_real_envoy();
    let readiness_flag = format!("--readiness-port={readiness}");
    let agent = start.run(&control_plane, &["--drain-time=60s", &readiness_flag]);

    let ready = format!("http://127.0.0.1:{readiness}/ready");
    agent.answers(&ready, "200 READY").await;
    let url = format!("http://127.0.0.1:{port}/");
    agent.answers(&url, "200 hello").await;
    assert!(agent.health(readiness).await);

    agent.signal(Signal::TERM);
    agent.answers(&ready, "503 TERMINATING").await;
    assert!(!agent.health(readiness).await);
    let goodbye = control_plane.goodbye().await;
    assert_eq!(goodbye.authorization.as_deref(), Some(TOKEN));
    assert_eq!(goodbye.body, json!({"mesh": "default", "name": "edge"}));
    // Draining: it still answers, and asks clients to go.
    agent.connection_header(&url, "close").await;

    let envoy = agent.child();
    agent.signal(Signal::TERM);
    let ended = agent.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(test_kill_process(envoy).is_err(), "Envoy has ended");
}

#[tokio::test]
async fn envoy_does_not_outlive_a_killed_agent() {
    let port = free_port();
    let mut start = Agent::prepare();
    let socket = start.directory.path().join("work/admin.sock");
    let bootstrap = Reply::Bootstrap(self_contained(&socket, port));
    let control_plane = ControlPlane::start(vec![bootstrap]).await;
    start.use_real_envoy();
    let agent = start.run(&control_plane, &[]);
    agent
        .answers(&format!("http://127.0.0.1:{port}/"), "200 hello")
        .await;

    let envoy: Pid = agent.child();
    agent.signal(Signal::KILL);
    agent.ended().await;
    process::eventually("Envoy ends", async || test_kill_process(envoy).is_err()).await;
}

#[tokio::test]
async fn a_refused_bootstrap_is_explained_in_envoys_own_words() {
    let mut bootstrap = self_contained(std::path::Path::new("/nowhere/admin.sock"), 1);
    bootstrap["staticResources"]["listeners"][0]["nonsense"] = json!(1);
    let control_plane = ControlPlane::start(vec![Reply::Bootstrap(bootstrap)]).await;
    let mut start = Agent::prepare();
    start.use_real_envoy();
    let ended = start.run(&control_plane, &[]).ended().await;
    assert_eq!(ended.code, Some(1));
    let said = ended.stderr.rsplit_once("its last words").unwrap().1;
    assert!(said.contains("nonsense"), "{said}");
}

#[tokio::test]
async fn a_taken_readiness_port_is_named_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let control_plane = ControlPlane::start(Vec::new()).await;
    let flag = format!("--readiness-port={port}");
    let ended = Agent::start(&control_plane, &[&flag]).ended().await;
    assert_eq!(ended.code, Some(1));
    for expected in [&format!("127.0.0.1:{port}"), "KUMA_READINESS_PORT"] {
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    }
    assert_eq!(control_plane.bootstraps().len(), 0, "nothing was asked for");
}

#[tokio::test]
async fn mistakes_in_the_options_are_told_at_once() {
    let control_plane = ControlPlane::start(Vec::new()).await;
    let started = tokio::time::Instant::now();
    for (flags, expected) in [
        (
            &["--cp-address=ftp://zone"][..],
            "is no http:// or https:// URL",
        ),
        (
            &["--dataplane-token-file=/nonexistent"],
            "cannot read the token",
        ),
        (&["--ca-cert-file=/nonexistent"], "cannot read the CA"),
        (&["--binary-path=/nonexistent"], "--binary-path names"),
        (&["--name=other"], "--name can't be given together"),
    ] {
        let ended = Agent::start(&control_plane, flags).ended().await;
        assert_eq!(ended.code, Some(1), "{flags:?}");
        assert!(
            ended.stderr.contains(expected),
            "{flags:?}: {}",
            ended.stderr
        );
    }
    assert!(started.elapsed() < Duration::from_secs(60));
}
