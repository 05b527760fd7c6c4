//! A whole mesh in one process, for tests and benches: control planes on ports of their own,
//! gateways with real Envoys beside the real agent, and HTTP backends.
//!
//! Everything waits for a state with a deadline, never for a time.

mod api;
mod backend;
mod fleet;
mod gateway;
pub mod process;
mod wait;

pub use api::Api;
pub use backend::Backend;
pub use fleet::{Global, Zone, ZoneOptions};
pub use gateway::{Gateway, envoy};
pub use wait::{DEADLINE, eventually};
