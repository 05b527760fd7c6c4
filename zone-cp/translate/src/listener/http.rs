//! The filter that speaks HTTP with clients, and its settings.

use mesh_proto::Any;

use crate::cluster::sanitize;
use crate::envoy::{self, Named as _, core, gzip, hcm, http_filter, listener};
use crate::policy::ListenerPolicy;
use crate::proxy::Settings;

/// Addresses whose requests count as internal: loopback and the private ranges.
const INTERNAL: [(&str, u32); 7] = [
    ("10.0.0.0", 8),
    ("192.168.0.0", 16),
    ("172.16.0.0", 12),
    ("fc00::", 7),
    ("fd00::", 8),
    ("127.0.0.1", 32),
    ("::1", 128),
];

/// The filter; its routes come over the stream.
pub(super) fn filter(
    service: &str,
    route_config_name: &str,
    policy: &ListenerPolicy,
    settings: &Settings,
) -> listener::Filter {
    let manager = hcm::HttpConnectionManager {
        stat_prefix: sanitize(service),
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(
            hcm::Rds {
                config_source: Some(envoy::ads()),
                route_config_name: route_config_name.to_owned(),
            },
        )),
        http_filters: http_filters(),
        http2_protocol_options: Some(core::Http2ProtocolOptions {
            max_concurrent_streams: Some(100),
            initial_stream_window_size: Some(64 * 1024),
            initial_connection_window_size: Some(1024 * 1024),
            allow_connect: true,
        }),
        server_name: settings.server_name.clone(),
        use_remote_address: Some(true),
        stream_idle_timeout: Some(policy.stream_idle_timeout),
        internal_address_config: Some(hcm::http_connection_manager::InternalAddressConfig {
            cidr_ranges: INTERNAL
                .into_iter()
                .map(|(prefix, length)| core::CidrRange {
                    address_prefix: prefix.to_owned(),
                    prefix_len: Some(length),
                })
                .collect(),
        }),
        normalize_path: Some(true),
        merge_slashes: true,
        common_http_protocol_options: Some(core::HttpProtocolOptions {
            idle_timeout: Some(policy.idle_timeout),
            headers_with_underscores_action:
                core::http_protocol_options::HeadersWithUnderscoresAction::RejectRequest.into(),
        }),
        request_headers_timeout: Some(policy.request_headers_timeout),
        path_with_escaped_slashes_action:
            hcm::http_connection_manager::PathWithEscapedSlashesAction::UnescapeAndRedirect.into(),
    };
    listener::Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(manager.to_any())),
    }
}

fn http_filters() -> Vec<hcm::HttpFilter> {
    let filter = |name: &str, config: Any| hcm::HttpFilter {
        name: name.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
    };
    vec![
        // Without a bucket it does nothing, until a route brings one.
        filter(
            "envoy.filters.http.local_ratelimit",
            http_filter::local_ratelimit::v3::LocalRateLimit {
                stat_prefix: "rate_limit".to_owned(),
            }
            .to_any(),
        ),
        filter(
            "gzip-compress",
            http_filter::compressor::v3::Compressor {
                compressor_library: Some(core::TypedExtensionConfig {
                    name: "gzip".to_owned(),
                    typed_config: Some(gzip::Gzip {}.to_any()),
                }),
                response_direction_config: Some(
                    http_filter::compressor::v3::compressor::ResponseDirectionConfig {
                        disable_on_etag_header: true,
                    },
                ),
            }
            .to_any(),
        ),
        filter(
            "envoy.filters.http.router",
            http_filter::router::v3::Router {}.to_any(),
        ),
    ]
}
