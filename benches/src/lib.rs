//! What the benches share: the machine, processes that are measured, load, and the report.

pub mod fleet;
pub mod http;
pub mod load;
pub mod machine;
pub mod report;
pub mod stats;

use std::process::Command;

use anyhow::Context as _;

/// Builds the processes that are measured, in the profile of the bench.
///
/// # Errors
/// When they do not build.
pub fn build() -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release"])
        .args(["-p", "global-cp", "-p", "zone-cp", "-p", "meridian-dp"])
        .status()
        .context("cannot run cargo")?;
    anyhow::ensure!(status.success(), "the control planes do not build");
    Ok(())
}

/// Says on standard error how far it is.
pub fn progress(text: &str) {
    #[expect(clippy::print_stderr, reason = "progress is for the person who waits")]
    {
        eprintln!("{text}");
    }
}
