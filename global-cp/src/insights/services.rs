//! The services of one mesh, counted.

use std::collections::BTreeMap;

use mesh_model::{Resource, ResourceName, labels, tags};
use mesh_proto::mesh::dataplane::networking::gateway::GatewayType;
use mesh_proto::mesh::dataplane::networking::{Gateway, Inbound, inbound};
use mesh_proto::mesh::service_insight::{Service, service};
use mesh_proto::mesh::{Dataplane, DataplaneInsight, ExternalService, ServiceInsight};

/// Which services there are, by what their proxies say.
#[derive(Debug, Default)]
pub(crate) struct Services {
    proxies: BTreeMap<ResourceName, Vec<Instance>>,
    externals: BTreeMap<ResourceName, External>,
    counts: BTreeMap<String, Count>,
}

/// One proxy as an instance of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Instance {
    service: String,
    ty: service::Type,
    is_online: bool,
    /// The backend of mTLS that issued the proxy's certificate.
    backend: Option<String>,
    zone: Option<String>,
}

/// A service outside of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
struct External {
    service: String,
    address: String,
}

/// The instances of one service.
#[derive(Debug, Default)]
struct Count {
    online: u32,
    offline: u32,
    types: BTreeMap<service::Type, u32>,
    backends: BTreeMap<String, u32>,
    zones: BTreeMap<String, u32>,
}

impl Services {
    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.proxies.is_empty() && self.externals.is_empty()
    }

    /// Whether there is a proxy.
    pub(crate) fn has_proxies(&self) -> bool {
        !self.proxies.is_empty()
    }

    /// Takes a proxy as it is now, or that it is gone; whether that changes a count.
    pub(crate) fn set_proxy(
        &mut self,
        name: &ResourceName,
        dataplane: Option<&Resource>,
        insight: Option<&Resource>,
    ) -> bool {
        let new = dataplane.map(|dataplane| instances(dataplane, insight));
        let old = match new.clone() {
            Some(new) => self.proxies.insert(name.clone(), new),
            None => self.proxies.remove(name),
        };
        if old == new {
            return false;
        }
        for instance in old.iter().flatten() {
            if let Some(count) = self.counts.get_mut(&instance.service) {
                count.remove(instance);
                if count.online + count.offline == 0 {
                    self.counts.remove(&instance.service);
                }
            }
        }
        for instance in new.into_iter().flatten() {
            let count = self.counts.entry(instance.service.clone()).or_default();
            count.add(&instance);
        }
        true
    }

    /// Takes an external service as it is now, or that it is gone; whether that changes anything.
    pub(crate) fn set_external(&mut self, name: &ResourceName, new: Option<&Resource>) -> bool {
        let new = new.map(|resource| {
            let mut spec: ExternalService = resource.decode();
            External {
                service: spec.tags.remove(tags::SERVICE).unwrap_or_default(),
                address: spec.networking.unwrap_or_default().address,
            }
        });
        let old = match new.clone() {
            Some(new) => self.externals.insert(name.clone(), new),
            None => self.externals.remove(name),
        };
        old != new
    }

    /// The insight that says all of it.
    pub(crate) fn to_insight(&self) -> ServiceInsight {
        let external = |external: &External| Service {
            status: service::Status::NotAvailable.into(),
            dataplanes: Some(service::DataplaneStat::default()),
            service_type: service::Type::External.into(),
            address_port: external.address.clone(),
            ..Service::default()
        };
        let externals = self.externals.values();
        let mut services: BTreeMap<String, Service> = externals
            .map(|one| (one.service.clone(), external(one)))
            .collect();
        // A name that stands for both is shown as what the mesh has inside.
        let inside = self.counts.iter();
        services.extend(inside.map(|(name, count)| (name.clone(), count.to_service())));
        ServiceInsight { services }
    }
}

impl Count {
    fn add(&mut self, instance: &Instance) {
        *self.side(instance.is_online) += 1;
        *self.types.entry(instance.ty).or_default() += 1;
        for (counts, value) in [
            (&mut self.backends, &instance.backend),
            (&mut self.zones, &instance.zone),
        ] {
            if let Some(value) = value {
                *counts.entry(value.clone()).or_default() += 1;
            }
        }
    }

    fn remove(&mut self, instance: &Instance) {
        *self.side(instance.is_online) -= 1;
        take_one(&mut self.types, &instance.ty);
        for (counts, value) in [
            (&mut self.backends, &instance.backend),
            (&mut self.zones, &instance.zone),
        ] {
            if let Some(value) = value {
                take_one(counts, value);
            }
        }
    }

    fn side(&mut self, is_online: bool) -> &mut u32 {
        if is_online {
            &mut self.online
        } else {
            &mut self.offline
        }
    }

    fn to_service(&self) -> Service {
        let status = match (self.online, self.offline) {
            (0, _) => service::Status::Offline,
            (_, 0) => service::Status::Online,
            _ => service::Status::PartiallyDegraded,
        };
        // The largest is the most particular one: a builtin gateway before a delegated one.
        let ty = self.types.keys().next_back().copied();
        Service {
            status: status.into(),
            // Readers add the two up: a total is not stored.
            dataplanes: Some(service::DataplaneStat {
                total: 0,
                online: self.online,
                offline: self.offline,
            }),
            issued_backends: self.backends.clone(),
            service_type: ty.unwrap_or(service::Type::Internal).into(),
            address_port: String::new(),
            zones: self.zones.keys().cloned().collect(),
        }
    }
}

fn take_one<K: Ord>(counts: &mut BTreeMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// What a proxy is an instance of: of the service of its gateway, or of those of its inbounds.
fn instances(dataplane: &Resource, insight: Option<&Resource>) -> Vec<Instance> {
    let spec: Dataplane = dataplane.decode();
    let networking = spec.networking.unwrap_or_default();
    let insight: Option<DataplaneInsight> = insight.map(Resource::decode);
    let is_connected = insight.as_ref().is_some_and(|insight| {
        let mut subscriptions = insight.subscriptions.iter();
        subscriptions.any(|s| s.connect_time.is_some() && s.disconnect_time.is_none())
    });
    let backend = insight
        .and_then(|insight| insight.m_tls)
        .map(|mtls| mtls.issued_backend)
        .filter(|backend| !backend.is_empty());
    let instance = |tags: &BTreeMap<String, String>, ty, is_online| Instance {
        service: tags.get(tags::SERVICE).cloned().unwrap_or_default(),
        ty,
        is_online,
        backend: backend.clone(),
        zone: dataplane
            .label(labels::ZONE)
            .or_else(|| tags.get(tags::ZONE).map(String::as_str))
            .map(str::to_owned),
    };
    if let Some(gateway) = &networking.gateway {
        return vec![instance(&gateway.tags, gateway_type(gateway), is_connected)];
    }
    let served = |inbound: &&Inbound| inbound.state() != inbound::State::Ignored;
    // A proxy that is ready in part counts as one that is not.
    let is_online = is_connected && networking.inbound.iter().filter(served).all(is_ready);
    let inbounds = networking.inbound.iter().filter(served);
    inbounds
        .map(|inbound| instance(&inbound.tags, service::Type::Internal, is_online))
        .collect()
}

fn gateway_type(gateway: &Gateway) -> service::Type {
    match gateway.r#type() {
        GatewayType::Builtin => service::Type::GatewayBuiltin,
        GatewayType::Delegated => service::Type::GatewayDelegated,
    }
}

fn is_ready(inbound: &Inbound) -> bool {
    inbound.state() == inbound::State::Ready && inbound.health.is_none_or(|health| health.ready)
}
