//! KDS, the protocol between a global control plane and its zones, over gRPC.
//!
//! `mesh-delta` decides what to say; this crate maps resources to the wire and back ([`wire`],
//! [`mapping`], [`intake`]) and runs the machines over streams: [`server`] is the global's half,
//! [`client`] the zone's. Everything on the wire is Kuma's (2.5 to 2.14); `docs/kds.md` is the
//! contract.
//!
//! **Invariant:** nothing here decides which resources are valid or what they mean; a resource
//! that decodes is taken.

#![warn(missing_docs)]

pub mod admin;
pub mod client;
mod convert;
pub mod intake;
mod kind;
pub mod lack;
pub mod mapping;
mod metrics;
pub mod peer;
mod precheck;
mod projection;
mod pulse;
pub mod receipt;
pub mod server;
mod stream;
pub mod wire;

pub use kind::Kind;
pub use metrics::Metrics;
pub use projection::Projection;
pub use pulse::{Lag, LinkStatus};
