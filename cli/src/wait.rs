//! `meridian wait`.

use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use mesh_runtime::clock;
use tokio::time::Instant;

use crate::client::{Connection, Server};
use crate::{output, receipts, words};

/// The exit code when the time is over.
const TOO_LATE: u8 = 3;
/// The pause between two questions: the first ones are quick, because most changes are.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(500);

/// Wait until a resource is live in the Envoys of every zone
///
/// Exits with 0 when it is, and with 3 when the time is over; then it says who is missing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meridian wait meshgatewayroute shop --for=live --timeout 30s
  meridian apply -f shop.yaml && meridian wait meshgatewayroute shop")]
pub(crate) struct Args {
    /// Type of the resource, such as meshgatewayroute
    #[arg(value_name = "TYPE")]
    ty: String,
    /// Name of the resource
    name: String,
    /// Mesh that the resource is in
    #[arg(short, long, default_value = "default")]
    mesh: String,
    /// What to wait for
    #[arg(long = "for", value_enum, default_value_t)]
    what: What,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum What {
    /// Every Envoy of every zone has it
    #[default]
    Live,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let ty = words::parse_type(&args.ty)?;
    let What::Live = args.what;
    let server = Server::connect(&args.connection)?;
    let patience = args.connection.timeout;
    let (begun, mut pause) = (Instant::now(), SHORTEST);
    loop {
        let receipt = receipts::ask(&server, ty, &args.mesh, &args.name).await?;
        if receipts::is_live(&receipt) {
            output::line(format_args!("{ty} {:?} is live", args.name))?;
            return Ok(ExitCode::SUCCESS);
        }
        if begun.elapsed() + pause >= patience {
            let missing = receipts::missing(&receipt, clock::now());
            output::note(format_args!(
                "{ty} {:?} is not live after {patience:?}:\n  {}",
                args.name,
                missing.join("\n  ")
            ));
            return Ok(ExitCode::from(TOO_LATE));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}
