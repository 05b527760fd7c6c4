//! What the zone does for its proxies: bootstrap, registration, configuration, insights.

pub mod admin;
pub mod ads;
pub mod auth;
pub mod bootstrap;
pub mod certificates;
pub mod live;
pub mod refused;
pub mod registration;
pub(crate) mod server;
mod views;
