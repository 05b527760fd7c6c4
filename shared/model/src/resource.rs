//! Resources: a key, labels, times and an encoded spec.
//!
//! The spec stays the bytes that arrived. Whoever needs its fields decodes it; whoever sends it
//! on sends the same bytes, so fields that this release does not know survive.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use mesh_proto::{mesh, system};
use sha2::{Digest as _, Sha256};

use crate::labels;
use crate::name::{MeshName, ResourceName};
use crate::resource_type::ResourceType;
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

/// The content hash of a resource's labels and spec.
///
/// Equal content has an equal version on any replica. Versions have no order.
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

/// A message that is the spec of one or more resource types.
pub trait SpecMessage: prost::Message + Default + 'static {
    /// The types whose spec it is.
    const TYPES: &'static [ResourceType];
}

macro_rules! spec_messages {
    ($($message:ty: [$($ty:ident),+]);+ $(;)?) => {
        $(impl SpecMessage for $message {
            const TYPES: &'static [ResourceType] = &[$(ResourceType::$ty),+];
        })+

        /// Decodes `bytes` as the message of `ty`, to see whether it is one.
        fn check(ty: ResourceType, bytes: &[u8]) -> Result<(), prost::DecodeError> {
            match ty {
                $($(ResourceType::$ty)|+ => <$message as prost::Message>::decode(bytes).map(drop),)+
            }
        }

        /// Decodes `bytes` as the message of `ty` and encodes that again: fields in order, maps
        /// sorted, unknown fields gone.
        fn canonical(ty: ResourceType, bytes: &[u8]) -> Result<Vec<u8>, prost::DecodeError> {
            match ty {
                $($(ResourceType::$ty)|+ => {
                    let message = <$message as prost::Message>::decode(bytes)?;
                    Ok(prost::Message::encode_to_vec(&message))
                })+
            }
        }
    };
}

spec_messages! {
    mesh::Mesh: [Mesh];
    mesh::MeshGateway: [MeshGateway];
    mesh::MeshGatewayRoute: [MeshGatewayRoute];
    mesh::ExternalService: [ExternalService];
    mesh::Dataplane: [Dataplane];
    mesh::DataplaneInsight: [DataplaneInsight];
    mesh::ZoneIngress: [ZoneIngress];
    system::Secret: [Secret, GlobalSecret];
    system::Config: [Config];
    system::Zone: [Zone];
    system::ZoneInsight: [ZoneInsight];
}

/// The bytes are not the message of their type.
#[derive(Debug, Clone, thiserror::Error)]
#[error("not an encoded {ty}")]
pub struct DecodeSpecError {
    /// The type whose spec was expected.
    pub ty: ResourceType,
    #[source]
    source: prost::DecodeError,
}

/// An encoded spec that is known to decode as the message of its type.
#[derive(Clone, PartialEq, Eq)]
pub struct Spec {
    ty: ResourceType,
    bytes: Bytes,
}

impl fmt::Debug for Spec {
    /// Without its bytes: some specs hold private keys, as a Secret does, and a gateway may.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spec({}, {} bytes)", self.ty, self.bytes.len())
    }
}

impl Spec {
    /// Encodes a message as the spec of type `ty`.
    ///
    /// # Panics
    /// When `M` is not the message of `ty`: that is a mistake in the calling code.
    pub fn encode<M: SpecMessage>(ty: ResourceType, message: &M) -> Self {
        assert!(
            M::TYPES.contains(&ty),
            "the message is not the spec of {ty}"
        );
        Self {
            ty,
            bytes: message.encode_to_vec().into(),
        }
    }

    /// Takes bytes that a peer or a file gave, as they are.
    ///
    /// # Errors
    /// When they do not decode as the message of `ty`.
    pub fn parse(ty: ResourceType, bytes: Bytes) -> Result<Self, DecodeSpecError> {
        check(ty, &bytes).map_err(|source| DecodeSpecError { ty, source })?;
        Ok(Self { ty, bytes })
    }

    /// Takes bytes in any valid encoding and keeps the canonical one: fields in order, maps
    /// sorted, unknown fields gone.
    ///
    /// # Errors
    /// When they do not decode as the message of `ty`.
    pub fn parse_canonical(ty: ResourceType, bytes: &[u8]) -> Result<Self, DecodeSpecError> {
        let bytes = canonical(ty, bytes).map_err(|source| DecodeSpecError { ty, source })?;
        Ok(Self {
            ty,
            bytes: bytes.into(),
        })
    }

    /// The same spec in its canonical encoding; see [`Self::parse_canonical`].
    pub fn to_canonical(&self) -> Self {
        Self::parse_canonical(self.ty, &self.bytes)
            .expect("a Spec was decoded once when it was made")
    }

    /// The type whose spec this is.
    pub fn ty(&self) -> ResourceType {
        self.ty
    }

    /// The encoded message.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The decoded message.
    ///
    /// # Panics
    /// When `M` is not the message of this spec's type: that is a mistake in the calling code.
    pub fn decode<M: SpecMessage>(&self) -> M {
        assert!(
            M::TYPES.contains(&self.ty),
            "the message is not the spec of {}",
            self.ty
        );
        M::decode(self.bytes.as_ref()).expect("a Spec was decoded once when it was made")
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
    version: Version,
}

impl Resource {
    /// A resource; its version is computed here, once.
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
        let version = content_version(&labels, spec.bytes());
        Self {
            key,
            labels: Arc::new(labels),
            created,
            modified,
            spec,
            version,
        }
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

    /// The hash of labels and spec.
    pub fn version(&self) -> Version {
        self.version
    }
}

fn content_version(labels: &BTreeMap<String, String>, spec: &[u8]) -> Version {
    let mut hasher = Sha256::new();
    // Lengths keep "a"+"bc" and "ab"+"c" apart.
    for text in labels.iter().flat_map(|(k, v)| [k, v]) {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    hasher.update(u64::MAX.to_le_bytes());
    hasher.update(spec);
    Version(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
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
    fn bytes_that_are_no_message_are_refused() {
        assert!(Spec::parse(ResourceType::Mesh, Bytes::from_static(b"\xff\xff")).is_err());
    }

    #[test]
    fn unknown_fields_survive_because_the_bytes_are_kept() {
        // Field 1000, varint 7.
        let bytes = Bytes::from_static(&[0xc0, 0x3e, 0x07]);
        let spec = Spec::parse(ResourceType::Mesh, bytes.clone()).unwrap();
        assert_eq!(spec.bytes(), &bytes);
    }

    #[test]
    fn keys_print_as_a_person_would_say_them() {
        assert_eq!(gateway(&[]).key().to_string(), "MeshGateway default/edge");
    }
}
