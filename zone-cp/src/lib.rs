//! The zone control plane: KDS client, local store, data-plane server, inventory.
//!
//! It takes what its global owns, serves its proxies from its own durable store, and reports
//! what exists in its zone. Cut off from the global, or restarted while cut off, it serves the
//! last good state.

#![warn(missing_docs)]

mod admission;
pub mod cli;
pub mod control_plane;
pub mod dataplane;
pub mod inventory;
mod metrics;
#[cfg(test)]
mod testing;

pub use control_plane::{Addresses, ZoneCp};
pub use metrics::Metrics;
