//! Keys and values as they lie on the disk.
//!
//! A resource's key is `r NUL type NUL mesh NUL name`, the mesh empty for types without one; none
//! of the three may hold a NUL. Values are protobuf messages, which later releases extend with
//! new fields. Records under another first byte, and of types that this release does not know,
//! were written by a newer release: they are left where they are.

use std::collections::BTreeMap;

use bytes::Bytes;
use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Spec, Timestamp};
use prost::Message as _;

use crate::Revision;

/// The key of the one record about the store itself.
pub(super) const STATE: &[u8] = b"m\0state";

const RESOURCE: &[u8] = b"r\0";

/// The store's own record.
#[derive(Clone, PartialEq, prost::Message)]
struct StateRecord {
    /// The latest revision that is complete.
    #[prost(uint64, tag = "1")]
    revision: u64,
}

/// A resource without its key. Its version is computed, not stored.
#[derive(Clone, PartialEq, prost::Message)]
struct ResourceRecord {
    #[prost(btree_map = "string, string", tag = "1")]
    labels: BTreeMap<String, String>,
    #[prost(sfixed64, tag = "2")]
    created_unix_nanos: i64,
    #[prost(sfixed64, tag = "3")]
    modified_unix_nanos: i64,
    #[prost(bytes = "bytes", tag = "4")]
    spec: Bytes,
    /// The revision with which it was written; above the store's own, it is part of a step that
    /// was never completed.
    #[prost(uint64, tag = "5")]
    revision: u64,
}

/// What a record turns out to be.
#[derive(Debug)]
pub(super) enum Record {
    State(Revision),
    Resource(Resource, Revision),
    /// Written by a newer release.
    Unknown,
}

type DecodeError = Box<dyn std::error::Error + Send + Sync>;

/// The record of a revision, under [`STATE`].
pub(super) fn encode_state(revision: Revision) -> Vec<u8> {
    StateRecord {
        revision: revision.0,
    }
    .encode_to_vec()
}

/// The key under which a resource lies.
pub(super) fn encode_key(key: &Key) -> Vec<u8> {
    let parts = [key.ty().name(), key.mesh_str(), key.name().as_str()];
    [RESOURCE, parts.join("\0").as_bytes()].concat()
}

/// The value of a resource, written with `revision`.
pub(super) fn encode_resource(resource: &Resource, revision: Revision) -> Vec<u8> {
    ResourceRecord {
        labels: resource.labels().as_ref().clone(),
        created_unix_nanos: resource.created().unix_nanos(),
        modified_unix_nanos: resource.modified().unix_nanos(),
        spec: resource.spec().bytes().clone(),
        revision: revision.0,
    }
    .encode_to_vec()
}

/// Reads one record.
///
/// # Errors
/// When it is of a known kind and does not decode.
pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Record, DecodeError> {
    if key == STATE {
        let state = StateRecord::decode(value)?;
        return Ok(Record::State(Revision(state.revision)));
    }
    let Some(parts) = key.strip_prefix(RESOURCE) else {
        return Ok(Record::Unknown);
    };
    let mut parts = std::str::from_utf8(parts)?.split('\0');
    let (Some(ty), Some(mesh), Some(name), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("the key does not have three parts".into());
    };
    let Ok(ty) = ty.parse::<ResourceType>() else {
        return Ok(Record::Unknown);
    };
    let mesh = match mesh {
        "" => None,
        mesh => Some(MeshName::parse(mesh)?),
    };
    let key = Key::try_new(ty, mesh, ResourceName::parse(name)?)
        .ok_or("the type's scope and the mesh do not agree")?;
    let record = ResourceRecord::decode(value)?;
    let resource = Resource::new(
        key,
        record.labels,
        Spec::parse(ty, record.spec)?,
        Timestamp::from_unix_nanos(record.created_unix_nanos),
        Timestamp::from_unix_nanos(record.modified_unix_nanos),
    );
    Ok(Record::Resource(resource, Revision(record.revision)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(key: Key) -> Resource {
        let labels = [("kuma.io/origin", "zone"), ("env", "")];
        Resource::new(
            key.clone(),
            labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            Spec::parse(key.ty(), Bytes::new()).unwrap(),
            Timestamp::from_unix_nanos(-1),
            Timestamp::from_unix_nanos(i64::MAX),
        )
    }

    #[test]
    fn a_resource_of_every_type_reads_back_as_it_was_written() {
        for ty in ResourceType::ALL {
            let mesh = ty
                .is_mesh_scoped()
                .then(|| MeshName::parse("default").unwrap());
            let key = Key::try_new(ty, mesh, ResourceName::parse("a-b.c_9").unwrap()).unwrap();
            let written = resource(key.clone());
            let value = encode_resource(&written, Revision(7));
            match decode(&encode_key(&key), &value).unwrap() {
                Record::Resource(read, revision) => {
                    assert_eq!(read, written);
                    assert_eq!(revision, Revision(7));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_a_newer_release_wrote_is_unknown_and_not_an_error() {
        for key in ["r\0MeshTeapot\0default\0a", "x", "z\0whatever", ""] {
            assert!(
                matches!(decode(key.as_bytes(), b"\xff"), Ok(Record::Unknown)),
                "{key:?}"
            );
        }
    }

    #[test]
    fn a_damaged_record_of_a_known_kind_is_an_error() {
        for (key, value) in [
            ("r\0Mesh\0\0default", &b"\xff"[..]),
            ("r\0Mesh\0\0default", b"\x22\x01\xff"),
            ("r\0Mesh\0in-a-mesh\0default", b""),
            ("r\0MeshGateway\0\0edge", b""),
            ("r\0Mesh\0\0No Name", b""),
            ("r\0Mesh\0\0a\0b", b""),
            ("m\0state", b"\xff"),
        ] {
            assert!(decode(key.as_bytes(), value).is_err(), "{key:?}");
        }
    }
}
