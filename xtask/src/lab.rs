//! `cargo lab`: builds what the lab runs, then becomes `meridian lab`.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context as _;

/// The packages whose programs the lab starts.
const PACKAGES: [&str; 4] = ["global-cp", "zone-cp", "meridian-dp", "meridian-cli"];

/// Builds with cargo's own progress on the terminal, in the profile of the tests, so that
/// `cargo lab` and `cargo test` share what they compile. Ends this process either way.
pub(crate) fn run(workspace: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    eprintln!("Building Meridian; the first time takes some minutes.");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(&cargo)
        .current_dir(workspace)
        .args(["build", "--bins"])
        .args(PACKAGES.map(|package| format!("--package={package}")))
        .status()
        .with_context(|| format!("cannot run {}", cargo.display()))?;
    if !status.success() {
        // Cargo has said what is wrong.
        return Ok(ExitCode::FAILURE);
    }
    // Cargo puts all programs of a profile into one folder, this one too.
    let own = std::env::current_exe().context("cannot find this program's folder")?;
    let meridian = own.with_file_name("meridian");
    // A process in between would have to pass on signals; becoming the lab has none.
    let error = Command::new(&meridian).arg("lab").args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", meridian.display()))
}
