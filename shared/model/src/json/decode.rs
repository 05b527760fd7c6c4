//! JSON to message, by descriptor.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use serde_json::{Map, Value as Json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::document::META_FIELDS;
use super::{JsonError, MAX_DEPTH};
use crate::go_duration;

/// Reads the spec part of a document; also gives the paths that were skipped.
pub(super) fn document(
    descriptor: &MessageDescriptor,
    fields: &Map<String, Json>,
) -> Result<(DynamicMessage, Vec<String>), JsonError> {
    let mut decoder = Decoder::default();
    let message = decoder.fields(descriptor, fields, META_FIELDS)?;
    Ok((message, decoder.skipped))
}

/// Reads a message; also gives the paths that were skipped.
pub(super) fn message(
    descriptor: &MessageDescriptor,
    fields: &Map<String, Json>,
) -> Result<(DynamicMessage, Vec<String>), JsonError> {
    let mut decoder = Decoder::default();
    let message = decoder.fields(descriptor, fields, &[])?;
    Ok((message, decoder.skipped))
}

#[derive(Default)]
struct Decoder {
    path: String,
    depth: usize,
    skipped: Vec<String>,
}

/// One step down a path.
enum Step<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl Decoder {
    fn fields(
        &mut self,
        descriptor: &MessageDescriptor,
        object: &Map<String, Json>,
        ignored: &[&str],
    ) -> Result<DynamicMessage, JsonError> {
        let mut message = DynamicMessage::new(descriptor.clone());
        for (key, value) in object {
            let by_json_name = descriptor.get_field_by_json_name(key);
            let is_json_name = by_json_name.is_some();
            let Some(field) = by_json_name.or_else(|| descriptor.get_field_by_name(key)) else {
                if !ignored.contains(&key.as_str()) {
                    self.skip(key);
                }
                continue;
            };
            if !is_json_name && object.contains_key(field.json_name()) {
                self.skip(key);
                continue;
            }
            if value.is_null() && !is_free_value(&field) {
                continue;
            }
            let value = self.at(Step::Field(key), |d| d.field(&field, value))?;
            if let Some(other) = sibling_in_oneof(&message, &field) {
                // The later declared field wins, whatever the order of the keys.
                if other.number() > field.number() {
                    self.skip(key);
                    continue;
                }
                self.skip(other.json_name());
            }
            message.set_field(&field, value);
        }
        Ok(message)
    }

    fn field(&mut self, field: &FieldDescriptor, value: &Json) -> Result<Value, JsonError> {
        let kind = field.kind();
        if field.is_map() {
            let Kind::Message(entry) = &kind else {
                return Err(self.error("is not a map in its descriptor"));
            };
            self.map(entry, value)
        } else if field.is_list() {
            let Json::Array(items) = value else {
                return Err(self.mismatch("a list", value));
            };
            let mut list = Vec::with_capacity(items.len());
            for (i, item) in items.iter().enumerate() {
                list.push(self.at(Step::Index(i), |d| d.value(&kind, item))?);
            }
            Ok(Value::List(list))
        } else {
            self.value(&kind, value)
        }
    }

    fn map(&mut self, entry: &MessageDescriptor, value: &Json) -> Result<Value, JsonError> {
        let Json::Object(object) = value else {
            return Err(self.mismatch("an object", value));
        };
        let (key_kind, value_kind) = (
            entry.map_entry_key_field().kind(),
            entry.map_entry_value_field().kind(),
        );
        let mut map = HashMap::with_capacity(object.len());
        for (key, item) in object {
            let (key, item) = self.at(Step::Key(key), |d| {
                Ok((d.map_key(&key_kind, key)?, d.value(&value_kind, item)?))
            })?;
            map.insert(key, item);
        }
        Ok(Value::Map(map))
    }

    fn map_key(&self, kind: &Kind, key: &str) -> Result<MapKey, JsonError> {
        let value = match kind {
            Kind::String => Value::String(key.to_owned()),
            Kind::Bool => match key {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => return Err(self.error("the key must be true or false")),
            },
            _ => self.scalar(kind, &Json::String(key.to_owned()))?,
        };
        value
            .into_map_key()
            .ok_or_else(|| self.error("the key has the wrong type"))
    }

    /// A value in a list or map, or a field's only one. Here `null` is the zero value.
    fn value(&mut self, kind: &Kind, value: &Json) -> Result<Value, JsonError> {
        match kind {
            Kind::Message(descriptor) => {
                if self.depth >= MAX_DEPTH {
                    return Err(JsonError::too_deep(self.path.clone()));
                }
                self.depth += 1;
                let message = self.message(descriptor, value);
                self.depth -= 1;
                Ok(Value::Message(message?))
            }
            _ if value.is_null() => Ok(Value::default_value(kind)),
            _ => self.scalar(kind, value),
        }
    }

    fn message(
        &mut self,
        descriptor: &MessageDescriptor,
        value: &Json,
    ) -> Result<DynamicMessage, JsonError> {
        let Some(well_known) = descriptor.full_name().strip_prefix("google.protobuf.") else {
            return match value {
                Json::Object(object) => self.fields(descriptor, object, &[]),
                Json::Null => Ok(DynamicMessage::new(descriptor.clone())),
                _ => Err(self.mismatch("an object", value)),
            };
        };
        let mut message = DynamicMessage::new(descriptor.clone());
        match (well_known, value) {
            ("Value", _) => self.transcode(&mut message, &free_value(value, self.depth))?,
            (_, Json::Null) => {}
            ("Struct", Json::Object(object)) => {
                self.transcode(&mut message, &free_object(object, self.depth))?;
            }
            ("Struct", _) => return Err(self.mismatch("an object", value)),
            ("ListValue", Json::Array(items)) => {
                self.transcode(&mut message, &free_list(items, self.depth))?;
            }
            ("ListValue", _) => return Err(self.mismatch("a list", value)),
            ("Duration", Json::String(text)) => {
                let nanos = go_duration::parse(text).map_err(|e| self.error(e.to_string()))?;
                self.set(&mut message, "seconds", Value::I64(nanos / 1_000_000_000))?;
                self.set(&mut message, "nanos", subsecond(nanos % 1_000_000_000))?;
            }
            ("Duration", _) => {
                return Err(self.mismatch("a duration such as \"1.5s\" in quotes", value));
            }
            ("Timestamp", Json::String(text)) => {
                let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_why| {
                    self.error(format!(
                        "{text:?} is not a time such as \"2026-03-01T10:00:00Z\""
                    ))
                })?;
                self.set(&mut message, "seconds", Value::I64(time.unix_timestamp()))?;
                self.set(&mut message, "nanos", subsecond(time.nanosecond().into()))?;
            }
            ("Timestamp", _) => {
                return Err(self.mismatch("a time such as \"2026-03-01T10:00:00Z\"", value));
            }
            (
                "BoolValue" | "Int32Value" | "Int64Value" | "UInt32Value" | "UInt64Value"
                | "FloatValue" | "DoubleValue" | "StringValue" | "BytesValue",
                _,
            ) => {
                let field = descriptor
                    .get_field_by_name("value")
                    .ok_or_else(|| self.error("is a wrapper without a value"))?;
                let value = self.scalar(&field.kind(), value)?;
                message.set_field(&field, value);
            }
            (_, Json::Object(object)) => return self.fields(descriptor, object, &[]),
            _ => return Err(self.mismatch("an object", value)),
        }
        Ok(message)
    }

    fn scalar(&self, kind: &Kind, value: &Json) -> Result<Value, JsonError> {
        match kind {
            Kind::Bool => match value {
                Json::Bool(b) => Ok(Value::Bool(*b)),
                _ => Err(self.mismatch("true or false", value)),
            },
            Kind::String => match value {
                Json::String(text) => Ok(Value::String(text.clone())),
                Json::Number(_) | Json::Bool(_) => {
                    Err(self.mismatch("a string (put it in quotes)", value))
                }
                _ => Err(self.mismatch("a string", value)),
            },
            Kind::Bytes => {
                let Json::String(text) = value else {
                    return Err(self.mismatch("base64 in a string", value));
                };
                // A block scalar of YAML brings line breaks.
                let text: Cow<'_, str> = if text.contains(['\n', '\r']) {
                    Cow::Owned(text.replace(['\n', '\r'], ""))
                } else {
                    Cow::Borrowed(text)
                };
                match STANDARD.decode(text.as_bytes()) {
                    Ok(bytes) => Ok(Value::Bytes(bytes.into())),
                    Err(source) => Err(self.error(format!("is not base64: {source}"))),
                }
            }
            Kind::Enum(descriptor) => match value {
                Json::String(name) => match descriptor.get_value_by_name(name) {
                    Some(found) => Ok(Value::EnumNumber(found.number())),
                    None => {
                        let names: Vec<_> =
                            descriptor.values().map(|v| v.name().to_owned()).collect();
                        Err(self.error(format!(
                            "unknown value {name:?}, must be one of {}",
                            names.join(", ")
                        )))
                    }
                },
                _ => Ok(Value::EnumNumber(self.integer(value)?)),
            },
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Ok(Value::I32(self.integer(value)?)),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Ok(Value::I64(self.integer(value)?)),
            Kind::Uint32 | Kind::Fixed32 => Ok(Value::U32(self.integer(value)?)),
            Kind::Uint64 | Kind::Fixed64 => Ok(Value::U64(self.integer(value)?)),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a float field has that precision"
            )]
            Kind::Float => Ok(Value::F32(self.float(value)? as f32)),
            Kind::Double => Ok(Value::F64(self.float(value)?)),
            Kind::Message(_) => Err(self.mismatch("an object", value)),
        }
    }

    fn integer<T: TryFrom<i128> + Bounds>(&self, value: &Json) -> Result<T, JsonError> {
        whole_number(value)
            .and_then(|n| T::try_from(n).ok())
            .ok_or_else(|| {
                let wanted = format!("a whole number from {} to {}", T::MIN, T::MAX);
                self.mismatch(&wanted, value)
            })
    }

    fn float(&self, value: &Json) -> Result<f64, JsonError> {
        let number = match value {
            Json::Number(number) => number.as_f64(),
            // Rust also reads "inf", "nan" and the like, which no other reader would.
            Json::String(text) => match text.as_str() {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                _ => text.parse::<f64>().ok().filter(|f| f.is_finite()),
            },
            _ => None,
        };
        number.ok_or_else(|| self.mismatch("a number", value))
    }

    fn set(&self, message: &mut DynamicMessage, name: &str, value: Value) -> Result<(), JsonError> {
        message
            .try_set_field_by_name(name, value)
            .map_err(|source| self.error(source.to_string()))
    }

    fn transcode(
        &self,
        message: &mut DynamicMessage,
        typed: &Result<impl prost::Message, TooDeep>,
    ) -> Result<(), JsonError> {
        typed
            .as_ref()
            .ok()
            .and_then(|typed| {
                let bytes = typed.encode_to_vec();
                prost::Message::merge(message, bytes.as_slice()).ok()
            })
            .ok_or_else(|| JsonError::too_deep(self.path.clone()))
    }

    fn skip(&mut self, key: &str) {
        let before = self.push(&Step::Field(key));
        self.skipped.push(self.path.clone());
        self.path.truncate(before);
    }

    /// Runs `decode` one step further down the path.
    fn at<T>(
        &mut self,
        step: Step<'_>,
        decode: impl FnOnce(&mut Self) -> Result<T, JsonError>,
    ) -> Result<T, JsonError> {
        let before = self.push(&step);
        let result = decode(self);
        self.path.truncate(before);
        result
    }

    /// Appends a step; gives the length to cut the path back to.
    fn push(&mut self, step: &Step<'_>) -> usize {
        let before = self.path.len();
        match step {
            Step::Field(name) => {
                if before > 0 {
                    self.path.push('.');
                }
                self.path.push_str(name);
            }
            Step::Index(index) => {
                let _ = write!(self.path, "[{index}]");
            }
            Step::Key(key) => {
                let _ = write!(self.path, "[{key:?}]");
            }
        }
        before
    }

    fn error(&self, message: impl Into<String>) -> JsonError {
        JsonError {
            path: self.path.clone(),
            message: message.into(),
        }
    }

    fn mismatch(&self, wanted: &str, found: &Json) -> JsonError {
        self.error(format!("expected {wanted}, found {}", describe(found)))
    }
}

/// What a JSON value is, for a message.
pub(super) fn describe(value: &Json) -> String {
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(b) => b.to_string(),
        Json::Number(n) => format!("the number {n}"),
        Json::String(text) if text.chars().count() <= 60 => format!("{text:?}"),
        Json::String(_) => "a long string".to_owned(),
        Json::Array(_) => "a list".to_owned(),
        Json::Object(_) => "an object".to_owned(),
    }
}

/// The smallest and largest value of an integer type, for messages.
trait Bounds {
    const MIN: i128;
    const MAX: i128;
}

macro_rules! bounds {
    ($($int:ident),+) => {
        $(impl Bounds for $int {
            const MIN: i128 = $int::MIN as i128;
            const MAX: i128 = $int::MAX as i128;
        })+
    };
}
bounds!(i32, i64, u32, u64);

fn whole_number(value: &Json) -> Option<i128> {
    match value {
        Json::Number(number) => number
            .as_i64()
            .map(i128::from)
            .or_else(|| number.as_u64().map(i128::from))
            .or_else(|| {
                // 8080.0 is whole, too; floats are exact up to 2^53.
                let float = number.as_f64()?;
                (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then(|| {
                    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole")]
                    let whole = float as i64;
                    i128::from(whole)
                })
            }),
        Json::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn subsecond(nanos: i64) -> Value {
    Value::I32(i32::try_from(nanos).unwrap_or_default())
}

/// Whether `null` is a value of this field rather than its absence.
fn is_free_value(field: &FieldDescriptor) -> bool {
    !field.is_list()
        && !field.is_map()
        && matches!(field.kind(), Kind::Message(m) if m.full_name() == "google.protobuf.Value")
}

/// The field that is already set in the `oneof` that `field` belongs to.
fn sibling_in_oneof(message: &DynamicMessage, field: &FieldDescriptor) -> Option<FieldDescriptor> {
    field
        .containing_oneof()?
        .fields()
        .find(|other| other.number() != field.number() && message.has_field(other))
}

struct TooDeep;

fn free_value(value: &Json, depth: usize) -> Result<prost_types::Value, TooDeep> {
    use prost_types::value::Kind as Free;
    if depth >= MAX_DEPTH {
        return Err(TooDeep);
    }
    let kind = match value {
        Json::Null => Free::NullValue(0),
        Json::Bool(b) => Free::BoolValue(*b),
        Json::Number(n) => Free::NumberValue(n.as_f64().unwrap_or_default()),
        Json::String(text) => Free::StringValue(text.clone()),
        Json::Array(items) => Free::ListValue(free_list(items, depth + 1)?),
        Json::Object(object) => Free::StructValue(free_object(object, depth + 1)?),
    };
    Ok(prost_types::Value { kind: Some(kind) })
}

fn free_object(object: &Map<String, Json>, depth: usize) -> Result<prost_types::Struct, TooDeep> {
    let fields = object
        .iter()
        .map(|(key, value)| Ok((key.clone(), free_value(value, depth)?)))
        .collect::<Result<_, TooDeep>>()?;
    Ok(prost_types::Struct { fields })
}

fn free_list(items: &[Json], depth: usize) -> Result<prost_types::ListValue, TooDeep> {
    let values = items
        .iter()
        .map(|item| free_value(item, depth))
        .collect::<Result<_, TooDeep>>()?;
    Ok(prost_types::ListValue { values })
}
