//! Control planes in this process, on ports of their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use global_cp::GlobalCp;
use mesh_kds::client::State;
use mesh_runtime::config::{self, Config, Kind};
use mesh_runtime::shutdown::{self, Trigger};
use mesh_store::SharedStore;
use reqwest::Method;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zone_cp::ZoneCp;

use crate::gateway::DataPlane;
use crate::ports::free_port;
use crate::{Api, eventually};

/// Names and values.
pub type Environment = BTreeMap<String, String>;

fn load(kind: Kind, environment: Environment) -> anyhow::Result<Config> {
    Ok(config::load(kind, None, environment.into_iter())?.config)
}

pub(crate) fn base_environment(work_dir: &Path) -> Environment {
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

/// The variable with which a zone is given its token.
pub const ZONE_TOKEN: &str = "KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE";

/// Where zones connect: a global control plane, in this process or another.
pub trait Upstream {
    /// The admin API that issues tokens for zones; none where zones need none.
    fn issuer(&self) -> Option<&Api> {
        None
    }
    /// Its address.
    fn kds(&self) -> SocketAddr;
    /// The file with the CA of its certificate.
    fn ca_file(&self) -> PathBuf;
    /// As the configuration of zones has it.
    fn url(&self) -> String {
        format!("grpcs://localhost:{}", self.kds().port())
    }
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
    environment: Environment,
}

impl Global {
    /// Starts one with a store on disk.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(Environment::new()).await
    }

    /// Starts one with more environment.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_with(environment: Environment) -> anyhow::Result<Self> {
        let kds_port = free_port([0, 0, 0, 0].into())?;
        Self::start_in(tempfile::tempdir()?, kds_port, environment).await
    }

    async fn start_in(work_dir: TempDir, kds_port: u16, more: Environment) -> anyhow::Result<Self> {
        let mut environment = base_environment(work_dir.path());
        environment.extend(more.clone());
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
            environment: more,
        })
    }

    /// The file with the CA of its certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.work_dir.path().join("kuma-cp.crt")
    }

    /// What it counts, in the text form of Prometheus.
    ///
    /// # Errors
    /// When it does not say.
    ///
    /// # Panics
    /// Never: it runs until it is stopped.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let addresses = self.running.as_ref().expect("it runs").addresses();
        let port = addresses.diagnostics.port();
        let diagnostics = Api::new(format!("http://127.0.0.1:{port}"));
        let (_, text) = diagnostics.send(Method::GET, "/metrics", None).await?;
        Ok(text)
    }

    /// Its resources.
    ///
    /// # Panics
    /// Never: it runs until it is stopped.
    pub fn store(&self) -> &SharedStore {
        self.running.as_ref().expect("it runs").store()
    }

    /// Stops it; [`StoppedGlobal::start`] brings it back with what it stored, on the same port.
    pub async fn stop(mut self) -> StoppedGlobal {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
        StoppedGlobal {
            work_dir: self.work_dir,
            kds_port: self.kds.port(),
            environment: self.environment,
        }
    }
}

/// A global control plane between two runs.
#[derive(Debug)]
pub struct StoppedGlobal {
    work_dir: TempDir,
    kds_port: u16,
    environment: Environment,
}

impl StoppedGlobal {
    /// Starts it again.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(self) -> anyhow::Result<Global> {
        Global::start_in(self.work_dir, self.kds_port, self.environment).await
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
    /// Where its connection to the global stands.
    pub global: watch::Receiver<State>,
    /// Its resources.
    pub store: SharedStore,
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
    pub async fn start(name: &str, global: &impl Upstream) -> anyhow::Result<Self> {
        Self::start_with(name, global, ZoneOptions::default()).await
    }

    /// Starts a zone with more environment, and waits as [`Zone::start`] does.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_with(
        name: &str,
        global: &impl Upstream,
        options: ZoneOptions,
    ) -> anyhow::Result<Self> {
        let zone = Self::start_alone(name, global, options).await?;
        has_mesh(&zone.api).await;
        Ok(zone)
    }

    /// Starts a zone that may never reach its global.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_alone(
        name: &str,
        global: &impl Upstream,
        options: ZoneOptions,
    ) -> anyhow::Result<Self> {
        let work_dir = tempfile::tempdir()?;
        let mut environment = base_environment(work_dir.path());
        let zone = [
            ("KUMA_MULTIZONE_ZONE_NAME", name.to_owned()),
            ("KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS", global.url()),
            (
                "KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE",
                global.ca_file().display().to_string(),
            ),
            (
                "KUMA_DP_SERVER_PORT",
                free_port([0, 0, 0, 0].into())?.to_string(),
            ),
        ];
        environment.extend(zone.map(|(name, value)| (name.to_owned(), value)));
        let has_token = options
            .environment
            .keys()
            .any(|name| name.contains("_KDS_AUTH_CP_TOKEN_"));
        if let Some(issuer) = global.issuer()
            && !has_token
        {
            let token = issuer.zone_token(name).await?;
            environment.insert(ZONE_TOKEN.to_owned(), token);
        }
        environment.extend(options.environment);
        Self::start_in(work_dir, name, environment).await
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
            global: running.global().context("it has a global's address")?,
            store: Arc::clone(running.store()),
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

    /// Waits for a state of its connection to the global.
    ///
    /// # Panics
    /// When it does not come in time.
    pub async fn state(&self, what: &str, holds: impl Fn(&State) -> bool) -> State {
        let mut states = self.global.clone();
        match tokio::time::timeout(crate::DEADLINE, states.wait_for(|state| holds(state))).await {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) => panic!("the zone ended before it was {what}"),
            Err(_) => panic!(
                "the zone is not {what} in time but {:?}",
                self.global.borrow()
            ),
        }
    }

    /// Stops it; [`StoppedZone::start`] brings it back with what it stored, on the same port.
    ///
    /// # Errors
    /// When it ended badly.
    pub async fn stop(self) -> anyhow::Result<StoppedZone> {
        self.trigger.trigger();
        self.task.await??;
        drop(self.store);
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

/// Waits until a zone has the mesh `default` and the key of its tokens.
pub(crate) async fn has_mesh(zone: &Api) {
    let key = "/meshes/default/secrets/dataplane-token-signing-key-default-1";
    eventually("the zone has its mesh and keys", async || {
        zone.get("/meshes/default").await?;
        zone.get(key).await
    })
    .await;
}

impl Upstream for Global {
    fn issuer(&self) -> Option<&Api> {
        Some(&self.api)
    }

    fn kds(&self) -> SocketAddr {
        self.kds
    }

    fn ca_file(&self) -> PathBuf {
        Self::ca_file(self)
    }
}

impl DataPlane for Zone {
    fn api(&self) -> &Api {
        &self.api
    }

    fn data_plane(&self) -> SocketAddr {
        self.data_plane
    }

    fn ca_file(&self) -> PathBuf {
        self.certificate.clone()
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
    /// More of its environment, for the next run.
    pub fn environment(&mut self) -> &mut Environment {
        &mut self.environment
    }

    /// Starts it again; the global need not be there.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(self) -> anyhow::Result<Zone> {
        Zone::start_in(self.work_dir, &self.name, self.environment).await
    }
}
