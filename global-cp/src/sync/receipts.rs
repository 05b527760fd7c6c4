//! Where a resource is: in which zones, connected or not, and in which of their Envoys.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use mesh_api::Receipts;
use mesh_kds::receipt::{Passage, Standing};
use mesh_kds::server::Server;
use mesh_model::{Key, Resource, ResourceName, ResourceType, Timestamp, ZoneName};
use mesh_proto::system::{Zone, ZoneInsight};
use mesh_store::{SharedStore, Snapshot};
use serde_json::{Value, json};

/// Asks all zones.
#[derive(Debug)]
pub(crate) struct AllZones {
    store: SharedStore,
    server: Server,
}

impl AllZones {
    pub(crate) fn new(store: SharedStore, server: Server) -> Self {
        Self { store, server }
    }
}

#[async_trait]
impl Receipts for AllZones {
    async fn receipts(&self, resource: &Arc<Resource>) -> Vec<Value> {
        let standings = self.server.standings(resource).await;
        let mut standings: BTreeMap<ZoneName, (Standing, Passage)> =
            standings.into_iter().collect();
        let snapshot = self.store.snapshot();
        let known = snapshot.list(ResourceType::Zone).filter_map(|zone| {
            let name = ZoneName::parse(zone.key().name().as_str()).ok()?;
            Some((name, zone.decode::<Zone>().enabled != Some(false)))
        });
        let mut zones: Vec<Value> = known
            .map(|(zone, is_enabled)| {
                let standing = standings.remove(&zone);
                match standing {
                    Some(standing) => connected(&zone, &standing),
                    None => offline(&snapshot, &zone, is_enabled),
                }
            })
            .collect();
        // A zone may be connected before there is a Zone for it.
        for (zone, standing) in standings {
            zones.push(connected(&zone, &standing));
        }
        zones
    }
}

/// What a zone that is connected makes of it.
fn connected(zone: &ZoneName, (standing, passage): &(Standing, Passage)) -> Value {
    let mut shown = standing.to_json();
    passage.show_in(&mut shown);
    shown["zone"] = zone.as_str().into();
    shown["isDone"] = standing.is_done().into();
    shown
}

/// What is known of a zone that is not connected. Nobody waits for one that was taken out of
/// service.
fn offline(snapshot: &Snapshot, zone: &ZoneName, is_enabled: bool) -> Value {
    let name = ResourceName::parse(zone.as_str()).ok();
    let insight = name.and_then(|name| {
        let key = Key::global(ResourceType::ZoneInsight, name);
        Some(snapshot.get(&key)?.decode::<ZoneInsight>())
    });
    let last = insight.and_then(|mut insight| insight.subscriptions.pop());
    let since = last.and_then(|last| last.disconnect_time);
    json!({
        "state": "offline",
        "zone": zone.as_str(),
        "isDone": !is_enabled,
        "since": since.as_ref().map(|at| Timestamp::from_proto(at).to_string()),
    })
}
