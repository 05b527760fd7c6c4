//! Gateways: the real agent with a real Envoy.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::Context as _;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::Process;
use crate::{Zone, eventually};

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

/// A gateway Dataplane with its agent and Envoy. Dropping it kills both.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    name: String,
    address: IpAddr,
    client: reqwest::Client,
    _files: TempDir,
}

impl Gateway {
    /// Starts the gateway `name` of `service` at `address` under a zone, and waits until its
    /// Envoy is live.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(
        zone: &Zone,
        name: &str,
        service: &str,
        address: IpAddr,
    ) -> anyhow::Result<Self> {
        let files = tempfile::tempdir()?;
        let token = zone.api.dataplane_token("default", name).await?;
        let token_file = files.path().join("token");
        std::fs::write(&token_file, token)?;
        let admin = free_port(address)?;
        let dataplane = serde_json::json!({
            "type": "Dataplane", "mesh": "default", "name": name,
            "networking": {
                "address": address.to_string(),
                "gateway": {"type": "BUILTIN", "tags": {"kuma.io/service": service}},
                "admin": {"port": admin},
            },
        });
        let dataplane_file = files.path().join("dataplane.json");
        std::fs::write(&dataplane_file, dataplane.to_string())?;
        let config_dir = files.path().join("config");
        std::fs::create_dir(&config_dir)?;
        let path = |path: &std::path::Path| path.display().to_string();
        let readiness = free_port([127, 0, 0, 1].into())?;
        let arguments = [
            "run".to_owned(),
            format!("--cp-address=https://{}", zone.data_plane),
            format!("--ca-cert-file={}", path(zone.ca_file())),
            format!("--dataplane-file={}", path(&dataplane_file)),
            format!("--dataplane-token-file={}", path(&token_file)),
            format!("--config-dir={}", path(&config_dir)),
            format!("--binary-path={}", path(&envoy())),
            "--concurrency=1".to_owned(),
            "--drain-time=1s".to_owned(),
            "--dns-enabled=false".to_owned(),
        ];
        let environment = [("KUMA_READINESS_PORT".to_owned(), readiness.to_string())];
        let process = Process::start("meridian-dp", arguments, environment)?;
        let ready = format!("http://127.0.0.1:{readiness}");
        eventually(
            "the gateway is ready",
            async || match mesh_runtime::health::ask(&ready, "/ready").await {
                Ok(()) => Ok(()),
                Err(error) => Err(format!("{error}\n{}", process.log().await)),
            },
        )
        .await;
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self {
            process,
            name: name.to_owned(),
            address,
            client,
            _files: files,
        })
    }

    /// Its Dataplane's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The agent.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
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
        let at = SocketAddr::new(self.address, port);
        let request = self
            .client
            .get(format!("http://{at}{path}"))
            .header("host", host);
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
                self.process.log().await
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
        self.process.signal(Signal::TERM)?;
        self.process.wait().await.context("the agent ends")
    }
}

/// A port that is free now. Nothing else on the machine should take it before it is used.
pub(crate) fn free_port(address: IpAddr) -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind((address, 0))?
        .local_addr()?
        .port())
}
