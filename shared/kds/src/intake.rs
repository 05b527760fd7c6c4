//! From what a peer sent to what is written: attribution, scope, pruning, rejections.
//!
//! A pure plan over a snapshot. A resource that cannot be taken rejects only itself: it is
//! listed with its reason, and what is stored under its name stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_delta::{Name, Version};
use mesh_model::{
    Key, MeshName, Resource, ResourceName, ResourceType, Spec, Timestamp, ZoneName, cluster,
    labels, tags,
};
use mesh_proto::mesh::{Dataplane, ZoneEgress, ZoneIngress};
use mesh_store::{Batch, Expect, Op, Snapshot};

use crate::mapping::{INGRESS_TOKEN_KEY, ZONE_TOKEN_PUBLIC_KEY, empty_status};
use crate::peer::Naming;
use crate::wire::{self, DecodeError, Incoming};

/// Whose resources arrive, and so what they may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intake {
    /// A zone takes what its global owns, or brings from other zones.
    FromGlobal {
        /// This zone.
        zone: ZoneName,
        /// How the global names what it sends. One that hashes names labels everything; 2.5 says
        /// nothing of origins.
        naming: Naming,
    },
    /// The global takes what a zone owns.
    FromZone {
        /// The zone, as it was authenticated.
        zone: ZoneName,
        /// How it names what it sends.
        naming: Naming,
    },
}

/// One resource of a response, decoded or not.
#[derive(Debug)]
pub struct Arrived {
    /// Its name on the stream.
    pub name: Name,
    /// What it is.
    pub content: Result<Incoming, DecodeError>,
}

/// A response of one type.
#[derive(Debug)]
pub struct Delivery {
    /// The type.
    pub ty: ResourceType,
    /// Whether what is not in it is gone.
    pub is_complete: bool,
    /// New and changed resources.
    pub arrived: Vec<Arrived>,
    /// Stream names of resources that are gone.
    pub removed: Vec<Name>,
}

/// A resource that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its name on the stream.
    pub name: Name,
    /// Why.
    pub reason: String,
    /// The resource of somebody else that is in its place; it could be taken if that went.
    pub occupied: Option<Key>,
}

/// What to write, and what was refused.
#[derive(Debug, Default)]
pub struct Plan {
    /// The writes; empty if the store already holds everything.
    pub batch: Batch,
    /// What was not taken.
    pub refused: Vec<Refused>,
    /// How many resources the sender said are gone that are not its own, and stay.
    pub foreign_removals: usize,
    /// How many resources are of no concern here, and were neither taken nor refused.
    pub passed_over: usize,
}

impl Intake {
    /// What `delivery` does to a store at `snapshot`.
    ///
    /// Every write expects what the snapshot holds: if another writer was faster, plan again.
    pub fn plan(&self, snapshot: &Snapshot, delivery: &Delivery, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        let ty = delivery.ty;
        // Names that the sender still has, taken or not: they are not pruned.
        let mut present: BTreeSet<Key> = BTreeSet::new();
        let mut written: BTreeSet<Key> = BTreeSet::new();
        let mut is_prunable = delivery.is_complete;
        for Arrived { name, content } in &delivery.arrived {
            if content.as_ref().is_ok_and(|r| self.is_of_no_concern(r)) {
                plan.passed_over += 1;
                continue;
            }
            match self.key(ty, name) {
                Some(key) => drop(present.insert(key)),
                // It stands for a resource that exists, and nobody can say which.
                None => is_prunable &= content.is_ok(),
            }
            let adopted = match content {
                Ok(incoming) => self.adopt(snapshot, incoming, now),
                Err(error) => Err((report(error), None)),
            };
            match adopted {
                Ok(Some(resource)) if !written.insert(resource.key().clone()) => {
                    plan.refused.push(Refused {
                        name: name.clone(),
                        reason: format!("{} is in the response twice", resource.key()),
                        occupied: None,
                    });
                }
                Ok(Some(resource)) => {
                    present.insert(resource.key().clone());
                    let expect = expected(snapshot, resource.key());
                    plan.batch.push(Op::Put { resource, expect });
                }
                Ok(None) => {}
                Err((reason, occupied)) => plan.refused.push(Refused {
                    name: name.clone(),
                    reason,
                    occupied,
                }),
            }
        }
        let gone: BTreeSet<Key> = delivery
            .removed
            .iter()
            .filter_map(|name| self.key(ty, name))
            .collect();
        let stays = |key: &&Key| snapshot.get(key).is_some_and(|r| !self.may_remove(r));
        plan.foreign_removals = gone.iter().filter(stays).count();
        // Only a complete response is worth a look at everything that is stored.
        let pruned = is_prunable
            .then(|| snapshot.list(ty))
            .into_iter()
            .flatten()
            .filter(|r| !present.contains(r.key()))
            .map(|r| r.key().clone());
        let doomed: BTreeSet<Key> = gone
            .into_iter()
            .chain(pruned)
            .filter(|k| !present.contains(k))
            .collect();
        for key in doomed {
            if snapshot.get(&key).is_some_and(|r| self.may_remove(r)) {
                let expect = expected(snapshot, &key);
                plan.batch.push(Op::Delete { key, expect });
            }
        }
        plan
    }

    /// The name and version of a resource of the sender's, as the sender gave them. What was
    /// changed on arrival has another version here, and is sent again.
    pub(crate) fn held(&self, resource: &Resource) -> Option<(Name, Version)> {
        let status = match self {
            // What the global sends has none; what is there is this zone's own.
            Self::FromGlobal { .. } => empty_status(resource.key().ty()),
            Self::FromZone { .. } => resource.status().map(|status| status.bytes().clone()),
        };
        self.owns(resource)
            .then(|| wire::as_received(resource, status))
    }

    /// Whether a resource is none that the sender may write here, though it is nothing bad either:
    /// stock control planes send such things. Nothing under its name changes.
    fn is_of_no_concern(&self, incoming: &Incoming) -> bool {
        let Self::FromGlobal { zone, naming } = self else {
            return false;
        };
        let Incoming {
            key, labels, spec, ..
        } = incoming;
        let name = key.name().as_str();
        let is_labelled = *naming == Naming::Hashed;
        if labels.get(labels::ZONE).is_some_and(|z| z == zone.as_str()) {
            return true;
        }
        match key.ty() {
            ResourceType::Config if name != cluster::ID => return true,
            ResourceType::GlobalSecret if !is_labelled => {
                return ![INGRESS_TOKEN_KEY, ZONE_TOKEN_PUBLIC_KEY]
                    .iter()
                    .any(|prefix| name.starts_with(prefix));
            }
            ResourceType::ZoneIngress => {
                let ingress: ZoneIngress = spec.decode();
                if ingress.zone.is_empty() || ingress.zone == zone.as_str() {
                    return true;
                }
            }
            _ => {}
        }
        let may_be_the_zones = key.ty().describe().ways.up
            || matches!(
                key.ty(),
                ResourceType::Config | ResourceType::Secret | ResourceType::GlobalSecret
            );
        let origin = labels.get(labels::ORIGIN).map(String::as_str);
        is_labelled && may_be_the_zones && origin != Some(labels::ORIGIN_GLOBAL)
    }

    /// The key under which a stream name is stored here; `None` for a name that is none.
    pub(crate) fn key(&self, ty: ResourceType, name: &str) -> Option<Key> {
        let (name, mesh) = wire::split_stream_name(name)?;
        let mesh = (!mesh.is_empty())
            .then(|| MeshName::parse(mesh))
            .transpose()
            .ok()?;
        Key::try_new(ty, mesh, ResourceName::parse(&self.stored_name(name)).ok()?)
    }

    fn stored_name(&self, sent: &str) -> String {
        match self {
            Self::FromZone {
                zone,
                naming: Naming::Plain,
            } => format!("{zone}.{sent}"),
            Self::FromGlobal { .. }
            | Self::FromZone {
                naming: Naming::Hashed,
                ..
            } => sent.to_owned(),
        }
    }

    /// Whether a removal of a stored resource is followed. A deployment keeps its identity: one
    /// that loses it would be taken for another.
    fn may_remove(&self, resource: &Resource) -> bool {
        let key = resource.key();
        let is_identity = key.ty() == ResourceType::Config && key.name().as_str() == cluster::ID;
        self.owns(resource) && !is_identity
    }

    /// Whether the sender may change a stored resource.
    pub(crate) fn owns(&self, resource: &Resource) -> bool {
        match self {
            Self::FromGlobal { .. } => {
                resource.label(labels::ORIGIN) == Some(labels::ORIGIN_GLOBAL)
            }
            Self::FromZone { zone, .. } => match resource.label(labels::ZONE) {
                Some(owner) => owner == zone.as_str(),
                None => resource
                    .key()
                    .name()
                    .as_str()
                    .strip_prefix(zone.as_str())
                    .is_some_and(|rest| rest.starts_with('.')),
            },
        }
    }

    /// The resource as it is stored here; `None` if that is what is stored already. The error has
    /// the reason, and the key of the resource that is in its place.
    fn adopt(
        &self,
        snapshot: &Snapshot,
        incoming: &Incoming,
        now: Timestamp,
    ) -> Result<Option<Arc<Resource>>, (String, Option<Key>)> {
        let Incoming {
            key,
            labels: sent,
            spec,
            status,
        } = incoming;
        let name = self.stored_name(key.name().as_str());
        let name = ResourceName::parse(&name)
            .map_err(|error| (format!("name {name:?} here: {error}"), None))?;
        let stored_key = key.with_name(name);
        let current = snapshot.get(&stored_key);
        if let Some(current) = current
            && !self.owns(current)
        {
            let reason = match current.label(labels::ZONE) {
                Some(owner) => format!("{stored_key} exists already and belongs to zone {owner}"),
                None => format!("{stored_key} exists already and is not the sender's"),
            };
            return Err((reason, Some(stored_key)));
        }
        let labels = self.labels(key, sent.clone());
        let spec = self.attribute(spec.clone());
        let created = current.map_or(now, |c| c.created());
        // A zone's status is about itself; the global sends none that says anything.
        let status = match self {
            Self::FromGlobal { .. } => current.and_then(|current| current.status()),
            Self::FromZone { .. } => status.as_ref(),
        };
        let adopted =
            Resource::new(stored_key, labels, spec, created, now).with_status(status.cloned());
        if current.is_some_and(|current| current.version() == adopted.version()) {
            return Ok(None);
        }
        Ok(Some(Arc::new(adopted)))
    }

    fn labels(&self, key: &Key, mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut set = |label: &str, value: &str| labels.insert(label.to_owned(), value.to_owned());
        match self {
            // A 2.5 global sends no labels; what it sends is its own all the same.
            Self::FromGlobal { .. } => {
                set(labels::ORIGIN, labels::ORIGIN_GLOBAL);
            }
            Self::FromZone { zone, naming } => {
                set(labels::ORIGIN, labels::ORIGIN_ZONE);
                set(labels::ZONE, zone.as_str());
                if *naming == Naming::Plain {
                    set(labels::DISPLAY_NAME, key.name().as_str());
                }
            }
        }
        labels
    }

    /// The spec with the zone written into it where it names one; the bytes as they came where
    /// it says so already, or says nothing.
    fn attribute(&self, spec: Spec) -> Spec {
        let Self::FromZone { zone, .. } = self else {
            return spec;
        };
        let relabel = |tags: &mut BTreeMap<String, String>| match tags.get_mut(tags::ZONE) {
            Some(value) if value != zone.as_str() => {
                *value = zone.as_str().to_owned();
                true
            }
            _ => false,
        };
        match spec.ty() {
            ResourceType::Dataplane => {
                let mut dataplane: Dataplane = spec.decode();
                let Some(networking) = &mut dataplane.networking else {
                    return spec;
                };
                let inbounds = networking.inbound.iter_mut().map(|i| &mut i.tags);
                let gateway = networking.gateway.iter_mut().map(|g| &mut g.tags);
                let changed = inbounds
                    .chain(gateway)
                    .filter_map(|t| relabel(t).then_some(()))
                    .count();
                if changed == 0 {
                    spec
                } else {
                    Spec::encode(spec.ty(), &dataplane)
                }
            }
            ResourceType::ZoneIngress => {
                let mut ingress: ZoneIngress = spec.decode();
                let services = ingress.available_services.iter_mut().map(|s| &mut s.tags);
                let changed = services.filter_map(|t| relabel(t).then_some(())).count();
                if changed == 0 && ingress.zone == zone.as_str() {
                    return spec;
                }
                ingress.zone = zone.as_str().to_owned();
                Spec::encode(spec.ty(), &ingress)
            }
            ResourceType::ZoneEgress => {
                let mut egress: ZoneEgress = spec.decode();
                if egress.zone == zone.as_str() {
                    return spec;
                }
                egress.zone = zone.as_str().to_owned();
                Spec::encode(spec.ty(), &egress)
            }
            _ => spec,
        }
    }
}

/// What a write to `key` that was planned on `snapshot` expects to find.
fn expected(snapshot: &Snapshot, key: &Key) -> Expect {
    snapshot
        .get(key)
        .map_or(Expect::Absent, |current| Expect::Version(current.version()))
}

/// An error with its causes, as one line.
fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
