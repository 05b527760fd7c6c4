//! A global and a zone as processes of their own, and what connects to them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mesh_harness::process::Process;
use mesh_harness::{Api, Backend, ZONE_TOKEN, envoy, eventually};
use mesh_runtime::health;
use mesh_runtime::tls::{self, Trust};
use serde_json::Value;
use tokio_rustls::rustls::ClientConfig;

use crate::load;

/// The zone's name.
const ZONE: &str = "zone-1";

/// The processes. Dropping it kills them.
#[derive(Debug)]
pub struct Fleet {
    /// The global control plane.
    pub global: Process,
    /// The zone control plane.
    pub zone: Process,
    /// The global's admin API.
    pub global_api: SocketAddr,
    /// The zone's admin API.
    pub zone_api: Api,
    /// The same, where it is.
    pub zone_address: SocketAddr,
    /// The zone's data-plane server.
    pub data_plane: SocketAddr,
    /// PEM of the CA that its certificate is verified with.
    pub ca_file: PathBuf,
    /// What every route leads to.
    pub backend: Backend,
    dir: PathBuf,
}

impl Fleet {
    /// Starts both in `dir`, with a backend in the zone and a gateway without routes.
    pub async fn start(dir: &Path) -> anyhow::Result<Self> {
        Self::start_with(dir, &[]).await
    }

    /// The same with settings of the zone, by the names of their variables.
    pub async fn start_with(dir: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let global_dir = dir.join("global");
        let zone_dir = dir.join("zone");
        let [global_api, kds, zone_api, data_plane] = [(); 4].map(|()| free_port(LOCALHOST));
        let (global_api, kds, zone_api, data_plane) = (global_api?, kds?, zone_api?, data_plane?);

        let mut environment = base_environment(&global_dir, global_api)?;
        environment.extend([
            pair("KUMA_MODE", "global"),
            pair("KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT", kds),
        ]);
        let global = Process::start("global-cp", ["run"], environment)?;
        let global_at = SocketAddr::from((Ipv4Addr::LOCALHOST, global_api));
        let api = Api::new(format!("http://{global_at}"));
        eventually("the global is up", async || {
            api.get("/meshes/default").await
        })
        .await;

        let mut environment = base_environment(&zone_dir, zone_api)?;
        let ca = global_dir.join("kuma-cp.crt");
        environment.extend([
            pair("KUMA_MODE", "zone"),
            pair("KUMA_MULTIZONE_ZONE_NAME", ZONE),
            pair(
                "KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS",
                format!("grpcs://localhost:{kds}"),
            ),
            pair("KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE", ca.display()),
            pair(ZONE_TOKEN, api.zone_token(ZONE).await?),
            pair("KUMA_DP_SERVER_PORT", data_plane),
        ]);
        environment.extend(settings.iter().map(|(name, value)| pair(name, value)));
        let zone = Process::start("zone-cp", ["run"], environment)?;
        let backend = Backend::start("backend-1").await;
        let fleet = Self {
            global,
            zone,
            global_api: global_at,
            zone_api: Api::new(format!("http://127.0.0.1:{zone_api}")),
            zone_address: SocketAddr::from((Ipv4Addr::LOCALHOST, zone_api)),
            data_plane: SocketAddr::from((Ipv4Addr::LOCALHOST, data_plane)),
            ca_file: zone_dir.join("kuma-cp.crt"),
            backend,
            dir: dir.to_owned(),
        };
        let key = "/meshes/default/secrets/dataplane-token-signing-key-default-1";
        eventually("the zone has its mesh and keys", async || {
            fleet.zone_api.get(key).await
        })
        .await;
        fleet
            .zone_api
            .apply(&fleet.backend.dataplane(load::BACKEND))
            .await?;
        api.apply(&load::mesh_gateway()).await?;
        Ok(fleet)
    }

    /// Starts the real agent with a real Envoy, and waits until it is ready.
    pub async fn start_gateway(&self, name: &str, address: &str) -> anyhow::Result<Process> {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(dir.join("config"))?;
        let dataplane = load::gateway_dataplane(name, address, free_port(LOCALHOST)?);
        let token = self.zone_api.dataplane_token("default", name).await?;
        let file = |file: &str| dir.join(file).display().to_string();
        std::fs::write(file("dataplane.json"), dataplane.to_string())?;
        std::fs::write(file("token"), token)?;
        let arguments = [
            "run".to_owned(),
            format!("--cp-address=https://{}", self.data_plane),
            format!("--ca-cert-file={}", self.ca_file.display()),
            format!("--dataplane-file={}", file("dataplane.json")),
            format!("--dataplane-token-file={}", file("token")),
            format!("--config-dir={}", file("config")),
            format!("--binary-path={}", envoy().display()),
            "--concurrency=1".to_owned(),
            "--dns-enabled=false".to_owned(),
        ];
        let readiness = free_port(LOCALHOST)?;
        let environment = [pair("KUMA_READINESS_PORT", readiness)];
        let process = Process::start("meridian-dp", arguments, environment)?;
        let ready = format!("http://127.0.0.1:{readiness}");
        eventually("the gateway is ready", async || {
            health::ask(&ready, "/ready").await
        })
        .await;
        Ok(process)
    }

    /// Says goodbye for a Dataplane, so that it is gone before anything else is measured.
    pub async fn deregister(&self, name: &str, token: &str) -> anyhow::Result<()> {
        let goodbye = serde_json::json!({"mesh": "default", "name": name});
        let response = self
            .client()?
            .post(format!("https://{}/deregister", self.data_plane))
            .header("authorization", token)
            .json(&goodbye)
            .send()
            .await?;
        anyhow::ensure!(response.status().is_success(), "{response:?}");
        Ok(())
    }

    /// How clients of the data-plane server verify it.
    pub fn tls(&self, alpn: &[u8]) -> anyhow::Result<Arc<ClientConfig>> {
        let ca = std::fs::read(&self.ca_file).context("the zone has made its certificate")?;
        Ok(tls::client_config(&Trust::Ca(ca), &[alpn])?)
    }

    fn client(&self) -> anyhow::Result<reqwest::Client> {
        let config = self.tls(tls::ALPN_HTTP11)?;
        let builder = reqwest::Client::builder().no_proxy();
        Ok(builder
            .tls_backend_preconfigured((*config).clone())
            .build()?)
    }

    /// The bootstrap that the zone gives the agent of `dataplane`.
    pub async fn bootstrap(&self, dataplane: &Value, token: &str) -> anyhow::Result<Value> {
        let request = serde_json::json!({
            "mesh": "default",
            "name": dataplane["name"],
            "dataplaneToken": token,
            "dataplaneResource": dataplane.to_string(),
            "operatingSystem": "linux",
        });
        let response = self
            .client()?
            .post(format!("https://{}/bootstrap", self.data_plane))
            .header("accept", "application/json")
            .json(&request)
            .send()
            .await?
            .error_for_status()?;
        let answer: Value = response.json().await?;
        let text = answer["bootstrap"].as_str().context("a bootstrap")?;
        let bytes = BASE64.decode(text)?;
        Ok(serde_json::from_slice(&bytes)?)
    }
}

/// Where every process listens.
pub const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A port that is free now.
pub fn free_port(address: IpAddr) -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind((address, 0))?
        .local_addr()?
        .port())
}

fn pair(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

/// What the environment of every control plane says: its directory, which is made, and its ports.
///
/// # Errors
/// When the directory cannot be made, or no port is free.
pub fn base_environment(work_dir: &Path, api: u16) -> anyhow::Result<Vec<(String, String)>> {
    std::fs::create_dir_all(work_dir)?;
    Ok(vec![
        pair("KUMA_GENERAL_WORK_DIR", work_dir.display()),
        pair("KUMA_API_SERVER_HTTP_PORT", api),
        pair("KUMA_API_SERVER_HTTP_INTERFACE", "127.0.0.1"),
        pair("KUMA_API_SERVER_HTTPS_ENABLED", "false"),
        pair("KUMA_DIAGNOSTICS_SERVER_PORT", free_port(LOCALHOST)?),
    ])
}
