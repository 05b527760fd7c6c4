//! The agent as a child process.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::control_plane::ControlPlane;

/// What the control plane is to see as the token.
pub(crate) const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln";

/// How long anything may take before a test gives up on it.
const DEADLINE: Duration = Duration::from_secs(60);

/// Stands for Envoy: writes its arguments down, complains, and ends.
const SCRIPT: &str = "#!/bin/sh
if [ \"$1\" = --version ]; then echo \"$0  version: abc/1.36.4/Clean/RELEASE/BoringSSL\"; exit; fi
echo \"$*\" > \"$(dirname \"$0\")/arguments\"
echo '[critical] no luck' >&2
exit 7
";

/// A gateway's Dataplane as a user writes it.
const GATEWAY: &str = "
type: Dataplane
mesh: default
name: {{ name }}
networking:
  address: 127.0.0.1
  gateway:
    type: BUILTIN
    tags:
      kuma.io/service: edge
";

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Polls until `holds`, and fails the test after a minute.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let poll = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(DEADLINE, poll).await.is_err() {
        panic!("did not happen in {DEADLINE:?}: {what}");
    }
}

/// Files for an agent that is about to start.
pub(crate) struct Prepared {
    pub directory: TempDir,
    envoy: PathBuf,
}

/// A running agent. Dropping it kills it, and with it its Envoy.
pub(crate) struct Agent {
    child: Child,
    directory: TempDir,
}

/// An agent that has ended.
pub(crate) struct Ended {
    pub code: Option<i32>,
    pub stderr: String,
    pub directory: TempDir,
}

impl Agent {
    /// An agent whose Envoy is a script.
    pub(crate) fn prepare() -> Prepared {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        fs::write(path("token"), format!("{TOKEN}\n")).unwrap();
        fs::write(path("gateway.yaml"), GATEWAY).unwrap();
        let envoy = path("envoy.sh");
        fs::write(&envoy, SCRIPT).unwrap();
        fs::set_permissions(&envoy, fs::Permissions::from_mode(0o755)).unwrap();
        Prepared { directory, envoy }
    }

    pub(crate) fn start(control_plane: &ControlPlane, flags: &[&str]) -> Self {
        Self::prepare().run(control_plane, flags)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Its Envoy.
    pub(crate) fn child(&self) -> Pid {
        let pid = self.pid().as_raw_pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let child = children.trim().parse().expect("the agent has one child");
        Pid::from_raw(child).unwrap()
    }

    /// Waits until a URL gives this status and text.
    pub(crate) async fn answers(&self, url: &str, expected: &str) {
        let ask = async || {
            let response = reqwest::get(url).await.ok()?;
            let status = response.status().as_u16();
            Some(format!("{status} {}", response.text().await.ok()?))
        };
        eventually(expected, async || ask().await.as_deref() == Some(expected)).await;
    }

    /// Waits until a URL's answer has this `connection` header.
    pub(crate) async fn connection_header(&self, url: &str, expected: &str) {
        let ask = async || {
            let response = reqwest::get(url).await.ok()?;
            Some(
                response
                    .headers()
                    .get("connection")?
                    .to_str()
                    .ok()?
                    .to_owned(),
            )
        };
        eventually(expected, async || ask().await.as_deref() == Some(expected)).await;
    }

    /// Whether the `health` subcommand succeeds.
    pub(crate) async fn health(&self, readiness_port: u16) -> bool {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meridian-dp"));
        command.args(["health", &format!("--readiness-port={readiness_port}")]);
        command.output().await.unwrap().status.success()
    }

    /// Waits for the agent's end.
    pub(crate) async fn ended(self) -> Ended {
        let output = tokio::time::timeout(DEADLINE, self.child.wait_with_output());
        let output = output.await.expect("the agent ends").unwrap();
        Ended {
            code: output.status.code(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            directory: self.directory,
        }
    }

    fn pid(&self) -> Pid {
        let id = self.child.id().expect("the agent has not ended");
        Pid::from_raw(id.try_into().unwrap()).unwrap()
    }
}

impl Prepared {
    /// Takes a stock Envoy instead of the script, and installs one where there is none.
    pub(crate) fn use_real_envoy(&mut self) {
        let mut progress = |text: &str| eprintln!("{text}");
        self.envoy = mesh_envoy_binary::locate_or_install(None, &mut progress).unwrap();
    }

    pub(crate) fn run(self, control_plane: &ControlPlane, flags: &[&str]) -> Agent {
        let path = |name| self.directory.path().join(name);
        let defaults = [
            ("--cp-address", control_plane.address().into()),
            ("--ca-cert-file", path("ca.crt").into_os_string()),
            ("--dataplane-file", path("gateway.yaml").into_os_string()),
            ("--dataplane-var", "name=edge".into()),
            ("--dataplane-token-file", path("token").into_os_string()),
            ("--binary-path", self.envoy.clone().into_os_string()),
            ("--config-dir", path("work").into_os_string()),
            ("--drain-time", "1s".into()),
            ("--readiness-port", "0".into()),
        ];
        fs::write(path("ca.crt"), control_plane.ca()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_meridian-dp"));
        command.arg("run");
        for (flag, value) in defaults {
            let is_given = flags
                .iter()
                .any(|given| given.split('=').next() == Some(flag));
            if !is_given {
                command.arg(flag).arg(value);
            }
        }
        let child = command
            .args(flags)
            // What the developer's own environment says is not part of a test.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Agent {
            child,
            directory: self.directory,
        }
    }
}
