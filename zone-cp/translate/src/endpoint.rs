//! Endpoint assignments: the endpoints of a service that a destination selects.

use std::collections::BTreeMap;

use bytes::Bytes;
use mesh_model::tags::{self, Tags};
use mesh_model::{Resource, labels};
use prost::Message as _;
use prost_types::Struct;
use prost_types::value::Kind;

use crate::assemble::{field_len, put_field, put_header};
use crate::envoy::{self, core, endpoint};
use crate::view::Endpoint;

/// `ClusterLoadAssignment.endpoints`.
const LOCALITIES: u32 = 2;
/// `LocalityLbEndpoints.lb_endpoints`.
const LB_ENDPOINTS: u32 = 2;

/// Whether a destination selects an endpoint of its service: each of its other tags is the
/// endpoint's too.
pub(crate) fn is_selected(destination: &Tags, endpoint: &Endpoint) -> bool {
    has_tags(destination, &endpoint.tags)
}

/// Whether each tag of a destination but the service is among `tags`.
pub(crate) fn has_tags(destination: &Tags, tags: &Tags) -> bool {
    destination
        .iter()
        .filter(|(key, _)| *key != tags::SERVICE)
        .all(|(key, value)| tags.get(key) == Some(value))
}

/// The assignment of a cluster; present also when there is no endpoint, so that Envoy answers
/// 503 at once instead of waiting for one.
pub(crate) fn encode(cluster: &str, endpoints: &[&Endpoint]) -> Bytes {
    // By locality, then address: the same endpoints in the same order, whoever offers them.
    let mut localities: BTreeMap<Option<&str>, Vec<&Endpoint>> = BTreeMap::new();
    for &endpoint in endpoints {
        let zone = endpoint.tags.get(tags::ZONE).map(String::as_str);
        localities.entry(zone).or_default().push(endpoint);
    }
    // Without the endpoints, which are encoded already.
    let start = endpoint::ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: Vec::new(),
    };
    let mut out = start.encode_to_vec();
    for (zone, mut endpoints) in localities {
        endpoints.sort_by_key(|e| (e.address, e.port, e.dataplane.key()));
        let start = endpoint::LocalityLbEndpoints {
            locality: zone.map(|zone| core::Locality {
                zone: zone.to_owned(),
                ..Default::default()
            }),
            lb_endpoints: Vec::new(),
            priority: 0,
        };
        let endpoints = endpoints.into_iter().map(|endpoint| {
            endpoint
                .encoded
                .get_or_init(|| lb_endpoint(endpoint).encode_to_vec().into())
        });
        let length = endpoints
            .clone()
            .map(|encoded| field_len(LB_ENDPOINTS, encoded.len()));
        let length = start.encoded_len() + length.sum::<usize>();
        out.reserve(field_len(LOCALITIES, length));
        put_header(LOCALITIES, length, &mut out);
        start.encode_raw(&mut out);
        for encoded in endpoints {
            put_field(LB_ENDPOINTS, encoded, &mut out);
        }
    }
    out.into()
}

fn lb_endpoint(from: &Endpoint) -> endpoint::LbEndpoint {
    let tags = || to_struct(from.tags.iter().filter(|(key, _)| *key != tags::SERVICE));
    let mut metadata = BTreeMap::from([
        ("envoy.lb".to_owned(), tags()),
        ("envoy.transport_socket_match".to_owned(), tags()),
    ]);
    let labels = labels_of(&from.dataplane);
    if !labels.fields.is_empty() {
        metadata.insert("io.kuma.labels".to_owned(), labels);
    }
    endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(
            endpoint::Endpoint {
                address: from
                    .address
                    .map(|address| envoy::socket_address(&address.to_string(), from.port)),
            },
        )),
        health_status: core::HealthStatus::Unknown.into(),
        metadata: Some(core::Metadata {
            filter_metadata: metadata,
        }),
        load_balancing_weight: Some(1),
    }
}

/// The labels of a Dataplane, without the one that only its own control plane follows.
fn labels_of(dataplane: &Resource) -> Struct {
    to_struct(
        dataplane
            .labels()
            .iter()
            .filter(|(key, _)| *key != labels::DELETION_GRACE_PERIOD),
    )
}

pub(crate) fn to_struct<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>) -> Struct {
    Struct {
        fields: pairs
            .map(|(key, value)| {
                let kind = Some(Kind::StringValue(value.clone()));
                (key.clone(), prost_types::Value { kind })
            })
            .collect(),
    }
}
