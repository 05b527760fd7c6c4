//! Control planes over real sockets: what they say on the wire, and what hostile peers get.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

mod all_types;
mod conformance;
mod durability;
mod hostile_http;
mod hostile_kds;
mod kds_faults;
mod recorded;
mod replay_global;
mod replay_zone;
mod stock_admin;
mod stock_zones;
mod strangers;
mod support;
mod transport;
mod write_order;
mod zone_auth;
