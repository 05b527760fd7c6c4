//! `meridian`: the command line of Meridian.
//!
//! One module per subcommand, each with its `Args` and a `run`. What a command decides (reading
//! documents, laying out tables) is pure code; `client` talks HTTP, `output` writes to stdout.

mod accept_cluster;
mod apply;
mod args;
mod client;
mod delete;
mod documents;
mod explain;
mod generate;
mod get;
mod health;
mod inspect;
mod lab;
mod output;
mod overview;
mod receipts;
mod render;
mod table;
mod version;
mod wait;
mod words;
mod yaml;

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    mesh_runtime::tls::install_crypto_provider();
    match args::Cli::parse().command.run().await {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}
