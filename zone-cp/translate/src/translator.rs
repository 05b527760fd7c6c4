//! Translation as a whole, from scratch or following a view.
//!
//! The parts that a change can touch are kept apart: the plan (gateway and Dataplane), a table of
//! routes per port, and the set of clusters in use. A changed route replaces its own entries; a
//! changed Dataplane its services' endpoints; only a plan that routes depend on starts over.

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use mesh_delta::{Item, Name, TypeSet as _};
use mesh_model::ResourceName;
use mesh_model::tags;
use mesh_proto::mesh::MeshGatewayRoute;
use sha2::{Digest as _, Sha256};

use crate::clusters::Clusters;
use crate::envoy;
use crate::finding::Finding;
use crate::host::Hostname;
use crate::listener;
use crate::order::Position;
use crate::plan::Plan;
use crate::proxy::Proxy;
use crate::route::{self, Context};
use crate::runtime;
use crate::table::{self, ListKey, Table};
use crate::view::{Decoded, MeshView, ZoneView};
use crate::{EnvoyType, Snapshot};

/// What a proxy is offered, and what its operator should know.
#[derive(Debug, Clone)]
pub struct Translation {
    /// The resources for Envoy.
    pub snapshot: Snapshot,
    /// At most [`crate::MAX_FINDINGS`], in a stable order.
    pub findings: Vec<Finding>,
}

/// Translates from scratch.
pub fn translate(view: &ZoneView, proxy: &Proxy) -> Translation {
    let mut translator = Translator::new(proxy.clone());
    translator
        .update(view)
        .unwrap_or_else(|| translator.translation())
}

/// The translation for one proxy, following a view that changes.
///
/// After any sequence of updates the result is the same as [`translate`]'s.
#[derive(Debug)]
pub struct Translator {
    proxy: Proxy,
    /// The part of the view that was last looked at; nothing before the first time.
    seen: Option<MeshView>,
    plan: Plan,
    /// One for each port of the plan.
    tables: Vec<Table>,
    routes: BTreeMap<ResourceName, Placed>,
    /// Routes with something to report, other than entries that are never reached.
    reported: BTreeSet<ResourceName>,
    clusters: Clusters,
    /// The encoded page of hosts without routes.
    no_routes: Bytes,
    items: [OrdMap<Name, Item<EnvoyType>>; 6],
    last: Translation,
}

/// A route resource that has entries, or findings.
#[derive(Debug, Default)]
struct Placed {
    /// Port (position in the plan), list and position of each entry.
    entries: Vec<(usize, ListKey, Arc<Position>)>,
    /// Clusters that its entries name, by port.
    clusters: Vec<(usize, Name)>,
    /// Services that it sends requests to.
    services: Vec<Arc<str>>,
    findings: BTreeSet<Finding>,
}

impl Translator {
    /// A translator that has not seen a view yet.
    pub fn new(proxy: Proxy) -> Self {
        Self {
            seen: None,
            plan: Plan::default(),
            tables: Vec::new(),
            routes: BTreeMap::new(),
            reported: BTreeSet::new(),
            clusters: Clusters::default(),
            no_routes: table::no_routes(&proxy.settings.no_routes_page),
            items: Default::default(),
            last: Translation {
                snapshot: Snapshot::empty(),
                findings: Vec::new(),
            },
            proxy,
        }
    }

    /// The proxy, with the Dataplane as last seen.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// The result of the last update.
    pub fn translation(&self) -> Translation {
        self.last.clone()
    }

    /// Looks at a newer view; `None` when nothing changed for this proxy.
    ///
    /// Costs time in proportion to what changed since the view of the last call, if one was made
    /// from the other.
    pub fn update(&mut self, view: &ZoneView) -> Option<Translation> {
        let mesh = self.proxy.key().mesh();
        let now = mesh
            .and_then(|mesh| view.mesh(mesh))
            .cloned()
            .unwrap_or_default();
        let before = self.seen.replace(now.clone());
        let is_first = before.is_none();
        let before = before.unwrap_or_default();
        if !is_first && before.is_same(&now) {
            return None;
        }

        let is_dataplane_new = self.take_dataplane(&now);
        let is_planned = before.gateways.ptr_eq(&now.gateways)
            && before.secrets.is_same(&now.secrets)
            && !is_first
            && !is_dataplane_new;
        let starts_over = !is_planned && self.replan(&now, is_first);
        if starts_over {
            self.start_over();
            for (name, route) in &now.routes {
                self.place(name, &Decoded::new(route), &now);
            }
        } else {
            for change in before.routes.diff(&now.routes) {
                match change {
                    DiffItem::Add(name, route) => self.place(name, &Decoded::new(route), &now),
                    DiffItem::Update {
                        new: (name, route), ..
                    } => {
                        self.displace(name);
                        self.place(name, &Decoded::new(route), &now);
                    }
                    DiffItem::Remove(name, _) => self.displace(name),
                }
            }
            for change in before.services.diff(&now.services) {
                match change {
                    DiffItem::Update { new, .. } => self.clusters.refresh(new.0, &now),
                    DiffItem::Add(service, _) | DiffItem::Remove(service, _) => {
                        self.clusters.refresh(service, &now);
                        for route in self.clusters.routes(service) {
                            self.note(&route, &now);
                        }
                    }
                }
            }
        }
        self.publish(view.revision(), &now, is_first)
    }

    /// Takes the proxy's Dataplane from the view; one that is gone there stays as it was.
    fn take_dataplane(&mut self, now: &MeshView) -> bool {
        match now.dataplanes.get(self.proxy.key().name()) {
            Some(dataplane) if dataplane.version() != self.proxy.dataplane.version() => {
                self.proxy.dataplane = Arc::clone(dataplane);
                true
            }
            _ => false,
        }
    }

    /// Makes the plan; whether what was made from the last one has to be made again.
    fn replan(&mut self, now: &MeshView, is_first: bool) -> bool {
        let plan = Plan::new(now, &self.proxy.dataplane);
        if !is_first && plan == self.plan {
            return false;
        }
        let routes_alike = plan.routes_alike(&self.plan);
        self.plan = plan;
        let ports = &self.plan.ports;
        let items = ports.iter().map(|port| {
            (
                Arc::clone(&port.name),
                listener::encode(port, &self.proxy.settings),
            )
        });
        replace(&mut self.items[EnvoyType::Listener.index()], items);
        let layer = [(Name::from(runtime::NAME), runtime::encode(ports))];
        replace(&mut self.items[EnvoyType::Runtime.index()], layer);
        let secrets = self.plan.secrets.iter();
        let secrets = secrets.map(|(name, offered)| (Arc::clone(name), offered.payload().clone()));
        replace(&mut self.items[EnvoyType::Secret.index()], secrets);
        is_first || !routes_alike
    }

    fn start_over(&mut self) {
        let tags_header = &self.plan.tags_header;
        let ports = self.plan.ports.iter();
        self.tables = ports.map(|port| Table::new(port, tags_header)).collect();
        self.routes.clear();
        self.reported.clear();
        self.clusters = Clusters::default();
        let names: BTreeSet<&Name> = self.tables.iter().map(|table| &table.name).collect();
        let routes = &mut self.items[EnvoyType::Route.index()];
        let is_kept = |name: &Name| names.contains(name);
        *routes = std::mem::take(routes)
            .into_iter()
            .filter(|(name, _)| is_kept(name))
            .collect();
        for ty in [EnvoyType::Cluster, EnvoyType::Endpoint] {
            self.items[ty.index()].clear();
        }
    }

    /// Adds the entries of a route resource.
    fn place(&mut self, name: &ResourceName, route: &Decoded<MeshGatewayRoute>, now: &MeshView) {
        let mut placed = Placed::default();
        let Some(http) = route::http(route) else {
            return;
        };
        let hostnames = hostnames(route, &http.hostnames, &mut placed.findings);
        let mut is_attached = false;
        for (index, port) in self.plan.ports.iter().enumerate() {
            let table = &mut self.tables[index];
            let mut keys: BTreeSet<ListKey> = BTreeSet::new();
            for (listener, at) in port.listeners.iter().enumerate() {
                let selectors = &route.spec.selectors;
                if !selectors
                    .iter()
                    .any(|s| tags::matches(&s.r#match, &at.tags))
                {
                    continue;
                }
                is_attached = true;
                match &hostnames {
                    None => keys.extend(table.places(listener, None)),
                    Some(names) => {
                        keys.extend(
                            names
                                .iter()
                                .flat_map(|name| table.places(listener, Some(name))),
                        );
                    }
                }
            }
            let mut compiled = None;
            let mut clusters = BTreeMap::new();
            for key in keys {
                // Keys are sorted by listener, so each is compiled for once.
                let (listener, entries) = compiled
                    .take()
                    .filter(|(listener, _)| *listener == key.0)
                    .unwrap_or_else(|| {
                        let context = Context {
                            listener_tags: &port.listeners[key.0].tags,
                            port: port.number,
                        };
                        let compiled = route::compile(route, http, &context, &mut placed.findings);
                        clusters.extend(compiled.clusters);
                        (key.0, compiled.entries)
                    });
                for (position, entry) in &entries {
                    table.insert(&key, Arc::clone(position), entry.clone());
                    placed
                        .entries
                        .push((index, key.clone(), Arc::clone(position)));
                }
                compiled = Some((listener, entries));
            }
            for (cluster, destination) in clusters {
                table.use_cluster(&cluster);
                self.clusters.acquire(&cluster, destination, now);
                placed.clusters.push((index, cluster));
            }
        }
        if is_attached {
            if placed.entries.is_empty() && placed.findings.is_empty() {
                placed.findings.insert(Finding::about(
                    &route.resource,
                    "conf.http.hostnames",
                    "no listener of the gateway that this route selects serves any of its hostnames",
                ));
            }
            if !placed.entries.is_empty() {
                for service in route::services(http).into_keys() {
                    placed
                        .services
                        .push(self.clusters.acquire_service(service, name));
                }
            }
        } else {
            placed.findings.clear();
            if self.is_meant_for_proxy(route) {
                placed.findings.insert(Finding::about(
                    &route.resource,
                    "selectors",
                    "no listener of the gateway has all the tags that a selector of this route \
                     asks for",
                ));
            } else {
                return;
            }
        }
        self.routes.insert(name.clone(), placed);
        self.note(name, now);
    }

    /// Removes the entries of a route resource.
    fn displace(&mut self, name: &ResourceName) {
        let Some(placed) = self.routes.remove(name) else {
            return;
        };
        self.reported.remove(name);
        for (port, key, position) in &placed.entries {
            self.tables[*port].remove(key, position);
        }
        for (port, cluster) in &placed.clusters {
            self.tables[*port].release_cluster(cluster);
            self.clusters.release(cluster);
        }
        for service in &placed.services {
            self.clusters.release_service(service, name);
        }
    }

    /// Decides whether a route has something to report.
    fn note(&mut self, name: &ResourceName, now: &MeshView) {
        let Some(placed) = self.routes.get(name) else {
            return;
        };
        let lacks_service = |service: &Arc<str>| !now.services.contains_key(service);
        if placed.findings.is_empty() && !placed.services.iter().any(lacks_service) {
            self.reported.remove(name);
        } else {
            self.reported.insert(name.clone());
        }
    }

    /// Whether a route that is attached to nothing selects the service of this proxy.
    fn is_meant_for_proxy(&self, route: &Decoded<MeshGatewayRoute>) -> bool {
        let service = self.plan.tags.get(tags::SERVICE);
        !self.plan.ports.is_empty()
            && route
                .spec
                .selectors
                .iter()
                .any(|s| service.is_some() && s.r#match.get(tags::SERVICE) == service)
    }

    /// Puts together what changed.
    fn publish(&mut self, revision: u64, now: &MeshView, is_first: bool) -> Option<Translation> {
        let trees = self.proxy.trees();
        for table in &mut self.tables {
            if let Some(item) = table.assemble(&self.no_routes, trees) {
                let items = &mut self.items[EnvoyType::Route.index()];
                let is_same =
                    |old: &Item<_>| old.version == item.version && old.needs == item.needs;
                if !items.get(&table.name).is_some_and(is_same) {
                    items.insert(Arc::clone(&table.name), item);
                }
            }
        }
        for (name, cluster) in self.clusters.take_changes() {
            for (ty, payload) in [
                (EnvoyType::Cluster, cluster.as_ref().map(|c| &c.cluster)),
                (EnvoyType::Endpoint, cluster.as_ref().map(|c| &c.endpoints)),
            ] {
                put(&mut self.items[ty.index()], &name, payload.cloned());
            }
        }
        let findings = self.findings(now);
        let offered = &self.last.snapshot;
        let changed: Vec<(EnvoyType, OrdMap<Name, Item<EnvoyType>>)> = EnvoyType::ALL
            .iter()
            .map(|ty| (*ty, &self.items[ty.index()]))
            .filter(|(ty, items)| !items.ptr_eq(offered.items(*ty)))
            .map(|(ty, items)| (ty, items.clone()))
            .collect();
        if changed.is_empty() && findings == self.last.findings && !is_first {
            return None;
        }
        self.last = Translation {
            snapshot: self.last.snapshot.with(revision, changed),
            findings,
        };
        Some(self.last.clone())
    }
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

/// Replaces the items of a type by these, keeping what is equal.
fn replace(
    items: &mut OrdMap<Name, Item<EnvoyType>>,
    wanted: impl IntoIterator<Item = (Name, Bytes)>,
) {
    let wanted: BTreeMap<Name, Bytes> = wanted.into_iter().collect();
    let gone: Vec<Name> = items
        .keys()
        .filter(|name| !wanted.contains_key(*name))
        .cloned()
        .collect();
    for name in gone {
        items.remove(&name);
    }
    for (name, payload) in wanted {
        put(items, &name, Some(payload));
    }
}

/// Puts an item that needs nothing, unless it is there already; or removes it.
fn put(items: &mut OrdMap<Name, Item<EnvoyType>>, name: &Name, payload: Option<Bytes>) {
    let Some(payload) = payload else {
        if items.contains_key(name) {
            items.remove(name);
        }
        return;
    };
    let version = envoy::to_version(&Sha256::digest(&payload));
    if items.get(name).is_some_and(|item| item.version == version) {
        return;
    }
    let item = Item {
        version,
        payload: payload.into(),
        needs: Arc::default(),
    };
    items.insert(Arc::clone(name), item);
}
