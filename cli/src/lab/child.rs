//! `meridian lab child`: becomes a program that ends when the lab ends, however that ends.
//!
//! The kernel does it (prctl(2), `PR_SET_PDEATHSIG`), so it also holds after SIGKILL.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// Become a program that ends when the process that started it ends
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The process that is meant to be the parent
    #[arg(long)]
    parent: i32,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot tie this process to its parent")?;
    // If the parent ended before the call above, nobody will send the signal.
    if getppid().map(Pid::as_raw_pid) != Some(args.parent) {
        bail!("the lab has ended");
    }
    let (program, arguments) = args.command.split_first().context("there is no command")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
