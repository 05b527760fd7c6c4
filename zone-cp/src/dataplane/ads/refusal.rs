//! What Envoy refuses, as a finding on the resource that a person wrote.

use mesh_model::{Key, Resource, ResourceName, ResourceType};
use mesh_proto::mesh::{Finding, MeshGateway};
use mesh_store::Snapshot;
use zone_translate::EnvoyType;

use super::shortened;

/// How much of Envoy's reason is kept; it goes on with the whole of what it refuses.
const MAX_REASON: usize = 4096;

/// The finding for an Envoy resource that was refused.
///
/// Listeners and route configurations are named after their gateway, as
/// `<gateway>:<protocol>:<port>…`; everything else is reported on the Dataplane.
pub(super) fn finding(
    snapshot: &Snapshot,
    dataplane: &Key,
    ty: EnvoyType,
    name: &str,
    reason: &str,
) -> Finding {
    let what = match ty {
        EnvoyType::Runtime => "runtime layer",
        EnvoyType::Cluster => "cluster",
        EnvoyType::Endpoint => "endpoints",
        EnvoyType::Secret => "certificate",
        EnvoyType::Listener => "listener",
        EnvoyType::Route => "route configuration",
    };
    let reason = shortened(reason, MAX_REASON);
    let gateway = match ty {
        EnvoyType::Listener | EnvoyType::Route => gateway(snapshot, dataplane, name),
        EnvoyType::Runtime | EnvoyType::Cluster | EnvoyType::Endpoint | EnvoyType::Secret => None,
    };
    if let Some(socket) = Socket::of(reason) {
        return Finding {
            field: gateway
                .map(|gateway| socket.field(gateway))
                .unwrap_or_default(),
            message: socket.sentence(reason),
            ..about(gateway, dataplane)
        };
    }
    let message = format!("Envoy refuses the {what} {name} and keeps the last one: {reason}");
    Finding {
        message,
        ..about(gateway, dataplane)
    }
}

/// A finding about the gateway, or else about the Dataplane, that says nothing yet.
fn about(gateway: Option<&Resource>, dataplane: &Key) -> Finding {
    let (ty, name) = match gateway {
        Some(gateway) => (ResourceType::MeshGateway, gateway.display_name().to_owned()),
        None => (ResourceType::Dataplane, dataplane.name().to_string()),
    };
    Finding {
        r#type: ty.name().to_owned(),
        name,
        ..Finding::default()
    }
}

fn gateway<'a>(snapshot: &'a Snapshot, dataplane: &Key, name: &str) -> Option<&'a Resource> {
    let (gateway, _) = name.split_once(':')?;
    let key = Key::in_mesh(
        ResourceType::MeshGateway,
        dataplane.mesh()?.clone(),
        ResourceName::parse(gateway).ok()?,
    );
    snapshot.get(&key).map(|resource| &**resource)
}

/// Whether Envoy's words are about a socket of its host, and so not about what it was sent.
pub(super) fn is_about_socket(words: &str) -> bool {
    Socket::of(words).is_some()
}

/// A socket that Envoy cannot listen on.
#[derive(Debug, PartialEq, Eq)]
struct Socket<'a> {
    address: &'a str,
    port: u32,
    why: Why,
}

#[derive(Debug, PartialEq, Eq)]
enum Why {
    Taken,
    NotItsAddress,
    NotAllowed,
    Other,
}

impl<'a> Socket<'a> {
    /// Reads `… cannot bind '127.0.0.1:8080': Address already in use`.
    fn of(words: &'a str) -> Option<Self> {
        let (_, rest) = words.split_once("cannot bind '")?;
        let (socket, why) = rest.split_once('\'')?;
        let (address, port) = socket.rsplit_once(':')?;
        Some(Self {
            address: address.trim_start_matches('[').trim_end_matches(']'),
            port: port.parse().ok()?,
            why: if why.contains("in use") {
                Why::Taken
            } else if why.contains("Cannot assign") {
                Why::NotItsAddress
            } else if why.contains("ermission denied") {
                Why::NotAllowed
            } else {
                Why::Other
            },
        })
    }

    fn sentence(&self, words: &str) -> String {
        let Self { address, port, .. } = self;
        let text = match self.why {
            Why::Taken => format!(
                "port {port} of {address} is taken by another process on the proxy's host; stop \
                 that one, or give the listener another port"
            ),
            Why::NotItsAddress => format!(
                "the proxy's host has no address {address} to listen on; the Dataplane's \
                 networking.address has to be one of its own"
            ),
            Why::NotAllowed => format!(
                "the proxy may not listen on port {port}; run it with the capability \
                 CAP_NET_BIND_SERVICE, or give the listener a port from 1024 on"
            ),
            Why::Other => format!("the proxy cannot listen on port {port} of {address}"),
        };
        format!("{text}. It is tried again from time to time. Envoy says: {words}")
    }

    /// The first listener of the gateway on that port.
    fn field(&self, gateway: &Resource) -> String {
        let listeners = gateway
            .decode::<MeshGateway>()
            .conf
            .map(|conf| conf.listeners)
            .unwrap_or_default();
        let position = listeners.iter().position(|l| l.port == self.port);
        position.map_or_else(String::new, |at| format!("conf.listeners[{at}].port"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_about_sockets_become_advice() {
        let words = |why: &str| {
            format!(
                "Error adding/updating listener(s) edge:HTTP:80: cannot bind '10.0.0.1:80': {why}"
            )
        };
        for (why, expected) in [
            ("Address already in use", "taken by another process"),
            ("Cannot assign requested address", "has no address 10.0.0.1"),
            ("Permission denied", "CAP_NET_BIND_SERVICE"),
            (
                "Protocol not available",
                "cannot listen on port 80 of 10.0.0.1",
            ),
        ] {
            let words = words(why);
            let sentence = Socket::of(&words).unwrap().sentence(&words);
            assert!(sentence.contains(expected), "{sentence}");
            assert!(sentence.ends_with(&words), "{sentence}");
        }
        let ipv6 = Socket::of("cannot bind '[::1]:8080': Address already in use").unwrap();
        assert_eq!((ipv6.address, ipv6.port), ("::1", 8080));
        assert_eq!(Socket::of("regex 'cannot bind' is bad"), None);
    }
}
