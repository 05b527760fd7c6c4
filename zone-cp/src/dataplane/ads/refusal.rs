//! What Envoy refuses, as a finding on the resource that a person wrote.

use mesh_model::{Key, ResourceName, ResourceType};
use mesh_proto::mesh::Finding;
use mesh_store::Snapshot;
use zone_translate::EnvoyType;

use super::shortened;

/// How much of Envoy's reason is kept; it goes on with the whole of what it refuses.
const MAX_REASON: usize = 4096;

/// The finding for an Envoy resource that was refused.
///
/// Listeners and route configurations are named after their gateway, as
/// `<gateway>:<protocol>:<port>…`; everything else is reported on the Dataplane.
pub(super) fn finding(
    snapshot: &Snapshot,
    dataplane: &Key,
    ty: EnvoyType,
    name: &str,
    reason: &str,
) -> Finding {
    let what = match ty {
        EnvoyType::Runtime => "runtime layer",
        EnvoyType::Cluster => "cluster",
        EnvoyType::Endpoint => "endpoints",
        EnvoyType::Secret => "certificate",
        EnvoyType::Listener => "listener",
        EnvoyType::Route => "route configuration",
    };
    let reason = shortened(reason, MAX_REASON);
    let message = format!("Envoy refuses the {what} {name} and keeps the last one: {reason}");
    let gateway = match ty {
        EnvoyType::Listener | EnvoyType::Route => gateway(snapshot, dataplane, name),
        EnvoyType::Runtime | EnvoyType::Cluster | EnvoyType::Endpoint | EnvoyType::Secret => None,
    };
    let (ty, name) = match gateway {
        Some(name) => (ResourceType::MeshGateway, name),
        None => (ResourceType::Dataplane, dataplane.name().to_string()),
    };
    Finding {
        r#type: ty.name().to_owned(),
        name,
        field: String::new(),
        message,
    }
}

fn gateway(snapshot: &Snapshot, dataplane: &Key, name: &str) -> Option<String> {
    let (gateway, _) = name.split_once(':')?;
    let key = Key::in_mesh(
        ResourceType::MeshGateway,
        dataplane.mesh()?.clone(),
        ResourceName::parse(gateway).ok()?,
    );
    Some(snapshot.get(&key)?.display_name().to_owned())
}
