//! Routes that are not taken as they are written, because Envoy refuses them.
//!
//! Envoy takes a route configuration as a whole or not at all. What turns out to be refused is
//! held back: the version before it stays in its place, or nothing does. Which ones these are is
//! for the caller to find out, who talks to Envoy.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use mesh_model::{Resource, ResourceName, Version};
use mesh_proto::mesh::MeshGatewayRoute;
use mesh_proto::mesh::mesh_gateway_route::conf::Route as Kind;

use super::Translator;
use crate::EnvoyType;
use crate::finding::Finding;
use crate::view::{Decoded, ZoneView};

type Routes = OrdMap<ResourceName, Arc<Resource>>;

/// A route that is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBack {
    /// The version that is not taken; `None` for any.
    pub version: Option<Version>,
    /// What stays in its place: a version that Envoy has taken.
    pub instead: Option<Arc<Resource>>,
    /// What Envoy says of it; `None` while it is only a suspect, of which nothing is reported.
    pub words: Option<Arc<str>>,
}

/// What the routes of a translation were made of. Cheap to make and to keep.
#[derive(Debug, Clone)]
pub struct Content {
    routes: Routes,
    plan: u64,
}

impl Content {
    /// The route resource as it was taken.
    pub fn route(&self, name: &ResourceName) -> Option<&Arc<Resource>> {
        self.routes.get(name)
    }
}

/// The routes that are held back, and what is taken.
#[derive(Debug, Default)]
pub(super) struct Held {
    routes: BTreeMap<ResourceName, HeldBack>,
    /// The routes of the view that was last seen.
    written: Routes,
    /// The same with what stays in place of those that are held back.
    taken: Routes,
    is_stale: bool,
    /// Counts the plans, on which all routes depend.
    pub(super) plan: u64,
    /// Counts the changes of everything else than routes.
    pub(super) surroundings: u64,
}

impl Held {
    /// The routes to take where these are written.
    pub(super) fn apply(&mut self, written: &Routes) -> Routes {
        if !self.is_stale && self.written.ptr_eq(written) {
            return self.taken.clone();
        }
        self.is_stale = false;
        self.written = written.clone();
        self.taken = written.clone();
        for (name, held) in &self.routes {
            if !is_held(written.get(name), held) {
                continue;
            }
            match &held.instead {
                Some(instead) => _ = self.taken.insert(name.clone(), Arc::clone(instead)),
                None => _ = self.taken.remove(name),
            }
        }
        self.taken.clone()
    }
}

fn is_held(written: Option<&Arc<Resource>>, held: &HeldBack) -> bool {
    written.is_some_and(|route| {
        held.version
            .is_none_or(|version| route.version() == version)
    })
}

impl Translator {
    /// Holds back exactly these routes from the next update on.
    pub fn hold_back(&mut self, routes: BTreeMap<ResourceName, HeldBack>) {
        if routes != self.held.routes {
            self.held.routes = routes;
            self.held.is_stale = true;
        }
    }

    /// What the last translation was made of.
    pub fn content(&self) -> Content {
        Content {
            routes: self.held.taken.clone(),
            plan: self.held.plan,
        }
    }

    /// Changes whenever other listeners or hosts are planned.
    pub fn plan(&self) -> u64 {
        self.held.plan
    }

    /// Changes whenever anything does that the last translation was made of, other than routes.
    pub fn surroundings(&self) -> u64 {
        self.held.surroundings
    }

    /// The routes as they are written, with those that are held back.
    pub fn written(&self, name: &ResourceName) -> Option<&Arc<Resource>> {
        self.held.written.get(name)
    }

    /// The routes that the next update to `view` would find changed.
    pub fn changed_routes(&self, view: &ZoneView) -> Vec<ResourceName> {
        let mesh = self.proxy.key().mesh().and_then(|mesh| view.mesh(mesh));
        let Some(mesh) = mesh else { return Vec::new() };
        let changes = self.held.written.diff(&mesh.routes);
        changes
            .map(|change| match change {
                DiffItem::Add(name, _) | DiffItem::Remove(name, _) => name.clone(),
                DiffItem::Update { new: (name, _), .. } => name.clone(),
            })
            .collect()
    }

    /// The routes of this proxy that may be why Envoy refuses an item of type `ty`: those that
    /// changed since it took `since`. All of them if that is unknown, or if it is not known that
    /// any changed.
    pub fn suspects(&self, ty: EnvoyType, since: Option<&Content>) -> Vec<ResourceName> {
        let is_of_type = |route: &Arc<Resource>| {
            let conf = route.decode::<MeshGatewayRoute>().conf;
            let is_tcp = matches!(conf.and_then(|c| c.route), Some(Kind::Tcp(_)));
            is_tcp == (ty == EnvoyType::Listener)
        };
        let is_suspect = |name: &ResourceName| {
            self.routes.contains_key(name) && self.held.taken.get(name).is_some_and(is_of_type)
        };
        let since = since.filter(|since| since.plan == self.held.plan);
        let changed: Vec<ResourceName> = since
            .into_iter()
            .flat_map(|since| since.routes.diff(&self.held.taken))
            .filter_map(|change| match change {
                DiffItem::Add(name, _) => Some(name),
                DiffItem::Update { new: (name, _), .. } => Some(name),
                DiffItem::Remove(..) => None,
            })
            .filter(|name| is_suspect(name))
            .cloned()
            .collect();
        if changed.is_empty() {
            let all = self.routes.keys().filter(|name| is_suspect(name));
            return all.cloned().collect();
        }
        changed
    }

    /// What to report of the routes that are held back and select this proxy.
    pub(super) fn held_findings(&self) -> impl Iterator<Item = Finding> {
        self.held.routes.iter().filter_map(|(name, held)| {
            let words = held.words.as_ref()?;
            let written = self.held.written.get(name);
            let route = written.filter(|_| is_held(written, held))?;
            if !self.is_meant_for_proxy(&Decoded::new(route)) {
                return None;
            }
            let rest = match held.instead {
                Some(_) => "the version before it stays live until this one is mended",
                None => "it is left out until it is mended",
            };
            let message = format!("Envoy refuses this route; {rest}. Envoy says: {words}");
            Some(Finding::about(route, "", message))
        })
    }
}
