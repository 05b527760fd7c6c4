//! Keys and values as they lie on the disk.
//!
//! A resource's key is `r NUL type NUL mesh NUL name`, the mesh empty for types without one; none
//! of the three may hold a NUL. Its value is a protobuf message behind its length, which later
//! releases extend with new fields. What exceeds [`PIECE`] bytes continues under the same key
//! followed by NUL and a number (four bytes, big-endian, from 1): next to it in order.
//!
//! Records under another first byte, and of types that this release does not know, were written
//! by a newer release: they are left where they are.

use std::collections::BTreeMap;

use bytes::Bytes;
use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Spec, Status, Timestamp};
use prost::Message as _;

use crate::Revision;

/// The key of the one record about the store itself.
pub(super) const STATE: &[u8] = b"m\0state";

const RESOURCE: &[u8] = b"r\0";

/// The most bytes of one value.
///
/// sled rewrites a page of up to 19 neighbours with every tenth change to one of them, and moves
/// a page of more than 128 kB to a blob file: several syncs more for a commit, and files that it
/// forgets when the process is killed before it removed them. Values of this size never get
/// there, and a large resource is not rewritten for the sake of its neighbour.
pub(super) const PIECE: usize = 6 << 10;

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
    /// JSON; empty where there is no status.
    #[prost(bytes = "bytes", tag = "6")]
    status: Bytes,
}

/// What a key turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Of the record about the store itself.
    State,
    /// Of a resource, or of its first part.
    Resource(Key),
    /// Of a further part of the resource before it.
    Piece(u32),
    /// Written by a newer release.
    Unknown,
}

/// Why a record cannot be read.
pub(super) type DecodeError = Box<dyn std::error::Error + Send + Sync>;

/// The record of a revision, under [`STATE`].
pub(super) fn encode_state(revision: Revision) -> Vec<u8> {
    StateRecord {
        revision: revision.0,
    }
    .encode_to_vec()
}

/// Reads the record under [`STATE`].
pub(super) fn decode_state(value: &[u8]) -> Result<Revision, DecodeError> {
    Ok(Revision(StateRecord::decode(value)?.revision))
}

/// The key under which a resource lies.
pub(super) fn encode_key(key: &Key) -> Vec<u8> {
    let parts = [key.ty().name(), key.mesh_str(), key.name().as_str()];
    [RESOURCE, parts.join("\0").as_bytes()].concat()
}

/// What the keys of further parts of the resource under `key` begin with.
pub(super) fn pieces_prefix(key: &[u8]) -> Vec<u8> {
    [key, b"\0"].concat()
}

/// The keys and values of a resource, written with `revision`.
pub(super) fn encode(resource: &Resource, revision: Revision) -> Vec<(Vec<u8>, Vec<u8>)> {
    let value = ResourceRecord {
        labels: resource.labels().as_ref().clone(),
        created_unix_nanos: resource.created().unix_nanos(),
        modified_unix_nanos: resource.modified().unix_nanos(),
        spec: resource.spec().bytes().clone(),
        revision: revision.0,
        status: resource
            .status()
            .map(|status| status.bytes().clone())
            .unwrap_or_default(),
    }
    .encode_length_delimited_to_vec();
    let key = encode_key(resource.key());
    let prefix = pieces_prefix(&key);
    let mut pieces = value.chunks(PIECE).map(<[u8]>::to_vec);
    let first = pieces.next().expect("the length is not empty");
    let further = (1_u32..).zip(pieces).map(|(number, piece)| {
        let key = [&prefix[..], &number.to_be_bytes()].concat();
        (key, piece)
    });
    std::iter::once((key, first)).chain(further).collect()
}

/// Whether a stored resource may have further parts.
pub(super) fn may_have_pieces(resource: &Resource) -> bool {
    let labels = resource.labels();
    let labels: usize = labels.iter().map(|(k, v)| k.len() + v.len() + 16).sum();
    let status = resource.status().map_or(0, |status| status.bytes().len());
    // Generous, for what else a record of any release may hold.
    resource.spec().bytes().len() + status + labels > PIECE / 2
}

/// Reads a key.
///
/// # Errors
/// When it is of a known kind and malformed.
pub(super) fn decode_key(key: &[u8]) -> Result<Place, DecodeError> {
    if key == STATE {
        return Ok(Place::State);
    }
    let Some(parts) = key.strip_prefix(RESOURCE) else {
        return Ok(Place::Unknown);
    };
    let mut parts = parts.splitn(4, |byte| *byte == 0);
    let mut text = || -> Result<&str, DecodeError> {
        let part = parts.next().ok_or("the key is too short")?;
        Ok(std::str::from_utf8(part)?)
    };
    let Ok(ty) = text()?.parse::<ResourceType>() else {
        return Ok(Place::Unknown);
    };
    let mesh = match text()? {
        "" => None,
        mesh => Some(MeshName::parse(mesh)?),
    };
    let name = ResourceName::parse(text()?)?;
    if let Some(number) = parts.next() {
        return Ok(Place::Piece(u32::from_be_bytes(number.try_into()?)));
    }
    let key = Key::try_new(ty, mesh, name).ok_or("the type's scope and the mesh do not agree")?;
    Ok(Place::Resource(key))
}

/// The length of a resource's value in all its parts, by the first.
pub(super) fn decode_len(first: &[u8]) -> Result<usize, DecodeError> {
    let len = prost::decode_length_delimiter(first)?;
    Ok(len + prost::length_delimiter_len(len))
}

/// Reads a resource, and with which revision it was written.
pub(super) fn decode(key: Key, value: &[u8]) -> Result<(Resource, Revision), DecodeError> {
    let record = ResourceRecord::decode_length_delimited(value)?;
    let spec = Spec::parse(key.ty(), record.spec)?;
    let status = Some(record.status)
        .filter(|bytes| !bytes.is_empty())
        .map(Status::parse)
        .transpose()?;
    let resource = Resource::new(
        key,
        record.labels,
        spec,
        Timestamp::from_unix_nanos(record.created_unix_nanos),
        Timestamp::from_unix_nanos(record.modified_unix_nanos),
    )
    .with_status(status);
    Ok((resource, Revision(record.revision)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least that is a spec.
    fn spec(ty: ResourceType) -> Spec {
        let least: &[u8] = if ty.is_json() { b"{}" } else { b"" };
        Spec::parse(ty, Bytes::from_static(least)).unwrap()
    }

    fn resource(key: Key, label: &str) -> Resource {
        let labels = [("kuma.io/origin", "zone"), ("env", label)];
        Resource::new(
            key.clone(),
            labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            spec(key.ty()),
            Timestamp::from_unix_nanos(-1),
            Timestamp::from_unix_nanos(i64::MAX),
        )
        .with_status(key.ty().describe().has_status.then(|| {
            let status = format!("{{\"tls\": {{}}, \"n\": {label:?}}}");
            Status::parse(status.into()).unwrap()
        }))
    }

    #[test]
    fn a_resource_of_every_type_and_size_reads_back_as_it_was_written() {
        let label = "x".repeat(3 * PIECE);
        for ty in ResourceType::ALL {
            let mesh = ty
                .is_mesh_scoped()
                .then(|| MeshName::parse("default").unwrap());
            let key = Key::try_new(ty, mesh, ResourceName::parse("a-b.c_9").unwrap()).unwrap();
            for len in [0, 1, PIECE - 100, PIECE, 2 * PIECE, 3 * PIECE] {
                let written = resource(key.clone(), &label[..len]);
                let records = encode(&written, Revision(7));
                assert_eq!(
                    decode_key(&records[0].0).unwrap(),
                    Place::Resource(key.clone())
                );
                assert!(records.iter().is_sorted());
                assert!(records.len() == 1 || may_have_pieces(&written));
                let mut value = Vec::new();
                for (number, (key, piece)) in records.iter().enumerate() {
                    if number > 0 {
                        let number = u32::try_from(number).unwrap();
                        assert_eq!(decode_key(key).unwrap(), Place::Piece(number));
                    }
                    assert!(piece.len() <= PIECE);
                    value.extend_from_slice(piece);
                }
                assert_eq!(decode_len(&records[0].1).unwrap(), value.len());
                let (read, revision) = decode(key.clone(), &value).unwrap();
                assert_eq!(read, written);
                assert_eq!(revision, Revision(7));
            }
        }
    }

    #[test]
    fn what_a_newer_release_wrote_is_unknown_and_not_an_error() {
        for key in [
            &b"r\0MeshTeapot\0default\0a"[..],
            b"r\0MeshTeapot\0default\0a\0\0\0\0\xff",
            b"r\0MeshTeapot\xc3\xa9",
            b"x",
            b"z\0whatever",
            b"",
        ] {
            assert_eq!(decode_key(key).unwrap(), Place::Unknown, "{key:?}");
        }
    }

    #[test]
    fn a_malformed_key_or_value_of_a_known_kind_is_an_error() {
        for key in [
            "r\0Mesh\0in-a-mesh\0default",
            "r\0MeshGateway\0\0edge",
            "r\0Mesh\0\0No Name",
            "r\0Mesh\0\0a\0b",
            "r\0Mesh",
        ] {
            assert!(decode_key(key.as_bytes()).is_err(), "{key:?}");
        }
        let Place::Resource(key) = decode_key(b"r\0Mesh\0\0default").unwrap() else {
            panic!("it is a resource");
        };
        for value in [&b""[..], b"\xff", b"\x09\x22\x01", b"\x03\x22\x01\xff"] {
            assert!(decode(key.clone(), value).is_err(), "{value:?}");
        }
        assert!(decode_state(b"\xff").is_err());
    }
}
