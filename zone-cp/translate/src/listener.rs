//! Listeners: one per port, with a filter chain for each hostname that clients ask for by TLS.
//!
//! Which chain a client gets is decided by the server name it asks for and nothing else; HTTP
//! finds its host within the chain.

mod http;
mod tcp;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_delta::{Item, Name};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::EnvoyType;
use crate::cluster::BUFFER_LIMIT;
use crate::envoy::{self, Named as _, core, listener, tls, tls_inspector};
use crate::host::Hostname;
use crate::plan::{HostListener, Port, Protocol, Tls};
use crate::policy::Policies;
use crate::proxy::Settings;
use crate::tcp::Backends;

/// The listener of a port; its HTTP routes and certificates come over the stream. `None` if there
/// is nobody whom it can serve.
pub(crate) fn encode(
    port: &Port,
    backends: Option<&Backends>,
    policies: Policies,
    settings: &Settings,
) -> Option<Item<EnvoyType>> {
    let mut served: Vec<(usize, &HostListener)> = port
        .listeners
        .iter()
        .enumerate()
        .filter(|(_, listener)| listener.is_served() || is_closed(port, listener))
        .collect();
    // As people read them; Envoy looks for the most exact one.
    served
        .sort_by_key(|(_, listener)| (Reverse(listener.hostname.exactness()), &listener.hostname));
    let is_tls = matches!(port.protocol, Protocol::Https | Protocol::Tls);
    if !is_tls {
        // One chain for all of them, as the first one is.
        served.truncate(1);
    }
    if served.is_empty() {
        return None;
    }
    let routes = port.route_config_names();
    let chains = served.iter().map(|(index, at)| {
        if !at.is_served() {
            return listener::FilterChain {
                filter_chain_match: Some(server_name(&at.hostname)),
                ..Default::default()
            };
        }
        let policy = policies.listener(&at.tags);
        let filter = if port.protocol.is_http() {
            let routes = &routes[*index];
            Some(http::filter(&port.service, routes, &policy, settings))
        } else {
            let chain = Backends::chain_of(port, *index);
            let backends = backends.map(|backends| backends.of_chain(chain));
            tcp::filter(&port.service, backends.unwrap_or_default(), &policy)
        };
        listener::FilterChain {
            filter_chain_match: is_tls.then(|| server_name(&at.hostname)),
            filters: filter.into_iter().collect(),
            transport_socket: transport_socket(port.protocol, &at.tls),
        }
    });
    // The inspector waits for the client's first bytes, so there is none where nothing depends on
    // them: with some protocols the server speaks first.
    let inspector = is_tls.then(|| listener::ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(
            tls_inspector::TlsInspector {}.to_any(),
        )),
    });
    let message = listener::Listener {
        name: port.name.to_string(),
        address: Some(envoy::socket_address(
            &port.address.to_string(),
            port.number,
        )),
        filter_chains: chains.collect(),
        per_connection_buffer_limit_bytes: Some(BUFFER_LIMIT),
        listener_filters: inspector.into_iter().collect(),
        traffic_direction: core::TrafficDirection::Inbound.into(),
        enable_reuse_port: Some(true),
    };
    let payload = message.encode_to_vec();
    let chains: BTreeSet<usize> = served
        .iter()
        .filter(|(_, listener)| listener.is_served())
        .map(|(index, _)| Backends::chain_of(port, *index))
        .collect();
    Some(Item {
        version: envoy::to_version(&Sha256::digest(&payload)),
        payload: bytes::Bytes::from(payload).into(),
        needs: backends.map_or_else(Arc::default, |backends| backends.needs(&chains).into()),
    })
}

/// Whether the clients of a listener that cannot serve them are turned away by a chain without
/// filters. Without one they would be served by a listener for more hosts, which shows another
/// certificate and sends to other backends.
fn is_closed(port: &Port, listener: &HostListener) -> bool {
    let is_wider = |other: &HostListener| other.hostname.contains(&listener.hostname);
    let mut others = port.listeners.iter();
    !listener.is_served() && others.any(|other| other.is_served() && is_wider(other))
}

/// The clients that ask for a host; for `*`, all that speak TLS.
fn server_name(hostname: &Hostname) -> listener::FilterChainMatch {
    let is_any = *hostname == Hostname::any();
    listener::FilterChainMatch {
        transport_protocol: "tls".to_owned(),
        server_names: if is_any {
            Vec::new()
        } else {
            vec![hostname.to_string()]
        },
    }
}

/// What ends TLS, if that ends here.
fn transport_socket(protocol: Protocol, tls: &Tls) -> Option<core::TransportSocket> {
    let Tls::Terminate(certificates) = tls else {
        return None;
    };
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            tls_params: Some(tls::TlsParameters {
                tls_minimum_protocol_version: tls::tls_parameters::TlsProtocol::TlSv12.into(),
            }),
            // What is inside of plain TLS is not ours to negotiate.
            alpn_protocols: match protocol {
                Protocol::Https => vec!["h2".to_owned(), "http/1.1".to_owned()],
                Protocol::Http | Protocol::Tcp | Protocol::Tls => Vec::new(),
            },
            tls_certificate_sds_secret_configs: certificates.iter().map(ask).collect(),
            ..Default::default()
        }),
        require_client_certificate: Some(false),
        // Else a client that asks for a name that no certificate has gets the first, whether it
        // can use its kind of key or not.
        full_scan_certs_on_sni_mismatch: (certificates.len() > 1).then_some(true),
    };
    Some(core::TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(
            context.to_any(),
        )),
    })
}

fn ask(certificate: &Name) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig {
        name: certificate.to_string(),
        sds_config: Some(envoy::ads()),
    }
}
