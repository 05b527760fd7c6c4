//! Translation as a whole, from scratch or following a view.
//!
//! The parts that a change can touch are kept apart: the plan (gateway and Dataplane), a table of
//! routes per port, and the set of clusters in use. A changed route replaces its own entries; a
//! changed Dataplane its services' endpoints; only a plan that routes depend on starts over.

mod held;
mod place;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use mesh_delta::{Item, Name, TypeSet as _};
use mesh_model::tags;
use mesh_model::{Resource, ResourceName};
use mesh_proto::mesh::MeshGatewayRoute;
use sha2::{Digest as _, Sha256};

use crate::admin;
use crate::certificate::Offered;
use crate::clusters::Clusters;
use crate::envoy;
use crate::external::Site;
use crate::finding::Finding;
use crate::listener;
use crate::plan::Plan;
use crate::proxy::Proxy;
use crate::runtime;
use crate::table::{self, Table};
use crate::tcp::Backends;
use crate::view::{Decoded, MeshView, ZoneView};
use crate::{EnvoyType, Snapshot};

use self::held::Held;
pub use self::held::{Content, HeldBack};
use self::place::Placed;

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
    /// The routes of HTTP ports, by position in the plan.
    tables: BTreeMap<usize, Table>,
    /// Where TCP ports send to.
    backends: BTreeMap<usize, Backends>,
    routes: BTreeMap<ResourceName, Placed>,
    /// Routes with something to report, other than entries that are never reached.
    reported: BTreeSet<ResourceName>,
    clusters: Clusters,
    /// The way to the admin interface, as it was encoded for a Dataplane.
    admin_items: (Option<Arc<Resource>>, Vec<admin::Encoded>),
    /// The encoded page of hosts without routes.
    no_routes: Bytes,
    /// Whether there is another plan than when listeners were last encoded.
    is_replanned: bool,
    items: [OrdMap<Name, Item<EnvoyType>>; 6],
    last: Translation,
    held: Held,
}

impl Translator {
    /// A translator that has not seen a view yet.
    pub fn new(proxy: Proxy) -> Self {
        Self {
            seen: None,
            plan: Plan::default(),
            tables: BTreeMap::new(),
            backends: BTreeMap::new(),
            is_replanned: true,
            admin_items: (None, Vec::new()),
            routes: BTreeMap::new(),
            reported: BTreeSet::new(),
            clusters: Clusters::default(),
            no_routes: table::no_routes(&proxy.settings.no_routes_page),
            items: Default::default(),
            last: Translation {
                snapshot: Snapshot::empty(),
                findings: Vec::new(),
            },
            held: Held::default(),
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
        let mut now = mesh
            .and_then(|mesh| view.mesh(mesh))
            .cloned()
            .unwrap_or_default();
        now.routes = self.held.apply(&now.routes);
        let before = self.seen.replace(now.clone());
        let is_first = before.is_none();
        let before = before.unwrap_or_default();
        if !is_first && before.is_same(&now) {
            return None;
        }

        if !before.is_same_but_routes(&now) {
            self.held.surroundings += 1;
        }
        let is_dataplane_new = self.take_dataplane(&now);
        let is_planned = before.gateways.ptr_eq(&now.gateways)
            && before.secrets.is_same(&now.secrets)
            && !is_first
            && !is_dataplane_new;
        let starts_over = !is_planned && self.replan(&now, is_first);
        let site = Site::of(&self.proxy);
        if starts_over || site != *self.clusters.site() {
            self.start_over(site);
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
                    DiffItem::Update { old, new } if old.1.is_offered() == new.1.is_offered() => {
                        self.clusters.refresh(new.0, &now);
                    }
                    DiffItem::Update { new, .. } => self.refresh(new.0, &now),
                    DiffItem::Add(service, _) | DiffItem::Remove(service, _) => {
                        self.refresh(service, &now);
                    }
                }
            }
            for service in now.externals.changed_since(&before.externals) {
                self.refresh(service, &now);
            }
            if !before.secrets.is_same(&now.secrets) {
                self.clusters.refresh_externals(&now);
            }
        }
        self.settle(&now);
        self.publish(view.revision(), &now, is_first)
    }

    /// Looks again at a service that may have come or gone.
    fn refresh(&mut self, service: &str, now: &MeshView) {
        self.clusters.refresh(service, now);
        for route in self.clusters.routes(service) {
            self.note(&route, now);
        }
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
        let listens_alike = !is_first && plan.listens_alike(&self.plan);
        let routes_alike = plan.routes_alike(&self.plan);
        let before = std::mem::replace(&mut self.plan, plan);
        self.offer_secrets(&before.secrets);
        if listens_alike {
            return false;
        }
        self.held.plan += 1;
        let ports = &self.plan.ports;
        self.is_replanned = true;
        let layer = [(Name::from(runtime::NAME), runtime::encode(ports))];
        replace(&mut self.items[EnvoyType::Runtime.index()], layer);
        is_first || !routes_alike
    }

    /// Offers the certificates of the plan instead of those before.
    fn offer_secrets(&mut self, before: &BTreeMap<Name, Offered>) {
        let items = &mut self.items[EnvoyType::Secret.index()];
        let now = &self.plan.secrets;
        let is_new = |(name, offered): &(&Name, &Offered)| before.get(*name) != Some(offered);
        for (name, offered) in now.iter().filter(is_new) {
            put(items, name, Some(offered.payload().clone()));
        }
        for name in before.keys().filter(|name| !now.contains_key(*name)) {
            put(items, name, None);
        }
    }

    fn start_over(&mut self, site: Site) {
        let tags_header = &self.plan.tags_header;
        let (http, tcp): (Vec<_>, Vec<_>) = self
            .plan
            .ports
            .iter()
            .enumerate()
            .partition(|(_, port)| port.protocol.is_http());
        let tables = http.into_iter();
        self.tables = tables
            .map(|(index, port)| (index, Table::new(port, tags_header)))
            .collect();
        let backends = tcp.into_iter();
        self.backends = backends
            .map(|(index, _)| (index, Backends::default()))
            .collect();
        self.is_replanned = true;
        self.routes.clear();
        self.reported.clear();
        self.clusters = Clusters::new(site);
        for ty in [EnvoyType::Cluster, EnvoyType::Endpoint] {
            self.items[ty.index()].clear();
        }
    }

    /// Decides whether a route has something to report.
    fn note(&mut self, name: &ResourceName, now: &MeshView) {
        let Some(placed) = self.routes.get(name) else {
            return;
        };
        let site = self.clusters.site();
        let lacks_service = |service: &Arc<str>| !now.has_service(service, site);
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

    /// Assembles the route configurations that changed; after a new plan, those that nobody is
    /// served by any more are gone.
    fn publish_routes(&mut self, is_replanned: bool) {
        let trees = self.proxy.trees();
        let items = &mut self.items[EnvoyType::Route.index()];
        let mut wanted = BTreeSet::new();
        for (index, table) in &mut self.tables {
            let is_changed = table.assemble(&self.no_routes, trees);
            if !is_changed && !is_replanned {
                continue;
            }
            let listeners = &self.plan.ports[*index].listeners;
            for (_, name, item) in table.items().filter(|(at, ..)| listeners[*at].is_served()) {
                wanted.insert(Arc::clone(name));
                put_item(items, name, Some(item));
            }
        }
        if is_replanned {
            keep(items, &wanted);
        }
    }

    /// Encodes the listeners that changed.
    fn publish_listeners(&mut self, is_replanned: bool, now: &MeshView) {
        let items = &mut self.items[EnvoyType::Listener.index()];
        let mut wanted = BTreeSet::new();
        for (index, port) in self.plan.ports.iter().enumerate() {
            let mut backends = self.backends.get_mut(&index);
            let is_changed = backends.as_mut().is_some_and(|b| b.take_changes());
            if is_changed || is_replanned {
                let settings = &self.proxy.settings;
                let item = listener::encode(port, backends.as_deref(), now.policies, settings);
                put_item(items, &port.name, item.as_ref());
            }
            wanted.insert(Arc::clone(&port.name));
        }
        if is_replanned {
            keep(items, &wanted);
        }
    }

    /// Offers the way to the admin interface, unless a listener for traffic has its port.
    fn publish_admin(&mut self) {
        let Some(wanted) = &self.proxy.admin else {
            return;
        };
        let dataplane = &self.proxy.dataplane;
        let is_encoded = |of: &Arc<Resource>| Arc::ptr_eq(of, dataplane);
        if !self.admin_items.0.as_ref().is_some_and(is_encoded) {
            self.admin_items = (Some(Arc::clone(dataplane)), wanted.encode(dataplane));
        }
        let ports = &self.plan.ports;
        let is_taken = ports
            .iter()
            .any(|port| port.number == u32::from(wanted.port));
        for (ty, name, item) in &self.admin_items.1 {
            let item = Some(item).filter(|_| !is_taken || *ty != EnvoyType::Listener);
            put_item(&mut self.items[ty.index()], name, item);
        }
    }

    /// Puts together what changed.
    fn publish(&mut self, revision: u64, now: &MeshView, is_first: bool) -> Option<Translation> {
        let is_replanned = std::mem::take(&mut self.is_replanned);
        self.publish_routes(is_replanned);
        self.publish_listeners(is_replanned, now);
        for (name, cluster) in self.clusters.take_changes() {
            for (ty, payload) in [
                (EnvoyType::Cluster, cluster.as_ref().map(|c| &c.cluster)),
                (
                    EnvoyType::Endpoint,
                    cluster.as_ref().and_then(|c| c.endpoints.as_ref()),
                ),
            ] {
                put(&mut self.items[ty.index()], &name, payload.cloned());
            }
        }
        self.publish_admin();
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

/// Replaces the items of a type by these, keeping what is equal.
fn replace(
    items: &mut OrdMap<Name, Item<EnvoyType>>,
    wanted: impl IntoIterator<Item = (Name, Bytes)>,
) {
    let wanted: BTreeMap<Name, Bytes> = wanted.into_iter().collect();
    keep(items, &wanted.keys().map(Arc::clone).collect());
    for (name, payload) in wanted {
        put(items, &name, Some(payload));
    }
}

/// Removes all items but these.
fn keep(items: &mut OrdMap<Name, Item<EnvoyType>>, wanted: &BTreeSet<Name>) {
    let names = items.keys();
    let gone: Vec<Name> = names
        .filter(|name| !wanted.contains(*name))
        .cloned()
        .collect();
    for name in gone {
        items.remove(&name);
    }
}

/// Puts an item that needs nothing, unless it is there already; or removes it.
fn put(items: &mut OrdMap<Name, Item<EnvoyType>>, name: &Name, payload: Option<Bytes>) {
    let item = payload.map(|payload| Item {
        version: envoy::to_version(&Sha256::digest(&payload)),
        payload: payload.into(),
        needs: Arc::default(),
    });
    put_item(items, name, item.as_ref());
}

/// Puts an item, unless it is there already; or removes it.
fn put_item(
    items: &mut OrdMap<Name, Item<EnvoyType>>,
    name: &Name,
    item: Option<&Item<EnvoyType>>,
) {
    match item {
        Some(item) if items.get(name) != Some(item) => {
            items.insert(Arc::clone(name), item.clone());
        }
        None if items.contains_key(name) => {
            items.remove(name);
        }
        Some(_) | None => {}
    }
}
