//! What the simulations find in this many seeds, and that they would find it.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

mod model;
mod net;
