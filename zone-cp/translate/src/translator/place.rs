//! Where a route resource ends up: in the tables of HTTP ports, or among the backends of TCP
//! ports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_model::ResourceName;
use mesh_model::tags::{self, Tags};
use mesh_proto::mesh::MeshGatewayRoute;
use mesh_proto::mesh::mesh_gateway_route::{HttpRoute, TcpRoute, conf};

use super::Translator;
use crate::backend::Context;
use crate::cluster::Uses;
use crate::clusters::Acquired;
use crate::finding::Finding;
use crate::host::Hostname;
use crate::order::Position;
use crate::plan::Protocol;
use crate::route;
use crate::table::ListKey;
use crate::tcp::{self, Backends};
use crate::view::{Decoded, MeshView};

/// A route resource that is served somewhere, or has findings.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// Port (position in the plan), list and position of each entry.
    entries: Vec<(usize, ListKey, Arc<Position>)>,
    /// TCP ports that send somewhere because of it.
    backends: BTreeSet<usize>,
    /// Clusters that it names, by port and listener.
    clusters: Vec<(usize, usize, Acquired)>,
    /// Services that it sends to.
    pub(super) services: Vec<Arc<str>>,
    pub(super) findings: BTreeSet<Finding>,
}

/// Which listeners the selectors of a route select.
#[derive(Debug, Default)]
struct Attachment {
    /// Of a protocol that its kind is for.
    is_served: bool,
    /// The protocol of another one.
    other: Option<Protocol>,
}

impl Translator {
    /// Adds a route resource.
    pub(super) fn place(
        &mut self,
        name: &ResourceName,
        route: &Decoded<MeshGatewayRoute>,
        now: &MeshView,
    ) {
        let Some(conf) = route::conf(route) else {
            return;
        };
        let mut placed = Placed::default();
        let attachment = match conf {
            conf::Route::Http(http) => self.place_http(route, http, now, &mut placed),
            conf::Route::Tcp(tcp) => self.place_tcp(route, tcp, now, &mut placed),
        };
        if attachment.is_served {
            if !placed.entries.is_empty() || !placed.backends.is_empty() {
                for service in route::services(conf).into_keys() {
                    let service = self.clusters.acquire_service(service, name);
                    placed.services.push(service);
                }
            } else if placed.findings.is_empty() {
                let (path, message) = match conf {
                    conf::Route::Http(_) => (
                        "conf.http.hostnames",
                        "no listener of the gateway that this route selects serves any of its \
                         hostnames",
                    ),
                    conf::Route::Tcp(_) => ("conf.tcp.rules", "there is no backend"),
                };
                let finding = Finding::about(&route.resource, path, message);
                placed.findings.insert(finding);
            }
        } else {
            placed.findings.clear();
            let message = match attachment.other {
                Some(protocol) => wrong_kind(conf, protocol),
                None if self.is_meant_for_proxy(route) => {
                    "no listener of the gateway has all the tags that a selector of this route \
                     asks for"
                        .to_owned()
                }
                None => return,
            };
            let finding = Finding::about(&route.resource, "selectors", message);
            placed.findings.insert(finding);
        }
        self.routes.insert(name.clone(), placed);
        self.note(name, now);
    }

    /// Puts a route into the tables of the listeners that it selects.
    fn place_http(
        &mut self,
        route: &Decoded<MeshGatewayRoute>,
        http: &HttpRoute,
        now: &MeshView,
        placed: &mut Placed,
    ) -> Attachment {
        let mut attachment = Attachment::default();
        let hostnames = hostnames(route, &http.hostnames, &mut placed.findings);
        for (index, port) in self.plan.ports.iter().enumerate() {
            let mut selected = port.listeners.iter().enumerate();
            let Some(table) = self.tables.get_mut(&index) else {
                if selected.any(|(_, listener)| is_selected(route, &listener.tags)) {
                    attachment.other = Some(port.protocol);
                }
                continue;
            };
            let mut keys: BTreeSet<ListKey> = BTreeSet::new();
            for (listener, _) in selected.filter(|(_, at)| is_selected(route, &at.tags)) {
                attachment.is_served = true;
                match &hostnames {
                    None => keys.extend(table.places(listener, None)),
                    Some(names) => {
                        let names = names.iter();
                        keys.extend(names.flat_map(|name| table.places(listener, Some(name))));
                    }
                }
            }
            let mut compiled = None;
            let mut clusters: BTreeMap<usize, Uses> = BTreeMap::new();
            for key in keys {
                // Keys are sorted by listener, so each is compiled for once.
                let (listener, entries) = compiled
                    .take()
                    .filter(|(listener, _)| *listener == key.0)
                    .unwrap_or_else(|| {
                        let at = &port.listeners[key.0];
                        let claims = self.clusters.claims();
                        let context = Context::new(port, at, now.policies, claims);
                        let compiled = route::compile(route, http, &context, &mut placed.findings);
                        clusters.insert(key.0, compiled.clusters);
                        (key.0, compiled.entries)
                    });
                for (position, entry) in &entries {
                    table.insert(&key, Arc::clone(position), entry.clone());
                    let entry = (index, key.clone(), Arc::clone(position));
                    placed.entries.push(entry);
                }
                compiled = Some((listener, entries));
            }
            for (listener, uses) in clusters {
                for (usual, of) in uses.into_all() {
                    let acquired = self.clusters.acquire(usual, of, now);
                    table.use_cluster(listener, &acquired.name);
                    placed.clusters.push((index, listener, acquired));
                }
            }
        }
        attachment
    }

    /// Adds the backends of a route to the listeners that it selects.
    fn place_tcp(
        &mut self,
        route: &Decoded<MeshGatewayRoute>,
        tcp: &TcpRoute,
        now: &MeshView,
        placed: &mut Placed,
    ) -> Attachment {
        let mut attachment = Attachment::default();
        for (index, port) in self.plan.ports.iter().enumerate() {
            let selected = port.listeners.iter().enumerate();
            let mut selected = selected.filter(|(_, at)| is_selected(route, &at.tags));
            let Some(backends) = self.backends.get_mut(&index) else {
                if selected.next().is_some() {
                    attachment.other = Some(port.protocol);
                }
                continue;
            };
            // Listeners of one chain with equal tags are one to a route.
            let mut done: BTreeSet<(usize, &Tags)> = BTreeSet::new();
            for (listener, at) in selected {
                attachment.is_served = true;
                let chain = Backends::chain_of(port, listener);
                if !done.insert((chain, &at.tags)) {
                    continue;
                }
                let context = Context::new(port, at, now.policies, self.clusters.claims());
                let (weights, uses) = tcp::compile(route, tcp, &context, &mut placed.findings);
                if weights.is_empty() {
                    continue;
                }
                backends.add(chain, route.resource.key().name(), weights);
                placed.backends.insert(index);
                for (usual, of) in uses.into_all() {
                    let acquired = self.clusters.acquire(usual, of, now);
                    placed.clusters.push((index, listener, acquired));
                }
            }
        }
        attachment
    }

    /// Gives clusters other names where that has become necessary, or no longer is: a route gets
    /// in the way of another by the clusters that both want, see [`crate::claims`].
    pub(super) fn settle(&mut self, now: &MeshView) {
        let names = self.clusters.settle();
        if names.is_empty() {
            return;
        }
        let has_claim = |placed: &Placed| {
            let mut clusters = placed.clusters.iter();
            clusters.any(|(.., acquired)| acquired.claims_any(&names))
        };
        let routes = self.routes.iter();
        let routes = routes.filter(|(_, placed)| has_claim(placed));
        let routes: Vec<ResourceName> = routes.map(|(name, _)| name.clone()).collect();
        for name in &routes {
            self.displace(name);
        }
        for name in &routes {
            if let Some(route) = now.routes.get(name) {
                self.place(name, &Decoded::new(route), now);
            }
        }
        // They claim what they claimed before, whatever it is called: nothing else is contested.
        self.clusters.settle();
    }

    /// Removes a route resource.
    pub(super) fn displace(&mut self, name: &ResourceName) {
        let Some(placed) = self.routes.remove(name) else {
            return;
        };
        self.reported.remove(name);
        for (port, key, position) in &placed.entries {
            if let Some(table) = self.tables.get_mut(port) {
                table.remove(key, position);
            }
        }
        for port in &placed.backends {
            if let Some(backends) = self.backends.get_mut(port) {
                backends.remove(name);
            }
        }
        for (port, listener, acquired) in &placed.clusters {
            if let Some(table) = self.tables.get_mut(port) {
                table.release_cluster(*listener, &acquired.name);
            }
            self.clusters.release(acquired);
        }
        for service in &placed.services {
            self.clusters.release_service(service, name);
        }
    }
}

fn is_selected(route: &Decoded<MeshGatewayRoute>, tags: &Tags) -> bool {
    let mut selectors = route.spec.selectors.iter();
    selectors.any(|selector| tags::matches(&selector.r#match, tags))
}

/// What to say of a route that selects only listeners of protocols that it is not for.
fn wrong_kind(conf: &conf::Route, protocol: Protocol) -> String {
    let (kind, protocols) = match conf {
        conf::Route::Http(_) => ("an HTTP route", "HTTP and HTTPS"),
        conf::Route::Tcp(_) => ("a TCP route", "TCP and TLS"),
    };
    format!(
        "the listeners that this route selects speak {protocol}, and {kind} works on {protocols} \
         listeners only; it does nothing"
    )
}

/// The hostnames of a route; `None` when it names none. What is no hostname is reported.
fn hostnames(
    route: &Decoded<MeshGatewayRoute>,
    texts: &[String],
    findings: &mut BTreeSet<Finding>,
) -> Option<BTreeSet<Hostname>> {
    if texts.is_empty() {
        return None;
    }
    let mut names = BTreeSet::new();
    for (index, text) in texts.iter().enumerate() {
        match Hostname::parse(text) {
            Some(name) => {
                names.insert(name);
            }
            None => {
                findings.insert(Finding::about(
                    &route.resource,
                    format!("conf.http.hostnames[{index}]"),
                    format!("{text:?} is not a hostname; it is left out"),
                ));
            }
        }
    }
    Some(names)
}
