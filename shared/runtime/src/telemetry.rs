//! Logs: Kuma's flags, one line per event, to standard error or to a file that rotates.
//!
//! Call [`init`] once, first thing in `main`. Standard output is left to what a program was
//! asked to print. Libraries log with `tracing` and know nothing of this module; what
//! dependencies have to say below `info` is never shown.

mod rotate;

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::sync::Arc;

use mesh_model::Timestamp;
use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Level};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, Registry};

use self::rotate::{Limits, RotatingFile};
use crate::clock;

/// The flags for logging; flatten them into a program's arguments.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct LogOptions {
    /// How much to log
    #[arg(long, value_name = "LEVEL", default_value = "info", global = true)]
    pub log_level: LogLevel,
    /// Log to this file instead of standard error
    #[arg(long, value_name = "FILE", global = true)]
    pub log_output_path: Option<PathBuf>,
    /// How many old log files to keep; 0 keeps all
    #[arg(long, value_name = "N", default_value_t = 1000, global = true)]
    pub log_max_retained_files: usize,
    /// How large the log file may grow before a new one is begun, in megabytes
    #[arg(long, value_name = "MB", default_value_t = 100, global = true)]
    pub log_max_size: u32,
    /// How many days to keep old log files; 0 keeps them for ever
    #[arg(long, value_name = "DAYS", default_value_t = 30, global = true)]
    pub log_max_age: u32,
}

/// How much to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What a person following the system wants, and what is wrong.
    Info,
    /// Also what happened to each resource.
    Debug,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            log_level: LogLevel::Info,
            log_output_path: None,
            log_max_retained_files: 1000,
            log_max_size: 100,
            log_max_age: 30,
        }
    }
}

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log file can't be written.
    #[error("cannot open the log file {}", path.display())]
    OpenLog {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Logging was set up before.
    #[error("logging is already set up in this process")]
    AlreadySet,
}

/// Sets up logging for the process.
///
/// # Errors
///
/// When the log file can't be opened, or logging is set up already.
pub fn init(options: &LogOptions) -> Result<(), TelemetryError> {
    tracing::dispatcher::set_global_default(dispatch(options)?)
        .map_err(|_already| TelemetryError::AlreadySet)
}

fn dispatch(options: &LogOptions) -> Result<Dispatch, TelemetryError> {
    let filter = filter(options.log_level);
    let Some(path) = &options.log_output_path else {
        let layer = fmt::layer()
            .with_timer(WallClock)
            .with_ansi(io::stderr().is_terminal())
            .with_writer(io::stderr)
            .with_filter(filter);
        return Ok(Dispatch::new(Registry::default().with(layer)));
    };
    let limits = Limits {
        bytes: u64::from(options.log_max_size.max(1)) * 1024 * 1024,
        files: options.log_max_retained_files,
        days: options.log_max_age,
    };
    let file =
        RotatingFile::open(path, limits, clock::now).map_err(|source| TelemetryError::OpenLog {
            path: path.clone(),
            source,
        })?;
    let layer = fmt::layer()
        .with_timer(WallClock)
        .with_ansi(false)
        .with_writer(LogFile(Arc::new(Mutex::new(file))))
        .with_filter(filter);
    Ok(Dispatch::new(Registry::default().with(layer)))
}

/// Crates whose events below `info` are about their own insides.
const NOISY: [&str; 9] = [
    "h2",
    "hyper",
    "hyper_util",
    "reqwest",
    "rustls",
    "sled",
    "tokio_util",
    "tonic",
    "tower",
];

fn filter(level: LogLevel) -> Targets {
    let targets = Targets::new();
    match level {
        LogLevel::Off => targets.with_default(LevelFilter::OFF),
        LogLevel::Info => targets.with_default(Level::INFO),
        LogLevel::Debug => targets
            .with_default(Level::DEBUG)
            .with_targets(NOISY.map(|name| (name, Level::INFO))),
    }
}

/// Times in logs, to the microsecond.
struct WallClock;

impl FormatTime for WallClock {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        let nanos = clock::now().unix_nanos();
        let micros = Timestamp::from_unix_nanos(nanos - nanos.rem_euclid(1000));
        write!(writer, "{micros}")
    }
}

/// The log file, shared by all threads that log. Each event is one write.
#[derive(Clone)]
struct LogFile(Arc<Mutex<RotatingFile>>);

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().flush()
    }
}

impl MakeWriter<'_> for LogFile {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        log: LogOptions,
        #[command(subcommand)]
        command: Command,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Command {
        Run,
    }

    #[test]
    fn flags_are_those_of_kuma_and_may_follow_the_command() {
        let parse = |args: &[&str]| Program::try_parse_from(args).unwrap();
        let program = parse(&["cp", "run"]);
        assert_eq!(program.log, LogOptions::default());
        let program = parse(&[
            "cp",
            "run",
            "--log-level=debug",
            "--log-output-path",
            "/tmp/cp.log",
            "--log-max-retained-files=3",
            "--log-max-size=4",
            "--log-max-age=5",
        ]);
        assert_eq!(
            program.log,
            LogOptions {
                log_level: LogLevel::Debug,
                log_output_path: Some("/tmp/cp.log".into()),
                log_max_retained_files: 3,
                log_max_size: 4,
                log_max_age: 5,
            }
        );
        let Command::Run = program.command;
        assert!(Program::try_parse_from(["cp", "--log-level=trace", "run"]).is_err());
    }

    fn logged(level: LogLevel) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/cp.log");
        let options = LogOptions {
            log_level: level,
            log_output_path: Some(path.clone()),
            ..LogOptions::default()
        };
        tracing::dispatcher::with_default(&dispatch(&options).unwrap(), || {
            tracing::info!(zone.name = "eu", "zone eu is online");
            tracing::debug!("one resource");
            tracing::debug!(target: "h2::codec", "a frame");
            tracing::trace!("too much");
        });
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn levels_show_what_they_say_and_no_insides_of_dependencies() {
        assert_eq!(logged(LogLevel::Off), "");
        let info = logged(LogLevel::Info);
        assert_eq!(info.lines().count(), 1, "{info}");
        assert!(info.contains("INFO") && info.contains("zone eu is online zone.name=\"eu\""));
        let time = info.split_whitespace().next().unwrap();
        assert!(time.parse::<Timestamp>().is_ok(), "{time}");
        let debug = logged(LogLevel::Debug);
        assert_eq!(debug.lines().count(), 2, "{debug}");
    }

    #[test]
    fn a_log_file_that_cannot_be_opened_is_named() {
        let options = LogOptions {
            log_output_path: Some("/proc/nowhere/cp.log".into()),
            ..LogOptions::default()
        };
        let error = dispatch(&options).unwrap_err();
        assert!(error.to_string().contains("/proc/nowhere/cp.log"));
    }
}
