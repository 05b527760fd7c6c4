//! The command line of `zone-cp`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mesh_runtime::config::{ConfigOptions, Kind};
use mesh_runtime::telemetry::LogOptions;
use mesh_runtime::{shutdown, version};

use crate::ZoneCp;

/// The zone control plane of Meridian
#[derive(Debug, Parser)]
#[command(name = "zone-cp", version = version::LONG_VERSION, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the control plane
    #[command(after_help = "\
Example, a zone under a global on another host:
  KUMA_MODE=zone KUMA_MULTIZONE_ZONE_NAME=zone-1 \\
  KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS=grpcs://global.example.com:5685 \\
  KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE=/etc/meridian/global-ca.pem \\
  zone-cp run

Every setting of Kuma's control plane is read from --config-file or its KUMA_* variable;
--print-config shows the result.")]
    Run(Run),
    /// Ask a running control plane whether it is ready; exit status 0 or 1
    #[command(after_help = "Example:\n  zone-cp health --address http://localhost:5680")]
    Health(mesh_runtime::health::Options),
}

#[derive(Debug, clap::Args)]
struct Run {
    #[command(flatten)]
    config: ConfigOptions,
    #[command(flatten)]
    log: LogOptions,
}

/// Does what the command line says.
///
/// # Errors
/// What kept it from running, and what to do about it.
pub async fn main(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Health(options) => Ok(mesh_runtime::health::check(&options).await),
        Command::Run(run) => {
            let loaded = run.config.load(Kind::Zone)?;
            if run.config.print_config {
                print_config(&loaded.config.to_json());
                return Ok(ExitCode::SUCCESS);
            }
            mesh_runtime::telemetry::init(&run.log)?;
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            tracing::info!(config = %loaded.config.to_json(), "starting zone-cp {}", version::VERSION);
            ZoneCp::start(loaded.config, shutdown::on_signals())
                .await?
                .run()
                .await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the answer to a question on the command line"
)]
fn print_config(config: &serde_json::Value) {
    println!("{config:#}");
}
