//! The one place that writes to standard output and standard error.
//!
//! A reader that went away (`meridian get dataplanes | head`) ends the program quietly.

use std::io::{self, Write as _};

use serde_json::Value;

use crate::yaml;

/// Writes a line to standard output.
pub(crate) fn line(line: impl std::fmt::Display) -> io::Result<()> {
    text(&format!("{line}\n"))
}

/// Writes `text` as it is to standard output.
pub(crate) fn text(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        // Nobody reads on, so there is nothing left to do and nothing wrong.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => result,
    }
}

/// How to show resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Yaml,
    Json,
}

/// Writes a value to standard output, as YAML if that was asked for, else as JSON.
pub(crate) fn structured(format: Format, value: &Value) -> anyhow::Result<()> {
    match format {
        Format::Yaml => text(&yaml::to_string(value))?,
        Format::Json | Format::Table => line(serde_json::to_string_pretty(value)?)?,
    }
    Ok(())
}

/// Writes a line to standard error; there is nobody to tell when that fails.
pub(crate) fn note(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes an error and its causes to standard error.
pub(crate) fn error(error: &anyhow::Error) {
    note(format_args!("Error: {error:#}"));
}
