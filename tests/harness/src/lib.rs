//! A whole mesh in one process, for tests and benches: control planes on ports of their own,
//! gateways with real Envoys beside the real agent, and HTTP backends.
//!
//! Everything waits for a state with a deadline, never for a time.

mod api;
mod backend;
mod certificate;
mod control_plane;
mod fleet;
mod gateway;
mod load;
mod ports;
pub mod process;
mod tls;
mod wait;

pub use api::Api;
pub use backend::{Backend, COUNTED_HEADER};
pub use certificate::{Certificate, Key, secret};
pub use control_plane::ControlPlane;
pub use fleet::{
    Environment, Global, StoppedGlobal, StoppedZone, Upstream, ZONE_TOKEN, Zone, ZoneOptions,
};
pub use gateway::{Agent, DataPlane, Gateway, Suspended, envoy};
pub use load::{Load, Tally};
pub use ports::free_port;
pub use tls::{Signatures, TlsClient, TlsConnection};
pub use wait::{DEADLINE, eventually};
