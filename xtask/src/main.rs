//! Development tasks, each behind a cargo alias: `cargo lab`, `cargo xtask check-docs`.

mod docs;
mod lab;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Development tasks of Meridian.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build everything and start the lab: a global, two zones, gateways and demo services
    #[command(disable_help_flag = true)]
    Lab {
        /// What `meridian lab` takes, such as --check
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Check that the paths named in the documents exist
    CheckDocs,
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().task {
        Task::Lab { arguments } => lab::run(&workspace()?, &arguments),
        Task::CheckDocs => {
            let problems = docs::check(&workspace()?)?;
            for problem in &problems {
                eprintln!("{problem}");
            }
            Ok(if problems.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}

/// The folder with the workspace's manifest.
fn workspace() -> anyhow::Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here
        .parent()
        .context("xtask lies in the workspace")?
        .to_owned())
}
