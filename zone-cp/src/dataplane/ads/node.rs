//! What an Envoy says of itself in the node of its first request.

use mesh_proto::core::Node;
use mesh_proto::mesh::{EnvoyVersion, KumaDpVersion, Version};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::Status;

use super::super::admin::Place;
use super::shortened;

/// A mesh, a dot and a name, each at its longest.
const MAX_NODE_ID: usize = 253 + 1 + 253;
/// A Dataplane with every listener of a large gateway has some ten kilobytes.
const MAX_RESOURCE: usize = 1 << 20;
/// What one text of a version may have.
const MAX_VERSION: usize = 256;
/// How many programs an agent may name the versions of.
const MAX_DEPENDENCIES: usize = 64;

/// An Envoy's introduction.
#[derive(Debug)]
pub(super) struct Introduction {
    /// `<mesh>.<name>`.
    pub(super) node_id: String,
    /// The Dataplane that its agent was given, as JSON text.
    pub(super) resource: Option<String>,
    /// Releases of agent and Envoy.
    pub(super) version: Version,
    /// The release that Envoy itself says it is: major and minor.
    pub(super) envoy_version: Option<(u32, u32)>,
    /// Where its admin interface is, if it says so.
    pub(super) admin: Option<Place>,
}

impl Introduction {
    /// Reads a node; keys that are missing, as with other bootstraps, stay empty.
    pub(super) fn read(node: Option<&Node>) -> Result<Self, Status> {
        let node = node.ok_or_else(|| Status::invalid_argument("the first request has no node"))?;
        // It goes into messages and logs from here on.
        if node.id.len() > MAX_NODE_ID {
            return Err(Status::invalid_argument(format!(
                "the node id has {} bytes; <mesh>.<name> has at most {MAX_NODE_ID}",
                node.id.len()
            )));
        }
        let metadata = node.metadata.as_ref();
        let resource = metadata
            .and_then(|m| m.fields.get("dataplane.resource"))
            .map(text)
            .filter(|resource| !resource.is_empty());
        let length = resource.as_ref().map_or(0, String::len);
        if length > MAX_RESOURCE {
            return Err(Status::invalid_argument(format!(
                "the resource in the node's metadata has {length} bytes, at most {MAX_RESOURCE} \
                 are read"
            )));
        }
        let version = metadata.and_then(|m| object(m.fields.get("version")?));
        Ok(Self {
            node_id: node.id.clone(),
            resource,
            version: version.map(read_version).unwrap_or_default(),
            envoy_version: envoy_version(node),
            admin: admin(node),
        })
    }
}

/// The admin interface that the bootstrap names.
fn admin(node: &Node) -> Option<Place> {
    let fields = &node.metadata.as_ref()?.fields;
    let said = |key: &str| fields.get(key).map(text).filter(|text| !text.is_empty());
    Some(Place {
        port: said("dataplane.admin.port")?.parse().ok()?,
        // Nobody is sent to another socket of this machine.
        socket: said("dataplane.admin.socketPath")
            .filter(|path| path.ends_with("/kuma-envoy-admin.sock"))
            .map(Into::into),
        readiness_port: said("dataplane.readinessReporter.port")
            .and_then(|port| port.parse().ok())
            .filter(|port| *port != 0),
    })
}

/// The release of a node that is an Envoy; what agents say in the metadata they may have copied.
fn envoy_version(node: &Node) -> Option<(u32, u32)> {
    let build = node.user_agent_build_version.as_ref()?;
    let version = build
        .version
        .as_ref()
        .filter(|_| node.user_agent_name == "envoy")?;
    Some((version.major_number, version.minor_number))
}

fn read_version(version: &Struct) -> Version {
    let part = |of: &str, name: &str| {
        version
            .fields
            .get(of)
            .and_then(object)
            .and_then(|o| o.fields.get(name))
            .map(short_text)
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
            .map(|d| {
                let named = d
                    .fields
                    .iter()
                    .filter(|(name, _)| name.len() <= MAX_VERSION);
                named
                    .take(MAX_DEPENDENCIES)
                    .map(|(name, version)| (name.clone(), short_text(version)))
                    .collect()
            })
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

fn short_text(value: &Value) -> String {
    shortened(&text(value), MAX_VERSION).to_owned()
}

#[cfg(test)]
mod tests {
    use mesh_proto::core::BuildVersion;
    use mesh_proto::core::build_version::SemanticVersion;

    use super::*;

    fn string(text: impl Into<String>) -> Value {
        Value {
            kind: Some(Kind::StringValue(text.into())),
        }
    }

    fn structure<const N: usize>(fields: [(&str, Value); N]) -> Struct {
        Struct {
            fields: fields.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    }

    fn nested<const N: usize>(fields: [(&str, Value); N]) -> Value {
        Value {
            kind: Some(Kind::StructValue(structure(fields))),
        }
    }

    fn node(id: String, metadata: Struct) -> Node {
        Node {
            id,
            metadata: Some(metadata),
            ..Default::default()
        }
    }

    #[test]
    fn an_id_longer_than_any_is_not_read_nor_repeated() {
        let longest = format!("{}.{}", "m".repeat(253), "n".repeat(253));
        let read = |id: &str| Introduction::read(Some(&node(id.to_owned(), Struct::default())));
        assert_eq!(read(&longest).unwrap().node_id, longest);
        for length in [longest.len() + 1, 10 << 20] {
            let refused = read(&"x".repeat(length)).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument);
            assert!(refused.message().len() < 200, "{}", refused.message().len());
        }
    }

    #[test]
    fn an_envoy_says_its_release_itself() {
        let read = |name: &str, version| {
            let node = Node {
                user_agent_name: name.to_owned(),
                user_agent_build_version: Some(BuildVersion { version }),
                ..node("default.edge".to_owned(), Struct::default())
            };
            Introduction::read(Some(&node)).unwrap().envoy_version
        };
        let version = SemanticVersion {
            major_number: 1,
            minor_number: 36,
            patch: 4,
        };
        assert_eq!(read("envoy", Some(version)), Some((1, 36)));
        assert_eq!(read("envoy", None), None);
        assert_eq!(read("grpc-go", Some(version)), None);
    }

    #[test]
    fn a_resource_has_a_limit() {
        let read = |length: usize| {
            let resource = string("r".repeat(length));
            let metadata = structure([("dataplane.resource", resource)]);
            Introduction::read(Some(&node("default.edge".to_owned(), metadata)))
        };
        assert!(read(MAX_RESOURCE).unwrap().resource.is_some());
        let refused = read(MAX_RESOURCE + 1).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }

    #[test]
    fn versions_are_cut_and_counted() {
        let long = || string("v".repeat(1 << 20));
        let many = (0..1000).map(|n| (format!("program-{n:04}"), long()));
        let dependencies = Value {
            kind: Some(Kind::StructValue(Struct {
                fields: many.collect(),
            })),
        };
        let version = nested([
            ("envoy", nested([("build", long())])),
            ("dependencies", dependencies),
        ]);
        let node = node("default.edge".to_owned(), structure([("version", version)]));
        let version = Introduction::read(Some(&node)).unwrap().version;
        assert_eq!(version.envoy.unwrap().build.len(), MAX_VERSION);
        assert_eq!(version.dependencies.len(), MAX_DEPENDENCIES);
        assert!(
            version
                .dependencies
                .values()
                .all(|v| v.len() == MAX_VERSION)
        );
    }
}
