//! The command line of `global-cp`.

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
    Run(RunOptions),
    /// Ask a running one whether it is ready; exits 0 if so, else 1
    #[command(after_help = "\
Example:
  global-cp health --address http://127.0.0.1:5680")]
    Health(health::Options),
}

/// Runs the program with the arguments and the environment of this process.
pub fn main() -> ExitCode {
    program::exit_code(match Cli::parse().command {
        Command::Run(options) => options.run(Kind::Global, async |config| {
            server::run(config, shutdown::on_signals()).await
        }),
        Command::Health(options) => program::block_on(async { Ok(options.check().await?) }),
    })
}
