//! What a global control plane has from its first start on: a mesh, keys, an administrator's
//! token, the id of the fleet.
//!
//! All of it is written in one batch, so a start that is interrupted leaves all or nothing, and
//! a later start finds nothing to do.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Spec, Timestamp, cluster};
use mesh_proto::{mesh, system};
use mesh_runtime::tokens::{self, SigningKey, UserClaims, names};
use mesh_store::{Batch, Expect, Snapshot, Store};

use crate::secrets;

const DEFAULT_MESH: &str = "default";
const ADMIN: &str = "mesh-system:admin";
const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What the operator wants of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// The mesh `default`.
    pub(crate) mesh: bool,
    /// A token for the first administrator.
    pub(crate) admin_token: bool,
}

/// Writes what is missing.
///
/// # Errors
/// When a key cannot be made, or the store fails.
pub(crate) async fn ensure(
    store: &dyn Store,
    wanted: Wanted,
    now: Timestamp,
) -> anyhow::Result<()> {
    let snapshot = store.snapshot();
    let mut missing = Vec::new();
    if wanted.mesh {
        missing.extend(default_mesh(&snapshot, now).await?);
    }
    let (user_key, serial) = match mesh_api::keys::signing(&snapshot, names::USER_KEY, None) {
        Ok((serial, key)) => (key, serial),
        Err(_) => {
            let key = secrets::new_key().await?;
            missing.extend(first_key(&snapshot, names::USER_KEY, &key, now));
            (key, 1)
        }
    };
    let admin_token = secrets::global(names::ADMIN_USER_TOKEN);
    if wanted.admin_token && snapshot.get(&admin_token).is_none() {
        let claims = UserClaims {
            name: ADMIN.to_owned(),
            groups: vec![ADMIN.to_owned()],
        };
        let token = tokens::issue(&user_key, &serial.to_string(), &claims, now, TEN_YEARS)?;
        missing.push(secrets::resource(admin_token, &token, now));
    }
    if mesh_api::keys::signing(&snapshot, names::ZONE_KEY, None).is_err() {
        let key = secrets::new_key().await?;
        missing.extend(first_key(&snapshot, names::ZONE_KEY, &key, now));
    }
    missing.extend(cluster_id(&snapshot, now));
    if missing.is_empty() {
        return Ok(());
    }
    let batch = missing.into_iter().fold(Batch::new(), |batch, resource| {
        tracing::info!(resource = %resource.key(), "creating what every fleet has");
        batch.put_if(resource, Expect::Absent)
    });
    store
        .commit(batch)
        .await
        .context("cannot write what every fleet has")?;
    Ok(())
}

/// The mesh and its signing key.
async fn default_mesh(snapshot: &Snapshot, now: Timestamp) -> anyhow::Result<Vec<Resource>> {
    let key = Key::global(ResourceType::Mesh, constant(DEFAULT_MESH));
    if snapshot.get(&key).is_some() {
        return Ok(Vec::new());
    }
    let spec = Spec::encode(ResourceType::Mesh, &mesh::Mesh::default());
    let mut made = vec![Resource::new(key, BTreeMap::new(), spec, now, now)];
    let name = MeshName::parse(DEFAULT_MESH).expect("a constant that is a name");
    if let Some(key) = secrets::dataplane_key_of(&name).filter(|k| snapshot.get(k).is_none()) {
        let content = secrets::new_key().await?.to_pem();
        made.push(secrets::resource(key, &content, now));
    }
    Ok(made)
}

/// The first key with a prefix; none if a secret has its name already, however odd its content.
fn first_key(
    snapshot: &Snapshot,
    prefix: &str,
    key: &SigningKey,
    now: Timestamp,
) -> Option<Resource> {
    let place = secrets::global(&names::secret_name(prefix, 1));
    snapshot
        .get(&place)
        .is_none()
        .then(|| secrets::resource(place, &key.to_pem(), now))
}

fn cluster_id(snapshot: &Snapshot, now: Timestamp) -> Option<Resource> {
    let key = Key::global(ResourceType::Config, constant(cluster::ID));
    if snapshot.get(&key).is_some() {
        return None;
    }
    let config = system::Config {
        config: uuid::Uuid::new_v4().to_string(),
    };
    let spec = Spec::encode(ResourceType::Config, &config);
    Some(Resource::new(key, BTreeMap::new(), spec, now, now))
}

fn constant(name: &str) -> ResourceName {
    ResourceName::parse(name).expect("a constant that is a name")
}
