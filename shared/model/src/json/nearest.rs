//! Suggestions for misspelt fields.

use prost_reflect::{Kind, MessageDescriptor};

use super::META_FIELDS;
use super::free::SPEC;
use crate::resource_type::ResourceType;

/// The field that a skipped one (see [`super::Decoded::unknown`]) was probably meant to be: the
/// name of a sibling (`port` for `conf.listeners[0].prot`), or the place where a field of exactly
/// that name does exist (`conf.listeners` for `listeners`).
pub fn nearest_field(ty: ResourceType, path: &str) -> Option<String> {
    let mut steps = field_names(path);
    let name = steps.pop()?;
    let Some(root) = super::descriptor(ty) else {
        return Some(nearest_beside_spec(&name));
    };
    let mut message = root.clone();
    for step in &steps {
        message = child(&message, step)?;
    }
    let meta = META_FIELDS.iter().filter(|_| steps.is_empty());
    let siblings = message
        .fields()
        .map(|field| field.json_name().to_owned())
        .chain(meta.map(|field| (*field).to_owned()));
    most_like(&name, siblings)
        .or_else(|| elsewhere(&root, &name, 6).filter(|place| *place != plain(&steps, &name)))
}

/// The one of `fields` that `name` was probably meant to be.
fn most_like(name: &str, fields: impl Iterator<Item = String>) -> Option<String> {
    let wanted = name.to_lowercase();
    fields
        // Both spellings of one field, or two fields of a oneof: nothing is misspelt.
        .filter(|field| field != name)
        .map(|field| (strsim::jaro_winkler(&wanted, &field.to_lowercase()), field))
        .filter(|(likeness, _)| *likeness > 0.84)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, field)| field)
}

/// What a field beside a spec that is JSON was probably meant to be: a field of that spec, unless
/// it looks like one that belongs there.
fn nearest_beside_spec(name: &str) -> String {
    let known = META_FIELDS.iter().chain([&SPEC]);
    most_like(name, known.map(|field| (*field).to_owned()))
        .unwrap_or_else(|| format!("{SPEC}.{name}"))
}

/// The shortest path from `message` to a field called `name`, at most `depth` messages down.
fn elsewhere(message: &MessageDescriptor, name: &str, depth: usize) -> Option<String> {
    if let Some(field) = message.get_field_by_json_name(name) {
        return Some(field.json_name().to_owned());
    }
    let deeper = depth.checked_sub(1)?;
    message
        .fields()
        .filter_map(|field| {
            let child = child(message, field.json_name())?;
            let rest = elsewhere(&child, name, deeper)?;
            Some(format!("{}.{rest}", field.json_name()))
        })
        .min_by_key(|path| path.matches('.').count())
}

fn plain(steps: &[String], name: &str) -> String {
    steps
        .iter()
        .map(String::as_str)
        .chain([name])
        .collect::<Vec<_>>()
        .join(".")
}

/// The message under the field `name`, through lists and maps; none for well-known types, whose
/// fields are not written out in JSON.
fn child(message: &MessageDescriptor, name: &str) -> Option<MessageDescriptor> {
    let field = message
        .get_field_by_json_name(name)
        .or_else(|| message.get_field_by_name(name))?;
    let Kind::Message(mut child) = field.kind() else {
        return None;
    };
    if child.is_map_entry() {
        let Kind::Message(value) = child.map_entry_value_field().kind() else {
            return None;
        };
        child = value;
    }
    (!child.full_name().starts_with("google.protobuf.")).then_some(child)
}

/// The field names of a path, without indices and map keys.
fn field_names(path: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut in_brackets = false;
    let mut in_quotes = false;
    let mut is_escaped = false;
    for c in path.chars() {
        if in_quotes {
            in_quotes = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
        } else if in_brackets {
            in_quotes = c == '"';
            in_brackets = c != ']';
        } else if c == '[' {
            in_brackets = true;
        } else if c == '.' {
            names.push(String::new());
        } else if let Some(last) = names.last_mut() {
            last.push(c);
        }
    }
    names
}
