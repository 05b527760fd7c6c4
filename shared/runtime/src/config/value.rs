//! Checks one value against its row of the table, and brings it into one form.

use std::fmt;
use std::net::IpAddr;

use mesh_model::go_duration;
use serde_json::{Map, Value, json};

use super::keys::{Key, Kind};

/// A value from a file, in the form the schema reads, or what is wrong with it.
///
/// As in Kuma a value has the type of its key: a number in quotes is not a number.
pub(super) fn from_file(key: &Key, value: &Value) -> Result<Value, String> {
    let wrong = || {
        let hint = match (&key.kind, value) {
            (Kind::Duration(_), Value::Number(n)) => format!(" (with a unit: \"{n}s\")"),
            (Kind::Text(_) | Kind::Choice { .. }, Value::Number(_) | Value::Bool(_)) => {
                " (quote it)".to_owned()
            }
            (Kind::Bool(_) | Kind::Int(_) | Kind::Port(_), Value::String(_)) => {
                " (without quotes)".to_owned()
            }
            _ => String::new(),
        };
        not_a(key, &shown(key, value), &hint)
    };
    match (&key.kind, value) {
        (Kind::Bool(_), Value::Bool(_)) => Ok(value.clone()),
        (Kind::Int(_) | Kind::Port(_), Value::Number(_)) => value
            .as_u64()
            .and_then(|number| integer(key.kind, number))
            .ok_or_else(wrong),
        (
            Kind::Text(_) | Kind::Duration(_) | Kind::Ip(_) | Kind::Choice { .. },
            Value::String(text),
        ) => from_words(key, text),
        (Kind::List(_), Value::Array(items)) if items.iter().all(Value::is_string) => {
            Ok(value.clone())
        }
        (Kind::Map, Value::Object(entries)) if entries.values().all(Value::is_string) => {
            Ok(value.clone())
        }
        (Kind::Objects, Value::Array(items)) if items.iter().all(Value::is_object) => {
            Ok(value.clone())
        }
        _ => Err(wrong()),
    }
}

/// A value from the environment. `None` means as if it weren't set: an empty text is no value
/// for anything but texts, so that `NAME=` and `NAME=${UNSET}` do no harm.
pub(super) fn from_text(key: &Key, text: &str) -> Result<Option<Value>, String> {
    let wrong = || not_a(key, &quoted(key, text), "");
    let trimmed = text.trim();
    if trimmed.is_empty() && !matches!(key.kind, Kind::Text(_) | Kind::List(_) | Kind::Map) {
        return Ok(None);
    }
    let value = match key.kind {
        Kind::Bool(_) => json!(parse_bool(trimmed).ok_or_else(wrong)?),
        Kind::Int(_) | Kind::Port(_) => trimmed
            .parse()
            .ok()
            .and_then(|number| integer(key.kind, number))
            .ok_or_else(wrong)?,
        Kind::Text(_) => json!(text),
        Kind::Duration(_) | Kind::Ip(_) | Kind::Choice { .. } => from_words(key, trimmed)?,
        Kind::List(_) => json!(comma_separated(trimmed).collect::<Vec<_>>()),
        Kind::Map => {
            let entries: Option<Map<String, Value>> = comma_separated(trimmed)
                .map(|entry| {
                    let (name, value) = entry.split_once(':')?;
                    Some((name.trim().to_owned(), json!(value.trim())))
                })
                .collect();
            Value::Object(entries.ok_or_else(wrong)?)
        }
        Kind::Objects => return Err(wrong()),
    };
    Ok(Some(value))
}

/// What may follow "is not" in a message.
struct Expected(Kind);

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Bool(_) => f.write_str("true or false"),
            Kind::Int(_) => f.write_str("a whole number from 0 to 4294967295"),
            Kind::Port(_) => f.write_str("a port, a number from 0 to 65535"),
            Kind::Text(_) => f.write_str("text"),
            Kind::Duration(_) => f.write_str("a duration such as \"10s\" or \"1h30m\""),
            Kind::Ip(_) => f.write_str("an IP address such as \"0.0.0.0\" or \"::1\""),
            Kind::List(_) => f.write_str("a list of texts"),
            Kind::Map => f.write_str("a mapping from text to text"),
            Kind::Objects => f.write_str("a list of mappings, which only a file can have"),
            Kind::Choice { allowed, .. } => {
                f.write_str(if allowed.len() == 1 { "" } else { "one of " })?;
                for (n, word) in allowed.iter().enumerate() {
                    write!(f, "{}{word:?}", if n == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
        }
    }
}

fn not_a(key: &Key, shown: &str, hint: &str) -> String {
    format!("{shown} is not {}{hint}", Expected(key.kind))
}

fn shown(key: &Key, value: &Value) -> String {
    match value {
        Value::String(text) => quoted(key, text),
        Value::Object(_) => "a mapping".to_owned(),
        Value::Array(_) => "the list".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) if key.is_secret => "its value".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn quoted(key: &Key, text: &str) -> String {
    if key.is_secret {
        "its value".to_owned()
    } else {
        format!("{text:?}")
    }
}

fn integer(kind: Kind, number: u64) -> Option<Value> {
    match kind {
        Kind::Port(_) => u16::try_from(number).ok().map(Value::from),
        _ => u32::try_from(number).ok().map(Value::from),
    }
}

fn from_words(key: &Key, text: &str) -> Result<Value, String> {
    let wrong = || not_a(key, &quoted(key, text), "");
    match key.kind {
        Kind::Duration(_) => {
            let duration = go_duration::parse_unsigned(text).map_err(|error| error.to_string())?;
            let nanos = i64::try_from(duration.as_nanos()).ok().ok_or_else(wrong)?;
            Ok(json!(go_duration::format(nanos)))
        }
        Kind::Ip(_) if text.is_empty() => Ok(json!("0.0.0.0")),
        Kind::Ip(_) => text
            .parse::<IpAddr>()
            .map(|address| json!(address.to_string()))
            .ok()
            .ok_or_else(wrong),
        Kind::Choice {
            default,
            allowed,
            refused,
        } => {
            if text.is_empty() {
                return Ok(json!(default));
            }
            if allowed.contains(&text) {
                return Ok(json!(text));
            }
            match refused.iter().find(|(word, _)| *word == text) {
                Some((_, why)) => Err(format!(
                    "{text:?} is refused: {why}; allowed is {}",
                    Expected(key.kind)
                )),
                None => Err(wrong()),
            }
        }
        _ => Ok(json!(text)),
    }
}

/// The words of Go's [`strconv.ParseBool`](https://pkg.go.dev/strconv#ParseBool).
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn comma_separated(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{Found, find};

    fn key(path: &str) -> &'static Key {
        match find(path) {
            Found::Key(key) => key,
            _ => panic!("{path} is not a key"),
        }
    }

    #[test]
    fn values_of_the_environment() {
        for (path, text, expected) in [
            ("apiServer.readOnly", "T", json!(true)),
            ("apiServer.readOnly", "0", json!(false)),
            ("apiServer.http.port", " 0 ", json!(0)),
            ("apiServer.http.interface", "::1", json!("::1")),
            ("metrics.zone.idleTimeout", "90s", json!("1m30s")),
            ("store.type", "memory", json!("memory")),
            (
                "apiServer.corsAllowedDomains",
                "a.com, b.com,",
                json!(["a.com", "b.com"]),
            ),
            ("apiServer.corsAllowedDomains", "", json!([])),
            ("general.tlsCertFile", "", json!("")),
            (
                "runtime.kubernetes.injector.sidecarContainer.envVars",
                "a:1,b: x:y",
                json!({"a": "1", "b": "x:y"}),
            ),
        ] {
            assert_eq!(from_text(key(path), text), Ok(Some(expected)), "{path}");
        }
        for path in [
            "apiServer.readOnly",
            "apiServer.http.port",
            "store.type",
            "metrics.zone.idleTimeout",
        ] {
            assert_eq!(from_text(key(path), " "), Ok(None), "{path}");
        }
    }

    #[test]
    fn wrong_values_are_shown_with_what_is_allowed() {
        for (path, text, message) in [
            ("apiServer.readOnly", "yes", r#""yes" is not true or false"#),
            (
                "apiServer.http.port",
                "65536",
                r#""65536" is not a port, a number from 0 to 65535"#,
            ),
            (
                "apiServer.http.port",
                "-1",
                r#""-1" is not a port, a number from 0 to 65535"#,
            ),
            (
                "apiServer.http.interface",
                "localhost",
                r#""localhost" is not an IP address such as "0.0.0.0" or "::1""#,
            ),
            (
                "store.type",
                "etcd",
                r#""etcd" is not one of "sled", "memory""#,
            ),
            (
                "store.type",
                "postgres",
                r#""postgres" is refused: it is not supported yet; allowed is one of "sled", "memory""#,
            ),
        ] {
            assert_eq!(from_text(key(path), text), Err(message.to_owned()));
        }
        let error = from_text(key("metrics.zone.idleTimeout"), "5").unwrap_err();
        assert!(error.contains("\"5\"") && error.contains("unit"), "{error}");
        assert!(from_text(key("metrics.zone.idleTimeout"), "-5s").is_err());
        assert!(
            from_text(
                key("apiServer.authn.tokens.validator.publicKeys"),
                "anything"
            )
            .is_err()
        );
    }

    #[test]
    fn values_of_a_file_have_the_type_of_their_key() {
        for (path, value, hint) in [
            ("apiServer.http.port", json!("5681"), "without quotes"),
            ("apiServer.http.port", json!(1.5), "1.5 is not a port"),
            ("apiServer.readOnly", json!("true"), "without quotes"),
            ("multizone.zone.name", json!(5), "quote it"),
            ("metrics.zone.idleTimeout", json!(30), "\"30s\""),
            ("apiServer.http.port", json!({"a": 1}), "a mapping is not"),
            (
                "apiServer.corsAllowedDomains",
                json!([1]),
                "a list of texts",
            ),
        ] {
            let error = from_file(key(path), &value).unwrap_err();
            assert!(error.contains(hint), "{path}: {error}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let password = key("store.postgres.password");
        let error = from_file(password, &json!(1234)).unwrap_err();
        assert!(!error.contains("1234"), "{error}");
        let error = from_file(password, &json!({"x": "hunter2"})).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
