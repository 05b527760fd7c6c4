//! What a zone holds, arranged for translation.
//!
//! Fed one resource at a time. Clones share structure, so a [`crate::Translator`] keeps the view it last saw and looks only at what
//! differs.
//!
//! **Invariant:** a view is a function of the set of resources in it, not of the order in which
//! they came.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use imbl::OrdMap;
use mesh_model::tags::{self, Tags};
use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, labels};
use mesh_proto::mesh::dataplane::networking::inbound::State;
use mesh_proto::mesh::{Dataplane, MeshGateway};

use crate::certificate::SecretView;
use crate::external::{ExternalView, Site};
use crate::policy::Policies;

/// The resources of a zone that shape the configuration of gateways. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct ZoneView {
    revision: u64,
    meshes: OrdMap<MeshName, MeshView>,
}

impl ZoneView {
    /// The revision of the store that the view shows, as last set.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Sets the revision that translations of this view carry.
    pub fn set_revision(&mut self, revision: u64) {
        self.revision = revision;
    }

    /// Takes a new or changed resource. Types that gateways do not depend on are ignored.
    pub fn put(&mut self, resource: &Arc<Resource>) {
        let key = resource.key();
        let Some(mesh) = key.mesh() else { return };
        if !is_read(key.ty()) {
            return;
        }
        self.meshes
            .entry(mesh.clone())
            .or_default()
            .put(key.name(), resource);
    }

    /// Takes the removal of a resource.
    pub fn delete(&mut self, key: &Key) {
        let Some(mesh) = key.mesh() else { return };
        if let Some(view) = self.meshes.get_mut(mesh) {
            view.delete(key);
        }
    }

    /// Takes a change of one key: what is there now, or nothing.
    pub fn apply(&mut self, key: &Key, now: Option<&Arc<Resource>>) {
        match now {
            Some(resource) => self.put(resource),
            None => self.delete(key),
        }
    }

    /// All meshes with their parts.
    pub(crate) fn meshes(&self) -> impl Iterator<Item = (&MeshName, &MeshView)> {
        self.meshes.iter()
    }

    /// The mesh's part, to be changed.
    pub(crate) fn mesh_mut(&mut self, mesh: &MeshName) -> &mut MeshView {
        self.meshes.entry(mesh.clone()).or_default()
    }

    /// The mesh's part.
    pub(crate) fn mesh(&self, mesh: &MeshName) -> Option<&MeshView> {
        self.meshes.get(mesh)
    }
}

fn is_read(ty: ResourceType) -> bool {
    matches!(
        ty,
        ResourceType::MeshGateway
            | ResourceType::MeshGatewayRoute
            | ResourceType::Dataplane
            | ResourceType::ExternalService
            | ResourceType::Secret
    )
}

/// One mesh of the zone.
#[derive(Debug, Clone, Default)]
pub(crate) struct MeshView {
    pub(crate) gateways: OrdMap<ResourceName, Arc<Decoded<MeshGateway>>>,
    /// Not decoded: an encoded route takes a tenth of the memory, and is read again only when
    /// it changed or its gateway did.
    pub(crate) routes: OrdMap<ResourceName, Arc<Resource>>,
    pub(crate) dataplanes: OrdMap<ResourceName, Arc<Resource>>,
    /// Inbounds by service.
    pub(crate) services: OrdMap<Arc<str>, Service>,
    /// Services outside of the mesh.
    pub(crate) externals: ExternalView,
    /// Certificates and what they are made of.
    pub(crate) secrets: SecretView,
    /// What is decided about traffic.
    pub(crate) policies: Policies,
}

impl MeshView {
    fn put(&mut self, name: &ResourceName, resource: &Arc<Resource>) {
        match resource.key().ty() {
            ResourceType::MeshGateway => {
                let gateway = Arc::new(Decoded::new(resource));
                self.gateways.insert(name.clone(), gateway);
            }
            ResourceType::MeshGatewayRoute => {
                self.routes.insert(name.clone(), Arc::clone(resource));
            }
            ResourceType::Dataplane => {
                self.remove_endpoints(name);
                for (service, id, endpoint) in endpoints_of(resource) {
                    self.services
                        .entry(service)
                        .or_default()
                        .0
                        .insert(id, Arc::new(endpoint));
                }
                self.dataplanes.insert(name.clone(), Arc::clone(resource));
            }
            ResourceType::ExternalService => self.externals.put(resource),
            ResourceType::Secret => self.secrets.put(resource),
            _ => {}
        }
    }

    fn delete(&mut self, key: &Key) {
        match key.ty() {
            ResourceType::MeshGateway => {
                self.gateways.remove(key.name());
            }
            ResourceType::MeshGatewayRoute => {
                self.routes.remove(key.name());
            }
            ResourceType::Dataplane => {
                self.remove_endpoints(key.name());
                self.dataplanes.remove(key.name());
            }
            ResourceType::ExternalService => self.externals.delete(key.name()),
            ResourceType::Secret => self.secrets.delete(key.name()),
            _ => {}
        }
    }

    fn remove_endpoints(&mut self, dataplane: &ResourceName) {
        let Some(old) = self.dataplanes.get(dataplane) else {
            return;
        };
        for (name, id, _) in endpoints_of(old) {
            if let Some(service) = self.services.get_mut(&name) {
                service.0.remove(&id);
                if service.0.is_empty() {
                    self.services.remove(&name);
                }
            }
        }
    }

    /// Whether nothing differs, as far as that can be seen at once.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.gateways.ptr_eq(&other.gateways)
            && self.routes.ptr_eq(&other.routes)
            && self.dataplanes.ptr_eq(&other.dataplanes)
            && self.services.ptr_eq(&other.services)
            && self.externals.is_same(&other.externals)
            && self.secrets.is_same(&other.secrets)
    }

    /// Whether nothing but routes differs, as [`Self::is_same`] says it.
    pub(crate) fn is_same_but_routes(&self, other: &Self) -> bool {
        let with_routes = Self {
            routes: other.routes.clone(),
            ..self.clone()
        };
        with_routes.is_same(other)
    }

    /// Whether something offers a service to proxies at `site`.
    pub(crate) fn has_service(&self, service: &str, site: &Site) -> bool {
        let offered = self.services.get(service).is_some_and(Service::is_offered);
        offered || self.externals.has(service, site)
    }

    /// The endpoints of a service that Envoy can be told of.
    pub(crate) fn endpoints(&self, service: &str) -> impl Iterator<Item = &Endpoint> {
        let ready = self.inbounds(service).filter(|e| e.is_ready);
        ready.filter(|e| e.address.is_some())
    }

    /// The inbounds of a service whose address is no IP address.
    pub(crate) fn unusable(&self, service: &str) -> impl Iterator<Item = &Endpoint> {
        let ready = self.inbounds(service).filter(|e| e.is_ready);
        ready.filter(|e| e.address.is_none())
    }

    /// All inbounds of a service, ready or not.
    pub(crate) fn inbounds(&self, service: &str) -> impl Iterator<Item = &Endpoint> {
        let service = self.services.get(service).into_iter();
        service
            .flat_map(|s| s.0.values())
            .map(|endpoint| &**endpoint)
    }
}

/// A resource with its decoded spec and its age.
#[derive(Debug)]
pub(crate) struct Decoded<M> {
    pub(crate) resource: Arc<Resource>,
    pub(crate) spec: M,
    pub(crate) age: Age,
}

impl<M: mesh_model::SpecMessage> Decoded<M> {
    /// Decodes a resource.
    pub(crate) fn new(resource: &Arc<Resource>) -> Self {
        Self {
            resource: Arc::clone(resource),
            spec: resource.decode(),
            age: Age::of(resource),
        }
    }
}

impl<M> PartialEq for Decoded<M> {
    fn eq(&self, other: &Self) -> bool {
        self.resource.version() == other.resource.version()
    }
}

/// When the global made a resource, in Unix seconds; smaller is older. A resource that does not
/// say counts as younger than all that do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age(u64);

impl Age {
    fn of(resource: &Resource) -> Self {
        Self(
            resource
                .label(labels::CREATED)
                .and_then(|text| text.parse().ok())
                .unwrap_or(u64::MAX),
        )
    }
}

/// The inbounds of one service, by Dataplane and position of the inbound in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Service(OrdMap<(ResourceName, usize), Arc<Endpoint>>);

impl Service {
    /// Whether one of its inbounds is ready.
    pub(crate) fn is_offered(&self) -> bool {
        self.0.values().any(|endpoint| endpoint.is_ready)
    }
}

impl PartialEq for Service {
    /// Identity, which is what a comparison of two views needs and costs nothing.
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

/// One address at which a service answers, or will once it is ready.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) is_ready: bool,
    /// `None` if what is written is no IP address: Envoy would refuse all of the service's
    /// endpoints for it.
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u32,
    /// All tags of the inbound.
    pub(crate) tags: Tags,
    /// The Dataplane.
    pub(crate) dataplane: Arc<Resource>,
    /// What Envoy is told of it, once somebody was: all proxies are told the same.
    pub(crate) encoded: OnceLock<Bytes>,
}

/// The inbounds that a Dataplane offers or will offer. A gateway offers none.
fn endpoints_of(
    resource: &Arc<Resource>,
) -> impl Iterator<Item = (Arc<str>, (ResourceName, usize), Endpoint)> {
    let networking = resource
        .decode::<Dataplane>()
        .networking
        .unwrap_or_default();
    let resource = Arc::clone(resource);
    let inbounds = if networking.gateway.is_some() {
        Vec::new()
    } else {
        networking.inbound
    };
    inbounds
        .into_iter()
        .enumerate()
        .filter_map(move |(index, inbound)| {
            let is_ready =
                inbound.state() == State::Ready && inbound.health.is_none_or(|health| health.ready);
            if inbound.port == 0 || inbound.port > u32::from(u16::MAX) {
                return None;
            }
            let service = Arc::from(inbound.tags.get(tags::SERVICE)?.as_str());
            let address = [
                &networking.advertised_address,
                &inbound.address,
                &networking.address,
            ]
            .into_iter()
            .find(|address| !address.is_empty())
            .and_then(|address| address.parse().ok());
            let id = (resource.key().name().clone(), index);
            let endpoint = Endpoint {
                is_ready,
                address,
                port: inbound.port,
                tags: inbound.tags,
                dataplane: Arc::clone(&resource),
                encoded: OnceLock::new(),
            };
            Some((service, id, endpoint))
        })
}
