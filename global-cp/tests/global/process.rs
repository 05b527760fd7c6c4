//! The program itself: its arguments, its signals, its exit status.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_global-cp"));
    command.env_clear();
    command
}

fn run(args: &[&str]) -> Output {
    program().args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A running program; ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it on free ports and waits until it says that it is ready: that line has the ports.
fn start(dir: &Path) -> (Running, BufReader<ChildStderr>, String) {
    let mut command = program();
    for name in [
        "API_SERVER_HTTP_PORT",
        "API_SERVER_HTTPS_PORT",
        "DIAGNOSTICS_SERVER_PORT",
        "MULTIZONE_GLOBAL_KDS_GRPC_PORT",
    ] {
        command.env(format!("KUMA_{name}"), "0");
    }
    command.env("KUMA_GENERAL_WORK_DIR", dir).arg("run");
    let mut running = Running(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut log = BufReader::new(running.0.stderr.take().unwrap());
    loop {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended early");
        if line.contains("is ready") {
            return (running, log, line);
        }
    }
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args([name, &pid]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn it_is_healthy_until_sigterm_and_then_ends_with_0() {
    let dir = tempfile::tempdir().unwrap();
    let (mut running, log, ready) = start(dir.path());
    let port: String = ready
        .split("diagnostics=")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next()?.rsplit(':').next())
        .unwrap()
        .to_owned();
    let address = format!("127.0.0.1:{port}");
    let health = run(&["health", "--address", &address]);
    assert!(health.status.success(), "{}", text(&health.stderr));

    signal(&running.0, "-TERM");
    let rest: Vec<String> = log.lines().map(Result::unwrap).collect();
    assert_eq!(running.0.wait().unwrap().code(), Some(0), "{rest:#?}");
    let health = run(&["health", "--address", &format!("http://{address}")]);
    assert_eq!(health.status.code(), Some(1));
    assert!(text(&health.stderr).contains(&address));
}

#[test]
fn it_explains_itself() {
    let help = run(&["--help"]);
    assert!(help.status.success());
    assert!(text(&help.stdout).contains("global-cp run --config-file"));
    assert!(text(&run(&["run", "--help"]).stdout).contains("--log-level"));
    let version = run(&["--version"]);
    assert!(text(&version.stdout).starts_with("global-cp "));
}

#[test]
fn it_shows_its_configuration_without_starting() {
    let output = program()
        .args(["run", "--print-config"])
        .env("KUMA_API_SERVER_HTTP_PORT", "15681")
        .env("KUMA_GENERAL_WORK_DIR", "/nonexistent")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let config: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(config["apiServer"]["http"]["port"], 15681);
    assert_eq!(config["mode"], "global");
}

#[test]
fn a_wrong_configuration_ends_it_with_1_and_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("global.yaml");
    std::fs::write(&file, "apiServer:\n  htpp:\n    port: 1\n").unwrap();
    let output = run(&["run", "--config-file", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("htpp") && error.contains("http"), "{error}");
}

#[test]
fn zones_that_need_no_token_are_listed_by_flag_and_the_flag_goes_before_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let output = program()
        .env("KUMA_GENERAL_WORK_DIR", dir.path())
        .env(
            "KUMA_MULTIZONE_GLOBAL_KDS_ALLOW_UNAUTHENTICATED_ZONES",
            "other",
        )
        .args(["run", "--print-config"])
        .args(["--allow-unauthenticated-zones", "stock-1,stock-2"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let config: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let kds = &config["multizone"]["global"]["kds"];
    assert_eq!(
        kds["allowUnauthenticatedZones"],
        serde_json::json!(["stock-1", "stock-2"])
    );
    assert_eq!(kds["auth"]["type"], "cpToken");
    let wrong = program()
        .env("KUMA_GENERAL_WORK_DIR", dir.path())
        .args(["run", "--allow-unauthenticated-zones", "Not A Zone"])
        .output()
        .unwrap();
    assert!(!wrong.status.success());
    assert!(text(&wrong.stderr).contains("neither a zone name nor"));
}
