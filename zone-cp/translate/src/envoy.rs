//! The part of Envoy's configuration messages that we write.
//!
//! Generated from `protos/`, whose field numbers are those of Envoy's v3 API
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/api>); a field is added there when it is
//! first written. Maps are ordered, so that equal messages have equal bytes.

use std::fmt;
use std::sync::{Arc, LazyLock};

use mesh_delta::TypeSet;
use mesh_proto::Any;
use prost_reflect::DescriptorPool;

#[allow(
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all,
    clippy::doc_markdown,
    clippy::allow_attributes_without_reason,
    rustdoc::all,
    reason = "generated code"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/envoy.rs"));
}

pub(crate) use generated::envoy::config::cluster::v3 as cluster;
pub(crate) use generated::envoy::config::common::mutation_rules::v3 as mutation;
pub(crate) use generated::envoy::config::core::v3 as core;
pub(crate) use generated::envoy::config::endpoint::v3 as endpoint;
pub(crate) use generated::envoy::config::listener::v3 as listener;
pub(crate) use generated::envoy::config::route::v3 as route;
pub(crate) use generated::envoy::extensions::compression::gzip::compressor::v3 as gzip;
pub(crate) use generated::envoy::extensions::filters::http as http_filter;
pub(crate) use generated::envoy::extensions::filters::listener::tls_inspector::v3 as tls_inspector;
pub(crate) use generated::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
pub(crate) use generated::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
pub(crate) use generated::envoy::extensions::network::dns_resolver::cares::v3 as cares;
pub(crate) use generated::envoy::extensions::transport_sockets::tls::v3 as tls;
pub(crate) use generated::envoy::extensions::upstreams::http::v3 as upstream_http;
pub(crate) use generated::envoy::service::runtime::v3 as runtime;
pub(crate) use generated::envoy::r#type::matcher::v3 as matcher;
pub(crate) use generated::envoy::r#type::v3 as percent;
pub(crate) use generated::xds::core::v3 as xds_core;
#[cfg(test)]
pub(crate) use generated::xds::r#type::matcher::v3 as xds_matcher;

/// The header by which backends learn the tags of a gateway.
pub(crate) const TAGS_HEADER: &str = "x-kuma-tags";

/// The resource types of an Envoy stream, in make-before-break order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EnvoyType {
    /// Layers of runtime values (RTDS). First, because a gateway's Envoy waits for its own.
    Runtime,
    /// Clusters (CDS).
    Cluster,
    /// The endpoints of a cluster, under the cluster's name (EDS).
    Endpoint,
    /// Certificates and keys (SDS).
    Secret,
    /// Listeners (LDS).
    Listener,
    /// Route configurations (RDS).
    Route,
}

impl EnvoyType {
    /// The message's full name.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Runtime => "envoy.service.runtime.v3.Runtime",
            Self::Cluster => "envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Secret => "envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Listener => "envoy.config.listener.v3.Listener",
            Self::Route => "envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// What xDS calls the type: `type.googleapis.com/` and the message's full name.
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Runtime => "type.googleapis.com/envoy.service.runtime.v3.Runtime",
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// The type that xDS calls `type_url`.
    pub fn from_type_url(type_url: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|ty| ty.type_url() == type_url)
    }
}

impl TypeSet for EnvoyType {
    const ALL: &'static [Self] = &[
        Self::Runtime,
        Self::Cluster,
        Self::Endpoint,
        Self::Secret,
        Self::Listener,
        Self::Route,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn companion(self) -> Option<Self> {
        // https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#resource-warming
        (self == Self::Cluster).then_some(Self::Endpoint)
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }

    fn lingers(self) -> bool {
        matches!(self, Self::Cluster | Self::Endpoint)
    }

    fn is_hard_need(self) -> bool {
        // A route to a cluster that Envoy hasn't got is answered with 500; one whose endpoints
        // are late is only answered late.
        self == Self::Cluster
    }
}

/// A message that is one of Envoy's resources or extension configurations.
pub(crate) trait Named: prost::Message + Sized {
    /// The message's full name.
    const NAME: &'static str;

    /// The message inside an `Any`.
    fn to_any(&self) -> Any {
        Any {
            type_url: format!("type.googleapis.com/{}", Self::NAME),
            value: self.encode_to_vec().into(),
        }
    }
}

macro_rules! named {
    ($($message:ty = $name:literal),+ $(,)?) => {
        $(impl Named for $message {
            const NAME: &'static str = $name;
        })+

        /// The full names of all messages that are put into an `Any`.
        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),+];
    };
}

named! {
    hcm::HttpConnectionManager =
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    http_filter::router::v3::Router = "envoy.extensions.filters.http.router.v3.Router",
    http_filter::compressor::v3::Compressor =
        "envoy.extensions.filters.http.compressor.v3.Compressor",
    http_filter::local_ratelimit::v3::LocalRateLimit =
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
    http_filter::header_mutation::v3::HeaderMutation =
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    http_filter::upstream_codec::v3::UpstreamCodec =
        "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
    tcp_proxy::TcpProxy = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    tls_inspector::TlsInspector =
        "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    tls::DownstreamTlsContext =
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    cares::CaresDnsResolverConfig =
        "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
    tls::UpstreamTlsContext =
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    gzip::Gzip = "envoy.extensions.compression.gzip.compressor.v3.Gzip",
    upstream_http::HttpProtocolOptions =
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    matcher::HttpRequestHeaderMatchInput = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
    route::RouteList = "envoy.config.route.v3.RouteList",
}

impl fmt::Debug for core::DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DataSource").field(&self.specifier).finish()
    }
}

impl fmt::Debug for core::data_source::Specifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filename(path) => f.debug_tuple("Filename").field(path).finish(),
            // Private keys are given so.
            Self::InlineBytes(_) | Self::InlineString(_) => f.write_str("Inline([redacted])"),
        }
    }
}

/// Descriptors of these messages, for code that handles them by name.
pub(crate) fn descriptors() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(include_bytes!(concat!(env!("OUT_DIR"), "/envoy.bin")).as_slice())
            .expect("the build wrote a descriptor set of its own")
    });
    &POOL
}

/// "Ask the stream that you got this from", in the v3 form.
pub(crate) fn ads() -> core::ConfigSource {
    core::ConfigSource {
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource {},
        )),
        initial_fetch_timeout: None,
        resource_api_version: core::ApiVersion::V3.into(),
    }
}

/// A TCP address.
pub(crate) fn socket_address(address: &str, port: u32) -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: address.to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
        })),
    }
}

/// A version for the stream: 32 hex digits of a content hash.
pub(crate) fn to_version(hash: &[u8]) -> mesh_delta::Version {
    Arc::from(hex(&hash[..16]))
}

/// Bytes as hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_by_their_url() {
        for (index, ty) in EnvoyType::ALL.iter().copied().enumerate() {
            assert_eq!(ty.index(), index);
            assert_eq!(EnvoyType::from_type_url(ty.type_url()), Some(ty));
            assert!(ty.type_url().ends_with(ty.message()));
        }
        assert_eq!(EnvoyType::from_type_url("type.googleapis.com/x"), None);
    }

    #[test]
    fn every_message_in_an_any_has_a_descriptor() {
        for name in NAMES {
            assert!(descriptors().get_message_by_name(name).is_some(), "{name}");
        }
    }
}
