//! From a zone to the global.

use std::collections::BTreeMap;

use bytes::Bytes;
use mesh_delta::Item;
use mesh_model::hash_suffix::hashed_name;
use mesh_model::{Resource, ResourceType, Spec, SpecMessage, ZoneName, labels};
use mesh_proto::mesh::{
    DataplaneInsight, DiscoverySubscription, ZoneEgressInsight, ZoneIngressInsight,
};

use super::{is_kept_here, name_extras};
use crate::kind::Kind;
use crate::peer::Naming;
use crate::wire::{self, Outgoing};

/// Whether a resource is this zone's, and of use to the global.
pub(super) fn travels(resource: &Resource) -> bool {
    resource.key().ty().describe().ways.up
        && !is_kept_here(resource)
        && resource
            .label(labels::ORIGIN)
            .is_none_or(|o| o == labels::ORIGIN_ZONE)
}

/// What a resource is called towards a global with this naming.
pub(super) fn name(resource: &Resource, zone: &ZoneName, naming: Naming) -> String {
    match naming {
        Naming::Plain => resource.key().name().as_str().to_owned(),
        Naming::Hashed => hashed_name(
            resource.key().mesh_str(),
            resource.display_name(),
            &name_extras(Some(zone.as_str()), resource),
        ),
    }
}

/// The name and content of a resource that travels; `None` for one that does not.
pub(super) fn encode(
    resource: &Resource,
    zone: &ZoneName,
    naming: Naming,
) -> Option<(String, Item<Kind>)> {
    if !travels(resource) {
        return None;
    }
    let key = resource.key();
    let name = name(resource, zone, naming);
    let mut sent = BTreeMap::clone(resource.labels());
    sent.remove(labels::DELETION_GRACE_PERIOD);
    sent.insert(labels::ORIGIN.to_owned(), labels::ORIGIN_ZONE.to_owned());
    sent.insert(labels::ZONE.to_owned(), zone.as_str().to_owned());
    if naming == Naming::Hashed {
        sent.entry(labels::DISPLAY_NAME.to_owned())
            .or_insert_with(|| key.name().as_str().to_owned());
    }
    let spec = match key.ty() {
        ResourceType::DataplaneInsight => {
            without_generation(resource, |i: &mut DataplaneInsight| &mut i.subscriptions)
        }
        ResourceType::ZoneIngressInsight => {
            without_generation(resource, |i: &mut ZoneIngressInsight| &mut i.subscriptions)
        }
        ResourceType::ZoneEgressInsight => {
            without_generation(resource, |i: &mut ZoneEgressInsight| &mut i.subscriptions)
        }
        _ => resource.spec().bytes().clone(),
    };
    let item = wire::encode(Outgoing {
        ty: key.ty(),
        name: &name,
        mesh: key.mesh_str(),
        labels: sent,
        spec,
        status: resource.status().map(|status| status.bytes().clone()),
    });
    Some((name, item))
}

/// An insight without its subscriptions' generations, which mean something to their own control
/// plane only and would cause traffic each time they move.
fn without_generation<M: SpecMessage>(
    resource: &Resource,
    subscriptions: impl Fn(&mut M) -> &mut Vec<DiscoverySubscription>,
) -> Bytes {
    let mut insight: M = resource.decode();
    let subscriptions = subscriptions(&mut insight);
    if subscriptions.iter().all(|s| s.generation == 0) {
        return resource.spec().bytes().clone();
    }
    for subscription in subscriptions {
        subscription.generation = 0;
    }
    Spec::encode(resource.key().ty(), &insight).bytes().clone()
}
