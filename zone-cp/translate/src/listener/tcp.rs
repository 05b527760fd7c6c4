//! The filter that forwards connections as they are.

use mesh_delta::Name;

use crate::cluster::sanitize;
use crate::envoy::tcp_proxy::TcpProxy;
use crate::envoy::tcp_proxy::tcp_proxy::weighted_cluster::ClusterWeight;
use crate::envoy::tcp_proxy::tcp_proxy::{ClusterSpecifier, WeightedCluster};
use crate::envoy::{Named as _, listener};
use crate::policy::ListenerPolicy;

/// The filter; none where there is nowhere to go, so that connections are closed at once.
pub(super) fn filter(
    service: &str,
    backends: Vec<(Name, u32)>,
    policy: &ListenerPolicy,
) -> Option<listener::Filter> {
    let cluster_specifier = match backends.as_slice() {
        [] => return None,
        [(only, _)] => ClusterSpecifier::Cluster(only.to_string()),
        _ => ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: backends
                .into_iter()
                .map(|(name, weight)| ClusterWeight {
                    name: name.to_string(),
                    weight,
                })
                .collect(),
        }),
    };
    let proxy = TcpProxy {
        stat_prefix: sanitize(service),
        cluster_specifier: Some(cluster_specifier),
        max_connect_attempts: policy.max_connect_attempts,
        idle_timeout: Some(policy.idle_timeout),
    };
    Some(listener::Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(proxy.to_any())),
    })
}
