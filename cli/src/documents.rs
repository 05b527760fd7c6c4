//! Resources from files: found, read, filled in, parsed and checked before anything is done.
//!
//! A file may hold several documents, YAML or JSON. Everything that is wrong in any of them is
//! found at once and names file, line and field. Checking is stricter than a control plane's:
//! that skips fields it does not know, here they are taken for typing mistakes.

mod check;
mod source;
mod template;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use mesh_model::{ResourceType, Spec, json};
use mesh_runtime::yaml;
use serde_json::{Map, Value, json};

pub(crate) use check::{nearest, parse_all};
pub(crate) use source::{Source, read};
pub(crate) use template::{Variable, parse_variable};

/// A resource that a file describes, valid as far as that can be known from files.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) ty: ResourceType,
    /// The mesh, for types that live in one.
    pub(crate) mesh: Option<String>,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) spec: Spec,
    pub(crate) place: Place,
}

/// Where a resource is described.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    file: Arc<str>,
    document: yaml::Document,
}

/// Something wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The file as the user called it.
    pub(crate) file: Arc<str>,
    /// From 1.
    pub(crate) line: usize,
    /// From 1, where it is known.
    pub(crate) column: Option<usize>,
    /// The field, empty for the whole document.
    pub(crate) field: String,
    /// What is wrong, and what to do.
    pub(crate) message: String,
}

impl Item {
    /// The resource as the admin API takes it.
    pub(crate) fn to_document(&self) -> Value {
        let mut document = Map::new();
        document.insert("type".to_owned(), json!(self.ty.name()));
        if let Some(mesh) = &self.mesh {
            document.insert("mesh".to_owned(), json!(mesh));
        }
        document.insert("name".to_owned(), json!(self.name));
        if !self.labels.is_empty() {
            document.insert("labels".to_owned(), json!(self.labels));
        }
        document.extend(json::encode_spec(&self.spec));
        Value::Object(document)
    }

    /// A problem with a field of this resource, or with all of it.
    pub(crate) fn problem(&self, field: &str, message: impl Into<String>) -> Problem {
        self.place.problem(field, message)
    }
}

impl fmt::Display for Item {
    /// `MeshGateway default/edge`, or `Zone east`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.mesh {
            Some(mesh) => write!(f, "{} {mesh}/{}", self.ty, self.name),
            None => write!(f, "{} {}", self.ty, self.name),
        }
    }
}

impl Place {
    fn problem(&self, field: &str, message: impl Into<String>) -> Problem {
        Problem {
            file: Arc::clone(&self.file),
            line: self.document.nearest_line(field),
            column: None,
            field: field.to_owned(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Place {
    /// `examples/shop.yaml:12`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.document.first_line)
    }
}

impl fmt::Display for Problem {
    /// `examples/shop.yaml:14: conf.listeners[0].prot: unknown field; did you mean "port"?`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        f.write_str(": ")?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}
