//! From texts to items, or everything that is wrong with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::json::{self, Document};
use mesh_model::{MeshName, ResourceType, validate};
use mesh_runtime::yaml;
use serde_json::{Map, Value};

use super::template::{self, Variable};
use super::{Item, Place, Problem, Source};

/// More text than this in one file is not read.
const MAX_BYTES: usize = 256 << 20;

/// Parses and checks all documents of all texts.
///
/// # Errors
/// Everything that is wrong, in the order of the texts.
pub(crate) fn parse_all(
    sources: &[Source],
    variables: &[Variable],
) -> Result<Vec<Item>, Vec<Problem>> {
    let mut items = Vec::new();
    let mut problems = Vec::new();
    let mut places: BTreeMap<(ResourceType, Option<String>, String), String> = BTreeMap::new();
    for source in sources {
        for document in split(source, variables, &mut problems) {
            let place = Place {
                file: Arc::clone(&source.name),
                document,
            };
            match parse(place) {
                Ok(item) => {
                    let key = (item.ty, item.mesh.clone(), item.name.clone());
                    if let Some(first) = places.get(&key) {
                        problems.push(item.problem(
                            "name",
                            format!("{item} is described twice, first at {first}; remove one"),
                        ));
                    } else {
                        places.insert(key, item.place.to_string());
                        items.push(item);
                    }
                }
                Err(found) => problems.extend(found),
            }
        }
    }
    if problems.is_empty() {
        Ok(items)
    } else {
        Err(problems)
    }
}

fn split(
    source: &Source,
    variables: &[Variable],
    problems: &mut Vec<Problem>,
) -> Vec<yaml::Document> {
    let text = match template::fill(source, variables) {
        Ok(text) => text,
        Err(found) => {
            problems.extend(found);
            return Vec::new();
        }
    };
    match yaml::parse_with_limit(&text, MAX_BYTES) {
        Ok(documents) => documents,
        Err(error) => {
            let mut message = error.message;
            let line = text.lines().nth(error.line.saturating_sub(1));
            if variables.is_empty() && line.is_some_and(|line| line.contains("{{")) {
                message += "; if {{ … }} is a variable there, give its value with -v name=value";
            }
            problems.push(Problem {
                file: Arc::clone(&source.name),
                line: error.line,
                column: Some(error.column),
                field: String::new(),
                message,
            });
            Vec::new()
        }
    }
}

fn parse(place: Place) -> Result<Item, Vec<Problem>> {
    let value = &place.document.value;
    let Some(fields) = value.as_object() else {
        let message = "this is not a resource; it should begin with `type:`, `mesh:` and `name:`";
        return Err(vec![place.problem("", message)]);
    };
    check_type(fields).map_err(|(field, message)| vec![place.problem(field, message)])?;
    let document = json::parse_document(value)
        .map_err(|error| vec![place.problem(&error.path, error.message)])?;
    let problems = problems_of(&document, fields);
    if !problems.is_empty() {
        return Err(problems
            .into_iter()
            .map(|(field, message)| place.problem(&field, message))
            .collect());
    }
    Ok(Item {
        ty: document.ty,
        mesh: document.mesh.filter(|_| document.ty.is_mesh_scoped()),
        name: document.name,
        labels: document.labels,
        spec: document.spec,
        place,
    })
}

/// Whether a document says what it is, and that can be written.
fn check_type(fields: &Map<String, Value>) -> Result<(), (&'static str, String)> {
    let Some(name) = fields.get("type").and_then(Value::as_str) else {
        if fields.contains_key("apiVersion") && fields.contains_key("kind") {
            let message = "this is a Kubernetes object; write `type:`, `mesh:` and `name:` instead \
                           of `kind:` and `metadata:`, and the fields of `spec:` beside them";
            return Err(("kind", message.to_owned()));
        }
        // A type that is no text gets its own error from the parser.
        if fields.get("type").is_none_or(Value::is_null) {
            let message = format!("has no `type:`; there are {}", writable().join(", "));
            return Err(("", message));
        }
        return Ok(());
    };
    match name.parse::<ResourceType>() {
        Ok(ty) if writable().contains(&ty.name()) => Ok(()),
        Ok(ty) => {
            let message = format!("{ty} is written by control planes only; remove it here");
            Err(("type", message))
        }
        Err(unknown) => Err((
            "type",
            match nearest(name, &writable()) {
                Some(near) => format!("{unknown}; did you mean {near:?}?"),
                None => format!("{unknown}; there are {}", writable().join(", ")),
            },
        )),
    }
}

fn writable() -> Vec<&'static str> {
    ResourceType::ALL
        .iter()
        .map(|ty| ty.describe())
        .filter(|d| !d.is_read_only && !d.collections.is_empty())
        .map(|d| d.name)
        .collect()
}

/// The one of `words` that `typed` was probably meant to be.
pub(crate) fn nearest<'a>(typed: &str, words: &[&'a str]) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let contains = |word: &str| typed.len() >= 4 && word.to_lowercase().contains(&typed);
    words
        .iter()
        .map(|word| {
            let distance = strsim::damerau_levenshtein(&typed, &word.to_lowercase());
            (distance, *word)
        })
        .filter(|(distance, _)| *distance <= typed.len().min(9) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
        .or_else(|| words.iter().copied().find(|word| contains(word)))
}

/// Fields that are wrong, each with what is wrong.
fn problems_of(document: &Document, fields: &Map<String, Value>) -> Vec<(String, String)> {
    let ty = document.ty;
    let mut found: Vec<(String, String)> = Vec::new();
    if document.name.is_empty() {
        found.push(("name".to_owned(), format!("every {ty} needs a name")));
    } else {
        let violations = match ty {
            ResourceType::Mesh => validate::new_mesh_name(&document.name),
            _ => validate::new_name(&document.name),
        };
        found.extend(violations.into_iter().map(|v| (v.field, v.message)));
    }
    let mesh = document.mesh.as_deref().unwrap_or_default();
    if ty.is_mesh_scoped() {
        if mesh.is_empty() {
            let message = format!("every {ty} belongs to a mesh, such as `mesh: default`");
            found.push(("mesh".to_owned(), message));
        } else if let Err(why) = MeshName::parse(mesh) {
            found.push(("mesh".to_owned(), why.to_string()));
        }
    } else if !mesh.is_empty() {
        let message = format!("a {ty} belongs to no mesh; remove this line");
        found.push(("mesh".to_owned(), message));
    }
    let mut unknown: Vec<_> = document
        .unknown
        .iter()
        .map(|path| (path.clone(), about_unknown(ty, path, fields)))
        .collect();
    unknown.sort();
    found.extend(unknown);
    let violations = validate::labels(&document.labels);
    found.extend(violations.into_iter().map(|v| (v.field, v.message)));
    // What is missing is often what was misspelt; saying both would hide the cause.
    if document.unknown.is_empty() {
        let violations = validate::spec(ty, &document.spec);
        found.extend(violations.into_iter().map(|v| (v.field, v.message)));
    }
    found
}

fn about_unknown(ty: ResourceType, path: &str, fields: &Map<String, Value>) -> String {
    if is_known_by_itself(ty, path, fields) {
        return "cannot stand here together with what is beside it; remove one".to_owned();
    }
    match json::nearest_field(ty, path) {
        Some(near) => format!("unknown field; did you mean {near:?}?"),
        None => "unknown field; remove it, or check the name".to_owned(),
    }
}

/// Whether the field at `path` would be read if nothing stood beside it.
fn is_known_by_itself(ty: ResourceType, path: &str, fields: &Map<String, Value>) -> bool {
    let alone = match isolate(&Value::Object(fields.clone()), path) {
        Some(Value::Object(alone)) => alone,
        _ => return false,
    };
    json::decode_spec(ty, &alone).is_ok_and(|decoded| decoded.unknown.is_empty())
}

/// `value` with nothing in it but what is at `path`.
fn isolate(value: &Value, path: &str) -> Option<Value> {
    if path.is_empty() {
        return Some(value.clone());
    }
    match value {
        Value::Object(fields) => fields.iter().find_map(|(key, child)| {
            let quoted = format!("[{}]", Value::from(key.as_str()));
            let rest = path
                .strip_prefix(&quoted)
                .or_else(|| path.trim_start_matches('.').strip_prefix(key.as_str()))?;
            if !(rest.is_empty() || rest.starts_with(['.', '['])) {
                return None;
            }
            let child = isolate(child, rest)?;
            Some(Value::Object(Map::from_iter([(key.clone(), child)])))
        }),
        Value::Array(items) => {
            let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
            let item = items.get(index.parse::<usize>().ok()?)?;
            Some(Value::Array(vec![isolate(item, rest)?]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
