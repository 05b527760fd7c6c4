//! External services: services outside of the mesh, as backends of gateways.
//!
//! A destination whose service is an ExternalService gets a cluster that knows its endpoints
//! itself: Envoy resolves their names, and speaks TLS with those that ask for it. On gateways an
//! ExternalService wins over Dataplanes of the same service.
//!
//! Traffic leaves from the gateway itself. With mTLS and zone egress it will leave from the
//! zone's egress instead, and TrafficPermission will decide who may: [`ExternalView::select`] is
//! the place for both.
//!
//! **Invariant:** an ExternalService that cannot be reached as it asks (no CA, no key) is not
//! reached at all; never with less verification.

#[cfg(test)]
mod tests;
mod tls;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use mesh_model::external_service::Address;
use mesh_model::tags::{self, Tags};
use mesh_model::{Resource, ZoneName};
use mesh_proto::mesh::external_service::networking;
use mesh_proto::mesh::{Dataplane, ExternalService};
use mesh_proto::system::data_source::Type;
use prost::Message as _;
use prost_types::Struct;

pub(crate) use self::view::ExternalView;
use crate::certificate::SecretView;
use crate::cluster::{self, Protocol};
use crate::endpoint::to_struct;
use crate::envoy::cluster::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, TransportSocketMatch,
};
use crate::envoy::{self, Named as _, TAGS_HEADER, core, endpoint, hcm, http_filter, mutation};
use crate::finding::Finding;
use crate::policy::ClusterPolicy;
use crate::proxy::Proxy;

/// Where a proxy is, as far as that decides how it reaches external services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Site {
    /// Unknown: services of every zone are reached.
    pub(crate) zone: Option<ZoneName>,
    /// Whether the proxy's own address is an IPv6 one.
    pub(crate) is_ipv6: bool,
}

impl Site {
    /// Where a proxy is.
    pub(crate) fn of(proxy: &Proxy) -> Self {
        let networking = proxy.dataplane.decode::<Dataplane>().networking;
        let address = networking.map(|networking| networking.address.parse());
        Self {
            zone: proxy.zone.clone(),
            is_ipv6: matches!(address, Some(Ok(IpAddr::V6(_)))),
        }
    }
}

/// An ExternalService.
pub(crate) struct External {
    pub(crate) resource: Arc<Resource>,
    spec: ExternalService,
}

impl fmt::Debug for External {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The spec may hold a private key.
        f.debug_tuple("External")
            .field(self.resource.key())
            .finish()
    }
}

/// How to reach an ExternalService.
struct Reach {
    address: Address,
    /// How to speak TLS with it, if that is asked for.
    tls: Option<envoy::tls::UpstreamTlsContext>,
}

impl External {
    fn new(resource: &Arc<Resource>) -> Self {
        Self {
            resource: Arc::clone(resource),
            spec: resource.decode(),
        }
    }

    pub(crate) fn tags(&self) -> &Tags {
        &self.spec.tags
    }

    /// Whether proxies there may use it: it is of their zone, or of none.
    fn is_of(&self, site: &Site) -> bool {
        let zone = self.spec.tags.get(tags::ZONE);
        match (zone, &site.zone) {
            (Some(zone), Some(own)) => zone.is_empty() || zone == own.as_str(),
            _ => true,
        }
    }

    fn tls(&self) -> Option<&networking::Tls> {
        let tls = self.spec.networking.as_ref()?.tls.as_ref();
        tls.filter(|tls| tls.enabled)
    }

    /// The files of the control plane's host that it names.
    fn files(&self) -> impl Iterator<Item = &str> {
        let sources = self
            .tls()
            .into_iter()
            .flat_map(|tls| [&tls.ca_cert, &tls.client_cert, &tls.client_key]);
        sources.flatten().filter_map(|source| match &source.r#type {
            Some(Type::File(path)) => Some(path.as_str()),
            _ => None,
        })
    }

    /// How to reach it, or the field that prevents that and what is wrong there.
    fn reach(&self, secrets: &SecretView) -> Result<Reach, (&'static str, String)> {
        let written = self.spec.networking.as_ref();
        let address = Address::parse(written.map_or("", |n| n.address.as_str()))
            .map_err(|why| ("networking.address", why.to_string()))?;
        let tls = self
            .tls()
            .map(|tls| self::tls::context(tls, &address, secrets))
            .transpose()?;
        Ok(Reach { address, tls })
    }

    /// The tags of its endpoint, without the service; those of an endpoint with TLS are its own,
    /// so that no other endpoint gets its TLS context.
    fn endpoint_tags(&self) -> Struct {
        let mut tags = self.spec.tags.clone();
        tags.remove(tags::SERVICE);
        tags.remove(tags::EXTERNAL_SERVICE_NAME);
        if self.tls().is_some() {
            let name = self.resource.key().name().to_string();
            tags.insert(tags::EXTERNAL_SERVICE_NAME.to_owned(), name);
        }
        to_struct(tags.iter())
    }
}

/// What is wrong with the external services of one service, for proxies at `site`.
pub(crate) fn findings(
    view: &ExternalView,
    service: &str,
    secrets: &SecretView,
    site: &Site,
) -> Vec<Finding> {
    view.of(service, site)
        .filter_map(|external| {
            let (path, problem) = external.reach(secrets).err()?;
            let message = format!("{problem}; gateways send nothing there");
            Some(Finding::about(&external.resource, path, message))
        })
        .collect()
}

/// The cluster of a destination that selects these external services.
pub(crate) fn encode(
    name: &str,
    service: &str,
    protocol: Protocol,
    policy: &ClusterPolicy,
    selected: &[&External],
    secrets: &SecretView,
    site: &Site,
) -> Bytes {
    let mut reached: Vec<(Reach, &External)> = selected
        .iter()
        .filter_map(|external| Some((external.reach(secrets).ok()?, *external)))
        .collect();
    // The same endpoints in the same order, whatever they are called here.
    reached.sort_by(|(a, one), (b, other)| {
        (&a.address, one.resource.key()).cmp(&(&b.address, other.resource.key()))
    });
    let needs_dns = reached
        .iter()
        .any(|(reach, _)| reach.address.ip().is_none());
    let discovery = if needs_dns {
        DiscoveryType::StrictDns
    } else {
        DiscoveryType::Static
    };
    let has_ipv6 = reached
        .iter()
        .any(|(reach, _)| matches!(reach.address.ip(), Some(IpAddr::V6(_))));
    let family = if !needs_dns || site.is_ipv6 {
        DnsLookupFamily::Auto
    } else if has_ipv6 {
        // Addresses are resolved too, by what is for names.
        DnsLookupFamily::V4Preferred
    } else {
        DnsLookupFamily::V4Only
    };
    let endpoints: Vec<_> = reached
        .iter()
        .map(|(reach, external)| lb_endpoint(&reach.address, external))
        .collect();
    let mut cluster = cluster::base(name, service, protocol, policy, http_filters());
    cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(discovery.into()));
    cluster.dns_lookup_family = family.into();
    cluster.typed_dns_resolver_config = needs_dns.then(dns_resolver);
    cluster.load_assignment = Some(endpoint::ClusterLoadAssignment {
        cluster_name: service.to_owned(),
        endpoints: if endpoints.is_empty() {
            Vec::new()
        } else {
            vec![endpoint::LocalityLbEndpoints {
                lb_endpoints: endpoints,
                ..Default::default()
            }]
        },
    });
    cluster.transport_socket_matches = reached
        .iter()
        .filter_map(|(reach, external)| {
            let context = reach.tls.as_ref()?;
            Some(TransportSocketMatch {
                name: reach.address.host.clone(),
                r#match: Some(external.endpoint_tags()),
                transport_socket: Some(core::TransportSocket {
                    name: "envoy.transport_sockets.tls".to_owned(),
                    config_type: Some(core::transport_socket::ConfigType::TypedConfig(
                        context.to_any(),
                    )),
                }),
            })
        })
        .collect();
    cluster.encode_to_vec().into()
}

/// How names are asked for: with an answer, or without one, within three seconds.
///
/// Envoy acknowledges no cluster while one of them waits for its first addresses, so that with
/// its own patience (nearly a minute) a name server which does not answer would hold up all
/// others. Names that have failed are asked for again with every refresh.
fn dns_resolver() -> core::TypedExtensionConfig {
    core::TypedExtensionConfig {
        name: "envoy.network.dns_resolver.cares".to_owned(),
        typed_config: Some(
            envoy::cares::CaresDnsResolverConfig {
                // The second try waits twice as long.
                query_timeout_seconds: Some(1),
                query_tries: Some(2),
            }
            .to_any(),
        ),
    }
}

fn lb_endpoint(address: &Address, external: &External) -> endpoint::LbEndpoint {
    let tags = external.endpoint_tags();
    endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(
            endpoint::Endpoint {
                address: Some(envoy::socket_address(
                    &address.host,
                    u32::from(address.port),
                )),
            },
        )),
        metadata: Some(core::Metadata {
            filter_metadata: BTreeMap::from([
                ("envoy.lb".to_owned(), tags.clone()),
                ("envoy.transport_socket_match".to_owned(), tags),
            ]),
        }),
        load_balancing_weight: Some(1),
        ..Default::default()
    }
}

/// The filters of requests that leave the mesh: the tags of the gateway are nobody's business
/// there. Routes say them to all their backends and mirrors; a cluster can take them back for
/// itself alone.
fn http_filters() -> Vec<hcm::HttpFilter> {
    let filter = |name: &str, config| hcm::HttpFilter {
        name: name.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
    };
    let remove = mutation::HeaderMutation {
        action: Some(mutation::header_mutation::Action::Remove(
            TAGS_HEADER.to_owned(),
        )),
    };
    let mutation = http_filter::header_mutation::v3::HeaderMutation {
        mutations: Some(http_filter::header_mutation::v3::Mutations {
            request_mutations: vec![remove],
        }),
    };
    vec![
        filter("envoy.filters.http.header_mutation", mutation.to_any()),
        filter(
            "envoy.filters.http.upstream_codec",
            http_filter::upstream_codec::v3::UpstreamCodec {}.to_any(),
        ),
    ]
}
