//! A resource as it travels: the envelope, its stream name and its version.

use std::collections::BTreeMap;

use bytes::Bytes;
use mesh_delta::{Item, Name, Version};
use mesh_model::resource_type::SpecFormat;
use mesh_model::{
    Key, MeshName, ParseNameError, Resource, ResourceName, ResourceType, Spec, Status,
};
use mesh_proto::Any;
use mesh_proto::mesh::{KumaResource, kuma_resource};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::kind::Kind;

/// Type URL of the envelope.
pub const ENVELOPE_TYPE_URL: &str = "type.googleapis.com/kuma.mesh.v1alpha1.KumaResource";
const TYPE_URL_PREFIX: &str = "type.googleapis.com/";

/// The name of a resource on a stream: `<name>.<mesh>`, with the dot also where there is no mesh.
pub fn stream_name(name: &str, mesh: &str) -> Name {
    format!("{name}.{mesh}").into()
}

/// The name and mesh behind a stream name: cut at the last dot. `None` without a dot.
pub fn split_stream_name(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once('.')
}

/// A resource as its sender wants it seen.
#[derive(Debug, Clone)]
pub struct Outgoing<'a> {
    /// Its type.
    pub ty: ResourceType,
    /// Its name after mapping.
    pub name: &'a str,
    /// Its mesh; empty where there is none.
    pub mesh: &'a str,
    /// Its labels after mapping.
    pub labels: BTreeMap<String, String>,
    /// Its encoded spec after mapping.
    pub spec: Bytes,
    /// Its status after mapping, as JSON.
    pub status: Option<Bytes>,
}

/// Encodes a resource for the stream. The version is the SHA-256 of the encoded envelope.
pub fn encode(out: Outgoing<'_>) -> Item<Kind> {
    let envelope = KumaResource {
        meta: Some(kuma_resource::Meta {
            name: out.name.to_owned(),
            mesh: out.mesh.to_owned(),
            version: String::new(),
            labels: out.labels,
        }),
        spec: Some(Any {
            type_url: match out.ty.describe().spec {
                SpecFormat::Message(message) => format!("{TYPE_URL_PREFIX}{message}"),
                SpecFormat::Json => String::new(),
            },
            value: out.spec,
        }),
        status: out.status.map(|value| Any {
            type_url: String::new(),
            value,
        }),
    };
    let payload: Bytes = envelope.encode_to_vec().into();
    Item {
        version: hex(&Sha256::digest(&payload)).into(),
        payload: payload.into(),
        needs: [].into(),
    }
}

/// The stream name and version of a resource that was stored as it arrived, with this status.
pub(crate) fn as_received(resource: &Resource, status: Option<Bytes>) -> (Name, Version) {
    let (name, mesh) = (resource.key().name().as_str(), resource.key().mesh_str());
    let item = encode(Outgoing {
        ty: resource.key().ty(),
        name,
        mesh,
        labels: BTreeMap::clone(resource.labels()),
        spec: resource.spec().bytes().clone(),
        status,
    });
    (stream_name(name, mesh), item.version)
}

/// A resource as a peer sent it.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Its key, with the name as sent.
    pub key: Key,
    /// Its labels as sent.
    pub labels: BTreeMap<String, String>,
    /// Its spec, as the bytes that arrived.
    pub spec: Spec,
    /// Its status, as the bytes that arrived; none where its type has none.
    pub status: Option<Status>,
}

/// Why a payload is not a resource of its type.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The payload is no envelope.
    #[error("not an encoded KumaResource")]
    Envelope(#[source] prost::DecodeError),
    /// The envelope has no meta.
    #[error("the resource has no meta")]
    NoMeta,
    /// The envelope has no spec.
    #[error("the resource has no spec")]
    NoSpec,
    /// The name or mesh is none.
    #[error("{part} {text:?}: {source}")]
    Name {
        /// `name` or `mesh`.
        part: &'static str,
        /// What it was.
        text: String,
        /// What is wrong with it.
        source: ParseNameError,
    },
    /// A mesh where the type has none, or none where it needs one.
    #[error("a {ty} {expected}, but meta.mesh is {mesh:?}")]
    Scope {
        /// The type.
        ty: ResourceType,
        /// What the type asks for.
        expected: &'static str,
        /// What was there.
        mesh: String,
    },
    /// The spec is of another type.
    #[error("the spec is a {found:?}, not a {expected}")]
    SpecType {
        /// The message expected.
        expected: &'static str,
        /// What the spec's type URL named.
        found: String,
    },
    /// The spec does not decode.
    #[error(transparent)]
    Spec(#[from] mesh_model::DecodeSpecError),
    /// The status does not decode.
    #[error(transparent)]
    Status(#[from] mesh_model::DecodeStatusError),
}

/// Decodes a payload of type `ty`.
///
/// # Errors
/// What is wrong with it, first thing first.
pub fn decode(ty: ResourceType, payload: Bytes) -> Result<Incoming, DecodeError> {
    let envelope = KumaResource::decode(payload).map_err(DecodeError::Envelope)?;
    let meta = envelope.meta.ok_or(DecodeError::NoMeta)?;
    let spec = envelope.spec.ok_or(DecodeError::NoSpec)?;
    let name = ResourceName::parse(&meta.name).map_err(|source| DecodeError::Name {
        part: "meta.name",
        text: meta.name.clone(),
        source,
    })?;
    let mesh = match meta.mesh.as_str() {
        "" => None,
        text => Some(MeshName::parse(text).map_err(|source| DecodeError::Name {
            part: "meta.mesh",
            text: text.to_owned(),
            source,
        })?),
    };
    let key = Key::try_new(ty, mesh, name).ok_or_else(|| DecodeError::Scope {
        ty,
        expected: if ty.is_mesh_scoped() {
            "lives in a mesh"
        } else {
            "has no mesh"
        },
        mesh: meta.mesh.clone(),
    })?;
    if let SpecFormat::Message(expected) = ty.describe().spec
        && spec.type_url.rsplit('/').next() != Some(expected)
    {
        return Err(DecodeError::SpecType {
            expected,
            found: spec.type_url,
        });
    }
    Ok(Incoming {
        key,
        labels: meta.labels,
        spec: Spec::parse(ty, spec.value)?,
        status: status(ty, envelope.status)?,
    })
}

/// The status of a resource, if its type has specs that are JSON: only such types have one in any
/// release, and which of them do differs from release to release. No value is no status.
fn status(ty: ResourceType, sent: Option<Any>) -> Result<Option<Status>, DecodeError> {
    let sent = sent.filter(|any| ty.is_json() && !any.value.is_empty());
    let status = sent.map(|any| Status::parse(any.value)).transpose()?;
    Ok(status)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a String succeeds");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh_default() -> Item<Kind> {
        encode(Outgoing {
            ty: ResourceType::Mesh,
            name: "default",
            mesh: "",
            labels: BTreeMap::new(),
            spec: Bytes::new(),
            status: None,
        })
    }

    #[test]
    fn the_version_is_the_hash_that_stock_peers_compute() {
        assert_eq!(
            &*mesh_default().version,
            "ba5ce22f1de524b982a6f94c9a73206b7641569c1f6dbca7afc9b66678527502"
        );
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        let incoming = decode(ResourceType::Mesh, mesh_default().payload.to_bytes()).unwrap();
        assert_eq!(incoming.key.to_string(), "Mesh default");
        assert!(incoming.labels.is_empty());
    }

    #[test]
    fn stream_names_have_a_dot_also_without_a_mesh() {
        assert_eq!(&*stream_name("default", ""), "default.");
        assert_eq!(
            split_stream_name("zone-2.ingress-1."),
            Some(("zone-2.ingress-1", ""))
        );
        assert_eq!(
            split_stream_name("echo-1.default"),
            Some(("echo-1", "default"))
        );
        assert_eq!(split_stream_name("nothing"), None);
    }

    #[test]
    fn what_no_peer_should_send_is_an_error_with_a_reason() {
        let payload = mesh_default().payload.to_bytes();
        for (ty, payload, expected) in [
            (
                ResourceType::Mesh,
                Bytes::from_static(b"\xff"),
                "not an encoded KumaResource",
            ),
            (ResourceType::Mesh, Bytes::new(), "the resource has no meta"),
            (
                ResourceType::MeshGateway,
                payload.clone(),
                "lives in a mesh",
            ),
            (
                ResourceType::Zone,
                payload,
                "not a kuma.system.v1alpha1.Zone",
            ),
        ] {
            let error = decode(ty, payload).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
