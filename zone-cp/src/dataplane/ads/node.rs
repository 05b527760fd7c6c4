//! What an Envoy says of itself in the node of its first request.

use mesh_proto::core::Node;
use mesh_proto::mesh::{EnvoyVersion, KumaDpVersion, Version};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::Status;

/// An Envoy's introduction.
#[derive(Debug)]
pub(super) struct Introduction {
    /// `<mesh>.<name>`.
    pub(super) node_id: String,
    /// The Dataplane that its agent was given, as JSON text.
    pub(super) resource: Option<String>,
    /// Releases of agent and Envoy.
    pub(super) version: Version,
}

impl Introduction {
    /// Reads a node; keys that are missing, as with other bootstraps, stay empty.
    pub(super) fn read(node: Option<&Node>) -> Result<Self, Status> {
        let node = node.ok_or_else(|| Status::invalid_argument("the first request has no node"))?;
        let metadata = node.metadata.as_ref();
        let resource = metadata
            .and_then(|m| m.fields.get("dataplane.resource"))
            .map(text)
            .filter(|resource| !resource.is_empty());
        let version = metadata.and_then(|m| object(m.fields.get("version")?));
        Ok(Self {
            node_id: node.id.clone(),
            resource,
            version: version.map(read_version).unwrap_or_default(),
        })
    }
}

fn read_version(version: &Struct) -> Version {
    let part = |of: &str, name: &str| {
        version
            .fields
            .get(of)
            .and_then(object)
            .and_then(|o| o.fields.get(name))
            .map(text)
            .unwrap_or_default()
    };
    let is_true = |of: &str, name: &str| {
        let value = version
            .fields
            .get(of)
            .and_then(object)
            .and_then(|o| o.fields.get(name));
        matches!(
            value.and_then(|v| v.kind.as_ref()),
            Some(Kind::BoolValue(true))
        )
    };
    let dependencies = version.fields.get("dependencies").and_then(object);
    Version {
        kuma_dp: Some(KumaDpVersion {
            version: part("kumaDp", "version"),
            git_tag: part("kumaDp", "gitTag"),
            git_commit: part("kumaDp", "gitCommit"),
            build_date: part("kumaDp", "buildDate"),
            kuma_cp_compatible: true,
        }),
        envoy: Some(EnvoyVersion {
            version: part("envoy", "version"),
            build: part("envoy", "build"),
            kuma_dp_compatible: is_true("envoy", "kumaDpCompatible"),
        }),
        dependencies: dependencies
            .map(|d| d.fields.iter().map(|(k, v)| (k.clone(), text(v))).collect())
            .unwrap_or_default(),
    }
}

fn object(value: &Value) -> Option<&Struct> {
    match value.kind.as_ref()? {
        Kind::StructValue(object) => Some(object),
        _ => None,
    }
}

fn text(value: &Value) -> String {
    match &value.kind {
        Some(Kind::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}
