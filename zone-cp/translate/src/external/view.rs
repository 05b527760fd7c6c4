//! The external services of a mesh, by service.

use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use mesh_model::tags::{self, Tags};
use mesh_model::{Resource, ResourceName};

use super::{External, Site};
use crate::endpoint::has_tags;

/// All external services of a mesh. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExternalView {
    services: OrdMap<Arc<str>, Named>,
    /// The service of each.
    names: OrdMap<ResourceName, Arc<str>>,
}

/// The external services of one service, by name; none is empty.
#[derive(Debug, Clone, Default)]
struct Named(OrdMap<ResourceName, Arc<External>>);

impl PartialEq for Named {
    /// Identity, which is what a comparison of two views needs and costs nothing.
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl ExternalView {
    pub(crate) fn put(&mut self, resource: &Arc<Resource>) {
        let name = resource.key().name();
        self.delete(name);
        let external = External::new(resource);
        let Some(service) = external.tags().get(tags::SERVICE) else {
            return;
        };
        let service: Arc<str> = Arc::from(service.as_str());
        let named = self.services.entry(Arc::clone(&service)).or_default();
        named.0.insert(name.clone(), Arc::new(external));
        self.names.insert(name.clone(), service);
    }

    pub(crate) fn delete(&mut self, name: &ResourceName) {
        let Some(service) = self.names.remove(name) else {
            return;
        };
        if let Some(named) = self.services.get_mut(&service) {
            named.0.remove(name);
            if named.0.is_empty() {
                self.services.remove(&service);
            }
        }
    }

    /// The files of the control plane's host that they name.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        let all = self.services.values().flat_map(|named| named.0.values());
        all.flat_map(|external| external.files())
    }

    /// Whether nothing differs, as far as that can be seen at once.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.services.ptr_eq(&other.services)
    }

    /// The services of which something may differ from `before`.
    pub(crate) fn changed_since<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = &'a Arc<str>> {
        let changes = before.services.diff(&self.services);
        changes.map(|change| match change {
            DiffItem::Add(service, _) | DiffItem::Remove(service, _) => service,
            DiffItem::Update { new, .. } => new.0,
        })
    }

    /// The external services of a service that proxies at `site` use.
    pub(crate) fn of(&self, service: &str, site: &Site) -> impl Iterator<Item = &External> {
        let named = self.services.get(service).into_iter();
        named
            .flat_map(|named| named.0.values())
            .map(|external| &**external)
            .filter(move |external| external.is_of(site))
    }

    /// Whether a service is an external one, for proxies at `site`.
    pub(crate) fn has(&self, service: &str, site: &Site) -> bool {
        self.of(service, site).next().is_some()
    }

    /// The external services that a destination selects: each of its tags is theirs too.
    pub(crate) fn select(&self, destination: &Tags, site: &Site) -> Vec<&External> {
        let service = destination.get(tags::SERVICE).map_or("", String::as_str);
        self.of(service, site)
            .filter(|external| has_tags(destination, external.tags()))
            .collect()
    }
}
