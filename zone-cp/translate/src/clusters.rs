//! The clusters that routes of a proxy name, with their endpoints.
//!
//! Counted by the routes that name them: a cluster is offered from the first to the last.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use mesh_delta::Name;
use mesh_model::ResourceName;
use mesh_model::tags;

use crate::claims::Claims;
use crate::cluster::{self, Protocol, Use};
use crate::endpoint;
use crate::external::{self, Site};
use crate::finding::Finding;
use crate::view::MeshView;

/// The clusters of one proxy, and the services behind them.
#[derive(Debug, Default)]
pub(crate) struct Clusters {
    site: Site,
    claims: Claims,
    clusters: BTreeMap<Name, Used>,
    services: BTreeMap<Arc<str>, Service>,
    /// Names whose cluster or endpoints may differ from what was taken last.
    changed: BTreeSet<Name>,
    /// Endpoints that cannot be offered, by service.
    findings: BTreeMap<Arc<str>, Vec<Finding>>,
}

/// A cluster that a route was given.
#[derive(Debug)]
pub(crate) struct Acquired {
    pub(crate) name: Name,
    /// The name that it asked for.
    usual: Name,
    of: Arc<Use>,
}

impl Acquired {
    /// Whether it asked for one of these names.
    pub(crate) fn claims_any(&self, names: &BTreeSet<Name>) -> bool {
        names.contains(&self.usual)
    }
}

/// The resources of a cluster.
#[derive(Clone)]
pub(crate) struct Encoded {
    pub(crate) cluster: Bytes,
    /// None for a cluster that knows its endpoints itself.
    pub(crate) endpoints: Option<Bytes>,
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The cluster of an external service may hold a private key.
        f.write_str("Encoded([redacted])")
    }
}

#[derive(Debug)]
struct Used {
    count: usize,
    for_what: Arc<Use>,
    encoded: Encoded,
}

#[derive(Debug, Default)]
struct Service {
    clusters: BTreeSet<Name>,
    routes: BTreeSet<ResourceName>,
}

impl Clusters {
    /// No clusters yet, of a proxy at `site`.
    pub(crate) fn new(site: Site) -> Self {
        Self {
            site,
            ..Self::default()
        }
    }

    /// Where the proxy is.
    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// Who asks for which name.
    pub(crate) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Decides which names are contested, once the routes of a view are in; those for which that may
    /// have changed. The routes that claim one of them have to release all clusters, then acquire
    /// them again.
    pub(crate) fn settle(&mut self) -> BTreeSet<Name> {
        self.claims.settle()
    }

    /// Takes note of a route and listener that use a cluster.
    pub(crate) fn acquire(&mut self, usual: Name, of: Use, view: &MeshView) -> Acquired {
        let name = self.claims.name(&usual, &of);
        let of = self.claims.add(&usual, of);
        self.count(&name, &of, view);
        Acquired { name, usual, of }
    }

    fn count(&mut self, name: &Name, for_what: &Arc<Use>, view: &MeshView) {
        if let Some(used) = self.clusters.get_mut(name) {
            used.count += 1;
            return;
        }
        let service: Arc<str> = Arc::from(service_of(for_what));
        let entry = self.services.entry(Arc::clone(&service)).or_default();
        entry.clusters.insert(Arc::clone(name));
        self.check(&service, view);
        let encoded = encode(name, for_what, view, &self.site);
        self.changed.insert(Arc::clone(name));
        self.clusters.insert(
            Arc::clone(name),
            Used {
                count: 1,
                for_what: Arc::clone(for_what),
                encoded,
            },
        );
    }

    /// Takes note that one of them is gone.
    pub(crate) fn release(&mut self, acquired: &Acquired) {
        let Acquired { name, usual, of } = acquired;
        self.claims.remove(usual, of);
        let Some(used) = self.clusters.get_mut(name) else {
            return;
        };
        used.count -= 1;
        if used.count > 0 {
            return;
        }
        let used = self.clusters.remove(name).expect("it was there just now");
        self.changed.insert(Arc::clone(name));
        let service = service_of(&used.for_what);
        if let Some(entry) = self.services.get_mut(service) {
            entry.clusters.remove(name);
            if entry.clusters.is_empty() {
                self.findings.remove(service);
            }
        }
        self.forget(service);
    }

    /// Takes note of a route that sends requests to a service; its name, shared.
    pub(crate) fn acquire_service(&mut self, service: &str, route: &ResourceName) -> Arc<str> {
        let service = match self.services.get_key_value(service) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(service),
        };
        let entry = self.services.entry(Arc::clone(&service)).or_default();
        entry.routes.insert(route.clone());
        service
    }

    /// Takes note that the route no longer does.
    pub(crate) fn release_service(&mut self, service: &str, route: &ResourceName) {
        if let Some(entry) = self.services.get_mut(service) {
            entry.routes.remove(route);
        }
        self.forget(service);
    }

    /// The routes that send requests to a service.
    pub(crate) fn routes(&self, service: &str) -> Vec<ResourceName> {
        let service = self.services.get(service).into_iter();
        service.flat_map(|s| s.routes.iter().cloned()).collect()
    }

    /// Looks at the endpoints of a service again.
    pub(crate) fn refresh(&mut self, service: &str, view: &MeshView) {
        let Some(entry) = self.services.get_mut(service) else {
            return;
        };
        for name in &entry.clusters {
            if let Some(used) = self.clusters.get_mut(name) {
                used.encoded = encode(name, &used.for_what, view, &self.site);
                self.changed.insert(Arc::clone(name));
            }
        }
        self.check(service, view);
    }

    /// Looks at the external services again, after secrets that they may name have changed.
    pub(crate) fn refresh_externals(&mut self, view: &MeshView) {
        let services: Vec<_> = self
            .services
            .keys()
            .filter(|service| view.externals.has(service, &self.site))
            .cloned()
            .collect();
        for service in services {
            self.refresh(&service, view);
        }
    }

    /// The clusters that may have changed since the last call; `None` for those that are gone.
    pub(crate) fn take_changes(&mut self) -> Vec<(Name, Option<Encoded>)> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .map(|name| {
                let encoded = self.clusters.get(&name).map(|used| used.encoded.clone());
                (name, encoded)
            })
            .collect()
    }

    /// Endpoints that cannot be offered.
    pub(crate) fn findings(&self) -> impl Iterator<Item = Finding> {
        self.findings.values().flatten().cloned()
    }

    fn check(&mut self, service: &str, view: &MeshView) {
        let findings: Vec<Finding> = view
            .unusable(service)
            .map(|inbound| {
                Finding::about(
                    &inbound.dataplane,
                    "networking.inbound",
                    format!(
                        "the address of an inbound of service {service:?} is no IP address; \
                         gateways send nothing there"
                    ),
                )
            })
            .chain(external::findings(
                &view.externals,
                service,
                &view.secrets,
                &self.site,
            ))
            .collect();
        let is_used = self
            .services
            .get(service)
            .is_some_and(|s| !s.clusters.is_empty());
        if findings.is_empty() || !is_used {
            self.findings.remove(service);
        } else {
            self.findings.insert(Arc::from(service), findings);
        }
    }

    fn forget(&mut self, service: &str) {
        let is_unused = |entry: &Service| entry.clusters.is_empty() && entry.routes.is_empty();
        if self.services.get(service).is_some_and(is_unused) {
            self.services.remove(service);
        }
    }
}

fn service_of(for_what: &Use) -> &str {
    let service = for_what.destination.get(tags::SERVICE);
    service.map_or("", String::as_str)
}

fn encode(name: &Name, for_what: &Use, view: &MeshView, site: &Site) -> Encoded {
    let service = service_of(for_what);
    let Use {
        destination,
        listener_tags,
        kind,
    } = for_what;
    let policy = view.policies.cluster(listener_tags, destination);
    let externals = view.externals.select(destination, site);
    if !externals.is_empty() {
        let protocol = Protocol::of(*kind, destination, externals.iter().map(|e| e.tags()));
        let cluster = external::encode(
            name,
            service,
            protocol,
            &policy,
            &externals,
            &view.secrets,
            site,
        );
        return Encoded {
            cluster,
            endpoints: None,
        };
    }
    // Where the destination selects none of the external services of its service, it selects
    // nothing: they stand in for its Dataplanes.
    let is_external = view.externals.has(service, site);
    let endpoints: Vec<_> = view
        .endpoints(service)
        .filter(|e| !is_external && endpoint::is_selected(destination, e))
        .collect();
    // Not the ready ones alone: one that restarts changes endpoints, and no cluster.
    let inbounds = view.inbounds(service);
    let selected = inbounds.filter(|e| !is_external && endpoint::is_selected(destination, e));
    let protocol = Protocol::of(*kind, destination, selected.map(|e| &e.tags));
    Encoded {
        cluster: cluster::encode(name, service, protocol, &policy),
        endpoints: Some(endpoint::encode(name, &endpoints)),
    }
}
