//! Where a resource is: in which zones, connected or not, and in which of their Envoys.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use mesh_api::Receipts;
use mesh_kds::receipt::Standing;
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
        let mut standings: BTreeMap<ZoneName, Standing> = standings.into_iter().collect();
        let snapshot = self.store.snapshot();
        let known = snapshot.list(ResourceType::Zone).filter_map(|zone| {
            let name = ZoneName::parse(zone.key().name().as_str()).ok()?;
            Some((name, zone.decode::<Zone>().enabled != Some(false)))
        });
        let mut zones: Vec<Value> = known
            .map(|(zone, is_enabled)| {
                let standing = standings.remove(&zone);
                let mut shown = match &standing {
                    Some(standing) => standing.to_json(),
                    None => offline(&snapshot, &zone),
                };
                // Nobody waits for a zone that was taken out of service and is not there.
                let is_done = match &standing {
                    Some(standing) => standing.is_done(),
                    None => !is_enabled,
                };
                shown["zone"] = zone.as_str().into();
                shown["isDone"] = is_done.into();
                shown
            })
            .collect();
        // A zone may be connected before there is a Zone for it.
        for (zone, standing) in standings {
            let mut shown = standing.to_json();
            shown["zone"] = zone.as_str().into();
            shown["isDone"] = standing.is_done().into();
            zones.push(shown);
        }
        zones
    }
}

/// What is known of a zone that is not connected.
fn offline(snapshot: &Snapshot, zone: &ZoneName) -> Value {
    let name = ResourceName::parse(zone.as_str()).ok();
    let insight = name.and_then(|name| {
        let key = Key::global(ResourceType::ZoneInsight, name);
        Some(snapshot.get(&key)?.decode::<ZoneInsight>())
    });
    let last = insight.and_then(|mut insight| insight.subscriptions.pop());
    let since = last.and_then(|last| last.disconnect_time);
    json!({
        "state": "offline",
        "since": since.as_ref().map(|at| Timestamp::from_proto(at).to_string()),
    })
}
