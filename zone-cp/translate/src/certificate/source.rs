//! Where a certificate is written, and what is known of it there.

use std::sync::Arc;

use mesh_model::{Resource, ResourceName};
use mesh_proto::system::DataSource;
use mesh_proto::system::data_source::Type;
use serde::{Deserialize, Serialize};

use super::Certificate;
use crate::host::Hostname;

/// Where a certificate comes from. Zones keep it on disk in its serialized form, which only ever
/// grows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// A Secret of the same mesh, by name.
    Secret(String),
    /// A file that the control plane reads, by path.
    File(String),
    /// The MeshGateway itself.
    Inline {
        /// The gateway.
        gateway: ResourceName,
        /// The listener's port.
        port: u32,
        /// The listener's hostname, `*` for none.
        hostname: String,
        /// The position in the listener's list.
        index: usize,
    },
}

impl Source {
    /// The source of a certificate that a listener names.
    pub(crate) fn of(
        written: &DataSource,
        gateway: &Resource,
        port: u32,
        hostname: &Hostname,
        index: usize,
    ) -> Self {
        match &written.r#type {
            Some(Type::Secret(name)) => Self::Secret(name.clone()),
            Some(Type::File(path)) => Self::File(path.clone()),
            Some(Type::Inline(_) | Type::InlineString(_)) | None => Self::Inline {
                gateway: gateway.key().name().clone(),
                port,
                hostname: hostname.to_string(),
                index,
            },
        }
    }

    /// What is wrong with the text found there, as a sentence. `problem` says what it is or does.
    pub(crate) fn describe(&self, problem: &str) -> String {
        match self {
            Self::Secret(name) => format!("the Secret {name:?} {problem}"),
            Self::File(path) => format!("the file {path} {problem}"),
            Self::Inline { .. } => format!("the inline certificate {problem}"),
        }
    }
}

/// What is known of a source.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// What to use. There may be one in spite of a problem: the last good one.
    pub certificate: Option<Arc<Certificate>>,
    /// What is wrong with what is written now, a sentence for people.
    pub problem: Option<String>,
}

impl Known {
    /// A good certificate, or what is wrong with it.
    pub fn new(read: Result<Arc<Certificate>, String>) -> Self {
        match read {
            Ok(certificate) => Self {
                certificate: Some(certificate),
                problem: None,
            },
            Err(problem) => Self {
                certificate: None,
                problem: Some(problem),
            },
        }
    }
}
