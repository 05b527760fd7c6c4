//! The YAML of `examples/`, compiled in so that the lab runs anywhere, fitted to a plan.

use mesh_runtime::yaml;
use serde_json::{Value, json};

use super::plan::{GATEWAY_PORT, Plan, Zone};

const MESH: &str = include_str!("../../../examples/global/mesh.yaml");
const GATEWAY: &str = include_str!("../../../examples/global/gateway.yaml");
const SERVICES: &str = include_str!("../../../examples/zone/services.yaml");
const GATEWAY_PROXY: &str = include_str!("../../../examples/zone/gateway.yaml");

/// What the global is given, in order: file name and text, as a person would edit it.
pub(super) fn global(plan: &Plan) -> [(&'static str, String); 2] {
    let port = format!("port: {}\n", plan.gateway_port);
    let gateway = GATEWAY.replace(&format!("port: {GATEWAY_PORT}\n"), &port);
    [("mesh.yaml", MESH.to_owned()), ("gateway.yaml", gateway)]
}

/// The Dataplanes of a zone's services.
pub(super) fn services(zone: &Zone) -> anyhow::Result<Vec<Value>> {
    let mut documents = parse(SERVICES)?;
    for (document, service) in documents.iter_mut().zip(&zone.services) {
        document["name"] = json!(format!("{}-{}", service.name, zone.number));
        document["networking"]["address"] = json!(zone.address);
        document["networking"]["inbound"][0]["port"] = json!(service.port);
    }
    Ok(documents)
}

/// The Dataplane of a zone's gateway.
pub(super) fn gateway(zone: &Zone) -> anyhow::Result<Value> {
    let mut document = parse(GATEWAY_PROXY)?.pop().unwrap_or_default();
    document["name"] = json!(zone.gateway_name());
    document["networking"]["address"] = json!(zone.address);
    document["networking"]["admin"] = json!({ "port": zone.envoy_admin });
    Ok(document)
}

/// The documents of a YAML text.
pub(super) fn parse(text: &str) -> anyhow::Result<Vec<Value>> {
    let documents = yaml::parse(text)?;
    Ok(documents
        .into_iter()
        .map(|document| document.value)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_and_plan_agree_where_nothing_is_moved() {
        let plan = Plan::new(0);
        assert_eq!(global(&plan).map(|(_, text)| text), [MESH, GATEWAY]);
        assert_eq!(services(&plan.zones[0]).unwrap(), parse(SERVICES).unwrap());
        let mut gateway = gateway(&plan.zones[0]).unwrap();
        gateway["networking"]
            .as_object_mut()
            .unwrap()
            .remove("admin");
        assert_eq!([gateway], *parse(GATEWAY_PROXY).unwrap());
    }

    #[test]
    fn examples_are_fitted_to_the_plan() {
        let plan = Plan::new(100);
        let [_, (_, text)] = global(&plan);
        assert_eq!(
            parse(&text).unwrap()[0]["conf"]["listeners"][0]["port"],
            8180
        );
        let services = services(&plan.zones[1]).unwrap();
        assert_eq!(services[1]["name"], "cart-2");
        assert_eq!(services[1]["networking"]["address"], "127.0.2.1");
        assert_eq!(services[1]["networking"]["inbound"][0]["port"], 9102);
        assert_eq!(
            gateway(&plan.zones[1]).unwrap()["networking"]["admin"]["port"],
            30_001
        );
    }
}
