//! Message to JSON, by descriptor.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DynamicMessage, Kind, MapKey, ReflectMessage as _, Value};
use serde_json::{Map, Number, Value as Json};
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, TimePrecision};

use crate::go_duration;

/// The set fields of a message, by JSON name, in the order of their numbers.
pub(super) fn fields(message: &DynamicMessage) -> Map<String, Json> {
    message
        .fields()
        .map(|(field, value)| (field.json_name().to_owned(), any(&field.kind(), value)))
        .collect()
}

fn any(kind: &Kind, value: &Value) -> Json {
    match value {
        Value::Bool(b) => Json::Bool(*b),
        Value::I32(n) => Json::from(*n),
        Value::U32(n) => Json::from(*n),
        // JavaScript loses digits beyond 2^53.
        Value::I64(n) => Json::String(n.to_string()),
        Value::U64(n) => Json::String(n.to_string()),
        Value::F32(n) => float(f64::from(*n)),
        Value::F64(n) => float(*n),
        Value::String(text) => Json::String(text.clone()),
        Value::Bytes(bytes) => Json::String(STANDARD.encode(bytes)),
        Value::EnumNumber(number) => match kind {
            Kind::Enum(descriptor) => match descriptor.get_value(*number) {
                Some(found) => Json::String(found.name().to_owned()),
                None => Json::from(*number),
            },
            _ => Json::from(*number),
        },
        Value::Message(message) => self::message(message),
        Value::List(items) => Json::Array(items.iter().map(|item| any(kind, item)).collect()),
        Value::Map(map) => {
            let value_kind = match kind {
                Kind::Message(entry) if entry.is_map_entry() => {
                    entry.map_entry_value_field().kind()
                }
                _ => kind.clone(),
            };
            let sorted: BTreeMap<String, Json> = map
                .iter()
                .map(|(key, value)| (key_text(key), any(&value_kind, value)))
                .collect();
            Json::Object(sorted.into_iter().collect())
        }
    }
}

fn message(message: &DynamicMessage) -> Json {
    let descriptor = message.descriptor();
    let Some(well_known) = descriptor.full_name().strip_prefix("google.protobuf.") else {
        return Json::Object(fields(message));
    };
    match well_known {
        "Struct" => match message.transcode_to::<prost_types::Struct>() {
            Ok(object) => free_object(&object),
            Err(_) => Json::Object(Map::new()),
        },
        "Value" => match message.transcode_to::<prost_types::Value>() {
            Ok(value) => free_value(&value),
            Err(_) => Json::Null,
        },
        "ListValue" => match message.transcode_to::<prost_types::ListValue>() {
            Ok(list) => Json::Array(list.values.iter().map(free_value).collect()),
            Err(_) => Json::Array(Vec::new()),
        },
        "Duration" => {
            let (seconds, nanos) = seconds_and_nanos(message);
            Json::String(go_duration::format_proto(seconds, nanos))
        }
        "Timestamp" => {
            let (seconds, nanos) = seconds_and_nanos(message);
            Json::String(timestamp(seconds, nanos))
        }
        "BoolValue" | "Int32Value" | "Int64Value" | "UInt32Value" | "UInt64Value"
        | "FloatValue" | "DoubleValue" | "StringValue" | "BytesValue" => {
            match descriptor.get_field_by_name("value") {
                Some(field) => any(&field.kind(), &message.get_field(&field)),
                None => Json::Null,
            }
        }
        _ => Json::Object(fields(message)),
    }
}

fn seconds_and_nanos(message: &DynamicMessage) -> (i64, i32) {
    let number = |name| {
        message
            .get_field_by_name(name)
            .map(std::borrow::Cow::into_owned)
    };
    (
        number("seconds")
            .and_then(|v| v.as_i64())
            .unwrap_or_default(),
        number("nanos").and_then(|v| v.as_i32()).unwrap_or_default(),
    )
}

/// RFC 3339 in UTC with 0, 3, 6 or 9 fraction digits; beyond the years 1 to 9999, which RFC 3339
/// cannot say, the nearest of those.
fn timestamp(seconds: i64, nanos: i32) -> String {
    const TO_SECONDS: EncodedConfig = Config::DEFAULT
        .set_time_precision(TimePrecision::Second {
            decimal_digits: None,
        })
        .encode();
    const FIRST: i64 = -62_135_596_800;
    const LAST: i64 = 253_402_300_799;
    let text = OffsetDateTime::from_unix_timestamp(seconds.clamp(FIRST, LAST))
        .ok()
        .and_then(|time| time.format(&Iso8601::<TO_SECONDS>).ok())
        .expect("the years 1 to 9999 have an RFC 3339 form");
    let fraction = u32::try_from(nanos).unwrap_or_default().min(999_999_999);
    let without_zone = text.strip_suffix('Z').unwrap_or(&text);
    format!("{without_zone}{}Z", go_duration::fraction_digits(fraction))
}

/// Whole numbers print without a fraction, `50` rather than `50.0`; negative zero keeps its sign,
/// which a whole number of JSON can't.
fn float(value: f64) -> Json {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let negative_zero = value == 0.0 && value.is_sign_negative();
    if value.fract() == 0.0 && value.abs() <= EXACT && !negative_zero {
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole")]
        let whole = value as i64;
        return Json::from(whole);
    }
    match Number::from_f64(value) {
        Some(number) => Json::Number(number),
        None if value.is_nan() => Json::String("NaN".to_owned()),
        None if value > 0.0 => Json::String("Infinity".to_owned()),
        None => Json::String("-Infinity".to_owned()),
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(b) => b.to_string(),
        MapKey::I32(n) => n.to_string(),
        MapKey::I64(n) => n.to_string(),
        MapKey::U32(n) => n.to_string(),
        MapKey::U64(n) => n.to_string(),
        MapKey::String(text) => text.clone(),
    }
}

pub(super) fn free_fields(object: &prost_types::Struct) -> Map<String, Json> {
    object
        .fields
        .iter()
        .map(|(key, value)| (key.clone(), free_value(value)))
        .collect()
}

fn free_object(object: &prost_types::Struct) -> Json {
    Json::Object(free_fields(object))
}

fn free_value(value: &prost_types::Value) -> Json {
    use prost_types::value::Kind as Free;
    match &value.kind {
        None | Some(Free::NullValue(_)) => Json::Null,
        Some(Free::BoolValue(b)) => Json::Bool(*b),
        Some(Free::NumberValue(n)) => float(*n),
        Some(Free::StringValue(text)) => Json::String(text.clone()),
        Some(Free::ListValue(list)) => Json::Array(list.values.iter().map(free_value).collect()),
        Some(Free::StructValue(object)) => free_object(object),
    }
}
