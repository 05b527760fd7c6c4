//! The document of one resource: its meta fields and, inline beside them, those of its spec.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::decode::describe;
use super::{JsonError, decode_spec, encode_spec};
use crate::labels;
use crate::resource::Resource;
use crate::resource_type::ResourceType;
use crate::spec::Spec;

/// Fields of a document that are not fields of its spec.
///
/// `kri`, `snis` and `status` are written by control planes; on input they are ignored, as are
/// the times, though those must be times.
pub const META_FIELDS: &[&str] = &[
    "type",
    "mesh",
    "name",
    "creationTime",
    "modificationTime",
    "labels",
    "kri",
    "snis",
    "status",
];

/// What a document says about its resource besides the spec; nothing is checked but JSON types.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// `type`.
    pub ty: Option<String>,
    /// `mesh`.
    pub mesh: Option<String>,
    /// `name`.
    pub name: Option<String>,
    /// `labels`.
    pub labels: BTreeMap<String, String>,
}

/// A document read as a resource whose type is known from elsewhere, such as a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// What it says about itself.
    pub meta: Meta,
    /// Its spec.
    pub spec: Spec,
    /// Paths of fields that were skipped; see [`super::Decoded::unknown`].
    pub unknown: Vec<String>,
}

/// A document that says what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its type.
    pub ty: ResourceType,
    /// Its mesh, if it names one; whether its type lives in a mesh is not checked.
    pub mesh: Option<String>,
    /// Its name, empty when it has none.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its spec.
    pub spec: Spec,
    /// Paths of fields that were skipped; see [`super::Decoded::unknown`].
    pub unknown: Vec<String>,
}

/// Reads a document whose `type` field decides what it is.
///
/// # Errors
/// When it is not an object, has no type or an unknown one, or its fields do not fit.
pub fn parse_document(value: &Value) -> Result<Document, JsonError> {
    let fields = object(value)?;
    let meta = parse_meta(fields)?;
    let ty = match &meta.ty {
        None => Err("has no type, such as MeshGateway".to_owned()),
        Some(name) => name
            .parse::<ResourceType>()
            .map_err(|unknown| unknown.to_string()),
    }
    .map_err(|message| JsonError {
        path: "type".to_owned(),
        message,
    })?;
    let decoded = decode_spec(ty, fields)?;
    Ok(Document {
        ty,
        mesh: meta.mesh,
        name: meta.name.unwrap_or_default(),
        labels: meta.labels,
        spec: decoded.spec,
        unknown: decoded.unknown,
    })
}

/// Reads a document as a resource of type `ty`, whatever its own `type` field says; `null` is an
/// empty document.
///
/// # Errors
/// When it is not an object or its fields do not fit.
pub fn parse_body(ty: ResourceType, value: &Value) -> Result<Body, JsonError> {
    let empty = Map::new();
    let fields = if value.is_null() {
        &empty
    } else {
        object(value)?
    };
    let meta = parse_meta(fields)?;
    let decoded = decode_spec(ty, fields)?;
    Ok(Body {
        meta,
        spec: decoded.spec,
        unknown: decoded.unknown,
    })
}

/// The document of a resource: `type`, `mesh`, `name`, times, `labels`, `kri`, then the spec and
/// the status.
pub fn to_document(resource: &Resource) -> Map<String, Value> {
    let key = resource.key();
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
    put("type", key.ty().name().into());
    if let Some(mesh) = key.mesh() {
        put("mesh", mesh.as_str().into());
    }
    put("name", key.name().as_str().into());
    put("creationTime", resource.created().to_string().into());
    put("modificationTime", resource.modified().to_string().into());
    if !resource.labels().is_empty() {
        let labels: Map<String, Value> = resource
            .labels()
            .iter()
            .map(|(key, value)| (key.clone(), value.as_str().into()))
            .collect();
        put("labels", labels.into());
    }
    if let Some(kri) = kri(resource) {
        put("kri", kri.into());
    }
    document.extend(encode_spec(resource.spec()));
    match resource.status() {
        Some(status) => document.insert("status".to_owned(), status.json().into()),
        // Clients that know the type look into it.
        None if key.ty().describe().has_status => {
            document.insert("status".to_owned(), Map::new().into())
        }
        None => None,
    };
    document
}

/// The resource's identifier across zones:
/// `kri_<short type>_<mesh>_<zone>_<namespace>_<display name>_`, where any part may be empty.
fn kri(resource: &Resource) -> Option<String> {
    let short = resource.key().ty().describe().short_name;
    if short.is_empty() {
        return None;
    }
    let label = |key| resource.label(key).unwrap_or_default();
    Some(format!(
        "kri_{short}_{}_{}_{}_{}_",
        resource.key().mesh_str(),
        label(labels::ZONE),
        label(labels::NAMESPACE),
        resource.display_name(),
    ))
}

fn object(value: &Value) -> Result<&Map<String, Value>, JsonError> {
    value.as_object().ok_or_else(|| JsonError {
        path: String::new(),
        message: format!("expected an object, found {}", describe(value)),
    })
}

fn parse_meta(fields: &Map<String, Value>) -> Result<Meta, JsonError> {
    for name in ["creationTime", "modificationTime"] {
        if let Some(time) = string(fields, name)? {
            OffsetDateTime::parse(&time, &Rfc3339).map_err(|_why| JsonError {
                path: name.to_owned(),
                message: format!("{time:?} is not a time such as \"2026-03-01T10:00:00Z\""),
            })?;
        }
    }
    Ok(Meta {
        ty: string(fields, "type")?,
        mesh: string(fields, "mesh")?,
        name: string(fields, "name")?,
        labels: parse_labels(fields)?,
    })
}

fn string(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, JsonError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(JsonError {
            path: name.to_owned(),
            message: format!("expected a string, found {}", describe(other)),
        }),
    }
}

fn parse_labels(fields: &Map<String, Value>) -> Result<BTreeMap<String, String>, JsonError> {
    let error = |path: String, wanted, found| JsonError {
        path,
        message: format!("expected {wanted}, found {}", describe(found)),
    };
    match fields.get("labels") {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(labels)) => labels
            .iter()
            .map(|(key, value)| match value {
                Value::String(text) => Ok((key.clone(), text.clone())),
                Value::Null => Ok((key.clone(), String::new())),
                other => Err(error(format!("labels[{key:?}]"), "a string", other)),
            })
            .collect(),
        Some(other) => Err(error("labels".to_owned(), "an object", other)),
    }
}
