//! The command line of `global-cp`.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use mesh_runtime::config::{ConfigOptions, Kind};
use mesh_runtime::shutdown;
use mesh_runtime::telemetry::{self, LogOptions};
use mesh_runtime::version::LONG_VERSION;

use crate::health;
use crate::server;

const EXAMPLE: &str = "\
Example:
  KUMA_GENERAL_WORK_DIR=/var/lib/meridian global-cp run --config-file global.yaml
  global-cp health";

/// The global control plane: owns the policies of all zones and knows their inventory.
#[derive(Debug, Parser)]
#[command(name = "global-cp", version = LONG_VERSION, after_help = EXAMPLE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until SIGTERM or Ctrl-C
    #[command(after_help = "\
Example:
  global-cp run --config-file global.yaml --log-level debug

Every key of the file has an environment name, such as KUMA_API_SERVER_HTTP_PORT.")]
    Run {
        #[command(flatten)]
        config: ConfigOptions,
        #[command(flatten)]
        log: LogOptions,
    },
    /// Ask a running one whether it is ready; exits 0 if so, else 1
    #[command(after_help = "\
Example:
  global-cp health --address http://127.0.0.1:5680")]
    Health {
        /// Where its diagnostics listen
        #[arg(long, default_value = "http://127.0.0.1:5680")]
        address: String,
    },
}

/// Runs the program with the arguments and the environment of this process.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run { config, log } => run(&config, &log),
        Command::Health { address } => block_on(health::check(&address)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Also where nothing is logged, somebody looks at the last line.
            let _ = writeln!(std::io::stderr(), "Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: &ConfigOptions, log: &LogOptions) -> anyhow::Result<()> {
    let loaded = config.load(Kind::Global)?;
    if config.print_config {
        let json = serde_json::to_string_pretty(&loaded.config.to_json())?;
        return writeln!(std::io::stdout(), "{json}").context("cannot print the configuration");
    }
    telemetry::init(log)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    block_on(async { server::run(loaded.config, shutdown::on_signals()).await })
}

fn block_on(task: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the threads")?
        .block_on(task)
}
