//! The global control plane that zones follow: a process that can be killed and started again.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use mesh_benches::fleet::{LOCALHOST, base_environment, free_port};
use mesh_benches::{load, machine};
use mesh_harness::process::Process;
use mesh_harness::{Api, eventually};

/// A running global.
#[derive(Debug)]
pub(crate) struct Global {
    process: Option<Process>,
    environment: Vec<(String, String)>,
    /// Its admin API.
    pub(crate) api: SocketAddr,
    /// Where zones connect.
    pub(crate) kds: SocketAddr,
    dir: PathBuf,
}

impl Global {
    /// Starts one with a store on disk, with a gateway and so many routes.
    pub(crate) async fn start(dir: &Path, routes: usize) -> anyhow::Result<Self> {
        let (api, kds) = (free_port(LOCALHOST)?, free_port(LOCALHOST)?);
        let mut environment = base_environment(dir, api)?;
        let port = "KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT".to_owned();
        environment.push((port, kds.to_string()));
        let mut global = Self {
            process: None,
            environment,
            api: (Ipv4Addr::LOCALHOST, api).into(),
            kds: (Ipv4Addr::LOCALHOST, kds).into(),
            dir: dir.to_owned(),
        };
        global.run().await?;
        global.admin().apply(&load::mesh_gateway()).await?;
        load::create_routes(global.api, 0, routes).await?;
        Ok(global)
    }

    /// Starts the process again after [`Self::kill`]; returns when it serves zones.
    pub(crate) async fn run(&mut self) -> anyhow::Result<()> {
        let process = Process::start("global-cp", ["run"], self.environment.clone())?;
        self.process = Some(process);
        let api = self.admin();
        eventually("the global is up", async || {
            api.get("/meshes/default").await
        })
        .await;
        Ok(())
    }

    /// Kills it, as a machine that fails.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        let process = self.process.take().context("it runs")?;
        process.kill().await
    }

    /// Its admin API.
    pub(crate) fn admin(&self) -> Api {
        Api::new(format!("http://{}", self.api))
    }

    /// PEM of the CA of its certificate.
    pub(crate) fn ca(&self) -> anyhow::Result<Vec<u8>> {
        Ok(std::fs::read(self.dir.join("kuma-cp.crt"))?)
    }

    /// The CPU time that it used.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        machine::cpu_time(self.pid()?)
    }

    /// Its memory in MiB, now and at its highest.
    pub(crate) fn memory(&self) -> anyhow::Result<(f64, f64)> {
        machine::memory(self.pid()?)
    }

    fn pid(&self) -> anyhow::Result<u32> {
        let process = self.process.as_ref().context("it runs")?;
        process.id().context("it runs")
    }
}
