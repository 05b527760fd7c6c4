//! The zone control plane; see [`zone_cp`].

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    zone_cp::cli::main(zone_cp::cli::Cli::parse()).await
}
