//! The store as its users see it: one contract for both implementations, and what the one on the
//! disk promises beyond it.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

mod common;
mod contract;
mod failure;
mod grouping;
mod kill;
mod refusal;
mod reopen;
mod sync_order;
