//! Control planes as processes of their own, for tests that kill them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use crate::fleet::Upstream;
use crate::gateway::DataPlane;
use crate::ports::free_port;
use crate::process::{Process, binary};
use crate::{Api, eventually};

/// A control plane with a store on disk, on ports that stay when it is killed and started again.
#[derive(Debug)]
pub struct ControlPlane {
    binary: &'static str,
    environment: BTreeMap<String, String>,
    process: Option<Process>,
    /// Its admin API.
    pub api: Api,
    /// Where zones connect to a global, or agents to a zone.
    pub port: u16,
    diagnostics: String,
    work_dir: TempDir,
}

impl ControlPlane {
    /// Starts a global.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn global() -> anyhow::Result<Self> {
        let port = any_port()?;
        let kds = ("KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT", port.to_string());
        let mut global = Self::prepare("global-cp", port, [kds])?;
        global.start().await?;
        Ok(global)
    }

    /// Starts a zone under a global.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn zone(name: &str, global: &impl Upstream) -> anyhow::Result<Self> {
        let port = any_port()?;
        let zone = [
            ("KUMA_MULTIZONE_ZONE_NAME", name.to_owned()),
            ("KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS", global.url()),
            (
                "KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE",
                global.ca_file().display().to_string(),
            ),
            ("KUMA_DP_SERVER_PORT", port.to_string()),
        ];
        let token = match global.issuer() {
            Some(issuer) => Some(issuer.zone_token(name).await?),
            None => None,
        };
        let token = token.map(|token| (crate::fleet::ZONE_TOKEN, token));
        let zone = zone.into_iter().chain(token);
        let mut zone = Self::prepare("zone-cp", port, zone)?;
        zone.start().await?;
        crate::fleet::has_mesh(&zone.api).await;
        Ok(zone)
    }

    fn prepare(
        binary: &'static str,
        port: u16,
        more: impl IntoIterator<Item = (&'static str, String)>,
    ) -> anyhow::Result<Self> {
        let work_dir = tempfile::tempdir()?;
        let (api, diagnostics) = (any_port()?, any_port()?);
        let mut environment = crate::fleet::base_environment(work_dir.path());
        let more = more.into_iter().chain([
            ("KUMA_API_SERVER_HTTP_PORT", api.to_string()),
            ("KUMA_DIAGNOSTICS_SERVER_PORT", diagnostics.to_string()),
        ]);
        environment.extend(more.map(|(name, value)| (name.to_owned(), value)));
        Ok(Self {
            binary,
            environment,
            process: None,
            api: Api::new(format!("http://127.0.0.1:{api}")),
            port,
            diagnostics: format!("http://127.0.0.1:{diagnostics}"),
            work_dir,
        })
    }

    /// Starts it, the first time or again, and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.start_under(&[]).await
    }

    /// Starts it as an argument of another command, such as a tracer.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start_under(&mut self, command: &[&str]) -> anyhow::Result<()> {
        let binary = binary(self.binary)?;
        let mut words: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        words.extend([binary.display().to_string(), "run".to_owned()]);
        let mut command = Command::new(&words[0]);
        let process = Process::start_command(command.args(&words[1..]), self.environment.clone())?;
        let ready = async || match mesh_runtime::health::ask(&self.diagnostics, "/ready").await {
            Ok(()) => Ok(()),
            Err(error) => Err(format!("{error}\n{}", process.log().await)),
        };
        eventually("the control plane is ready", ready).await;
        self.process = Some(process);
        Ok(())
    }

    /// The running process.
    ///
    /// # Panics
    /// When it does not run.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the control plane runs")
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// When it is gone already.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let process = self.process.take().context("it does not run")?;
        process.kill().await
    }

    /// Asks it to end with SIGTERM, and waits for it; the exit code.
    ///
    /// # Errors
    /// When it is gone already.
    pub async fn terminate(&mut self) -> anyhow::Result<Option<i32>> {
        let mut process = self.process.take().context("it does not run")?;
        process.signal(Signal::TERM)?;
        process.wait().await
    }

    /// Where it keeps its files.
    pub fn work_dir(&self) -> &std::path::Path {
        self.work_dir.path()
    }

    fn certificate(&self) -> PathBuf {
        self.work_dir.path().join("kuma-cp.crt")
    }
}

impl Upstream for ControlPlane {
    fn issuer(&self) -> Option<&Api> {
        Some(&self.api)
    }

    fn kds(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn ca_file(&self) -> PathBuf {
        self.certificate()
    }
}

impl DataPlane for ControlPlane {
    fn api(&self) -> &Api {
        &self.api
    }

    fn data_plane(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn ca_file(&self) -> PathBuf {
        self.certificate()
    }
}

fn any_port() -> anyhow::Result<u16> {
    free_port([0, 0, 0, 0].into())
}
