//! From the zone that owns a resource, by way of the global, to other zones.

use mesh_model::{Resource, ZoneName, labels, tags};
use serde_json::{Map, Value};

use super::{Audience, is_plugin_policy};
use crate::peer::ZoneClass;

/// The namespace of Kuma's own resources on Kubernetes: what stands there is no producer's.
const SYSTEM_NAMESPACE: &str = "kuma-system";

/// Which zones of a class a zone's resource is for; `None` if for none of them.
pub(super) fn audience(resource: &Resource, class: ZoneClass) -> Option<Audience> {
    let ty = resource.key().ty();
    if !ty.describe().ways.across {
        return None;
    }
    let owner = owner(resource)?;
    if !is_plugin_policy(ty) {
        return Some(Audience { owner, only: None });
    }
    if !class.producer_policies || resource.label(labels::POLICY_ROLE) != Some(labels::PRODUCER) {
        return None;
    }
    let spec = resource.spec().json()?;
    is_producers(resource, &spec).then(|| Audience {
        owner,
        only: only_zone(&spec),
    })
}

/// The zone that a resource belongs to.
fn owner(resource: &Resource) -> Option<ZoneName> {
    let name = resource.key().name().as_str();
    let zone = resource
        .label(labels::ZONE)
        .or_else(|| name.split_once('.').map(|(zone, _)| zone))?;
    ZoneName::parse(zone).ok()
}

/// Whether a policy is what its label says: a producer's, about nothing but what lives in the same
/// namespace.
fn is_producers(policy: &Resource, spec: &Map<String, Value>) -> bool {
    let namespace = match policy.label(labels::NAMESPACE) {
        None | Some(SYSTEM_NAMESPACE) => return false,
        Some(namespace) => namespace,
    };
    let Some(to) = spec.get("to").and_then(Value::as_array) else {
        return false;
    };
    let is_about_neighbour = |rule: &Value| {
        let target = &rule["targetRef"];
        let text = |field: &str| target[field].as_str().filter(|text| !text.is_empty());
        matches!(text("kind"), Some("MeshService" | "MeshHTTPRoute"))
            && text("name").is_some()
            && text("namespace").is_none_or(|other| other == namespace)
    };
    !to.is_empty() && to.iter().all(is_about_neighbour)
}

/// The zone of which alone a policy selects proxies.
fn only_zone(spec: &Map<String, Value>) -> Option<String> {
    let target = spec.get("targetRef")?;
    let zone = target["tags"][tags::ZONE].as_str();
    zone.filter(|_| target["kind"] == "MeshSubset")
        .map(str::to_owned)
}
