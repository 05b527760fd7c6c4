//! Control planes in this process, on ports of their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use global_cp::GlobalCp;
use mesh_runtime::config::{self, Config, Kind};
use mesh_runtime::shutdown::{self, Trigger};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use zone_cp::ZoneCp;

use crate::{Api, eventually};

type Environment = BTreeMap<String, String>;

fn load(kind: Kind, environment: Environment) -> anyhow::Result<Config> {
    Ok(config::load(kind, None, environment.into_iter())?.config)
}

fn base_environment(work_dir: &Path) -> Environment {
    [
        ("KUMA_GENERAL_WORK_DIR", work_dir.display().to_string()),
        ("KUMA_API_SERVER_HTTP_PORT", "0".to_owned()),
        ("KUMA_API_SERVER_HTTP_INTERFACE", "127.0.0.1".to_owned()),
        ("KUMA_API_SERVER_HTTPS_ENABLED", "false".to_owned()),
        ("KUMA_DIAGNOSTICS_SERVER_PORT", "0".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// A global control plane.
#[derive(Debug)]
pub struct Global {
    running: Option<GlobalCp>,
    /// Its admin API.
    pub api: Api,
    /// Where zones connect.
    pub kds: SocketAddr,
    work_dir: TempDir,
}

impl Global {
    /// Starts one with a store on disk.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_in(tempfile::tempdir()?, 0).await
    }

    async fn start_in(work_dir: TempDir, kds_port: u16) -> anyhow::Result<Self> {
        let mut environment = base_environment(work_dir.path());
        environment.insert(
            "KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT".to_owned(),
            kds_port.to_string(),
        );
        let running = GlobalCp::start(load(Kind::Global, environment)?).await?;
        let addresses = running.addresses();
        let http = addresses.http.context("the API listens on HTTP")?;
        Ok(Self {
            api: Api::new(format!("http://{http}")),
            kds: SocketAddr::from(([127, 0, 0, 1], addresses.kds.port())),
            running: Some(running),
            work_dir,
        })
    }

    /// The file with the CA of its certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.work_dir.path().join("kuma-cp.crt")
    }

    /// Stops it; [`StoppedGlobal::start`] brings it back with what it stored, on the same port.
    pub async fn stop(mut self) -> StoppedGlobal {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
        StoppedGlobal {
            work_dir: self.work_dir,
            kds_port: self.kds.port(),
        }
    }
}

/// A global control plane between two runs.
#[derive(Debug)]
pub struct StoppedGlobal {
    work_dir: TempDir,
    kds_port: u16,
}

impl StoppedGlobal {
    /// Starts it again.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(self) -> anyhow::Result<Global> {
        Global::start_in(self.work_dir, self.kds_port).await
    }
}

/// What a zone is started with.
#[derive(Debug, Clone, Default)]
pub struct ZoneOptions {
    /// More of its environment.
    pub environment: Environment,
}

/// A zone control plane.
#[derive(Debug)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// Its admin API.
    pub api: Api,
    /// Where agents and Envoys connect.
    pub data_plane: SocketAddr,
    certificate: PathBuf,
    work_dir: TempDir,
    environment: Environment,
    trigger: Trigger,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Zone {
    /// Starts a zone under `global` and waits until it has the mesh `default` and its token key.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(name: &str, global: &Global) -> anyhow::Result<Self> {
        Self::start_with(name, global, ZoneOptions::default()).await
    }

    /// Starts a zone with more environment.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_with(
        name: &str,
        global: &Global,
        options: ZoneOptions,
    ) -> anyhow::Result<Self> {
        let work_dir = tempfile::tempdir()?;
        let mut environment = base_environment(work_dir.path());
        let zone = [
            ("KUMA_MULTIZONE_ZONE_NAME", name.to_owned()),
            (
                "KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS",
                format!("grpcs://localhost:{}", global.kds.port()),
            ),
            (
                "KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE",
                global.ca_file().display().to_string(),
            ),
            ("KUMA_DP_SERVER_PORT", "0".to_owned()),
        ];
        environment.extend(zone.map(|(name, value)| (name.to_owned(), value)));
        environment.extend(options.environment);
        let zone = Self::start_in(work_dir, name, environment).await?;
        let key = "/meshes/default/secrets/dataplane-token-signing-key-default-1";
        eventually("the zone has its mesh and keys", async || {
            zone.api.get("/meshes/default").await?;
            zone.api.get(key).await
        })
        .await;
        Ok(zone)
    }

    async fn start_in(
        work_dir: TempDir,
        name: &str,
        environment: Environment,
    ) -> anyhow::Result<Self> {
        let config = load(Kind::Zone, environment.clone())?;
        let (trigger, shutdown) = shutdown::channel();
        let running = ZoneCp::start(config, shutdown).await?;
        let addresses = running.addresses();
        let certificate = work_dir.path().join("dp-server-ca.crt");
        std::fs::write(&certificate, running.certificate())?;
        let http = addresses.api_http.context("the API listens on HTTP")?;
        Ok(Self {
            name: name.to_owned(),
            api: Api::new(format!("http://{http}")),
            data_plane: SocketAddr::from(([127, 0, 0, 1], addresses.data_plane.port())),
            certificate,
            work_dir,
            environment,
            trigger,
            task: tokio::spawn(running.run()),
        })
    }

    /// The file with which agents verify it.
    pub fn ca_file(&self) -> &Path {
        &self.certificate
    }

    /// Stops it; [`StoppedZone::start`] brings it back with what it stored, on the same port.
    ///
    /// # Errors
    /// When it ended badly.
    pub async fn stop(self) -> anyhow::Result<StoppedZone> {
        self.trigger.trigger();
        self.task.await??;
        let mut environment = self.environment;
        environment.insert(
            "KUMA_DP_SERVER_PORT".to_owned(),
            self.data_plane.port().to_string(),
        );
        Ok(StoppedZone {
            name: self.name,
            work_dir: self.work_dir,
            environment,
        })
    }
}

/// A zone control plane between two runs.
#[derive(Debug)]
pub struct StoppedZone {
    name: String,
    work_dir: TempDir,
    environment: Environment,
}

impl StoppedZone {
    /// Starts it again; the global need not be there.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(self) -> anyhow::Result<Zone> {
        Zone::start_in(self.work_dir, &self.name, self.environment).await
    }
}
