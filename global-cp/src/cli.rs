//! The command line of `global-cp`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mesh_runtime::config::Kind;
use mesh_runtime::program::{self, RunOptions};
use mesh_runtime::version::LONG_VERSION;
use mesh_runtime::{health, shutdown};

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
    Run(Run),
    /// Ask a running one whether it is ready; exits 0 if so, else 1
    #[command(after_help = "\
Example:
  global-cp health --address http://127.0.0.1:5680")]
    Health(health::Options),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Zones that need no zone token, separated by commas, such as those of stock control planes;
    /// `*` is every zone
    #[arg(long, value_name = "ZONE,…")]
    allow_unauthenticated_zones: Option<String>,
    #[command(flatten)]
    options: RunOptions,
}

impl Run {
    /// Values of the configuration, by their paths.
    fn flags(&self) -> BTreeMap<String, String> {
        let zones = self.allow_unauthenticated_zones.clone();
        let path = "multizone.global.kds.allowUnauthenticatedZones".to_owned();
        zones.map(|zones| (path, zones)).into_iter().collect()
    }
}

/// Runs the program with the arguments and the environment of this process.
pub fn main() -> ExitCode {
    program::exit_code(match Cli::parse().command {
        Command::Run(run) => run
            .options
            .run_with(Kind::Global, run.flags(), async |config| {
                server::run(config, shutdown::on_signals()).await
            }),
        Command::Health(options) => program::block_on(async { Ok(options.check().await?) }),
    })
}
