//! What insights say: who is online, and in what state.

use mesh_model::{Key, Resource, ResourceName, ResourceType, cluster};
use mesh_proto::mesh::dataplane::networking::inbound::State;
use mesh_proto::mesh::{
    Dataplane, DataplaneInsight, DiscoverySubscription, ZoneEgressInsight, ZoneIngressInsight,
};
use mesh_proto::system::{Zone, ZoneInsight};
use mesh_store::Snapshot;

/// Whether a zone has a live stream: a subscription that began and did not end.
pub fn is_zone_online(insight: &ZoneInsight) -> bool {
    insight
        .subscriptions
        .iter()
        .any(|s| s.connect_time.is_some() && s.disconnect_time.is_none())
}

/// Whether a zone is to be shown as online: it has a live stream and nobody disabled it.
pub(crate) fn is_zone_active(snapshot: &Snapshot, zone: &Resource) -> bool {
    let is_enabled = zone.decode::<Zone>().enabled.unwrap_or(true);
    let insight = zone.key().with_type(ResourceType::ZoneInsight);
    is_enabled
        && snapshot
            .get(&insight)
            .is_some_and(|insight| is_zone_online(&insight.decode()))
}

/// Whether a proxy has a live stream.
pub fn is_proxy_online(insight: &DataplaneInsight) -> bool {
    has_live_stream(&insight.subscriptions)
}

/// How many of the zone proxies of a type have a live stream.
pub(crate) fn online_zone_proxies(snapshot: &Snapshot, ty: ResourceType) -> usize {
    let Some(insight) = ty.insight() else {
        return 0;
    };
    let is_online = |proxy: &&std::sync::Arc<Resource>| {
        let insight = snapshot.get(&proxy.key().with_type(insight));
        insight.is_some_and(|insight| {
            let subscriptions = match insight.key().ty() {
                ResourceType::ZoneIngressInsight => {
                    insight.decode::<ZoneIngressInsight>().subscriptions
                }
                _ => insight.decode::<ZoneEgressInsight>().subscriptions,
            };
            has_live_stream(&subscriptions)
        })
    };
    snapshot.list(ty).filter(is_online).count()
}

fn has_live_stream(subscriptions: &[DiscoverySubscription]) -> bool {
    subscriptions
        .iter()
        .any(|s| s.connect_time.is_some() && s.disconnect_time.is_none())
}

/// What a proxy or a service is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Online,
    Offline,
    PartiallyDegraded,
}

/// The state of a Dataplane: connected, and its inbounds ready. Gateways have no inbounds.
pub(crate) fn of_dataplane(snapshot: &Snapshot, resource: &Resource) -> Status {
    let insight = resource.key().with_type(ResourceType::DataplaneInsight);
    let is_online = snapshot
        .get(&insight)
        .is_some_and(|insight| is_proxy_online(&insight.decode()));
    let networking = resource
        .decode::<Dataplane>()
        .networking
        .unwrap_or_default();
    let inbounds = if networking.gateway.is_some() {
        &[]
    } else {
        networking.inbound.as_slice()
    };
    let ready = inbounds
        .iter()
        .filter(|inbound| {
            inbound.state != State::NotReady as i32
                && inbound.health.as_ref().is_none_or(|h| h.ready)
        })
        .count();
    match (is_online, ready) {
        (true, n) if n == inbounds.len() => Status::Online,
        (false, _) | (true, 0) => Status::Offline,
        (true, _) => Status::PartiallyDegraded,
    }
}

/// The id of the fleet: made by the global control plane, once, and known to its zones.
pub fn cluster_id(snapshot: &Snapshot) -> Option<String> {
    let name = ResourceName::parse(cluster::ID).expect("a constant that is a name");
    let config = snapshot.get(&Key::global(ResourceType::Config, name))?;
    Some(config.decode::<mesh_proto::system::Config>().config)
}
