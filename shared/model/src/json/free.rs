//! Specs that are JSON themselves: the object under `spec`, taken and given as it is.
//!
//! Which fields it may have is not known here, so none is unknown.

use serde_json::{Map, Value};

use super::decode::describe;
use super::{Decoded, JsonError, MAX_DEPTH, META_FIELDS};
use crate::resource_type::ResourceType;
use crate::spec::Spec;

/// Where a spec that is JSON stands in a document.
pub const SPEC: &str = "spec";

/// Reads the spec of a document.
pub(super) fn decode(ty: ResourceType, fields: &Map<String, Value>) -> Result<Decoded, JsonError> {
    let error = |message: String| JsonError {
        path: SPEC.to_owned(),
        message,
    };
    let spec = match fields.get(SPEC) {
        None | Some(Value::Null) => Err(error(format!(
            "is missing: the fields of a {ty} stand under it"
        ))),
        Some(Value::Object(_)) if !is_within(fields, MAX_DEPTH) => {
            Err(JsonError::too_deep(SPEC.to_owned()))
        }
        Some(Value::Object(spec)) => Ok(Spec::from_json(ty, spec)),
        Some(other) => Err(error(format!(
            "expected an object, found {}",
            describe(other)
        ))),
    }?;
    let unknown = fields
        .keys()
        .filter(|key| *key != SPEC && !META_FIELDS.contains(&key.as_str()));
    Ok(Decoded {
        spec,
        unknown: unknown.cloned().collect(),
    })
}

/// The spec as it stands in a document.
pub(super) fn encode(spec: &Spec) -> Map<String, Value> {
    let fields = spec.json().unwrap_or_default();
    Map::from_iter([(SPEC.to_owned(), Value::Object(fields))])
}

/// Whether an object nests no deeper than `depth`.
fn is_within(object: &Map<String, Value>, depth: usize) -> bool {
    fn value_is_within(value: &Value, depth: usize) -> bool {
        match value {
            Value::Object(object) => is_within(object, depth),
            Value::Array(items) => depth
                .checked_sub(1)
                .is_some_and(|depth| items.iter().all(|item| value_is_within(item, depth))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        }
    }
    depth
        .checked_sub(1)
        .is_some_and(|depth| object.values().all(|value| value_is_within(value, depth)))
}
