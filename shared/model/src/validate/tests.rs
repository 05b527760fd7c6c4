use serde_json::{Value, json};

use super::*;
use crate::json::decode_spec;

mod dataplane;
mod external_service;
mod filters;
mod gateway;
mod mesh;
mod meta;
mod recorded;
mod route;
mod zone_ingress;

fn violations(ty: ResourceType, document: &Value) -> Vec<Violation> {
    let fields = document.as_object().expect("a document is an object");
    let decoded = decode_spec(ty, fields).unwrap();
    assert!(decoded.unknown.is_empty(), "{:?}", decoded.unknown);
    spec(ty, &decoded.spec)
}

/// A valid document, what to change in it (JSON pointer and new value), and where the violations
/// are then.
type Row<'a> = (&'a str, &'a [(&'a str, Value)], &'a [&'a str]);

fn check_table(ty: ResourceType, valid: &Value, rows: &[Row<'_>]) {
    assert_eq!(violations(ty, valid), [], "the document to start from");
    for (rule, changes, places) in rows {
        let mut document = valid.clone();
        for (pointer, value) in *changes {
            put(&mut document, pointer, value.clone());
        }
        let found = violations(ty, &document);
        let fields: Vec<_> = found.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, *places, "{rule}: {found:?}");
        assert!(found.iter().all(|v| !v.message.is_empty()), "{rule}");
    }
}

/// Sets what `pointer` points at; the last step may be a new key, or `-` for a new element.
fn put(document: &mut Value, pointer: &str, value: Value) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let last = last.replace("~1", "/");
    match document.pointer_mut(parent) {
        Some(Value::Object(object)) => {
            object.insert(last, value);
        }
        Some(Value::Array(items)) if last == "-" => items.push(value),
        Some(Value::Array(items)) => items[last.parse::<usize>().unwrap()] = value,
        _ => panic!("nothing at {parent}"),
    }
}

#[test]
fn types_without_rules_have_no_violations() {
    for ty in [
        ResourceType::Secret,
        ResourceType::GlobalSecret,
        ResourceType::Config,
        ResourceType::Zone,
        ResourceType::ZoneInsight,
        ResourceType::DataplaneInsight,
    ] {
        assert_eq!(violations(ty, &json!({})), []);
    }
}
