//! The subcommands and what dispatches to them.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mesh_runtime::version::LONG_VERSION;

use crate::{
    accept_cluster, apply, delete, explain, generate, get, health, inspect, lab, render, version,
    wait,
};

/// The command line of Meridian, a multi-zone mesh-gateway control plane.
#[derive(Debug, Parser)]
#[command(name = "meridian", version = LONG_VERSION, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  meridian apply -f examples/global/
  meridian get meshgateways
  meridian inspect meshgatewayroute shop";

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Apply(apply::Args),
    Get(get::Args),
    Inspect(inspect::Args),
    Explain(explain::Args),
    Wait(wait::Args),
    Delete(delete::Args),
    Generate(generate::Args),
    Render(render::Args),
    AcceptCluster(accept_cluster::Args),
    Lab(lab::Args),
    Version(version::Args),
    Health(health::Args),
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Apply(args) => apply::run(args).await,
            Self::Get(args) => get::run(args).await,
            Self::Inspect(args) => inspect::run(args).await,
            Self::Explain(args) => explain::run(args).await,
            Self::Wait(args) => wait::run(args).await,
            Self::Delete(args) => delete::run(args).await,
            Self::Generate(args) => generate::run(args).await,
            Self::Render(args) => render::run(args).await,
            Self::AcceptCluster(args) => accept_cluster::run(args).await,
            Self::Lab(args) => lab::run(args).await,
            Self::Version(args) => version::run(args).await,
            Self::Health(args) => health::run(args).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
