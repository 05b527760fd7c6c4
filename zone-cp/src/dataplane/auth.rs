//! Which token may speak for which Dataplane.

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::keys;
use mesh_model::{Key, ResourceType, Timestamp};
use mesh_proto::mesh::Dataplane;
use mesh_runtime::clock;
use mesh_runtime::tokens::{self, DataplaneClaims, Mismatch, TokenError, names};
use mesh_store::Snapshot;

/// Why a token does not speak for a Dataplane.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There was none.
    #[error(
        "Dataplane Token is required: generate one with 'meridian generate dataplane-token --mesh {mesh} \
         --name {name}' and give it to the agent with --dataplane-token-file"
    )]
    Missing {
        /// The Dataplane's mesh.
        mesh: String,
        /// The Dataplane's name.
        name: String,
    },
    /// There is nothing to check it with, as when the zone has not been in step with its global.
    #[error(
        "the dataplane token cannot be checked: mesh {mesh:?} has no signing key here; wait until \
         the zone has received it from the global control plane"
    )]
    NoKey {
        /// The Dataplane's mesh.
        mesh: String,
    },
    /// It is no valid token of this mesh.
    #[error("the dataplane token is not valid")]
    Invalid(#[from] TokenError),
    /// It is for something else.
    #[error("the dataplane token is for another proxy")]
    Other(#[from] Mismatch),
}

/// Whether streams of Dataplanes need a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyAuth {
    /// A dataplane token (`dpToken`).
    Token,
    /// Anyone who reaches the port speaks for any Dataplane (`none`).
    Off,
}

impl ProxyAuth {
    /// Checks that `token` may speak for `dataplane` under `key`, and says until when.
    ///
    /// This costs a signature check; it need not be repeated until then, unless the mesh's
    /// secrets change.
    ///
    /// # Errors
    /// Why it may not; the text never holds the token.
    pub fn check(
        self,
        snapshot: &Snapshot,
        key: &Key,
        dataplane: &Dataplane,
        token: Option<&str>,
    ) -> Result<Option<Timestamp>, Refusal> {
        if self == Self::Off {
            return Ok(None);
        }
        let mesh = key.mesh_str();
        let token = token
            .filter(|t| !t.is_empty())
            .ok_or_else(|| Refusal::Missing {
                mesh: mesh.to_owned(),
                name: key.name().to_string(),
            })?;
        let lookup = |key_id: &str| {
            keys::verifying(snapshot, &names::dataplane_key(mesh), key.mesh(), key_id)
        };
        let revoked = keys::revocations(snapshot, key.mesh(), &names::dataplane_revocations(mesh));
        let verified = tokens::verify::<DataplaneClaims>(token, clock::now(), lookup, &revoked)
            .map_err(|error| match error {
                TokenError::UnknownKey { .. } if !has_key(snapshot, key) => Refusal::NoKey {
                    mesh: mesh.to_owned(),
                },
                error => error.into(),
            })?;
        let tags = all_tags(dataplane);
        let proxy = tokens::Proxy {
            name: key.name().as_str(),
            mesh,
            tags: &tags,
            workload: None,
        };
        verified.claims.check(&proxy)?;
        Ok(verified.expires)
    }
}

/// Whether there is any key to check a token of the Dataplane's mesh with.
fn has_key(snapshot: &Snapshot, dataplane: &Key) -> bool {
    let Some(mesh) = dataplane.mesh() else {
        return false;
    };
    let secrets = snapshot.list_in_mesh(ResourceType::Secret, mesh);
    let names = secrets.map(|secret| secret.key().name().as_str());
    names::latest_serial(names, &names::dataplane_key(mesh.as_str())).is_some()
}

/// Every value that a Dataplane has for each of its tags.
fn all_tags(dataplane: &Dataplane) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::<String, BTreeSet<String>>::new();
    let networking = dataplane.networking.iter();
    let sets = networking.flat_map(|n| {
        n.inbound
            .iter()
            .map(|i| &i.tags)
            .chain(n.gateway.iter().map(|g| &g.tags))
    });
    for (key, value) in sets.flatten() {
        all.entry(key.clone()).or_default().insert(value.clone());
    }
    all
}
