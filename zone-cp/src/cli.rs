//! The command line of `zone-cp`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mesh_runtime::config::Kind;
use mesh_runtime::program::{self, RunOptions};
use mesh_runtime::version::LONG_VERSION;
use mesh_runtime::{health, shutdown};

use crate::control_plane;

const EXAMPLE: &str = "\
Example, a zone under a global on another host:
  KUMA_MULTIZONE_ZONE_NAME=zone-1 \\
  KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS=grpcs://global.example.com:5685 \\
  KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE=/etc/meridian/global-ca.pem \\
  KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH=/etc/meridian/zone-1.token \\
  zone-cp run
The token is made at the global:
  meridian generate zone-token --zone zone-1 --scope cp --valid-for 8760h";

/// The zone control plane: programs the gateways of its zone and reports its inventory.
#[derive(Debug, Parser)]
#[command(name = "zone-cp", version = LONG_VERSION, after_help = EXAMPLE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until SIGTERM or Ctrl-C
    #[command(after_help = "\
Example:
  zone-cp run --config-file zone.yaml --log-level debug

Every key of the file has an environment name, such as KUMA_DP_SERVER_PORT.")]
    Run(RunOptions),
    /// Ask a running one whether it is ready; exits 0 if so, else 1
    #[command(after_help = "Example:\n  zone-cp health --address http://127.0.0.1:5680")]
    Health(health::Options),
}

/// Runs the program with the arguments and the environment of this process.
pub fn main() -> ExitCode {
    program::exit_code(match Cli::parse().command {
        Command::Run(options) => options.run(Kind::Zone, async |config| {
            control_plane::run(config, shutdown::on_signals()).await
        }),
        Command::Health(options) => program::block_on(async { Ok(options.check().await?) }),
    })
}
