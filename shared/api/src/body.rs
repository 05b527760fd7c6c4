//! The body of a PUT, from bytes to a spec.

use mesh_model::ResourceType;
use mesh_model::json::{self, Body};
use mesh_model::validate::Violation;

/// What is wrong with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It cannot be read; why, as a sentence.
    Unreadable(String),
    /// It is no spec; where and why.
    NoSpec(Violation),
}

/// Reads a body as a resource of type `ty`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(ty: ResourceType, bytes: &[u8]) -> Result<Body, BodyError> {
    // Kuma lets broken UTF-8 through too: names and labels with it fail later.
    let text = String::from_utf8_lossy(bytes);
    let value =
        serde_json::from_str(&text).map_err(|error| BodyError::Unreadable(error.to_string()))?;
    json::parse_body(ty, &value).map_err(|error| {
        if ty.is_json() && error.path == json::SPEC {
            BodyError::NoSpec(Violation::new(error.path, error.message))
        } else {
            BodyError::Unreadable(error.to_string())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(body: &str) -> String {
        match parse(ResourceType::Zone, body.as_bytes()).unwrap_err() {
            BodyError::Unreadable(why) => why,
            BodyError::NoSpec(violation) => panic!("the spec of a Zone is no JSON: {violation}"),
        }
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
