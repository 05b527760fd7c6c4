//! The router over a store in memory: what a caller sees.

mod auth;
mod lists;
mod replay;
mod support;
mod tokens;
mod writes;
