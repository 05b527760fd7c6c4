//! The resources of all cases: one gateway with the listeners of each, and its routes.

use std::net::IpAddr;

use anyhow::Context as _;
use mesh_harness::Gateway;
use serde_json::{Value, json};

use super::case::{Case, port_of};
use super::world::World;

/// The service of the gateway.
pub(crate) const SERVICE: &str = "edge-gateway";

/// What is written to a global: everything that is not a Dataplane.
pub(crate) fn shared_by_a_mesh(cases: &[Case], world: &World) -> anyhow::Result<Vec<Value>> {
    let mut documents = world.secrets();
    let mut listeners = Vec::new();
    for case in cases {
        for listener in &case.listeners {
            let mut listener = world.fill(listener)?;
            listener["port"] = case.port(Some(port_of(&listener)?))?.into();
            listener["tags"]["case"] = tag(case).into();
            listeners.push(listener);
        }
        for (name, conf) in &case.routes {
            documents.push(route(case, name, conf).with_context(|| case.title())?);
        }
        for resource in &case.resources {
            documents.push(world.fill(resource).with_context(|| case.title())?);
        }
    }
    documents.push(json!({
        "type": "MeshGateway", "mesh": "default", "name": "edge",
        "selectors": [{"match": {"kuma.io/service": SERVICE}}],
        "conf": {"listeners": listeners},
    }));
    Ok(documents)
}

/// All resources, with a gateway at an address.
pub(crate) fn all(cases: &[Case], world: &World, at: IpAddr) -> anyhow::Result<Vec<Value>> {
    let mut documents = shared_by_a_mesh(cases, world)?;
    documents.extend(world.dataplanes());
    let mut gateway = Gateway::dataplane("gateway-1", SERVICE, at, 9901);
    // A zone writes its name into the Dataplanes that it registers.
    gateway["networking"]["gateway"]["tags"]["kuma.io/zone"] = "zone-1".into();
    documents.push(gateway);
    Ok(documents)
}

fn tag(case: &Case) -> String {
    format!("{}-{}", case.file, case.name)
}

/// A route of a case.
pub(crate) fn route(case: &Case, name: &str, conf: &Value) -> anyhow::Result<Value> {
    let mut conf = conf.clone();
    let mut selector = json!({"kuma.io/service": SERVICE, "case": tag(case)});
    if let Some(Value::Object(tags)) = conf.as_object_mut().context("a map")?.remove("tags") {
        selector.as_object_mut().context("a map")?.extend(tags);
    }
    for kind in ["http", "tcp"] {
        let rules = conf.get_mut(kind).and_then(|kind| kind.get_mut("rules"));
        for rule in rules.and_then(Value::as_array_mut).into_iter().flatten() {
            for backend in each(rule.get_mut("backends")) {
                spell_out(backend);
            }
            let filters = each(rule.get_mut("filters"));
            for backend in filters.filter_map(|filter| filter.get_mut("mirror")?.get_mut("backend"))
            {
                spell_out(backend);
            }
        }
    }
    Ok(json!({
        "type": "MeshGatewayRoute", "mesh": "default", "name": format!("{}{name}", case.prefix()),
        "selectors": [{"match": selector}], "conf": conf,
    }))
}

fn each(list: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    list.and_then(Value::as_array_mut).into_iter().flatten()
}

/// A backend that is only a name is that service with the weight 1.
fn spell_out(backend: &mut Value) {
    if let Some(service) = backend.as_str() {
        *backend = json!({"weight": 1, "destination": {"kuma.io/service": service}});
    }
}
