//! Resources and stores for tests.

use std::collections::BTreeMap;
use std::path::Path;

use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Spec, Timestamp};
use mesh_proto::system;
use mesh_store::{Disk, Role, Store};

pub(crate) fn mesh(name: &str) -> MeshName {
    MeshName::parse(name).unwrap()
}

pub(crate) fn key_in(mesh_name: &str, name: &str) -> Key {
    Key::in_mesh(
        ResourceType::Secret,
        mesh(mesh_name),
        ResourceName::parse(name).unwrap(),
    )
}

pub(crate) fn key(name: &str) -> Key {
    key_in("default", name)
}

pub(crate) fn at(key: Key, data: impl Into<Vec<u8>>) -> Resource {
    let spec = system::Secret {
        data: Some(data.into()),
    };
    Resource::new(
        key.clone(),
        BTreeMap::from([("kuma.io/mesh".to_owned(), key.mesh_str().to_owned())]),
        Spec::encode(key.ty(), &spec),
        Timestamp::EPOCH,
        Timestamp::from_unix_seconds(1_700_000_000),
    )
}

/// A secret in the mesh `default`.
pub(crate) fn secret(name: &str, data: impl Into<Vec<u8>>) -> Resource {
    at(key(name), data)
}

pub(crate) fn data(resource: &Resource) -> Vec<u8> {
    resource.decode::<system::Secret>().data.unwrap_or_default()
}

pub(crate) fn open(dir: &Path) -> Disk {
    Disk::open(dir, Role::Zone).unwrap()
}

/// Everything in a store, as comparable text.
pub(crate) fn contents(store: &dyn Store) -> Vec<String> {
    store
        .snapshot()
        .iter()
        .map(|r| format!("{} {} {:?}", r.key(), r.version(), r.labels()))
        .collect()
}

/// The database under a closed store. sled gives its lock back when the last of its threads has
/// let go, a moment after it was closed.
pub(crate) fn raw(dir: &Path) -> sled::Db {
    for _ in 0..1_000 {
        match sled::open(dir) {
            Err(sled::Error::Io(error)) if error.to_string().contains("acquire lock") => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            result => return result.unwrap(),
        }
    }
    panic!("{} stays locked", dir.display());
}

/// Writes a record as a newer release would leave it.
pub(crate) fn write_raw(dir: &Path, key: &[u8], value: &[u8]) {
    let db = raw(dir);
    db.insert(key, value).unwrap();
    db.flush().unwrap();
}
