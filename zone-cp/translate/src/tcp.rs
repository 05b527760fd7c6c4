//! TCP routes: the clusters that connections of a TCP or TLS port go to.
//!
//! A TCP route has no conditions, so the backends of all routes of a filter chain are one weighted
//! set. It is part of the listener, not of a resource of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_delta::Name;
use mesh_model::ResourceName;
use mesh_proto::mesh::MeshGatewayRoute;
use mesh_proto::mesh::mesh_gateway_route::{Backend, TcpRoute};

use crate::EnvoyType;
use crate::backend::{Context, NO_SERVICE, destination};
use crate::cluster::{self, Uses};
use crate::finding::Finding;
use crate::plan::{Port, Protocol};
use crate::view::Decoded;

/// Weights by cluster.
pub(crate) type Weights = BTreeMap<Name, u64>;

/// The backends of a port, by filter chain and route.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    /// Chains without routes are not in it.
    chains: BTreeMap<usize, BTreeMap<ResourceName, Weights>>,
    /// Whether they may have changed since [`Backends::take_changes`].
    is_stale: bool,
}

impl Backends {
    /// The chain that a listener belongs to: its own on a TLS port, which knows what host a client
    /// asks for; the only one on a TCP port.
    pub(crate) fn chain_of(port: &Port, listener: usize) -> usize {
        if port.protocol == Protocol::Tls {
            listener
        } else {
            0
        }
    }

    /// Adds what a route sends to on one listener of a chain.
    pub(crate) fn add(&mut self, chain: usize, route: &ResourceName, weights: Weights) {
        if weights.is_empty() {
            return;
        }
        self.is_stale = true;
        let chain = self.chains.entry(chain).or_default();
        let all = chain.entry(route.clone()).or_default();
        for (name, weight) in weights {
            let sum = all.entry(name).or_default();
            *sum = sum.saturating_add(weight);
        }
    }

    /// Removes a route from all chains.
    pub(crate) fn remove(&mut self, route: &ResourceName) {
        for routes in self.chains.values_mut() {
            self.is_stale |= routes.remove(route).is_some();
        }
        self.chains.retain(|_, routes| !routes.is_empty());
    }

    /// Whether there are changes since the last call.
    pub(crate) fn take_changes(&mut self) -> bool {
        std::mem::take(&mut self.is_stale)
    }

    /// Where connections of a chain go to, in what proportion; empty if nowhere.
    pub(crate) fn of_chain(&self, chain: usize) -> Vec<(Name, u32)> {
        let routes = self.chains.get(&chain).into_iter();
        let mut sums = Weights::new();
        for (name, weight) in routes.flat_map(|routes| routes.values().flatten()) {
            let sum = sums.entry(Arc::clone(name)).or_default();
            *sum = sum.saturating_add(*weight);
        }
        scale(sums)
    }

    /// What a listener with these chains needs.
    pub(crate) fn needs(&self, chains: &BTreeSet<usize>) -> Vec<(EnvoyType, Name)> {
        let chains = chains.iter().filter_map(|chain| self.chains.get(chain));
        let names: BTreeSet<&Name> = chains
            .flat_map(|routes| routes.values().flat_map(BTreeMap::keys))
            .filter(|name| &***name != cluster::UNRESOLVED)
            .collect();
        [EnvoyType::Cluster, EnvoyType::Endpoint]
            .into_iter()
            .flat_map(|ty| names.iter().map(move |name| (ty, Arc::clone(name))))
            .collect()
    }
}

/// The same proportions in numbers that Envoy takes: each at least 1, and no sum too large.
fn scale(sums: Weights) -> Vec<(Name, u32)> {
    let sum = sums.values().fold(0_u64, |a, b| a.saturating_add(*b));
    let most = u64::from(u32::MAX) - sums.len() as u64;
    let divisor = sum.div_ceil(most).max(1);
    sums.into_iter()
        .map(|(name, weight)| {
            let scaled = (weight / divisor).max(1);
            (name, u32::try_from(scaled).unwrap_or(u32::MAX))
        })
        .collect()
}

/// The backends of a route, with their paths.
pub(crate) fn backends(tcp: &TcpRoute) -> impl Iterator<Item = (&Backend, String)> {
    tcp.rules.iter().enumerate().flat_map(|(index, rule)| {
        let backends = rule.backends.iter().enumerate();
        backends
            .map(move |(backend, b)| (b, format!("conf.tcp.rules[{index}].backends[{backend}]")))
    })
}

/// Compiles a route for one listener: the weights of all its rules, and the clusters that they
/// name. What can get no connection is reported.
pub(crate) fn compile(
    resource: &Decoded<MeshGatewayRoute>,
    tcp: &TcpRoute,
    context: &Context<'_>,
    findings: &mut BTreeSet<Finding>,
) -> (Weights, Uses) {
    let mut weights = Weights::new();
    let mut uses = Uses::default();
    for (index, rule) in tcp.rules.iter().enumerate() {
        let mut report = |path: &str, message: &str| {
            let path = format!("conf.tcp.rules[{index}]{path}");
            findings.insert(Finding::about(&resource.resource, path, message));
        };
        if rule.backends.is_empty() {
            report("", "there is no backend; this rule does nothing");
        }
        // Without any weight all are alike.
        let is_weighted = rule.backends.iter().any(|backend| backend.weight > 0);
        for (position, backend) in rule.backends.iter().enumerate() {
            let path = format!(".backends[{position}]");
            let weight = match backend.weight {
                0 if is_weighted => {
                    report(
                        &format!("{path}.weight"),
                        "it is 0 or not given where other backends have one, so no connection \
                         goes there",
                    );
                    continue;
                }
                0 => 1,
                weight => u64::from(weight),
            };
            match destination(backend, context, &mut uses) {
                Some(name) => *weights.entry(name).or_default() += weight,
                None => report(&path, NO_SERVICE),
            }
        }
    }
    (weights, uses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_all_routes_add_up_and_fit_envoys_numbers() {
        let weights = |pairs: &[(&str, u64)]| -> Weights {
            pairs.iter().map(|(n, w)| (Name::from(*n), *w)).collect()
        };
        let route = |name| ResourceName::parse(name).unwrap();
        let mut backends = Backends::default();
        assert_eq!(backends.of_chain(0), []);
        backends.add(0, &route("one"), weights(&[("a", 3), ("b", 1)]));
        backends.add(0, &route("two"), weights(&[("b", 1)]));
        backends.add(
            1,
            &route("two"),
            weights(&[("c", u64::from(u32::MAX)), ("d", 1)]),
        );
        assert!(backends.take_changes());
        let of = |backends: &Backends, chain| -> Vec<(String, u32)> {
            let all = backends.of_chain(chain).into_iter();
            all.map(|(name, weight)| (name.to_string(), weight))
                .collect()
        };
        assert_eq!(of(&backends, 0), [("a".to_owned(), 3), ("b".to_owned(), 2)]);
        let large = of(&backends, 1);
        assert_eq!(large, [("c".to_owned(), u32::MAX / 2), ("d".to_owned(), 1)]);
        backends.remove(&route("two"));
        assert!(backends.take_changes());
        assert_eq!(of(&backends, 0), [("a".to_owned(), 3), ("b".to_owned(), 1)]);
        assert_eq!(of(&backends, 1), []);
        backends.remove(&route("two"));
        assert!(!backends.take_changes(), "it was gone already");
    }
}
