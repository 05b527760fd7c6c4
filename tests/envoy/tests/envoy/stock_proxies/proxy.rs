//! An Envoy with the bootstrap that a stock zone gave its agent: `bootstrap.json` is a recorded
//! one of 2.14, for a builtin gateway. No agent runs beside it.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mesh_harness::process::Process;
use mesh_harness::{Gateway, eventually};
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::Command;

use crate::support::{HOST, PORT};

/// Of the bootstrap, as the agent at that time knew it.
pub(super) struct Setup<'a> {
    pub(super) name: &'a str,
    pub(super) address: IpAddr,
    /// Where the control plane is.
    pub(super) control_plane: SocketAddr,
    /// The certificates that it trusts, as PEM.
    pub(super) trusted: String,
    pub(super) token: String,
}

/// The Envoy. Dropping it kills it.
pub(crate) struct StockProxy {
    process: Process,
    address: IpAddr,
    admin_socket: PathBuf,
    client: reqwest::Client,
    _files: TempDir,
}

impl StockProxy {
    pub(super) fn start(setup: &Setup<'_>) -> anyhow::Result<Self> {
        let files = tempfile::tempdir()?;
        let admin_socket = files.path().join("admin.sock");
        let bootstrap = files.path().join("bootstrap.json");
        std::fs::write(&bootstrap, setup.bootstrap(&admin_socket)?.to_string())?;
        let mut envoy = Command::new(mesh_harness::envoy());
        envoy.args(["--concurrency", "1", "--use-dynamic-base-id"]);
        envoy.args(["--drain-time-s", "3", "--log-level", "warning", "-c"]);
        envoy.arg(&bootstrap);
        Ok(Self {
            process: Process::start_command(&mut envoy, [])?,
            address: setup.address,
            admin_socket,
            client: reqwest::Client::builder()
                .no_proxy()
                .redirect(Policy::none())
                .build()?,
            _files: files,
        })
    }

    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }

    /// Asks its admin interface; the answer with its head.
    pub(super) async fn admin(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = UnixStream::connect(&self.admin_socket).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Waits until it answers `path` with `status`; the backend that answered.
    pub(crate) async fn answers(&self, path: &str, status: u16) -> Option<String> {
        let url = format!("http://{}{path}", self.at(PORT));
        eventually(&format!("{path} is answered with {status}"), async || {
            let response = self.client.get(&url).header("host", HOST).send().await?;
            let got = response.status().as_u16();
            let log = self.process.log().await;
            anyhow::ensure!(got == status, "it is answered with {got}\n{log}");
            let backend = response.headers().get("x-backend");
            let backend = backend.and_then(|name| name.to_str().ok());
            Ok(backend.map(str::to_owned))
        })
        .await
    }

    /// Waits until nothing listens on its port any more.
    pub(super) async fn closes(&self) {
        let url = format!("http://{}/", self.at(PORT));
        eventually("the listener is gone", async || {
            let client = reqwest::Client::builder().no_proxy().build()?;
            match client.get(&url).send().await {
                Err(error) if error.is_connect() => Ok(()),
                other => anyhow::bail!("{other:?}"),
            }
        })
        .await;
    }
}

impl Setup<'_> {
    fn bootstrap(&self, admin_socket: &Path) -> anyhow::Result<Value> {
        let mut bootstrap: Value = serde_json::from_str(include_str!("bootstrap.json"))?;
        let admin = admin_socket.display().to_string();
        bootstrap["admin"]["address"]["pipe"]["path"] = json!(admin);
        let dynamic = &mut bootstrap["dynamicResources"]["adsConfig"]["grpcServices"][0];
        dynamic["initialMetadata"][0]["value"] = json!(self.token);
        let health = &mut bootstrap["hdsConfig"]["grpcServices"][0];
        health["initialMetadata"][0]["value"] = json!(self.token);
        let node = &mut bootstrap["node"];
        node["id"] = json!(format!("default.{}", self.name));
        let dataplane = Gateway::dataplane(self.name, "edge-gateway", self.address, 9901);
        node["metadata"]["dataplane.resource"] = json!(dataplane.to_string());
        node["metadata"]["dataplane.admin.socketPath"] = json!(admin);
        let resources = &mut bootstrap["staticResources"];
        let clusters = resources["clusters"].as_array_mut();
        for cluster in clusters.into_iter().flatten() {
            if cluster["name"] == "ads_cluster" {
                let endpoint = &mut cluster["loadAssignment"]["endpoints"][0]["lbEndpoints"][0];
                let address = &mut endpoint["endpoint"]["address"]["socketAddress"];
                address["portValue"] = json!(self.control_plane.port());
            }
        }
        let trusted = BASE64_STANDARD.encode(&self.trusted);
        resources["secrets"][0]["validationContext"]["trustedCa"]["inlineBytes"] = json!(trusted);
        Ok(bootstrap)
    }
}
