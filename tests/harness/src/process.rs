//! Real processes of our own binaries, which end with the test.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::eventually;

/// The path of one of our binaries, beside the test that runs.
///
/// # Errors
/// When it was not built: `cargo test --workspace` builds all of them.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test
        .ancestors()
        .nth(2)
        .context("a test lies in target/<profile>/deps")?;
    let path = folder.join(name);
    anyhow::ensure!(
        path.is_file(),
        "{} is not built: run cargo test --workspace, or cargo build --bins first",
        path.display()
    );
    Ok(path)
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
}

impl Process {
    /// Starts one of our binaries; its standard error is kept.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        arguments: impl IntoIterator<Item = A>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> anyhow::Result<Self> {
        Self::start_command(Command::new(binary(name)?).args(arguments), environment)
    }

    /// Starts any command; its standard error is kept.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_command(
        command: &mut Command,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> anyhow::Result<Self> {
        let mut child = command
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().context("it was just piped")?;
        let kept = Arc::clone(&log);
        let reader = tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                kept.lock().await.push(line);
            }
        });
        Ok(Self { child, log, reader })
    }

    /// What it wrote to standard error so far.
    pub async fn log(&self) -> String {
        self.log.lock().await.join("\n")
    }

    /// Waits until it has written this to standard error: what it answers can be here before what
    /// it wrote.
    ///
    /// # Panics
    /// When it has not in time.
    pub async fn logs(&self, text: &str) {
        eventually(&format!("{text:?} in the log"), async || {
            let log = self.log().await;
            anyhow::ensure!(log.contains(text), "{log}");
            Ok(())
        })
        .await;
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = self.child.id().context("the process is gone")?;
        let pid = Pid::from_raw(i32::try_from(id)?).context("process ids are positive")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for its end; the exit code, `None` after a signal.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn wait(&mut self) -> anyhow::Result<Option<i32>> {
        let status = self.child.wait().await?;
        // Its last words may still be in the pipe; a child of its own may keep that open.
        if !self.reader.is_finished() {
            let _ = tokio::time::timeout(Duration::from_secs(2), &mut self.reader).await;
        }
        Ok(status.code())
    }

    /// Kills it with SIGKILL and waits for its end.
    ///
    /// # Errors
    /// When it is gone already.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("cannot kill the process")
    }
}
