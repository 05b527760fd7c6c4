//! YAML text to JSON values that know which line they came from.
//!
//! The only module that may name a YAML parser, so that it stays replaceable. Scalars follow the
//! [core schema of YAML 1.2](https://yaml.org/spec/1.2.2/#103-core-schema): `true` is a boolean,
//! `yes` and `on` are text, `0777` is 777, what is quoted stays text. A mapping key is the text
//! as written (`80:` is the key "80"). Anchors, aliases and merge keys (`<<`) work; a key given
//! twice, `.inf` and tags outside the core schema are errors with their line.
//!
//! **Invariant:** work and memory are bounded by the size limit, whatever the text: nesting has a
//! limit, and aliases may not repeat more than four times what it allows.

mod build;
mod path;
mod scalar;

use std::fmt;

use serde_json::Value;

use self::build::Lines;
use self::path::Step;

/// The size limit of [`parse`]: 10 MiB.
pub const DEFAULT_MAX_BYTES: usize = 10 * 1024 * 1024;

/// How deep mappings and sequences may nest.
pub const MAX_DEPTH: usize = 100;

/// One document of a YAML stream.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its content as JSON.
    pub value: Value,
    /// The line its content starts on, from 1.
    pub first_line: usize,
    lines: Lines,
}

/// Why a text is not acceptable YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            message,
        } = self;
        write!(f, "line {line}, column {column}: {message}")
    }
}

impl std::error::Error for Error {}

/// The documents in `text`, which may have at most [`DEFAULT_MAX_BYTES`].
///
/// # Errors
///
/// As [`parse_with_limit`].
pub fn parse(text: &str) -> Result<Vec<Document>, Error> {
    parse_with_limit(text, DEFAULT_MAX_BYTES)
}

/// The documents in `text`, in order. Empty documents, such as the one after a trailing `---`,
/// are left out.
///
/// # Errors
///
/// The first thing that is wrong; also when `text` is longer than `max_bytes`, and when its
/// aliases would expand to far more than that.
pub fn parse_with_limit(text: &str, max_bytes: usize) -> Result<Vec<Document>, Error> {
    if text.len() > max_bytes {
        return Err(Error {
            line: 1,
            column: 1,
            message: format!(
                "the text has {} bytes, at most {max_bytes} are allowed",
                text.len()
            ),
        });
    }
    build::documents(text, max_bytes)
}

impl Document {
    /// The line of the value at `path`, for paths such as `conf.listeners[0].port` and
    /// `tags["kuma.io/service"]`. In a mapping it is the line of the key. The empty path is the
    /// whole document. `None` if there is nothing at `path`, or `path` has another form.
    pub fn line_of(&self, path: &str) -> Option<usize> {
        let mut at = &self.lines;
        for step in path::steps(path)? {
            at = at.child(&step)?;
        }
        Some(at.line)
    }

    /// As [`Document::line_of`], or the line of the nearest thing around `path` that is there:
    /// for messages about something missing.
    pub fn nearest_line(&self, path: &str) -> usize {
        let mut at = &self.lines;
        for step in path::steps(path).unwrap_or_default() {
            match at.child(&step) {
                Some(child) => at = child,
                None => break,
            }
        }
        at.line
    }
}

impl Lines {
    fn child(&self, step: &Step) -> Option<&Self> {
        match step {
            Step::Key(key) => self.entry(key),
            Step::Index(index) => self.item(*index),
        }
    }
}

#[cfg(test)]
mod tests;
