//! The runtime layer of a gateway: the connection limits of its listeners.
//!
//! A changed limit is this one resource; no listener drains for it
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/runtime>).

use bytes::Bytes;
use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

use crate::envoy::runtime;
use crate::plan::Port;

/// The name under which the gateway's bootstrap asks for the layer. Envoy waits for it before
/// anything else, so it is always offered.
pub(crate) const NAME: &str = "gateway.listeners";

/// The layer for these listeners.
pub(crate) fn encode(ports: &[Port]) -> Bytes {
    let fields = ports
        .iter()
        .filter(|port| port.connection_limit > 0)
        .map(|port| {
            let key = format!(
                "envoy.resource_limits.listener.{}.connection_limit",
                port.name
            );
            let kind = Some(Kind::NumberValue(f64::from(port.connection_limit)));
            (key, Value { kind })
        })
        .collect();
    runtime::Runtime {
        name: NAME.to_owned(),
        layer: Some(Struct { fields }),
    }
    .encode_to_vec()
    .into()
}
