//! The lab's processes: started, watched, and ended.
//!
//! **Invariant:** none outlives the lab. A signal ends them in order; a panic drops them, which
//! kills them; and where the lab is killed, the kernel kills them too ([`super::child`]).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a process may take to end when asked.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How much of a line of a log is shown; a control plane's configuration is a long one.
const LINE: usize = 240;

/// What to start.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// What people call the process.
    pub(super) title: String,
    /// The program's file name.
    pub(super) program: &'static str,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(&'static str, String)>,
    pub(super) log: PathBuf,
}

/// The end of a process that was not asked to end.
#[derive(Debug)]
pub(super) struct Death {
    pub(super) title: String,
    pub(super) status: ExitStatus,
    pub(super) log: PathBuf,
}

/// All processes, in the order in which they were started.
#[derive(Debug)]
pub(super) struct Processes {
    /// The folder with the programs.
    programs: PathBuf,
    running: Vec<Running>,
    deaths: mpsc::UnboundedSender<Death>,
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Processes {
    pub(super) fn new(programs: PathBuf) -> (Self, mpsc::UnboundedReceiver<Death>) {
        let (deaths, receiver) = mpsc::unbounded_channel();
        (
            Self {
                programs,
                running: Vec::new(),
                deaths,
            },
            receiver,
        )
    }

    /// Starts a process.
    ///
    /// Call it on the main thread only, so in the program's outermost future: the kernel's
    /// parent-death signal follows the thread that started a process (prctl(2)), and a worker
    /// of the runtime may end before the lab does.
    pub(super) fn start(&mut self, program: Program) -> anyhow::Result<()> {
        let about = || format!("cannot start {}", program.title);
        let log = File::create(&program.log)
            .with_context(|| format!("cannot write {}", program.log.display()))?;
        let own = std::env::current_exe().with_context(about)?;
        let mut command = Command::new(own);
        command.args([
            "lab",
            "child",
            "--parent",
            &std::process::id().to_string(),
            "--",
        ]);
        command
            .arg(self.programs.join(program.program))
            .args(&program.arguments);
        // What is exported for another control plane is not meant for these.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"KUMA_") {
                command.env_remove(name);
            }
        }
        command.envs(
            program
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        );
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().with_context(about)?)
            .stderr(log)
            // A terminal's Ctrl-C reaches the lab alone, which then ends them in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(about)?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(watch(child, program, self.deaths.clone(), stopped));
        self.running.push(Running { stop, task });
        Ok(())
    }

    /// Ends all, the last ones first: gateways say goodbye to their zone, zones to the global.
    pub(super) async fn stop(&mut self) {
        while let Some(running) = self.running.pop() {
            let _ = running.stop.send(());
            // It ends within the timeout; a panic there has been printed.
            let _ = running.task.await;
        }
    }
}

async fn watch(
    mut child: Child,
    program: Program,
    deaths: mpsc::UnboundedSender<Death>,
    stopped: oneshot::Receiver<()>,
) {
    tokio::select! {
        status = child.wait() => if let Ok(status) = status {
            // Nobody listens once the lab ends anyway.
            let _ = deaths.send(Death { title: program.title, status, log: program.log });
        },
        Ok(()) = stopped => end(child).await,
    }
}

async fn end(mut child: Child) {
    if let Some(pid) = child
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
    {
        // It may be gone already.
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// The last lines of a log, and of each its start.
pub(super) fn last_lines(log: &Path, most: usize) -> String {
    let Ok(bytes) = fs::read(log) else {
        return String::new();
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = VecDeque::new();
    for line in text.lines() {
        if lines.len() == most {
            lines.pop_front();
        }
        lines.push_back(match line.char_indices().nth(LINE) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line.to_owned(),
        });
    }
    Vec::from(lines).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        assert_eq!(last_lines(&log, 2), "");
        fs::write(&log, "one\ntwo\nthree\n").unwrap();
        assert_eq!(last_lines(&log, 2), "two\nthree");
        fs::write(&log, "é".repeat(1000)).unwrap();
        assert_eq!(last_lines(&log, 2).chars().count(), LINE + 1);
    }
}
