//! The book on disk: one file, replaced as a whole.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Spec, Timestamp};
use mesh_runtime::whole_file;
use serde::{Deserialize, Serialize};

use super::Refused;

/// An entry. Only ever grows: a later release reads what an earlier one wrote.
#[derive(Serialize, Deserialize)]
struct Kept {
    mesh: MeshName,
    name: ResourceName,
    words: String,
    refused: Content,
    instead: Option<Content>,
}

/// What makes the version of a route.
#[derive(Serialize, Deserialize)]
struct Content {
    labels: BTreeMap<String, String>,
    spec: Vec<u8>,
}

impl Content {
    fn of(route: &Resource) -> Self {
        Self {
            labels: route.labels().as_ref().clone(),
            spec: route.spec().bytes().to_vec(),
        }
    }

    fn into_route(self, key: &Key) -> io::Result<Arc<Resource>> {
        let spec = Spec::parse(key.ty(), self.spec.into()).map_err(io::Error::other)?;
        let at = Timestamp::EPOCH;
        Ok(Arc::new(Resource::new(
            key.clone(),
            self.labels,
            spec,
            at,
            at,
        )))
    }
}

/// Everything that is kept; nothing if there is no file.
pub(super) fn load(file: &Path) -> io::Result<Vec<(Key, Refused)>> {
    let text = match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    let kept: Vec<Kept> = serde_json::from_slice(&text)?;
    let entry = |kept: Kept| {
        let key = Key::in_mesh(ResourceType::MeshGatewayRoute, kept.mesh, kept.name);
        let instead = kept.instead.map(|content| content.into_route(&key));
        let refused = Refused {
            route: kept.refused.into_route(&key)?,
            words: kept.words.into(),
            instead: instead.transpose()?,
        };
        Ok((key, refused))
    };
    kept.into_iter().map(entry).collect()
}

/// Keeps these; they are on disk when this returns.
pub(super) fn store(file: &Path, entries: &[(Key, Refused)]) -> io::Result<()> {
    let kept: Vec<Kept> = entries
        .iter()
        .filter_map(|(key, refused)| {
            Some(Kept {
                mesh: key.mesh()?.clone(),
                name: key.name().clone(),
                words: refused.words.to_string(),
                refused: Content::of(&refused.route),
                instead: refused.instead.as_deref().map(Content::of),
            })
        })
        .collect();
    whole_file::replace(file, &serde_json::to_vec(&kept)?, 0o644)
}
