//! Signing keys and revocations of tokens, found among the secrets of a store.

use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType};
use mesh_proto::system::Secret;
use mesh_runtime::tokens::names;
use mesh_runtime::tokens::{Revocations, SigningKey, VerifyingKey};
use mesh_store::Snapshot;

/// There is no key to sign with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoKeyError {
    /// No secret has one.
    #[error("there is no signing key: {} does not exist", place(.name, .mesh.as_ref()))]
    Absent {
        /// The secret that should have it.
        name: String,
        /// Its mesh; none for a `GlobalSecret`.
        mesh: Option<MeshName>,
    },
    /// The secret that should have it holds something else.
    #[error("{} holds no RSA private key", place(.name, .mesh.as_ref()))]
    Unreadable {
        /// The secret.
        name: String,
        /// Its mesh; none for a `GlobalSecret`.
        mesh: Option<MeshName>,
    },
}

fn place(name: &str, mesh: Option<&MeshName>) -> String {
    match mesh {
        Some(mesh) => format!("Secret {name:?} in mesh \"{mesh}\""),
        None => format!("GlobalSecret {name:?}"),
    }
}

/// The newest key with a prefix, and its serial number.
///
/// # Errors
/// When there is none.
pub fn signing(
    snapshot: &Snapshot,
    prefix: &str,
    mesh: Option<&MeshName>,
) -> Result<(u64, SigningKey), NoKeyError> {
    let secrets: Vec<&Resource> = match mesh {
        Some(mesh) => snapshot
            .list_in_mesh(ResourceType::Secret, mesh)
            .map(AsRef::as_ref)
            .collect(),
        None => snapshot
            .list(ResourceType::GlobalSecret)
            .map(AsRef::as_ref)
            .collect(),
    };
    let newest = names::latest_serial(secrets.iter().map(|s| s.key().name().as_str()), prefix);
    let name = names::secret_name(prefix, newest.unwrap_or(1));
    let Some(serial) = newest else {
        return Err(NoKeyError::Absent {
            name,
            mesh: mesh.cloned(),
        });
    };
    names::secret_names(prefix, &serial.to_string())
        .iter()
        .find_map(|name| data(snapshot, mesh, name))
        .and_then(|content| SigningKey::parse(&content).ok())
        .map(|key| (serial, key))
        .ok_or(NoKeyError::Unreadable {
            name,
            mesh: mesh.cloned(),
        })
}

/// The key with which a token with this key id can be checked.
pub fn verifying(
    snapshot: &Snapshot,
    prefix: &str,
    mesh: Option<&MeshName>,
    key_id: &str,
) -> Option<VerifyingKey> {
    let content = names::secret_names(prefix, key_id)
        .iter()
        .find_map(|name| data(snapshot, mesh, name))?;
    SigningKey::parse(&content)
        .map(|key| key.public())
        .or_else(|_| VerifyingKey::parse(&content))
        .ok()
}

/// The revoked tokens that a secret lists; none when there is no such secret.
pub fn revocations(snapshot: &Snapshot, mesh: Option<&MeshName>, name: &str) -> Revocations {
    data(snapshot, mesh, name)
        .map(|content| Revocations::parse(&content))
        .unwrap_or_default()
}

/// The content of a Secret, or of a `GlobalSecret` when no mesh is given.
pub fn data(snapshot: &Snapshot, mesh: Option<&MeshName>, name: &str) -> Option<Vec<u8>> {
    let name = ResourceName::parse(name).ok()?;
    let key = match mesh {
        Some(mesh) => Key::in_mesh(ResourceType::Secret, mesh.clone(), name),
        None => Key::global(ResourceType::GlobalSecret, name),
    };
    Some(
        snapshot
            .get(&key)?
            .decode::<Secret>()
            .data
            .unwrap_or_default(),
    )
}
