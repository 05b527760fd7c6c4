//! `meridian version`.

use std::process::ExitCode;

use mesh_runtime::version::LONG_VERSION;

use crate::client::{Connection, Server};
use crate::output;

/// Show the version of this program and of the control plane
///
/// A control plane that does not answer is no error.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  meridian version --address http://localhost:5681")]
pub(crate) struct Args {
    /// Don't ask the control plane
    #[arg(long)]
    client: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    output::line(format_args!("Client: Meridian {LONG_VERSION}"))?;
    if args.client {
        return Ok(ExitCode::SUCCESS);
    }
    let server = Server::connect(&args.connection)?;
    match server.get("/").await {
        Ok(index) => {
            let text = |key: &str| index[key].as_str().unwrap_or("unknown").to_owned();
            output::line(format_args!(
                "Server: {} {}",
                text("product"),
                text("version")
            ))?;
        }
        Err(error) => output::note(format_args!("Server: unknown ({error})")),
    }
    Ok(ExitCode::SUCCESS)
}
