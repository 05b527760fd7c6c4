//! The part of a mesh's view that certificates come from.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use imbl::OrdMap;
use mesh_model::{Resource, ResourceName};
use mesh_proto::system::data_source::Type;
use mesh_proto::system::{DataSource, Secret};

use super::{Certificate, Known, Source};

/// Secrets, files and what a control plane knows of both. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct SecretView {
    secrets: OrdMap<ResourceName, Arc<Content>>,
    files: OrdMap<Arc<str>, Result<Arc<Content>, String>>,
    known: OrdMap<Source, Arc<Known>>,
}

/// What a Secret or file holds; read as a certificate when one is first asked for.
pub(crate) struct Content {
    bytes: Encoded,
    parsed: OnceLock<Result<Arc<Certificate>, String>>,
}

enum Encoded {
    Resource(Arc<Resource>),
    Bytes(Bytes),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Content([redacted])")
    }
}

impl Content {
    fn new(bytes: Encoded) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            parsed: OnceLock::new(),
        })
    }

    /// What is written there.
    pub(crate) fn bytes(&self) -> Bytes {
        match &self.bytes {
            Encoded::Resource(resource) => {
                let secret: Secret = resource.decode();
                secret.data.unwrap_or_default().into()
            }
            Encoded::Bytes(bytes) => bytes.clone(),
        }
    }

    fn certificate(&self) -> Result<Arc<Certificate>, String> {
        let parse = || Certificate::parse(&self.bytes()).map(Arc::new);
        self.parsed.get_or_init(parse).clone()
    }
}

impl SecretView {
    pub(crate) fn put(&mut self, resource: &Arc<Resource>) {
        let content = Content::new(Encoded::Resource(Arc::clone(resource)));
        self.secrets.insert(resource.key().name().clone(), content);
    }

    pub(crate) fn delete(&mut self, name: &ResourceName) {
        self.secrets.remove(name);
    }

    /// Sets what a file holds, or why it cannot be read; `None` forgets it.
    pub(crate) fn set_file(&mut self, path: &str, read: Option<Result<Bytes, String>>) {
        match read {
            Some(read) => {
                let content = read.map(Encoded::Bytes).map(Content::new);
                self.files.insert(Arc::from(path), content);
            }
            None => {
                self.files.remove(path);
            }
        }
    }

    /// Sets what is to be used of a source, instead of what is written there.
    pub(crate) fn set_known(&mut self, source: &Source, known: Option<Known>) {
        match known {
            Some(known) => {
                self.known.insert(source.clone(), Arc::new(known));
            }
            None => {
                self.known.remove(source);
            }
        }
    }

    /// Whether nothing differs, as far as that can be seen at once.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.secrets.ptr_eq(&other.secrets)
            && self.files.ptr_eq(&other.files)
            && self.known.ptr_eq(&other.known)
    }

    /// What to use of a source, and what is wrong with it.
    pub(crate) fn certificate(&self, source: &Source, written: &DataSource) -> Known {
        match self.known.get(source) {
            Some(known) => Known::clone(known),
            None => Known::new(self.read(source, written)),
        }
    }

    /// The certificate that is written at a source now.
    pub(crate) fn read(
        &self,
        source: &Source,
        written: &DataSource,
    ) -> Result<Arc<Certificate>, String> {
        let describe = |problem: String| source.describe(&problem);
        let inline = |bytes: &[u8]| {
            let parsed = Certificate::parse(bytes).map(Arc::new);
            parsed.map_err(describe)
        };
        match &written.r#type {
            Some(Type::Inline(bytes)) => inline(bytes),
            Some(Type::InlineString(text)) => inline(text.as_bytes()),
            Some(Type::Secret(_) | Type::File(_)) => {
                self.content(written)?.certificate().map_err(describe)
            }
            None => Err(
                "the certificate has no source: give it a secret, a file or inline text".to_owned(),
            ),
        }
    }

    /// The bytes that a data source stands for.
    pub(crate) fn bytes(&self, written: &DataSource) -> Result<Bytes, String> {
        match &written.r#type {
            Some(Type::Inline(bytes)) => Ok(Bytes::copy_from_slice(bytes)),
            Some(Type::InlineString(text)) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            Some(Type::Secret(_) | Type::File(_)) => Ok(self.content(written)?.bytes()),
            None => Err("no source: give it a secret, a file or inline text".to_owned()),
        }
    }

    fn content(&self, written: &DataSource) -> Result<&Content, String> {
        match &written.r#type {
            Some(Type::Secret(name)) => ResourceName::parse(name)
                .ok()
                .and_then(|name| self.secrets.get(&name))
                .map(|content| &**content)
                .ok_or_else(|| format!("there is no Secret {name:?} in this mesh")),
            Some(Type::File(path)) => match self.files.get(path.as_str()) {
                Some(Ok(content)) => Ok(content),
                Some(Err(reason)) => Err(format!("the file {path} cannot be read: {reason}")),
                None => Err(format!("the file {path} has not been read")),
            },
            Some(Type::Inline(_) | Type::InlineString(_)) | None => {
                Err("neither a Secret nor a file".to_owned())
            }
        }
    }
}
