//! Clusters: one per destination and set of listener tags.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use mesh_delta::Name;
use mesh_model::tags::{self, Tags};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::envoy::{self, Named as _, cluster, core, hcm, upstream_http};
use crate::policy::ClusterPolicy;

/// A destination that stands for a reference to nothing. It gets no cluster, so that Envoy
/// answers 500 for its share of requests.
pub(crate) const UNRESOLVED: &str = "kuma.io/unresolved-backend";

/// What we buffer for a connection, on both sides, in bytes.
pub(crate) const BUFFER_LIMIT: u32 = 32 * 1024;

/// What a cluster is for: a destination, as routes on some listeners use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) destination: Tags,
    /// The tags of the listeners; policies may make a difference for them.
    pub(crate) listener_tags: Arc<Tags>,
    pub(crate) kind: Kind,
}

/// The uses of clusters, by the names that Kuma gives these; several where destinations ask for
/// one name.
#[derive(Debug, Default)]
pub(crate) struct Uses(BTreeMap<Name, Vec<Use>>);

impl Uses {
    /// Takes note of a use, once.
    pub(crate) fn note(&mut self, usual: Name, of: Use) {
        let all = self.0.entry(usual).or_default();
        if !all.contains(&of) {
            all.push(of);
        }
    }

    /// Takes note of others.
    pub(crate) fn extend(&mut self, others: Self) {
        for (usual, of) in others.into_all() {
            self.note(usual, of);
        }
    }

    /// Each with the name that Kuma gives its cluster.
    pub(crate) fn into_all(self) -> impl Iterator<Item = (Name, Use)> {
        let all = self.0.into_iter();
        all.flat_map(|(usual, uses)| uses.into_iter().map(move |of| (Arc::clone(&usual), of)))
    }
}

/// Which kind of routes sends to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    Tcp,
}

/// What a cluster's endpoints speak, as far as that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    /// Whatever it is that connections carry.
    Tcp,
}

impl Protocol {
    /// For HTTP, what the destination says, else what all its endpoints say, ready or not, else
    /// HTTP/1.1.
    pub(crate) fn of<'a>(
        kind: Kind,
        destination: &'a Tags,
        endpoints: impl IntoIterator<Item = &'a Tags>,
    ) -> Self {
        if kind == Kind::Tcp {
            return Self::Tcp;
        }
        let is_http2 = |tags: &Tags| {
            tags.get(tags::PROTOCOL).is_some_and(|protocol| {
                ["http2", "grpc"]
                    .iter()
                    .any(|known| known.eq_ignore_ascii_case(protocol))
            })
        };
        if destination.contains_key(tags::PROTOCOL) {
            return if is_http2(destination) {
                Self::Http2
            } else {
                Self::Http1
            };
        }
        let mut endpoints = endpoints.into_iter().peekable();
        if endpoints.peek().is_some() && endpoints.all(is_http2) {
            Self::Http2
        } else {
            Self::Http1
        }
    }
}

/// The name of the cluster for a destination used by a listener with these tags:
/// `<service>-<16 hex digits>`.
///
/// Kuma's dashboards and the merging of metrics per service know the pattern. `distinction` tells
/// apart two clusters that would have the same name otherwise; empty where there is one.
pub(crate) fn name(destination: &Tags, listener_tags: &Tags, distinction: &str) -> Name {
    let service = destination.get(tags::SERVICE).map_or("", String::as_str);
    if service == UNRESOLVED {
        return Name::from(UNRESOLVED);
    }
    let mut hasher = Sha256::new();
    for text in destination
        .iter()
        .chain(listener_tags)
        .flat_map(|(key, value)| [key, value])
    {
        hasher.update(text);
    }
    hasher.update(distinction);
    join(service, hasher)
}

/// The name of a cluster whose [`name`] others ask for too. It looks like that one, and no tags
/// run together in it.
pub(crate) fn own_name(of: &Use) -> Name {
    let mut hasher = Sha256::new();
    let mut update = |text: &str| {
        hasher.update(text.len().to_le_bytes());
        hasher.update(text);
    };
    update(match of.kind {
        Kind::Http => "http",
        Kind::Tcp => "tcp",
    });
    for tags in [&of.destination, &*of.listener_tags] {
        update(&tags.len().to_string());
        for (key, value) in tags {
            update(key);
            update(value);
        }
    }
    let service = of.destination.get(tags::SERVICE).map_or("", String::as_str);
    join(service, hasher)
}

fn join(service: &str, hasher: Sha256) -> Name {
    let mut name = String::with_capacity(service.len() + 17);
    name.push_str(service);
    name.push('-');
    for byte in &hasher.finalize()[..8] {
        write!(name, "{byte:02x}").expect("writing to a String cannot fail");
    }
    Name::from(name)
}

/// A cluster whose endpoints come over the stream.
pub(crate) fn encode(
    name: &str,
    service: &str,
    protocol: Protocol,
    policy: &ClusterPolicy,
) -> Bytes {
    let mut cluster = base(name, service, protocol, policy, Vec::new());
    cluster.cluster_discovery_type = Some(cluster::cluster::ClusterDiscoveryType::Type(
        cluster::cluster::DiscoveryType::Eds.into(),
    ));
    cluster.eds_cluster_config = Some(cluster::cluster::EdsClusterConfig {
        eds_config: Some(envoy::ads()),
    });
    cluster.encode_to_vec().into()
}

/// A cluster of this name that waits for endpoints which nobody sends. Meanwhile Envoy goes on with
/// the cluster of the name that it has, for a minute at most: twice as long as the connections of a
/// listener that is gone last by default.
pub fn stand_in(name: &str) -> mesh_delta::Payload {
    const MOST: prost_types::Duration = prost_types::Duration {
        seconds: 60,
        nanos: 0,
    };
    let of = cluster::cluster::DiscoveryType::Eds;
    let cluster = cluster::Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(cluster::cluster::ClusterDiscoveryType::Type(of.into())),
        eds_cluster_config: Some(cluster::cluster::EdsClusterConfig {
            eds_config: Some(core::ConfigSource {
                initial_fetch_timeout: Some(MOST),
                ..envoy::ads()
            }),
        }),
        ..Default::default()
    };
    cluster.encode_to_vec().into()
}

/// What clusters have in common, wherever their endpoints come from. Requests to the cluster pass
/// `http_filters`, if there are any.
pub(crate) fn base(
    name: &str,
    service: &str,
    protocol: Protocol,
    policy: &ClusterPolicy,
    http_filters: Vec<hcm::HttpFilter>,
) -> cluster::Cluster {
    let stat_name = sanitize(service);
    let options = explicit(protocol).map(|protocol| upstream_http::HttpProtocolOptions {
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            // Written even if zero: without it Envoy would close idle connections after an hour.
            idle_timeout: Some(policy.http_idle_timeout),
            ..Default::default()
        }),
        upstream_protocol_options: Some(
            upstream_http::http_protocol_options::UpstreamProtocolOptions::ExplicitHttpConfig(
                upstream_http::http_protocol_options::ExplicitHttpConfig {
                    protocol_config: Some(protocol),
                },
            ),
        ),
        http_filters,
    });
    cluster::Cluster {
        name: name.to_owned(),
        connect_timeout: Some(policy.connect_timeout),
        per_connection_buffer_limit_bytes: Some(BUFFER_LIMIT),
        circuit_breakers: Some(cluster::CircuitBreakers {
            thresholds: vec![cluster::circuit_breakers::Thresholds {
                track_remaining: true,
            }],
        }),
        alt_stat_name: if stat_name == service {
            String::new()
        } else {
            stat_name
        },
        typed_extension_protocol_options: options
            .map(|options| {
                let name = upstream_http::HttpProtocolOptions::NAME;
                (name.to_owned(), options.to_any())
            })
            .into_iter()
            .collect(),
        ..Default::default()
    }
}

fn explicit(
    protocol: Protocol,
) -> Option<upstream_http::http_protocol_options::explicit_http_config::ProtocolConfig> {
    use upstream_http::http_protocol_options::explicit_http_config::ProtocolConfig;
    match protocol {
        Protocol::Http1 => Some(ProtocolConfig::HttpProtocolOptions(
            core::Http1ProtocolOptions {},
        )),
        Protocol::Http2 => Some(ProtocolConfig::Http2ProtocolOptions(
            core::Http2ProtocolOptions {
                initial_stream_window_size: Some(64 * 1024),
                initial_connection_window_size: Some(1024 * 1024),
                ..Default::default()
            },
        )),
        Protocol::Tcp => None,
    }
}

/// A name as it appears in statistics: all but letters, digits, `_` and `-` become `_`.
pub(crate) fn sanitize(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
                c
            } else {
                '_'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(text: &str) -> Tags {
        text.split(", ")
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap();
                let key = if key == "S" { tags::SERVICE } else { key };
                (key.to_owned(), value.to_owned())
            })
            .collect()
    }

    #[test]
    fn names_are_those_that_kuma_gives() {
        for (destination, listener, expected) in [
            (
                "S=echo-service",
                "S=gateway-default, port=http/8080",
                "echo-service-9f149ed9e14091ca",
            ),
            (
                "S=api-service",
                "S=gateway-default, port=http/8080",
                "api-service-4508437668c35ed8",
            ),
            (
                "S=echo-mirror, kuma.io/zone=development",
                "S=gateway-default, port=http/8080",
                "echo-mirror-90205ae37cc0294e",
            ),
            (
                "S=echo-service",
                "S=gateway-default",
                "echo-service-bfae5b64a0fe8b74",
            ),
            ("S=backend", "S=sample-gateway", "backend-26cb64fa4e85e7b7"),
            (
                "S=echo-service",
                "S=gateway-multihost, hostname=one.example.com",
                "echo-service-4d89cd662308223d",
            ),
            (
                "S=echo",
                "S=edge-gateway, kuma.io/zone=zone-1, port=http/24100",
                "echo-7e48748ea5bb9b98",
            ),
            (
                "S=cart",
                "S=edge-gateway, kuma.io/zone=zone-1",
                "cart-5d1690ccca6eaf6a",
            ),
            (
                "S=cart, kuma.io/zone=zone-2",
                "S=edge-gateway, kuma.io/zone=zone-1",
                "cart-c7ed96979bcd9fa9",
            ),
            ("S=kuma.io/unresolved-backend", "S=edge", UNRESOLVED),
        ] {
            let name = name(&tags(destination), &tags(listener), "");
            assert_eq!(&*name, expected);
        }
    }

    #[test]
    fn a_protocol_is_what_the_destination_or_else_every_endpoint_says() {
        let grpc = tags("kuma.io/protocol=grpc");
        let http = tags("kuma.io/protocol=http");
        let plain = tags("S=a");
        let of = |destination, endpoints: &[&Tags]| {
            Protocol::of(Kind::Http, destination, endpoints.iter().copied())
        };
        assert_eq!(of(&grpc, &[&http]), Protocol::Http2);
        assert_eq!(of(&http, &[&grpc]), Protocol::Http1);
        assert_eq!(of(&plain, &[&grpc, &grpc]), Protocol::Http2);
        assert_eq!(of(&plain, &[&grpc, &http]), Protocol::Http1);
        assert_eq!(of(&plain, &[]), Protocol::Http1);
        assert_eq!(Protocol::of(Kind::Tcp, &grpc, []), Protocol::Tcp);
    }
}
