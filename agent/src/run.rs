//! `meridian-dp run`: from the options to a running Envoy, and to its end.
//!
//! **Invariant:** when this returns, Envoy has ended; and when the agent is killed, the kernel
//! ends Envoy.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use mesh_runtime::telemetry::LogLevel;
use mesh_runtime::yaml;
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::{Address, Admin};
use crate::args::Run;
use crate::control_plane::ControlPlane;
use crate::envoy::{self, Envoy};
use crate::proxy::Proxy;
use crate::readiness::{self, Terminating};
use crate::request::{self, Parts};
use crate::token::{Token, private_file};

/// Runs Envoy until it ends or a signal comes.
///
/// Must be called on a thread that lives as long as the agent: see [`Envoy::start`].
pub(crate) async fn run(run: Run, log_level: LogLevel) -> anyhow::Result<ExitCode> {
    let proxy = Proxy::from_options(&run)?;
    // Not earlier: reading standard input can only be interrupted by a signal's default action.
    let mut signals = Signals::install()?;
    let directories = Directories::prepare(&run)?;
    let token = find_token(&run, &proxy, &directories.work)?;
    let control_plane = ControlPlane::from_options(&run)?;
    let binary = find_envoy(&run.binary_path)?;
    let version = envoy::Version::of(&binary).await?;
    // Before anything is registered: a taken port is known at once.
    let listener = match run.readiness_port {
        0 => None,
        port => Some(readiness::bind(port).await?),
    };

    let request = request::body(Parts {
        run: &run,
        proxy: &proxy,
        token: token.as_ref(),
        ca: control_plane.ca(),
        envoy: &version,
        sockets: &directories.sockets,
    });
    let bootstrap = tokio::select! {
        bootstrap = control_plane.bootstrap(&request) => bootstrap?,
        () = signals.stop() => return Ok(ExitCode::SUCCESS),
    };
    let file = directories.work.join("bootstrap.yaml");
    private_file(&file, bootstrap.as_bytes())
        .with_context(|| format!("cannot write {}", file.display()))?;
    let admin = admin_of(&bootstrap)?;

    let log_level = match run.envoy_log_level.as_str() {
        "" => match log_level {
            LogLevel::Off => "off",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        },
        level => level,
    };
    let envoy = Envoy::start(&binary, &envoy::arguments(&run, &file, log_level))?;
    tracing::info!(
        mesh = proxy.mesh,
        gateway.name = proxy.name,
        "running Envoy {} for {}",
        version.version,
        proxy.name
    );
    let terminating = Terminating::default();
    let readiness = listener.map(|listener| {
        let reporter = readiness::serve(listener, admin.clone(), terminating.clone());
        tokio::spawn(reporter)
    });
    let agent = Agent {
        run,
        proxy,
        token,
        control_plane,
        admin,
        terminating,
    };
    let code = agent.supervise(envoy, &mut signals).await;
    if let Some(readiness) = readiness {
        readiness.abort();
    }
    code
}

/// What is needed while Envoy runs.
#[derive(Debug)]
struct Agent {
    run: Run,
    proxy: Proxy,
    token: Option<Token>,
    control_plane: ControlPlane,
    admin: Admin,
    terminating: Terminating,
}

impl Agent {
    async fn supervise(&self, mut envoy: Envoy, signals: &mut Signals) -> anyhow::Result<ExitCode> {
        let mut is_drained = false;
        loop {
            tokio::select! {
                status = envoy.wait() => {
                    let status = status.context("lost sight of Envoy")?;
                    let words = envoy.last_words().await;
                    tracing::error!("Envoy ended by itself ({status}); its last words:\n{words}");
                    return Ok(ExitCode::from(envoy::exit_code(status)));
                }
                asked = signals.next() => match asked {
                    Asked::Stop => break,
                    Asked::Drain => {
                        tracing::info!("draining Envoy");
                        match self.admin.drain().await {
                            Ok(()) => is_drained = true,
                            Err(error) => tracing::warn!("could not drain Envoy: {error}"),
                        }
                    }
                }
            }
        }
        self.say_goodbye(&mut envoy, signals, is_drained).await;
        tokio::select! {
            status = envoy.stop() => {
                let status = status.context("lost sight of Envoy")?;
                tracing::info!("Envoy has ended ({status})");
                Ok(ExitCode::SUCCESS)
            }
            // Envoy is killed when it is dropped.
            () = signals.stop() => Ok(ExitCode::FAILURE),
        }
    }

    /// Turns traffic away from Envoy, and waits until it has gone.
    async fn say_goodbye(&self, envoy: &mut Envoy, signals: &mut Signals, is_drained: bool) {
        self.terminating.set();
        // A Dataplane that somebody else registered is not ours to remove.
        if self.proxy.resource.is_some() {
            let token = self.token.as_ref();
            self.control_plane.deregister(&self.proxy, token).await;
        }
        if is_drained {
            return;
        }
        if let Err(error) = self.admin.fail_health_check().await {
            tracing::warn!("Envoy does not answer, so it is ended without draining: {error}");
            return;
        }
        if let Err(error) = self.admin.drain().await {
            tracing::warn!("could not drain Envoy's listeners: {error}");
        }
        let time = self.run.drain_time;
        tracing::info!("draining Envoy for {time:?}; a second signal ends the wait");
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = signals.stop() => {}
            _ = envoy.wait() => {}
        }
    }
}

/// What a signal asks for.
#[derive(Debug)]
enum Asked {
    /// SIGTERM or SIGINT: end.
    Stop,
    /// SIGUSR2: drain now, because the end will come without time for it.
    Drain,
}

/// The signals that an agent knows.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    drain: Signal,
}

impl Signals {
    fn install() -> anyhow::Result<Self> {
        let install = |kind| signal(kind).context("cannot handle signals");
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
            drain: install(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.drain.recv() => Asked::Drain,
        }
    }

    async fn stop(&mut self) {
        while !matches!(self.next().await, Asked::Stop) {}
    }
}

/// Where the agent writes; a temporary directory goes when this is dropped.
#[derive(Debug)]
struct Directories {
    /// Files; absolute.
    work: PathBuf,
    /// Sockets; absolute.
    sockets: PathBuf,
    _temporary: Option<TempDir>,
}

impl Directories {
    fn prepare(run: &Run) -> anyhow::Result<Self> {
        let given = [&run.work_dir, &run.config_dir];
        let given = given.into_iter().find(|path| !path.as_os_str().is_empty());
        let (work, temporary) = match given {
            Some(path) => (make(path)?, None),
            None => {
                let directory = tempfile::Builder::new().prefix("meridian-dp-").tempdir();
                let directory = directory.context("cannot make a temporary directory")?;
                (directory.path().to_owned(), Some(directory))
            }
        };
        let sockets = match run.socket_dir.as_os_str().is_empty() {
            true => work.clone(),
            false => make(&run.socket_dir)?,
        };
        Ok(Self {
            work,
            sockets,
            _temporary: temporary,
        })
    }
}

/// A directory that exists, as an absolute path: Envoy's configuration names it.
fn make(path: &Path) -> anyhow::Result<PathBuf> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| fs::canonicalize(path))
        .with_context(|| format!("cannot make the directory {}", path.display()))
}

fn find_token(run: &Run, proxy: &Proxy, work: &Path) -> anyhow::Result<Option<Token>> {
    let file = &run.dataplane_token_file;
    Ok(if !run.dataplane_token.is_empty() {
        // A name is a file name, or the control plane would not have accepted the Dataplane;
        // but it has not seen it yet.
        if proxy.name.contains('/') {
            bail!("the Dataplane's name {:?} has a slash in it", proxy.name);
        }
        Some(Token::write(&run.dataplane_token, &work.join(&proxy.name))?)
    } else if !file.as_os_str().is_empty() {
        Some(Token::read(file)?)
    } else {
        None
    })
}

fn find_envoy(binary_path: &Path) -> anyhow::Result<PathBuf> {
    // The flag's default means that nobody has named one.
    let named = Some(binary_path).filter(|path| *path != Path::new("envoy"));
    Ok(mesh_envoy_binary::locate(named)?)
}

fn admin_of(bootstrap: &str) -> anyhow::Result<Admin> {
    let documents = yaml::parse(bootstrap).context("the bootstrap is no YAML")?;
    let [document] = &documents[..] else {
        bail!("the bootstrap is not one YAML document");
    };
    Ok(Admin::new(&Address::in_bootstrap(&document.value)?)?)
}
