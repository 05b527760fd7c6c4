//! Secrets out of a config dump. Envoy hides private keys itself, but not the token with which it
//! calls its control plane.

use bytes::Bytes;
use mesh_runtime::proxy_admin::AskError;
use serde::Serialize as _;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";

/// A config dump without tokens, with one space per level.
pub(super) fn config_dump(json: &[u8]) -> Result<Bytes, AskError> {
    let mut dump: Value = serde_json::from_slice(json)
        .map_err(|error| AskError(format!("Envoy's config dump is no JSON: {error}")))?;
    redact(&mut dump);
    let mut text = Vec::with_capacity(json.len());
    let mut serializer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b" "));
    dump.serialize(&mut serializer)
        .map_err(|error| AskError(format!("cannot write the config dump: {error}")))?;
    Ok(text.into())
}

fn redact(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::Object(fields) => {
            let is_token = fields
                .get("key")
                .and_then(Value::as_str)
                .is_some_and(|key| key.eq_ignore_ascii_case("authorization"));
            if is_token && let Some(value) = fields.get_mut("value") {
                *value = REDACTED.into();
            }
            fields.values_mut().for_each(redact);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_a_proxy_is_not_shown() {
        let dump = br#"{"configs":[{"bootstrap":{"dynamic_resources":{"ads_config":{
            "grpc_services":[{"initial_metadata":[
                {"key":"authorization","value":"eyJhbGciOi"},{"key":"other","value":"shown"}
            ]}]}}}}]}"#;
        let shown = config_dump(dump).unwrap();
        let shown = std::str::from_utf8(&shown).unwrap();
        assert!(!shown.contains("eyJhbGciOi"));
        assert!(shown.contains("\"value\": \"[redacted]\""));
        assert!(shown.contains("\"value\": \"shown\""));
        assert!(shown.starts_with("{\n \"configs\""));
        assert!(config_dump(b"not found").is_err());
    }
}
