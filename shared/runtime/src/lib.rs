//! What every process shares: configuration, telemetry, shutdown, backoff, clock, TLS, serving.

#![warn(missing_docs)]

pub mod backoff;
pub mod clock;
pub mod config;
pub mod diagnostics;
pub mod health;
pub mod instance;
pub mod program;
pub mod proxy_admin;
pub mod seen;
pub mod serve;
pub mod shutdown;
pub mod small_file;
pub mod telemetry;
pub mod tls;
pub mod tokens;
pub mod version;
pub mod whole_file;
pub mod yaml;
