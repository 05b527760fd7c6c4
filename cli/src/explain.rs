//! `meridian explain`.

use std::process::ExitCode;

use mesh_runtime::clock;

use crate::client::{Connection, Server};
use crate::output::{self, Format};
use crate::{receipts, words};

/// Tell where a resource is: stored, in which zones, and live in which of their Envoys
///
/// Asks the global control plane, which asks the zones.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meridian explain meshgatewayroute shop
  meridian explain mesh default -o json")]
pub(crate) struct Args {
    /// Type of the resource, such as meshgatewayroute
    #[arg(value_name = "TYPE")]
    ty: String,
    /// Name of the resource
    name: String,
    /// Mesh that the resource is in
    #[arg(short, long, default_value = "default")]
    mesh: String,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let ty = words::parse_type(&args.ty)?;
    let server = Server::connect(&args.connection)?;
    let receipt = receipts::ask(&server, ty, &args.mesh, &args.name).await?;
    match args.output {
        Format::Table => output::text(&receipts::describe(&receipt, clock::now()))?,
        Format::Yaml | Format::Json => output::structured(args.output, &receipt)?,
    }
    Ok(ExitCode::SUCCESS)
}
