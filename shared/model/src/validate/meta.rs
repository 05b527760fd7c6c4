//! Names and labels.

use std::collections::BTreeMap;

use super::Violation;
use crate::json::Meta;
use crate::labels;
use crate::name::{self, MeshName};
use crate::resource_type::ResourceType;

/// The most characters of the name of a mesh: it becomes a label value.
const MAX_MESH_NAME: usize = 63;

/// The rules for labels: keys and values have the
/// [syntax of Kubernetes labels](https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set),
/// and an origin, if given, is `global` or `zone`.
pub fn labels(labels: &BTreeMap<String, String>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut add = |key: &str, message: String| {
        found.push(Violation::new(format!("labels[{key:?}]"), message));
    };
    if let Some(origin) = labels.get(labels::ORIGIN)
        && ![labels::ORIGIN_GLOBAL, labels::ORIGIN_ZONE].contains(&origin.as_str())
    {
        add(
            labels::ORIGIN,
            format!("unknown resource origin {origin:?}, must be \"global\" or \"zone\""),
        );
    }
    for (key, value) in labels {
        let (prefix, name) = match key.split_once('/') {
            Some((prefix, name)) => (Some(prefix), name),
            None => (None, key.as_str()),
        };
        if prefix.is_some_and(|p| name::parse_strict(p).is_err()) {
            add(key, "the part before '/' must be a DNS name".to_owned());
        }
        if name.is_empty() {
            add(key, "name part must be non-empty".to_owned());
        } else if !is_label_text(name) {
            add(key, format!("name part {LABEL_TEXT}"));
        }
        if !value.is_empty() && !is_label_text(value) {
            add(key, format!("a label value must be empty or {LABEL_TEXT}"));
        }
    }
    found
}

const LABEL_TEXT: &str = "must be at most 63 letters, digits, '-', '_' or '.', and must start \
                          and end with a letter or digit";

fn is_label_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

/// The rules for the name of a resource that a user writes; the place is `name`.
pub fn new_name(name: &str) -> Vec<Violation> {
    name::parse_strict(name)
        .err()
        .map(|why| Violation::new("name", why.to_string()))
        .into_iter()
        .collect()
}

/// The rules for the name of a mesh that a user writes; the place is `name`.
pub fn new_mesh_name(name: &str) -> Vec<Violation> {
    let mut found = new_name(name);
    if found.is_empty() && name.len() > MAX_MESH_NAME {
        found.push(Violation::new(
            "name",
            format!("cannot be longer than {MAX_MESH_NAME} characters"),
        ));
    }
    found
}

/// The rules for a document sent to a URL: it says the same name, type and mesh as the URL, and
/// its own name and mesh are well-formed.
///
/// `mesh` is the URL's, `None` for types without one. This includes [`new_name`], or
/// [`new_mesh_name`] for a mesh.
pub fn url_agrees(meta: &Meta, ty: ResourceType, mesh: Option<&str>, name: &str) -> Vec<Violation> {
    let body_name = meta.name.as_deref().unwrap_or_default();
    let body_mesh = meta.mesh.as_deref().unwrap_or_default();
    let mut found = Vec::new();
    let mut compare = |field: &str, body: &str, url: &str| {
        if body != url {
            let message = format!("{field} from the URL has to be the same as in body");
            found.push(Violation::new(field, message));
        }
    };
    compare("name", body_name, name);
    compare("type", meta.ty.as_deref().unwrap_or_default(), ty.name());
    // Documents with a JSON spec may leave the mesh to the URL, as users' scripts do.
    let body_mesh = match (mesh, &meta.mesh) {
        (Some(mesh), None) if ty.is_json() => mesh,
        _ => body_mesh,
    };
    if let Some(mesh) = mesh {
        compare("mesh", body_mesh, mesh);
    }
    found.extend(match ty {
        ResourceType::Mesh => new_mesh_name(body_name),
        _ => new_name(body_name),
    });
    if mesh.is_some()
        && let Err(why) = MeshName::parse(body_mesh)
    {
        found.push(Violation::new("mesh", why.to_string()));
    }
    found
}
