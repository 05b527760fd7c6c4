//! `meridian version`.

use std::process::ExitCode;

use mesh_runtime::version::LONG_VERSION;
use serde_json::Value;

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
            let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
            let (product, version) = (text(&index["product"]), text(&index["version"]));
            // What ours says of itself beside what it is compatible with.
            match index["meridian"]["version"].as_str() {
                Some(ours) => output::line(format_args!(
                    "Server: Meridian {ours} (compatible with {product} {version})"
                ))?,
                None => output::line(format_args!("Server: {product} {version}"))?,
            }
        }
        Err(error) => output::note(format_args!("Server: unknown ({error})")),
    }
    Ok(ExitCode::SUCCESS)
}
