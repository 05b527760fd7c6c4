//! The body of a PUT, from bytes to a spec.

use mesh_model::ResourceType;
use mesh_model::json::{self, Body};

/// Reads a body as a resource of type `ty`.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub(crate) fn parse(ty: ResourceType, bytes: &[u8]) -> Result<Body, String> {
    // Kuma lets broken UTF-8 through too: names and labels with it fail later.
    let text = String::from_utf8_lossy(bytes);
    let value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    json::parse_body(ty, &value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(body: &str) -> String {
        parse(ResourceType::Zone, body.as_bytes()).unwrap_err()
    }

    #[test]
    fn null_and_an_empty_object_are_empty_resources() {
        for body in ["null", "{}"] {
            let body = parse(ResourceType::Zone, body.as_bytes()).unwrap();
            assert_eq!(body.meta.name, None);
        }
    }

    #[test]
    fn what_is_no_object_is_refused_with_a_reason() {
        for body in ["", "[]", "\"x\"", "{not json", "{}{}", "{} x", "name: yaml"] {
            assert!(!error(body).is_empty(), "{body}");
        }
        assert!(error(r#"{"name": 5}"#).starts_with("name: "));
        assert!(error(r#"{"labels": ["a"]}"#).starts_with("labels: "));
        assert!(error(r#"{"creationTime": "yesterday"}"#).starts_with("creationTime: "));
    }

    #[test]
    fn later_keys_win_and_broken_utf8_is_replaced() {
        let body = parse(ResourceType::Zone, br#"{"name":"a","name":"b"}"#).unwrap();
        assert_eq!(body.meta.name.as_deref(), Some("b"));
        let body = parse(ResourceType::Zone, b"{\"name\":\"\xff\"}").unwrap();
        assert_eq!(body.meta.name.as_deref(), Some("\u{fffd}"));
    }
}
