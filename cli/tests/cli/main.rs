//! The program as a user runs it: arguments and files in, output and exit status out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod apply;
mod commands;
mod help;
mod lab;
mod render;
mod strangers;
mod support;
