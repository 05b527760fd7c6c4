//! The Envoy process: its arguments, its life, and its last words.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::args::{ExecEnvoy, Run};

/// How long Envoy may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How many lines of Envoy's log are kept for the message about its end.
const KEPT_LINES: usize = 50;

/// A running Envoy. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Envoy {
    child: Child,
    /// The end of its log, once there is no more.
    log: oneshot::Receiver<VecDeque<String>>,
}

/// What Envoy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// Such as `1.36.4`.
    pub version: String,
    /// The whole build text.
    pub build: String,
}

/// Envoy does not do what is expected of an Envoy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvoyError {
    #[error("cannot run {}", path.display())]
    Spawn {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is no Envoy: --version gave {output:?}", path.display())]
    NotEnvoy { path: PathBuf, output: String },
}

impl Version {
    /// Asks a binary.
    pub(crate) async fn of(path: &Path) -> Result<Self, EnvoyError> {
        let output = Command::new(path)
            .arg("--version")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|source| EnvoyError::Spawn {
                path: path.to_owned(),
                source,
            })?;
        let output = String::from_utf8_lossy(&output.stdout);
        Self::parse(&output).ok_or_else(|| EnvoyError::NotEnvoy {
            path: path.to_owned(),
            output: output.trim().to_owned(),
        })
    }

    /// Reads `<path>  version: <commit>/<version>/<state>/<kind>/<TLS library>`.
    fn parse(output: &str) -> Option<Self> {
        let build = output.split_once("version:")?.1.trim();
        let parts: Vec<_> = build.split('/').collect();
        match parts[..] {
            [_, version, _, _, _] => Some(Self {
                version: version.to_owned(),
                build: build.to_owned(),
            }),
            _ => None,
        }
    }
}

/// Envoy's arguments.
pub(crate) fn arguments(run: &Run, bootstrap: &Path, log_level: &str) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![
        "--config-path".into(),
        bootstrap.into(),
        "--drain-time-s".into(),
        run.drain_time.as_secs().to_string().into(),
        "--drain-strategy".into(),
        "immediate".into(),
        // Two Envoys of one machine would otherwise meet in shared memory.
        "--disable-hot-restart".into(),
        "--log-level".into(),
        log_level.into(),
    ];
    if !run.envoy_component_log_level.is_empty() {
        arguments.push("--component-log-level".into());
        arguments.push(run.envoy_component_log_level.as_str().into());
    }
    if run.concurrency > 0 {
        arguments.push("--concurrency".into());
        arguments.push(run.concurrency.to_string().into());
    } else {
        arguments.push("--cpuset-threads".into());
    }
    arguments
}

impl Envoy {
    /// Starts Envoy in a process group of its own, so that a terminal's Ctrl-C reaches it
    /// through us only.
    ///
    /// Must be called on a thread that lives as long as the agent: the kernel's parent-death
    /// signal follows the thread, not the process (prctl(2), `PR_SET_PDEATHSIG`).
    pub(crate) fn start(binary: &Path, arguments: &[OsString]) -> Result<Self, EnvoyError> {
        let spawn_error = |source| EnvoyError::Spawn {
            path: binary.to_owned(),
            source,
        };
        let own = std::env::current_exe().map_err(spawn_error)?;
        let mut child = Command::new(own)
            .args([
                "exec-envoy",
                "--parent",
                &std::process::id().to_string(),
                "--",
            ])
            .arg(binary)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(spawn_error)?;
        let stderr = child.stderr.take().expect("standard error is piped");
        let stderr = stderr.into_owned_fd().map_err(spawn_error)?;
        let (ended, log) = oneshot::channel();
        // A thread, because our own standard error may block, and nothing else of us should.
        std::thread::spawn(move || {
            // Nobody may be waiting for it.
            let _ = ended.send(pass_on(std::fs::File::from(stderr)));
        });
        Ok(Self { child, log })
    }

    /// Waits for Envoy's end. Dropping the future is safe; it may be waited for again.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// The last lines of the log that tell why Envoy ended. Only after its end.
    pub(crate) async fn last_words(&mut self) -> String {
        // A process that Envoy left behind may hold its standard error open.
        let lines = tokio::time::timeout(Duration::from_secs(1), &mut self.log).await;
        let lines = lines.ok().and_then(Result::ok).unwrap_or_default();
        telling(&lines)
    }

    /// Asks Envoy to end, and after five seconds makes it.
    pub(crate) async fn stop(mut self) -> io::Result<ExitStatus> {
        if let Some(pid) = self.pid() {
            // It may have ended by itself; waiting below tells.
            let _ = kill_process(pid, Signal::TERM);
        }
        if let Ok(status) = tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await {
            return status;
        }
        tracing::warn!("Envoy did not end within {STOP_TIMEOUT:?}; killing it");
        self.child.kill().await?;
        self.child.wait().await
    }

    fn pid(&self) -> Option<Pid> {
        let pid = i32::try_from(self.child.id()?).ok()?;
        Pid::from_raw(pid)
    }
}

/// The exit code that a shell would show.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    u8::try_from(code).unwrap_or(1)
}

/// Becomes Envoy in a process that ends when its parent does. Returns only what went wrong.
pub(crate) fn exec(args: &ExecEnvoy) -> io::Error {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    if getppid().map(Pid::as_raw_pid) != Some(args.parent) {
        // The parent ended before the line above, so no signal will come.
        return io::Error::other("the agent has ended");
    }
    let (binary, arguments) = args.command.split_first().expect("clap requires a command");
    std::process::Command::new(binary).args(arguments).exec()
}

/// Writes Envoy's log to our standard error and keeps its end.
fn pass_on(log: impl Read) -> VecDeque<String> {
    let mut log = BufReader::new(log);
    let mut kept = VecDeque::with_capacity(KEPT_LINES);
    let mut line = Vec::new();
    while let Ok(1..) = log.read_until(b'\n', &mut line) {
        // Envoy must not stop because our standard error is closed.
        let _ = io::stderr().write_all(&line);
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
    kept
}

/// The lines that Envoy marked as critical, else as errors, else its last three.
fn telling(lines: &VecDeque<String>) -> String {
    let marked = |mark: &str| -> Vec<&str> {
        let lines = lines.iter().filter(|line| line.contains(mark));
        lines.map(String::as_str).collect()
    };
    let last = || {
        lines
            .iter()
            .rev()
            .take(3)
            .rev()
            .map(String::as_str)
            .collect()
    };
    let found = [marked("[critical]"), marked("[error]"), last()];
    let found = found.into_iter().find(|lines| !lines.is_empty());
    found.unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn arguments_for(flags: &[&str]) -> Vec<String> {
        let cli = Cli::parse_from(["meridian-dp", "run"].iter().chain(flags));
        let Command::Run(run) = cli.command else {
            panic!("{cli:?}")
        };
        let arguments = arguments(&run, Path::new("/run/dp/bootstrap.yaml"), "info");
        let arguments = arguments.into_iter();
        arguments
            .map(|argument| argument.into_string().unwrap())
            .collect()
    }

    #[test]
    fn envoy_is_started_as_agents_start_it() {
        let expected = "--config-path /run/dp/bootstrap.yaml --drain-time-s 30 \
            --drain-strategy immediate --disable-hot-restart --log-level info";
        assert_eq!(
            arguments_for(&[]).join(" "),
            format!("{expected} --cpuset-threads")
        );
        let flags = [
            "--concurrency=2",
            "--envoy-component-log-level=upstream:debug",
        ];
        assert_eq!(
            arguments_for(&flags).join(" "),
            format!("{expected} --component-log-level upstream:debug --concurrency 2")
        );
    }

    #[test]
    fn the_version_is_the_second_of_five_parts() {
        let output = "/usr/bin/envoy  version: bad8280/1.36.4/Clean/RELEASE/BoringSSL\n\n";
        let version = Version::parse(output).unwrap();
        assert_eq!(version.version, "1.36.4");
        assert_eq!(version.build, "bad8280/1.36.4/Clean/RELEASE/BoringSSL");
        assert_eq!(Version::parse("bash 5.2"), None);
        assert_eq!(Version::parse("version: 1.2.3"), None);
    }

    #[test]
    fn last_words_are_the_ones_that_tell_most() {
        let lines = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let long = lines(&[
            "[info] a",
            "[critical] bad address",
            "[error] b",
            "[info] exiting",
        ]);
        assert_eq!(telling(&long), "[critical] bad address");
        assert_eq!(
            telling(&lines(&["[info] a", "[error] b", "c"])),
            "[error] b"
        );
        assert_eq!(telling(&lines(&["a", "b", "c", "d"])), "b\nc\nd");
        assert_eq!(telling(&lines(&[])), "");
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(exit_code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
    }
}
