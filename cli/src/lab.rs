//! `meridian lab`: a global, two zones, gateways with real Envoys and demo services, in one go.
//!
//! Everything that is started is a real process with its own log file, as an operator would run
//! it. [`plan`] decides what runs where, [`fleet`] brings it up, [`report`] says what was seen,
//! [`process`] sees to it that nothing stays behind.

mod ask;
mod child;
mod echo;
mod examples;
mod fleet;
mod plan;
mod ports;
mod process;
mod report;
mod wait;
mod work_dir;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::output;
use fleet::Fleet;
use plan::Plan;
use process::Processes;
use work_dir::WorkDir;

/// Start a global, two zones, gateways with real Envoys and demo services on this machine
///
/// Applies the examples, asks both gateways, shows their answers, and stays up with things to
/// try until Ctrl-C. Nothing stays behind.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  meridian lab
  meridian lab --check
  meridian lab --port-offset 100 --work-dir lab"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    Echo(echo::Args),
    Ask(ask::Args),
    #[command(hide = true)]
    Child(child::Args),
}

#[derive(Debug, clap::Args)]
struct Options {
    /// End after the requests: with status 0 if both zones answered, else 1
    #[arg(long)]
    check: bool,
    /// Folder for stores, logs and examples, which is kept [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Add this to every port, where some are taken
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=ports::MAX_OFFSET))]
    port_offset: u16,
    /// Envoy [default: that of `MERIDIAN_ENVOY`, or on the PATH, or one installed with pip]
    #[arg(long, value_name = "FILE")]
    binary_path: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Some(Command::Echo(args)) => echo::run(args).await,
        Some(Command::Ask(args)) => ask::run(args).await,
        Some(Command::Child(args)) => child::run(&args),
        None => run_lab(args.options).await,
    }
}

/// How the lab came to its end.
enum End {
    /// With `--check`, after the answers.
    Checked,
    /// A signal asked for it.
    Asked,
    /// A process ended by itself.
    Died(process::Death),
    /// It did not come up.
    Failed(anyhow::Error),
}

async fn run_lab(options: Options) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::install()?;
    let plan = Plan::new(options.port_offset);
    ports::check(&plan)?;
    let programs = programs()?;
    let work_dir = WorkDir::prepare(options.work_dir.as_deref())?;
    let envoy = tokio::select! {
        envoy = find_envoy(options.binary_path) => envoy?,
        () = signals.next() => return Ok(ExitCode::FAILURE),
    };
    output::note(format_args!(
        "Starting the lab in {}, with {}",
        work_dir.path().display(),
        envoy.display()
    ));

    let (mut processes, mut deaths) = Processes::new(programs.clone());
    let end = {
        let fleet = Fleet {
            plan: &plan,
            envoy: &envoy,
            work_dir: work_dir.path(),
        };
        // Not in a task: see `Processes::start`.
        let lab = async {
            let answers = fleet.bring_up(&mut processes).await?;
            output::line(report::answers(&answers))?;
            if options.check {
                return Ok(End::Checked);
            }
            output::line(report::to_try(&plan, &programs, work_dir.path()))?;
            std::future::pending::<anyhow::Result<End>>().await
        };
        tokio::select! {
            // A process that dies explains more than the request that fails because of it.
            biased;
            () = signals.next() => End::Asked,
            Some(death) = deaths.recv() => End::Died(death),
            end = lab => end.unwrap_or_else(End::Failed),
        }
    };
    output::note("Ending all processes; once more Ctrl-C does it at once.");
    tokio::select! {
        () = processes.stop() => {}
        () = signals.next() => {}
    }
    Ok(match end {
        End::Checked => ExitCode::SUCCESS,
        End::Asked if options.check => ExitCode::FAILURE,
        End::Asked => ExitCode::SUCCESS,
        End::Died(death) => {
            output::note(report::death(&death, work_dir.keep()));
            ExitCode::FAILURE
        }
        End::Failed(error) => {
            output::error(&error);
            output::note(format_args!(
                "The logs are in {}",
                work_dir.keep().display()
            ));
            ExitCode::FAILURE
        }
    })
}

/// The folder with the programs: that of this one.
fn programs() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program's folder")?;
    let folder = own.parent().map(Path::to_owned).unwrap_or_default();
    for program in ["global-cp", "zone-cp", "meridian-dp"] {
        let path = folder.join(program);
        anyhow::ensure!(
            path.is_file(),
            "{} is not there: start the lab with cargo lab, which builds it, or put all of \
             Meridian's programs into one folder",
            path.display()
        );
    }
    Ok(folder)
}

async fn find_envoy(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let search = move || {
        mesh_envoy_binary::locate_or_install(named.as_deref(), &mut |step| output::note(step))
    };
    Ok(tokio::task::spawn_blocking(search).await??)
}

/// The signals that end the lab: Ctrl-C, a service manager's, a closed terminal.
struct Signals([Signal; 3]);

impl Signals {
    fn install() -> anyhow::Result<Self> {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn next(&mut self) {
        let Self([interrupt, terminate, hangup]) = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
