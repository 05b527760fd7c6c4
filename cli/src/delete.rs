//! `meridian delete`.

use std::process::ExitCode;

use reqwest::StatusCode;

use crate::client::{Connection, Server};
use crate::{output, words};

/// Delete a resource
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meridian delete meshgatewayroute shop
  meridian delete mesh default")]
pub(crate) struct Args {
    /// Type of the resource, such as meshgatewayroute
    #[arg(value_name = "TYPE")]
    ty: String,
    /// Name of the resource
    name: String,
    /// Mesh that the resource is in
    #[arg(short, long, default_value = "default")]
    mesh: String,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { name, mesh, .. } = &args;
    let ty = words::parse_type(&args.ty)?;
    let server = Server::connect(&args.connection)?;
    match server.delete(&Server::item(ty, Some(mesh), name)).await {
        Ok(()) => {
            output::line(format_args!("deleted {ty} {name:?}"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.refused_with(StatusCode::NOT_FOUND) => {
            Err(words::absent(ty, Some(mesh), name))
        }
        Err(error) => Err(error.into()),
    }
}
