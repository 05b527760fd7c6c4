//! How resources are shown: by themselves, with their insight, or as Kubernetes objects.

use mesh_model::json::{self, META_FIELDS};
use mesh_model::{Resource, ResourceType};
use mesh_store::Snapshot;
use serde_json::{Map, Value, json};

/// A resource by itself.
pub(crate) fn plain(resource: &Resource) -> Value {
    Value::Object(json::to_document(resource))
}

/// Whether an overview without an insight shows an empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoInsight {
    /// As in lists.
    Omit,
    /// As for single resources.
    Empty,
}

/// A resource together with its insight.
pub(crate) fn overview(resource: &Resource, snapshot: &Snapshot, missing: NoInsight) -> Value {
    let ty = resource.key().ty();
    let (mut shown, spec): (Map<String, Value>, Map<String, Value>) = json::to_document(resource)
        .into_iter()
        .partition(|(key, _)| META_FIELDS.contains(&key.as_str()));
    shown.insert("type".to_owned(), json!(format!("{ty}Overview")));
    let insight = ty
        .insight()
        .and_then(|insight| snapshot.get(&resource.key().with_type(insight)))
        .map(|insight| json::encode_spec(insight.spec()));
    let key = lower_first(ty.name());
    shown.insert(key.clone(), Value::Object(spec));
    match insight {
        Some(insight) => shown.insert(format!("{key}Insight"), Value::Object(insight)),
        None if missing == NoInsight::Empty => {
            shown.insert(format!("{key}Insight"), Value::Object(Map::new()))
        }
        None => None,
    };
    Value::Object(shown)
}

fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars
        .next()
        .map(|c| c.to_ascii_lowercase())
        .into_iter()
        .chain(chars)
        .collect()
}

/// A resource as the Kubernetes object that would hold it.
pub(crate) fn kubernetes(resource: &Resource, namespace: Option<&str>) -> Value {
    let key = resource.key();
    let ty = key.ty();
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(key.name().as_str()));
    if is_namespaced(ty) {
        let namespace = namespace.unwrap_or("kuma-system");
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    let seconds = mesh_model::Timestamp::from_unix_seconds(resource.created().unix_seconds());
    metadata.insert("creationTimestamp".to_owned(), json!(seconds.to_string()));
    let mut spec = (resource.spec().json()).unwrap_or_else(|| json::encode_spec(resource.spec()));
    if let Some(mesh) = key.mesh().filter(|_| ty.is_json()) {
        let labels = json!({ mesh_model::labels::MESH: mesh.as_str() });
        metadata.insert("labels".to_owned(), labels);
    }
    if ty.describe().is_admin_only {
        if let Some(mesh) = key.mesh() {
            let labels = json!({ mesh_model::labels::MESH: mesh.as_str() });
            metadata.insert("labels".to_owned(), labels);
        }
        let kind = if ty == ResourceType::Secret {
            "system.kuma.io/secret"
        } else {
            "system.kuma.io/global-secret"
        };
        return json!({
            "kind": "Secret",
            "apiVersion": "v1",
            "metadata": metadata,
            "data": { "value": spec.remove("data").unwrap_or(json!("")) },
            "type": kind,
        });
    }
    let mut object = Map::new();
    object.insert("kind".to_owned(), json!(ty.name()));
    object.insert("apiVersion".to_owned(), json!("kuma.io/v1alpha1"));
    object.insert("metadata".to_owned(), Value::Object(metadata));
    if let Some(mesh) = key.mesh().filter(|_| !ty.is_json()) {
        object.insert("mesh".to_owned(), json!(mesh.as_str()));
    }
    object.insert("spec".to_owned(), Value::Object(spec));
    Value::Object(object)
}

fn is_namespaced(ty: ResourceType) -> bool {
    match ty {
        ResourceType::Secret
        | ResourceType::GlobalSecret
        | ResourceType::Config
        | ResourceType::Dataplane
        | ResourceType::DataplaneInsight
        | ResourceType::ZoneIngress
        | ResourceType::ZoneIngressInsight
        | ResourceType::ZoneEgress
        | ResourceType::ZoneEgressInsight => true,
        _ => ty.is_json(),
    }
}
