//! `meridian health`: for containers and scripts.

use std::process::ExitCode;
use std::time::Duration;

use mesh_model::go_duration;

use crate::client::{Server, TlsArgs, parse_address};
use crate::output;

/// Exit with 0 if a process of ours is ready, else with 1; for containers
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meridian health
  meridian health http://zone.example:5680/ready")]
pub(crate) struct Args {
    /// What to ask; without a path, `/ready`
    #[arg(default_value = "http://localhost:5680/ready", value_name = "URL")]
    url: String,
    #[command(flatten)]
    tls: TlsArgs,
    /// How long to wait for an answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    timeout: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    go_duration::parse_unsigned(text).map_err(|error| error.to_string())
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut url = parse_address(&args.url)?;
    if url.path() == "/" {
        url.set_path("/ready");
    }
    let server = Server::plain(url.clone(), &args.tls, args.timeout)?;
    match server.is_well().await {
        Ok(()) => {
            output::line(format_args!("{url} is ready"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            output::note(format_args!("{url} is not ready: {error}"));
            Ok(ExitCode::FAILURE)
        }
    }
}
