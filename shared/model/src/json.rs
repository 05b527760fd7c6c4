//! The JSON of resources: what YAML files hold and what the admin API speaks.
//!
//! Specs that are messages stand beside the meta fields, specs that are JSON under `spec`. Of
//! messages it is protobuf's JSON mapping in the older dialect that users' files and scripts rely on:
//! durations are read in Go's syntax (`1h30m`), unknown fields are skipped rather than refused,
//! and `null` means absent. Fields that were skipped are reported, so that a caller can warn.
//! Everything here works on message descriptors, so a new field needs no code.
//!
//! **Invariant:** equal input gives equal bytes, whatever the order of its keys; no input panics.

mod decode;
mod document;
mod encode;
mod free;
mod nearest;

use std::fmt;

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde_json::{Map, Value};

pub use document::{Body, Document, META_FIELDS, Meta, parse_body, parse_document, to_document};
pub use free::SPEC;
pub use nearest::nearest_field;

use crate::resource_type::{ResourceType, SpecFormat};
use crate::spec::Spec;

/// Input nests no deeper than this; nothing real comes near.
const MAX_DEPTH: usize = 48;

/// JSON that does not fit the message it is meant to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// Where, such as `conf.listeners[0].port`, with fields spelt as in the input; empty for the
    /// document itself.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for JsonError {
    /// `path: message`, or only the message for the document itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for JsonError {}

/// A spec read from JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The spec, encoded canonically.
    pub spec: Spec,
    /// Paths of fields that were skipped: unknown ones, and those that another field of the same
    /// `oneof` or another spelling of the same field overrides.
    pub unknown: Vec<String>,
}

/// Reads the spec of a resource of type `ty` from the fields of its document; the fields of
/// [`META_FIELDS`] are passed over.
///
/// # Errors
/// When a field has the wrong JSON type, an enum a name it does not have, or the like.
pub fn decode_spec(ty: ResourceType, fields: &Map<String, Value>) -> Result<Decoded, JsonError> {
    let Some(descriptor) = descriptor(ty) else {
        return free::decode(ty, fields);
    };
    let (message, unknown) = decode::document(&descriptor, fields)?;
    // Dynamic messages hold maps in hash order; the typed message writes them sorted.
    let spec = Spec::parse_canonical(ty, &message.encode_to_vec())
        .map_err(|_too_deep| JsonError::too_deep(String::new()))?;
    Ok(Decoded { spec, unknown })
}

/// The fields of a spec, as they stand in a document beside [`META_FIELDS`].
pub fn encode_spec(spec: &Spec) -> Map<String, Value> {
    let Some(descriptor) = descriptor(spec.ty()) else {
        return free::encode(spec);
    };
    let message = DynamicMessage::decode(descriptor.clone(), spec.bytes().as_ref())
        // Only bytes with odd unknown fields get here; without those the spec decodes.
        .or_else(|_| {
            DynamicMessage::decode(descriptor.clone(), spec.to_canonical().bytes().as_ref())
        })
        .unwrap_or_else(|_| DynamicMessage::new(descriptor));
    encode::fields(&message)
}

/// Reads the message called `name` (`kuma.mesh.v1alpha1.DataplaneOverview`) from JSON; also gives
/// the paths that were skipped.
///
/// The order of map entries in the result is not fixed.
///
/// # Errors
/// As [`decode_spec`], and when there is no such message.
pub fn decode_message(
    name: &str,
    fields: &Map<String, Value>,
) -> Result<(Bytes, Vec<String>), JsonError> {
    let (message, unknown) = decode::message(&find(name)?, fields)?;
    Ok((message.encode_to_vec().into(), unknown))
}

/// The JSON of an encoded message called `name` (`kuma.mesh.v1alpha1.DataplaneOverview`).
///
/// # Errors
/// When there is no such message or `bytes` are not one.
pub fn encode_message(name: &str, bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    let message = DynamicMessage::decode(find(name)?, bytes).map_err(|source| JsonError {
        path: String::new(),
        message: format!("not an encoded {name}: {source}"),
    })?;
    Ok(encode::fields(&message))
}

/// The plain JSON of a `google.protobuf.Struct`.
pub(crate) fn struct_fields(object: &prost_types::Struct) -> Map<String, Value> {
    encode::free_fields(object)
}

fn find(name: &str) -> Result<MessageDescriptor, JsonError> {
    mesh_proto::descriptors()
        .get_message_by_name(name)
        .ok_or_else(|| JsonError {
            path: String::new(),
            message: format!("there is no message {name:?}"),
        })
}

/// The message that specs of a type are; `None` where they are JSON.
fn descriptor(ty: ResourceType) -> Option<MessageDescriptor> {
    let SpecFormat::Message(name) = ty.describe().spec else {
        return None;
    };
    let found = mesh_proto::descriptors().get_message_by_name(name);
    Some(found.expect("a test looks up the message of every type"))
}

impl JsonError {
    fn too_deep(path: String) -> Self {
        Self {
            path,
            message: "nested too deeply".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
