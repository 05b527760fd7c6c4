//! A whole global control plane in the test's process, asked over real sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod process;
mod rules;
mod starts;
mod support;
