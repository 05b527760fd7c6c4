//! Secrets that this control plane makes itself.

use std::collections::BTreeMap;

use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Spec, Timestamp};
use mesh_proto::system::Secret;
use mesh_runtime::tokens::{KeyError, SigningKey, names};

/// A new signing key. Making one takes some tenths of a second of computing.
///
/// # Errors
/// When the computer gives no randomness.
pub(crate) async fn new_key() -> Result<SigningKey, KeyError> {
    tokio::task::spawn_blocking(SigningKey::generate)
        .await
        .expect("generating a key does not panic, and the runtime outlives it")
}

/// The key of the Secret with a mesh's first signing key for dataplane tokens.
pub(crate) fn dataplane_key_of(mesh: &MeshName) -> Option<Key> {
    let name = names::secret_name(&names::dataplane_key(mesh.as_str()), 1);
    // A mesh with a very long name, which only a peer can have made, has no such Secret.
    let name = ResourceName::parse(&name).ok()?;
    Some(Key::in_mesh(ResourceType::Secret, mesh.clone(), name))
}

/// The key of a `GlobalSecret`.
pub(crate) fn global(name: &str) -> Key {
    let name = ResourceName::parse(name).expect("names of our own secrets are names");
    Key::global(ResourceType::GlobalSecret, name)
}

/// A `Secret` or `GlobalSecret` with this content.
pub(crate) fn resource(key: Key, content: &str, now: Timestamp) -> Resource {
    let secret = Secret {
        data: Some(content.as_bytes().to_vec()),
    };
    let spec = Spec::encode(key.ty(), &secret);
    Resource::new(key, BTreeMap::new(), spec, now, now)
}
