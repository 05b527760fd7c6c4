//! From a MeshGatewayRoute to Envoy routes: one for each match of a rule, two for a prefix that is
//! replaced.
//!
//! A route is compiled once for each listener that it is attached to, because cluster names
//! depend on the listener's tags; the encoded result is shared by all hosts that serve it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mesh_delta::Name;
use mesh_model::tags::{self, Tags};
use mesh_proto::mesh::MeshGatewayRoute;
use mesh_proto::mesh::mesh_gateway_route::conf;
use mesh_proto::mesh::mesh_gateway_route::http_route::Rule;
use mesh_proto::mesh::mesh_gateway_route::{Backend, HttpRoute};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::assemble;
use crate::backend::{Context, NO_SERVICE, destination};
use crate::cluster::{self, Uses};
use crate::envoy::route;
use crate::envoy::route::route_action::ClusterSpecifier;
use crate::filter::{Filters, Rewrite};
use crate::finding::Finding;
use crate::matching::{self, Matching};
use crate::order::{Position, Source};
use crate::refuse;
use crate::tcp;
use crate::view::Decoded;

/// The field number of routes in Envoy's `VirtualHost`.
const ROUTES: u32 = 3;

/// One Envoy route.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The encoded route, framed as a field of its virtual host.
    pub(crate) bytes: Bytes,
    /// Equal for entries that match the same requests.
    pub(crate) matching: u128,
}

/// A route resource as compiled for one listener.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    pub(crate) entries: Vec<(Arc<Position>, Entry)>,
    /// The clusters that the entries name.
    pub(crate) clusters: Uses,
}

/// What a route resource says, if it says anything.
pub(crate) fn conf(resource: &Decoded<MeshGatewayRoute>) -> Option<&conf::Route> {
    resource.spec.conf.as_ref()?.route.as_ref()
}

/// The services that a route resource sends to, with the path of the first backend that names
/// each.
pub(crate) fn services(conf: &conf::Route) -> BTreeMap<&str, String> {
    let backends: Vec<(&Backend, String)> = match conf {
        conf::Route::Http(http) => http_backends(http).collect(),
        conf::Route::Tcp(tcp) => tcp::backends(tcp).collect(),
    };
    let mut services = BTreeMap::new();
    for (backend, path) in backends {
        if let Some(service) = backend.destination.get(tags::SERVICE) {
            services.entry(service.as_str()).or_insert(path);
        }
    }
    services.remove(cluster::UNRESOLVED);
    services
}

fn http_backends(http: &HttpRoute) -> impl Iterator<Item = (&Backend, String)> {
    http.rules.iter().enumerate().flat_map(|(index, rule)| {
        let path = move |field| format!("conf.http.rules[{index}].{field}");
        let backends = rule.backends.iter().enumerate();
        let backends = backends.map(move |(backend, b)| (b, path(format!("backends[{backend}]"))));
        let mirrors = Filters::mirrors(rule)
            .map(move |(filter, b)| (b, path(format!("filters[{filter}].mirror.backend"))));
        backends.chain(mirrors)
    })
}

/// Compiles a route resource for one listener. What Envoy would refuse is left out and reported.
pub(crate) fn compile(
    resource: &Decoded<MeshGatewayRoute>,
    http: &HttpRoute,
    context: &Context<'_>,
    findings: &mut BTreeSet<Finding>,
) -> Compiled {
    let source = Arc::new(Source {
        age: resource.age,
        display_name: resource.resource.display_name().into(),
        name: resource.resource.key().name().clone(),
    });
    let mut compiled = Compiled::default();
    for (index, rule) in http.rules.iter().enumerate() {
        let mut report = |path: &str, message: String| {
            let path = format!("conf.http.rules[{index}]{path}");
            findings.insert(Finding::about(&resource.resource, path, message));
        };
        let Some(prepared) = Prepared::new(rule, context, &mut report) else {
            continue;
        };
        for (position, matched) in rule.matches.iter().enumerate() {
            let variants = match matching::compile(
                matched,
                prepared.filters.replaces_prefix(),
                prepared.filters.rewrites_prefix(),
            ) {
                Ok(variants) => variants,
                Err((field, message)) => {
                    report(&format!(".matches[{position}]{field}"), message);
                    continue;
                }
            };
            for variant in variants {
                let encoded = prepared.encode(&variant);
                let position = Position {
                    breadth: 0,
                    specificity: variant.specificity,
                    is_implied: Reverse(variant.is_implied),
                    source: Arc::clone(&source),
                    rule: index,
                    matching: position,
                };
                compiled.entries.push((Arc::new(position), encoded));
            }
        }
        compiled.clusters.extend(prepared.clusters);
    }
    compiled
}

/// What all entries of a rule share.
struct Prepared {
    filters: Filters,
    action: Action,
    clusters: Uses,
}

enum Action {
    Forward(route::RouteAction),
    Redirect(route::RedirectAction),
}

impl Prepared {
    fn new(
        rule: &Rule,
        context: &Context<'_>,
        report: &mut impl FnMut(&str, String),
    ) -> Option<Self> {
        let mut clusters = Uses::default();
        let filters = Filters::compile(rule, context, &mut clusters, report);
        let action = match &filters.redirect {
            Some(redirect) => Action::Redirect(redirect.clone()),
            None => Action::Forward(forward(rule, context, &filters, &mut clusters, report)?),
        };
        Some(Self {
            filters,
            action,
            clusters,
        })
    }

    fn encode(&self, variant: &Matching) -> Entry {
        let action = match &self.action {
            Action::Forward(action) => {
                let mut action = action.clone();
                match self.filters.rewrite_of(variant) {
                    Some(Rewrite::Full(regex)) => action.regex_rewrite = Some(regex),
                    Some(Rewrite::Prefix(prefix)) => action.prefix_rewrite = prefix,
                    None => {}
                }
                route::route::Action::Route(action)
            }
            Action::Redirect(redirect) => {
                use route::redirect_action::PathRewriteSpecifier;
                let mut redirect = redirect.clone();
                redirect.path_rewrite_specifier =
                    self.filters
                        .rewrite_of(variant)
                        .map(|rewrite| match rewrite {
                            Rewrite::Full(regex) => PathRewriteSpecifier::RegexRewrite(regex),
                            Rewrite::Prefix(prefix) => PathRewriteSpecifier::PrefixRewrite(prefix),
                        });
                route::route::Action::Redirect(redirect)
            }
        };
        let entry = route::Route {
            r#match: Some(variant.matcher.clone()),
            action: Some(action),
            request_headers_to_add: self.filters.request.add.clone(),
            response_headers_to_add: self.filters.response.add.clone(),
            response_headers_to_remove: self.filters.response.remove.clone(),
            request_headers_to_remove: self.filters.request.remove.clone(),
        };
        let length = entry.encoded_len();
        let mut bytes = BytesMut::with_capacity(assemble::field_len(ROUTES, length));
        assemble::put_header(ROUTES, length, &mut bytes);
        entry.encode_raw(&mut bytes);
        let hash = Sha256::digest(variant.matcher.encode_to_vec());
        let hash: [u8; 16] = hash[..16].try_into().expect("a digest has 32 bytes");
        Entry {
            bytes: bytes.freeze(),
            matching: u128::from_le_bytes(hash),
        }
    }
}

/// The action that sends requests to the rule's backends.
fn forward(
    rule: &Rule,
    context: &Context<'_>,
    filters: &Filters,
    clusters: &mut Uses,
    report: &mut impl FnMut(&str, String),
) -> Option<route::RouteAction> {
    // Equal destinations are one cluster, and their weights add up. Others that ask for the same
    // name are told apart: whether the rule is taken must not depend on what it is called.
    let mut weights: BTreeMap<(Name, Option<&Tags>), u64> = BTreeMap::new();
    for (index, backend) in rule.backends.iter().enumerate() {
        match destination(backend, context, clusters) {
            Some(name) => {
                let is_resolved = &*name != cluster::UNRESOLVED;
                let key = (name, is_resolved.then_some(&backend.destination));
                *weights.entry(key).or_default() += u64::from(backend.weight);
            }
            None => report(&format!(".backends[{index}]"), NO_SERVICE.to_owned()),
        }
    }
    if weights.len() == 1 {
        // Nothing else could get the requests.
        weights
            .values_mut()
            .for_each(|weight| *weight = (*weight).max(1));
    }
    if weights.is_empty() {
        report("", "there is no backend; this rule is left out".to_owned());
        return None;
    }
    let weights: Vec<((Name, _), u32)> = match refuse::weights(weights) {
        Ok(weights) => weights,
        Err(message) => {
            report(".backends", format!("{message}; this rule is left out"));
            return None;
        }
    };
    let cluster_specifier = match weights.as_slice() {
        // The same to requests, and Envoy takes half as long to read it.
        [((only, _), _)] => ClusterSpecifier::Cluster(only.to_string()),
        _ => ClusterSpecifier::WeightedClusters(route::WeightedCluster {
            clusters: weights
                .iter()
                .map(
                    |((name, _), weight)| route::weighted_cluster::ClusterWeight {
                        name: name.to_string(),
                        weight: Some(*weight),
                    },
                )
                .collect(),
        }),
    };
    let destinations = rule.backends.iter().map(|backend| &backend.destination);
    let policy = context.policies.route(context.listener_tags, destinations);
    Some(route::RouteAction {
        cluster_specifier: Some(cluster_specifier),
        host_rewrite_specifier: filters.host.clone(),
        cluster_not_found_response_code:
            route::route_action::ClusterNotFoundResponseCode::InternalServerError.into(),
        timeout: policy.timeout,
        idle_timeout: Some(policy.idle_timeout),
        request_mirror_policies: filters.mirrors.clone(),
        ..Default::default()
    })
}
