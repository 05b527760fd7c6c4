//! The way to Envoy's admin interface from other machines: a listener that passes on whom the
//! zone's authority for this vouches for, and nobody else.
//!
//! Without TLS it answers one question, whether the proxy is ready.

use std::fmt;
use std::net::IpAddr;

use mesh_delta::{Item, Name};
use mesh_model::Resource;
use mesh_proto::mesh::Dataplane;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::EnvoyType;
use crate::envoy::{
    self, Named as _, cluster, core, endpoint, hcm, http_filter, listener, matcher, route, tls,
    tls_inspector,
};

/// The cluster and the listener, as Kuma calls both.
pub(crate) const NAME: &str = "kuma:envoy:admin";
/// The cluster of the agent's answer to whether the proxy is ready.
const READINESS: &str = "kuma:readiness";
/// The path of that question.
const READY_PATH: &str = "/ready";
/// The name that the control plane's certificate has.
pub const CLIENT_NAME: &str = "kuma-cp";

/// Where the admin interface is, and by what the listener before it is known.
#[derive(Clone, PartialEq, Eq)]
pub struct Admin {
    /// The port of the listener, at the address of the Dataplane.
    pub port: u16,
    /// The Unix socket of the admin interface; without one it is at the same port on loopback.
    pub socket: Option<String>,
    /// The port on loopback at which the agent says whether the proxy is ready.
    pub readiness_port: Option<u16>,
    /// The listener's certificate, PEM.
    pub certificate: String,
    /// Its key, PEM.
    pub key: String,
    /// The authority that signs both ends' certificates, PEM.
    pub authority: String,
}

/// A resource for Envoy, by type and name.
pub(crate) type Encoded = (EnvoyType, Name, Item<EnvoyType>);

impl fmt::Debug for Admin {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("port", &self.port)
            .field("socket", &self.socket)
            .field("readiness_port", &self.readiness_port)
            .finish_non_exhaustive()
    }
}

impl Admin {
    /// The clusters and the listener, at the address of this Dataplane.
    pub(crate) fn encode(&self, dataplane: &Resource) -> Vec<Encoded> {
        let networking = dataplane.decode::<Dataplane>().networking;
        let address = networking.unwrap_or_default().address;
        let here = |port: u16| envoy::socket_address("127.0.0.1", port.into());
        let admin = match &self.socket {
            Some(path) => core::Address {
                address: Some(core::address::Address::Pipe(core::Pipe {
                    path: path.clone(),
                })),
            },
            None => here(self.port),
        };
        let mut items = vec![cluster_at(NAME, admin)];
        let mut needs = vec![NAME];
        if let Some(port) = self.readiness_port {
            items.push(cluster_at(READINESS, here(port)));
            needs.push(READINESS);
        }
        let needs = needs.into_iter();
        let needs = needs.map(|name| (EnvoyType::Cluster, Name::from(name)));
        // Where the admin interface itself is, there is no room for it.
        if !["127.0.0.1", "::1"].contains(&address.as_str()) && address.parse::<IpAddr>().is_ok() {
            let listener = self.listener(&address).encode_to_vec();
            let listener = item(&listener).needing(needs);
            items.push((EnvoyType::Listener, NAME.into(), listener));
        }
        items
    }

    fn listener(&self, address: &str) -> listener::Listener {
        let readiness = self.readiness_port.map_or(NAME, |_| READINESS);
        let ready = route_to(
            route::route_match::PathSpecifier::Path(READY_PATH.to_owned()),
            readiness,
        );
        let everything = route_to(
            route::route_match::PathSpecifier::Prefix("/".to_owned()),
            NAME,
        );
        let inspector = listener::ListenerFilter {
            name: "envoy.filters.listener.tls_inspector".to_owned(),
            config_type: Some(listener::listener_filter::ConfigType::TypedConfig(
                tls_inspector::TlsInspector {}.to_any(),
            )),
        };
        listener::Listener {
            name: NAME.to_owned(),
            address: Some(envoy::socket_address(address, self.port.into())),
            filter_chains: vec![
                listener::FilterChain {
                    filters: vec![http(vec![ready.clone()])],
                    ..Default::default()
                },
                listener::FilterChain {
                    filter_chain_match: Some(listener::FilterChainMatch {
                        transport_protocol: "tls".to_owned(),
                        server_names: Vec::new(),
                    }),
                    filters: vec![http(vec![ready, everything])],
                    transport_socket: Some(self.transport_socket()),
                },
            ],
            listener_filters: vec![inspector],
            traffic_direction: core::TrafficDirection::Inbound.into(),
            enable_reuse_port: Some(true),
            ..Default::default()
        }
    }

    fn transport_socket(&self) -> core::TransportSocket {
        let client = tls::SubjectAltNameMatcher {
            san_type: tls::subject_alt_name_matcher::SanType::Dns.into(),
            matcher: Some(matcher::StringMatcher {
                match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(
                    CLIENT_NAME.to_owned(),
                )),
            }),
        };
        let context = tls::DownstreamTlsContext {
            common_tls_context: Some(tls::CommonTlsContext {
                tls_certificates: vec![tls::TlsCertificate {
                    certificate_chain: Some(inline(&self.certificate)),
                    private_key: Some(inline(&self.key)),
                }],
                validation_context_type: Some(
                    tls::common_tls_context::ValidationContextType::ValidationContext(
                        tls::CertificateValidationContext {
                            trusted_ca: Some(inline(&self.authority)),
                            match_typed_subject_alt_names: vec![client],
                        },
                    ),
                ),
                ..Default::default()
            }),
            require_client_certificate: Some(true),
            ..Default::default()
        };
        core::TransportSocket {
            name: "envoy.transport_sockets.tls".to_owned(),
            config_type: Some(core::transport_socket::ConfigType::TypedConfig(
                context.to_any(),
            )),
        }
    }
}

fn item(payload: &[u8]) -> Item<EnvoyType> {
    Item::new(
        envoy::to_version(&Sha256::digest(payload)),
        bytes::Bytes::copy_from_slice(payload),
    )
}

fn cluster_at(name: &str, address: core::Address) -> Encoded {
    let host = endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(
            endpoint::Endpoint {
                address: Some(address),
            },
        )),
        ..Default::default()
    };
    let cluster = cluster::Cluster {
        name: name.to_owned(),
        alt_stat_name: name.replace(':', "_"),
        connect_timeout: Some(prost_types::Duration {
            seconds: 5,
            nanos: 0,
        }),
        cluster_discovery_type: Some(cluster::cluster::ClusterDiscoveryType::Type(
            cluster::cluster::DiscoveryType::Static.into(),
        )),
        load_assignment: Some(endpoint::ClusterLoadAssignment {
            cluster_name: name.to_owned(),
            endpoints: vec![endpoint::LocalityLbEndpoints {
                lb_endpoints: vec![host],
                ..Default::default()
            }],
        }),
        ..Default::default()
    };
    let item = item(&cluster.encode_to_vec());
    (EnvoyType::Cluster, name.into(), item)
}

fn http(routes: Vec<route::Route>) -> listener::Filter {
    let manager = hcm::HttpConnectionManager {
        stat_prefix: NAME.replace(':', "_"),
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(
            route::RouteConfiguration {
                name: NAME.to_owned(),
                virtual_hosts: vec![route::VirtualHost {
                    name: NAME.to_owned(),
                    domains: vec!["*".to_owned()],
                    routes,
                    ..Default::default()
                }],
                validate_clusters: Some(false),
                ..Default::default()
            },
        )),
        http_filters: vec![hcm::HttpFilter {
            name: "envoy.filters.http.router".to_owned(),
            config_type: Some(hcm::http_filter::ConfigType::TypedConfig(
                http_filter::router::v3::Router {}.to_any(),
            )),
        }],
        ..Default::default()
    };
    listener::Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(manager.to_any())),
    }
}

fn route_to(path: route::route_match::PathSpecifier, cluster: &str) -> route::Route {
    route::Route {
        r#match: Some(route::RouteMatch {
            path_specifier: Some(path),
            ..Default::default()
        }),
        action: Some(route::route::Action::Route(route::RouteAction {
            cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(
                cluster.to_owned(),
            )),
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn inline(pem: &str) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(pem.to_owned())),
    }
}
