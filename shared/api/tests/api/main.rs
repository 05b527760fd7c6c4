//! The router over a store in memory: what a caller sees.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod auth;
mod cascade;
mod lists;
mod replay;
mod support;
mod tokens;
mod types;
mod violations;
mod writes;
