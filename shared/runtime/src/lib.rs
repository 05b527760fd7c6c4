//! What every process shares: configuration, telemetry, shutdown, backoff, clock, TLS, serving.

#![warn(missing_docs)]

pub mod backoff;
pub mod clock;
pub mod instance;
pub mod shutdown;
pub mod version;
pub mod yaml;
