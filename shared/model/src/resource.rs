//! Resources: a key, labels, times, an encoded spec and, for some types, a status.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::labels;
use crate::name::{MeshName, ResourceName};
use crate::resource_type::ResourceType;
use crate::spec::{Spec, SpecMessage, Status};
use crate::timestamp::Timestamp;

/// Labels by key, shared between clones of a resource.
pub type Labels = Arc<BTreeMap<String, String>>;

/// What identifies a resource in a store: type, mesh (for mesh-scoped types) and name.
///
/// Keys sort by type, then mesh, then name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    ty: ResourceType,
    mesh: Option<MeshName>,
    name: ResourceName,
}

impl Key {
    /// The key of a mesh-scoped resource.
    ///
    /// # Panics
    /// When `ty` is not mesh-scoped: that is a mistake in the calling code.
    pub fn in_mesh(ty: ResourceType, mesh: MeshName, name: ResourceName) -> Self {
        assert!(ty.is_mesh_scoped(), "{ty} is not mesh-scoped");
        Self {
            ty,
            mesh: Some(mesh),
            name,
        }
    }

    /// The key of a resource that belongs to no mesh.
    ///
    /// # Panics
    /// When `ty` is mesh-scoped: that is a mistake in the calling code.
    pub fn global(ty: ResourceType, name: ResourceName) -> Self {
        assert!(!ty.is_mesh_scoped(), "{ty} is mesh-scoped");
        Self {
            ty,
            mesh: None,
            name,
        }
    }

    /// A key from the parts a peer or a file gave; `None` when the type's scope and the mesh do
    /// not agree.
    pub fn try_new(ty: ResourceType, mesh: Option<MeshName>, name: ResourceName) -> Option<Self> {
        (ty.is_mesh_scoped() == mesh.is_some()).then_some(Self { ty, mesh, name })
    }

    /// The type.
    pub fn ty(&self) -> ResourceType {
        self.ty
    }

    /// The mesh, for mesh-scoped types.
    pub fn mesh(&self) -> Option<&MeshName> {
        self.mesh.as_ref()
    }

    /// The mesh as text, empty for types without one: the form used on the wire.
    pub fn mesh_str(&self) -> &str {
        self.mesh.as_ref().map_or("", MeshName::as_str)
    }

    /// The name.
    pub fn name(&self) -> &ResourceName {
        &self.name
    }

    /// The same name and mesh under another type of the same scope, such as an insight.
    ///
    /// # Panics
    /// When the scopes differ: that is a mistake in the calling code.
    pub fn with_type(&self, ty: ResourceType) -> Self {
        assert_eq!(
            ty.is_mesh_scoped(),
            self.ty.is_mesh_scoped(),
            "{ty} and {} differ in scope",
            self.ty
        );
        Self {
            ty,
            mesh: self.mesh.clone(),
            name: self.name.clone(),
        }
    }

    /// The same type and mesh under another name.
    pub fn with_name(&self, name: ResourceName) -> Self {
        Self {
            ty: self.ty,
            mesh: self.mesh.clone(),
            name,
        }
    }
}

impl fmt::Display for Key {
    /// `MeshGateway default/edge`, or `Zone east`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.mesh {
            Some(mesh) => write!(f, "{} {mesh}/{}", self.ty, self.name),
            None => write!(f, "{} {}", self.ty, self.name),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The content hash of a resource's labels, spec and status.
///
/// The status is part of it, so that a status that changes travels like any other change, and so
/// that two writers of which one saw an older status do not undo each other's work. Equal content has an equal version on any replica. Versions have no order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version([u8; 32]);

impl Version {
    /// The hash itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Version {
    /// 64 lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One named, typed, labelled item with a spec; immutable and cheap to clone behind an `Arc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    key: Key,
    labels: Labels,
    created: Timestamp,
    modified: Timestamp,
    spec: Spec,
    status: Option<Status>,
    version: Version,
}

impl Resource {
    /// A resource without a status; its version is computed here, once.
    ///
    /// # Panics
    /// When key and spec differ in type: that is a mistake in the calling code.
    pub fn new(
        key: Key,
        labels: BTreeMap<String, String>,
        spec: Spec,
        created: Timestamp,
        modified: Timestamp,
    ) -> Self {
        assert_eq!(key.ty(), spec.ty(), "key and spec of one resource");
        let version = content_version(&labels, &spec, None);
        Self {
            key,
            labels: Arc::new(labels),
            created,
            modified,
            spec,
            status: None,
            version,
        }
    }

    /// The same resource with this status.
    #[must_use]
    pub fn with_status(mut self, status: Option<Status>) -> Self {
        if self.status != status {
            self.version = content_version(&self.labels, &self.spec, status.as_ref());
            self.status = status;
        }
        self
    }

    /// What identifies it.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Its labels.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The value of one label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    /// The name that its author gave it: the label `kuma.io/display-name`, else the name.
    pub fn display_name(&self) -> &str {
        self.label(labels::DISPLAY_NAME)
            .unwrap_or(self.key.name().as_str())
    }

    /// When it was first written in this store.
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// When it was last written in this store.
    pub fn modified(&self) -> Timestamp {
        self.modified
    }

    /// Its spec.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The decoded spec; see [`Spec::decode`].
    ///
    /// # Panics
    /// When `M` is not the message of this resource's type.
    pub fn decode<M: SpecMessage>(&self) -> M {
        self.spec.decode()
    }

    /// What control planes say of it beside the spec; only for types that have one.
    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// The hash of labels, spec and status.
    pub fn version(&self) -> Version {
        self.version
    }
}

fn content_version(
    labels: &BTreeMap<String, String>,
    spec: &Spec,
    status: Option<&Status>,
) -> Version {
    let mut hasher = Sha256::new();
    // Lengths keep "a"+"bc" and "ab"+"c" apart.
    for text in labels.iter().flat_map(|(k, v)| [k, v]) {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    hasher.update(u64::MAX.to_le_bytes());
    hasher.update(spec.bytes());
    if let Some(status) = status {
        // The length of the spec, behind it, and the status differ from a longer spec.
        hasher.update((spec.bytes().len() as u64).to_le_bytes());
        hasher.update(status.bytes());
    }
    Version(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use mesh_proto::mesh;

    use super::*;

    fn gateway(labels: &[(&str, &str)]) -> Resource {
        let key = Key::in_mesh(
            ResourceType::MeshGateway,
            MeshName::parse("default").unwrap(),
            ResourceName::parse("edge").unwrap(),
        );
        Resource::new(
            key,
            labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            Spec::encode(ResourceType::MeshGateway, &mesh::MeshGateway::default()),
            Timestamp::EPOCH,
            Timestamp::EPOCH,
        )
    }

    #[test]
    fn the_version_depends_on_content_only() {
        assert_eq!(gateway(&[]).version(), gateway(&[]).version());
        assert_ne!(gateway(&[]).version(), gateway(&[("a", "b")]).version());
        assert_ne!(
            gateway(&[("a", "bc")]).version(),
            gateway(&[("ab", "c")]).version()
        );
    }

    #[test]
    fn a_status_is_part_of_the_version_and_may_go_again() {
        let status = |text: &'static str| Some(Status::parse(text.as_bytes().into()).unwrap());
        let plain = gateway(&[]);
        let with = plain.clone().with_status(status("{}"));
        assert_ne!(with.version(), plain.version());
        let other = with.clone().with_status(status(r#"{"a":1}"#));
        assert_ne!(other.version(), with.version());
        assert_eq!(other.with_status(None), plain);
    }

    #[test]
    fn keys_print_as_a_person_would_say_them() {
        assert_eq!(gateway(&[]).key().to_string(), "MeshGateway default/edge");
    }
}
