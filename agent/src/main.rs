//! The agent beside each Envoy: it asks the zone for a bootstrap, runs stock Envoy with it,
//! answers whether it is ready, and drains it on SIGTERM.

mod admin;
mod args;
mod control_plane;
mod envoy;
mod probe;
mod proxy;
mod readiness;
mod request;
mod run;
mod template;
mod token;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser as _;
use mesh_runtime::{telemetry, tls, version};

// One thread: the kernel ends Envoy when the thread that started it ends, and this one doesn't.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    tls::install_crypto_provider();
    let ended = match cli.command {
        Command::Run(run) => match telemetry::init(&cli.log) {
            Ok(()) => run::run(*run, cli.log.log_level).await,
            Err(error) => Err(error.into()),
        },
        Command::Health(args) => probe::health(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Wait(args) => probe::wait(&args).await.map(|()| ExitCode::SUCCESS),
        Command::ExecEnvoy(args) => Err(envoy::exec(&args).into()),
        Command::Version => {
            #[expect(clippy::print_stdout, reason = "the answer of a command")]
            {
                println!("meridian-dp {}", version::LONG_VERSION);
            }
            Ok(ExitCode::SUCCESS)
        }
    };
    ended.unwrap_or_else(|error| {
        eprintln!("meridian-dp: {error:#}");
        ExitCode::FAILURE
    })
}
