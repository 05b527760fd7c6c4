//! The two halves of KDS over real sockets, in one process.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

mod heartbeat;
mod own;
mod pair;
mod relay;
mod round_trip;
mod support;
mod tamper;
