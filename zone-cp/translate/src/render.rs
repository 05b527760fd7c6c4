//! A snapshot as JSON, for people, golden files and an Envoy without a control plane.

use mesh_delta::TypeSet as _;
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::{Map, Value, json};

use crate::envoy::descriptors;
use crate::{EnvoyType, Snapshot};

/// The resources of a snapshot by what Envoy calls their type (`clusters`, `endpoints`,
/// `listeners`, `routes`, `runtime`, `secrets`), each sorted by name, in the JSON form of
/// protobuf with the field names of Envoy's documentation. Types without resources are left out,
/// and private keys are `[redacted]`.
pub fn resources(snapshot: &Snapshot) -> Value {
    let mut out = Map::new();
    for ty in EnvoyType::ALL {
        let items: Vec<Value> = snapshot
            .items(*ty)
            .values()
            .map(|item| to_json(*ty, &item.payload.to_bytes()))
            .collect();
        if !items.is_empty() {
            out.insert(collection(*ty).to_owned(), items.into());
        }
    }
    let mut out = Value::Object(out);
    redact(&mut out);
    out
}

/// What [`bootstrap_with_keys`] gives, with private keys `[redacted]`; Envoy refuses it if there
/// are any.
pub fn bootstrap(snapshot: &Snapshot) -> Value {
    let mut all = bootstrap_with_keys(snapshot);
    redact(&mut all);
    all
}

/// A bootstrap configuration in which everything of a snapshot is static, so that
/// `envoy -c` runs it, and `envoy --mode validate -c` checks it, without a control plane.
///
/// Private keys are in it.
pub fn bootstrap_with_keys(snapshot: &Snapshot) -> Value {
    let list = |ty: EnvoyType| -> Vec<Value> {
        let items = snapshot.items(ty).values();
        items
            .map(|item| to_json(ty, &item.payload.to_bytes()))
            .collect()
    };
    let by_name = |ty: EnvoyType| -> Map<String, Value> {
        let names = snapshot.items(ty).keys().map(ToString::to_string);
        names.zip(list(ty)).collect()
    };
    let endpoints = by_name(EnvoyType::Endpoint);
    let routes = by_name(EnvoyType::Route);
    let secrets = by_name(EnvoyType::Secret);
    let mut listeners = list(EnvoyType::Listener);
    for listener in &mut listeners {
        inline_routes(listener, &routes);
        inline_certificates(listener, &secrets);
    }
    let mut clusters = list(EnvoyType::Cluster);
    for cluster in &mut clusters {
        inline_endpoints(cluster, &endpoints);
    }
    // Without it Envoy refuses regular expressions of more than 100 instructions.
    let limits = json!({
        "name": "kuma",
        "static_layer": {
            "re2.max_program_size.error_level": u32::MAX,
            "re2.max_program_size.warn_level": 1000,
        },
    });
    let offered = list(EnvoyType::Runtime).into_iter();
    let offered =
        offered.map(|layer| json!({ "name": layer["name"], "static_layer": layer["layer"] }));
    let layers: Vec<Value> = std::iter::once(limits).chain(offered).collect();
    json!({
        "static_resources": { "listeners": listeners, "clusters": clusters },
        "layered_runtime": { "layers": layers },
    })
}

const fn collection(ty: EnvoyType) -> &'static str {
    match ty {
        EnvoyType::Runtime => "runtime",
        EnvoyType::Cluster => "clusters",
        EnvoyType::Endpoint => "endpoints",
        EnvoyType::Secret => "secrets",
        EnvoyType::Listener => "listeners",
        EnvoyType::Route => "routes",
    }
}

fn to_json(ty: EnvoyType, payload: &[u8]) -> Value {
    let descriptor = descriptors()
        .get_message_by_name(ty.message())
        .expect("every type that is offered has a descriptor");
    let message = DynamicMessage::decode(descriptor, payload)
        .expect("payloads are encoded from the same descriptors");
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false);
    let mut value = message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .expect("every message in an Any has a descriptor");
    sort_maps(&mut value);
    value
}

/// Sorts what is a map in the messages by key; there it has no order.
fn sort_maps(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "filter_metadata" | "layer" => value.sort_all_objects(),
                    "map" => {
                        if let Some(entries) = value.as_object_mut() {
                            entries.sort_keys();
                        }
                        sort_maps(value);
                    }
                    _ => sort_maps(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(sort_maps),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Puts route configurations where a listener's connection managers ask for them.
fn inline_routes(listener: &mut Value, routes: &Map<String, Value>) {
    let managers = each(&mut listener["filter_chains"])
        .flat_map(|chain| each(&mut chain["filters"]))
        .filter_map(|filter| filter.get_mut("typed_config")?.as_object_mut());
    for manager in managers {
        if let Some(rds) = manager.remove("rds") {
            let name = rds["route_config_name"].as_str().unwrap_or_default();
            let routes = routes.get(name).cloned().unwrap_or_default();
            manager.insert("route_config".to_owned(), routes);
        }
    }
}

/// Puts certificates where a listener's TLS contexts ask for them.
fn inline_certificates(listener: &mut Value, secrets: &Map<String, Value>) {
    let contexts = each(&mut listener["filter_chains"]).filter_map(|chain| {
        let socket = chain.get_mut("transport_socket")?;
        let config = socket.get_mut("typed_config")?;
        config.get_mut("common_tls_context")?.as_object_mut()
    });
    for context in contexts {
        if let Some(asked) = context.remove("tls_certificate_sds_secret_configs") {
            let asked = asked.as_array().map_or(&[][..], Vec::as_slice);
            let names = asked.iter().filter_map(|one| one["name"].as_str());
            let found = names.filter_map(|name| secrets.get(name)?.get("tls_certificate"));
            context.insert("tls_certificates".to_owned(), found.cloned().collect());
        }
    }
}

/// Replaces private keys, wherever they are.
fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == "private_key" {
                    *value = json!({ "inline_string": "[redacted]" });
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(redact),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Puts its endpoints into a cluster that asks for them.
fn inline_endpoints(cluster: &mut Value, endpoints: &Map<String, Value>) {
    let Some(fields) = cluster.as_object_mut() else {
        return;
    };
    if fields.remove("eds_cluster_config").is_some() {
        let name = fields["name"].as_str().unwrap_or_default().to_owned();
        let endpoints = endpoints.get(&name).cloned();
        fields.insert("type".to_owned(), "STATIC".into());
        fields.insert(
            "load_assignment".to_owned(),
            endpoints.unwrap_or_else(|| json!({ "cluster_name": name })),
        );
    }
}

fn each(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_array_mut().into_iter().flatten()
}
