//! The frame of a control plane's program: configuration, logs, runtime, exit status.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::config::{Config, ConfigOptions, Kind};
use crate::telemetry::{self, LogOptions};

/// The flags of `run`.
#[derive(Debug, clap::Args)]
pub struct RunOptions {
    #[command(flatten)]
    config: ConfigOptions,
    #[command(flatten)]
    log: LogOptions,
}

impl RunOptions {
    /// Loads the configuration of `kind` and runs `start` with it; or only prints it, if that was
    /// asked for.
    ///
    /// # Errors
    /// When the configuration is wrong, or whatever `start` fails with.
    pub fn run<F>(&self, kind: Kind, start: impl FnOnce(Config) -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        self.run_with(kind, BTreeMap::new(), start)
    }

    /// The same with values that were given by flags, by their paths.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_with<F>(
        &self,
        kind: Kind,
        flags: BTreeMap<String, String>,
        start: impl FnOnce(Config) -> F,
    ) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let loaded = self.config.load_with(kind, flags)?;
        if self.config.print_config {
            let json = serde_json::to_string_pretty(&loaded.config.to_json())?;
            return writeln!(std::io::stdout(), "{json}").context("cannot print the configuration");
        }
        telemetry::init(&self.log)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        block_on(async { start(loaded.config).await })
    }
}

/// Runs a task to its end on threads of its own.
///
/// # Errors
/// When there are no threads, or whatever the task fails with.
pub fn block_on(task: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the threads")?
        .block_on(task)
}

/// The exit status for a result; an error goes to standard error with all its causes, also where
/// nothing is logged.
pub fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
