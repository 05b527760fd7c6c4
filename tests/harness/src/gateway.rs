//! Gateways: the real agent with a real Envoy.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::ports::free_port;
use crate::process::Process;
use crate::{Api, eventually};

/// How long connections last once their listener has changed or gone.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// The Envoy for tests, found or installed once per process as a user's would be.
///
/// # Panics
/// When there is none and none can be installed.
pub fn envoy() -> PathBuf {
    static ENVOY: OnceLock<PathBuf> = OnceLock::new();
    ENVOY
        .get_or_init(|| {
            mesh_envoy_binary::locate_or_install(None, &mut |step| eprintln!("{step}"))
                .expect("an Envoy for tests")
        })
        .clone()
}

/// A command that starts the Envoy for tests with more runtime keys, as a file in `dir`.
fn envoy_with(runtime: &Value, dir: &Path) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let layer = json!({"name": "test", "static_layer": runtime});
    let config = json!({"layered_runtime": {"layers": [layer]}});
    // Envoy adds what this says to what its file says.
    let script = format!(
        "#!/bin/sh\nexec '{}' \"$@\" --config-yaml '{config}'\n",
        envoy().display()
    );
    let file = dir.join("envoy");
    std::fs::write(&file, script)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))?;
    Ok(file)
}

/// Where gateways can be started: a zone control plane, in this process or another.
pub trait DataPlane {
    /// Its admin API.
    fn api(&self) -> &Api;
    /// Where agents and Envoys connect.
    fn data_plane(&self) -> SocketAddr;
    /// The file with which agents verify it.
    fn ca_file(&self) -> PathBuf;
}

/// An agent of a Dataplane; its Envoy may be starting. Dropping it kills both.
#[derive(Debug)]
pub struct Agent {
    /// The agent.
    pub process: Process,
    readiness: String,
    files: TempDir,
}

impl Agent {
    /// Starts the agent of a Dataplane given as its document, with a token.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(zone: &impl DataPlane, dataplane: &Value, token: &str) -> anyhow::Result<Self> {
        Self::start_with(zone, dataplane, token, &Value::Null)
    }

    /// Starts it with an Envoy whose runtime has these keys on top of its own.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_with(
        zone: &impl DataPlane,
        dataplane: &Value,
        token: &str,
        runtime: &Value,
    ) -> anyhow::Result<Self> {
        Self::launch(zone, dataplane, token, runtime, DRAIN_TIME)
    }

    fn launch(
        zone: &impl DataPlane,
        dataplane: &Value,
        token: &str,
        runtime: &Value,
        drain_time: Duration,
    ) -> anyhow::Result<Self> {
        let files = tempfile::tempdir()?;
        let token_file = files.path().join("token");
        std::fs::write(&token_file, token)?;
        let dataplane_file = files.path().join("dataplane.json");
        std::fs::write(&dataplane_file, dataplane.to_string())?;
        let config_dir = files.path().join("config");
        std::fs::create_dir(&config_dir)?;
        let binary = match runtime {
            Value::Null => envoy(),
            runtime => envoy_with(runtime, files.path())?,
        };
        let path = |path: &Path| path.display().to_string();
        let readiness = free_port([127, 0, 0, 1].into())?;
        let arguments = [
            "run".to_owned(),
            format!("--cp-address=https://{}", zone.data_plane()),
            format!("--ca-cert-file={}", path(&zone.ca_file())),
            format!("--dataplane-file={}", path(&dataplane_file)),
            format!("--dataplane-token-file={}", path(&token_file)),
            format!("--config-dir={}", path(&config_dir)),
            format!("--binary-path={}", path(&binary)),
            "--concurrency=1".to_owned(),
            format!("--drain-time={}s", drain_time.as_secs()),
            "--dns-enabled=false".to_owned(),
        ];
        let environment = [("KUMA_READINESS_PORT".to_owned(), readiness.to_string())];
        Ok(Self {
            process: Process::start("meridian-dp", arguments, environment)?,
            readiness: format!("http://127.0.0.1:{readiness}"),
            files,
        })
    }

    /// Waits until its Envoy is live.
    ///
    /// # Panics
    /// When it is not in time.
    pub async fn ready(&self) {
        eventually(
            "the gateway is ready",
            async || match mesh_runtime::health::ask(&self.readiness, "/ready").await {
                Ok(()) => Ok(()),
                Err(error) => Err(format!("{error}\n{}", self.process.log().await)),
            },
        )
        .await;
    }
}

/// A process that does not run, and goes on when this is dropped.
#[derive(Debug)]
pub struct Suspended(Pid);

impl Drop for Suspended {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// A gateway Dataplane with its agent and Envoy. Dropping it kills both.
#[derive(Debug)]
pub struct Gateway {
    agent: Agent,
    name: String,
    address: IpAddr,
    client: reqwest::Client,
}

impl Gateway {
    /// The document of a gateway Dataplane.
    pub fn dataplane(name: &str, service: &str, address: IpAddr, admin_port: u16) -> Value {
        json!({
            "type": "Dataplane", "mesh": "default", "name": name,
            "networking": {
                "address": address.to_string(),
                "gateway": {"type": "BUILTIN", "tags": {"kuma.io/service": service}},
                "admin": {"port": admin_port},
            },
        })
    }

    /// Starts the gateway `name` of `service` at `address` under a zone, and waits until its
    /// Envoy is live.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(
        zone: &impl DataPlane,
        name: &str,
        service: &str,
        address: IpAddr,
    ) -> anyhow::Result<Self> {
        Self::start_with(zone, name, service, address, &Value::Null).await
    }

    /// Starts it with an Envoy whose runtime has these keys on top of its own.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_with(
        zone: &impl DataPlane,
        name: &str,
        service: &str,
        address: IpAddr,
        runtime: &Value,
    ) -> anyhow::Result<Self> {
        Self::launch(zone, name, service, address, (runtime, DRAIN_TIME)).await
    }

    /// Starts it with an Envoy that gives connections this long, whole seconds, once their
    /// listener has changed or gone.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_draining(
        zone: &impl DataPlane,
        name: &str,
        service: &str,
        address: IpAddr,
        drain_time: Duration,
    ) -> anyhow::Result<Self> {
        Self::launch(zone, name, service, address, (&Value::Null, drain_time)).await
    }

    async fn launch(
        zone: &impl DataPlane,
        name: &str,
        service: &str,
        address: IpAddr,
        (runtime, drain_time): (&Value, Duration),
    ) -> anyhow::Result<Self> {
        let token = zone.api().dataplane_token("default", name).await?;
        let admin = free_port([127, 0, 0, 1].into())?;
        let dataplane = Self::dataplane(name, service, address, admin);
        let agent = Agent::launch(zone, &dataplane, &token, runtime, drain_time)?;
        agent.ready().await;
        Ok(Self {
            agent,
            name: name.to_owned(),
            address,
            client: reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .build()?,
        })
    }

    /// Where its listener of a port is.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }

    /// Asks its Envoy's admin interface; the answer with its head.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn admin(&self, path: &str) -> anyhow::Result<String> {
        let socket = self.agent.files.path().join("config/kuma-envoy-admin.sock");
        let mut stream = UnixStream::connect(socket).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(String::from_utf8(answer)?)
    }

    /// Stops its Envoy without ending it, until what this gives is dropped.
    ///
    /// # Errors
    /// When there is no Envoy.
    pub fn suspend_envoy(&self) -> anyhow::Result<Suspended> {
        let agent = self.agent.process.id().context("the agent is gone")?;
        let children = format!("/proc/{agent}/task/{agent}/children");
        let children = std::fs::read_to_string(children)?;
        let child = children.split_whitespace().next();
        let child = child.context("the agent has no Envoy")?.parse()?;
        let pid = Pid::from_raw(child).context("process ids are positive")?;
        kill_process(pid, Signal::STOP)?;
        Ok(Suspended(pid))
    }

    /// Its Dataplane's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The agent.
    pub fn process(&mut self) -> &mut Process {
        &mut self.agent.process
    }

    /// A request to the gateway; `host` is the Host header.
    pub fn request(
        &self,
        method: reqwest::Method,
        port: u16,
        host: &str,
        path: &str,
    ) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.at(port));
        self.client.request(method, url).header("host", host)
    }

    /// Asks the gateway; `host` is the Host header.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(
        &self,
        port: u16,
        host: &str,
        path: &str,
    ) -> anyhow::Result<reqwest::Response> {
        let request = self.request(reqwest::Method::GET, port, host, path);
        Ok(request.send().await?)
    }

    /// Waits until the gateway answers `path` with `status`; the backend that answered.
    ///
    /// # Panics
    /// When it does not in time.
    pub async fn answers(&self, port: u16, host: &str, path: &str, status: u16) -> Option<String> {
        eventually(&format!("{host}{path} answers {status}"), async || {
            let response = self.get(port, host, path).await?;
            let got = response.status().as_u16();
            anyhow::ensure!(
                got == status,
                "it answers {got}\n{}",
                self.agent.process.log().await
            );
            let backend = response.headers().get("x-backend");
            Ok(backend
                .and_then(|name| name.to_str().ok())
                .map(str::to_owned))
        })
        .await
    }

    /// Asks the agent to end, and waits for it.
    ///
    /// # Errors
    /// When it is gone already.
    pub async fn stop(mut self) -> anyhow::Result<Option<i32>> {
        self.agent.process.signal(Signal::TERM)?;
        self.agent.process.wait().await.context("the agent ends")
    }
}
