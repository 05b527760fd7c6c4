//! Meshes: what comes with a new one, what may not change, what goes with an old one.

use mesh_api::{Admit, Evict, Refusal};
use mesh_model::validate::Violation;
use mesh_model::{MeshName, ResourceType};
use mesh_proto::mesh::Mesh;
use mesh_store::{Expect, Op};

use super::authority;
use crate::secrets;

/// The kinds of certificate authority there are.
const CA_TYPES: [&str; 2] = ["builtin", "provided"];

pub(crate) async fn admit(request: &Admit) -> Result<Vec<Op>, Refusal> {
    let new: Mesh = request.new.decode();
    let mut found: Vec<Violation> = new
        .mtls
        .iter()
        .flat_map(|mtls| mtls.backends.iter().enumerate())
        .filter(|(_, backend)| !CA_TYPES.contains(&backend.r#type.as_str()))
        .map(|(i, backend)| Violation {
            field: format!("mtls.backends[{i}].type"),
            message: format!(
                "there is no certificate authority of type {:?}; there are {}",
                backend.r#type,
                CA_TYPES.join(" and ")
            ),
        })
        .collect();
    if let Some(old) = &request.old {
        found.extend(check_update(&old.decode(), &new));
    }
    if !found.is_empty() {
        return Err(Refusal(found));
    }
    let mesh = name_of(request.new.key().name().as_str());
    let mut more = authority::admit(request, &mesh, &new).await?;
    if request.old.is_none() {
        more.extend(signing_key(request, &mesh).await?);
    }
    Ok(more)
}

fn check_update(old: &Mesh, new: &Mesh) -> Option<Violation> {
    let enabled = |mesh: &Mesh| {
        mesh.mtls
            .as_ref()
            .map(|mtls| mtls.enabled_backend.clone())
            .filter(|backend| !backend.is_empty())
    };
    let (was, is) = (enabled(old)?, enabled(new)?);
    (was != is).then(|| Violation {
        field: "mtls.enabledBackend".to_owned(),
        message: format!(
            "cannot go from {was:?} to {is:?} while mTLS is on: switch it off first, then on \
             with the other backend"
        ),
    })
}

/// The key that signs the mesh's dataplane tokens.
async fn signing_key(request: &Admit, mesh: &MeshName) -> Result<Vec<Op>, Refusal> {
    let Some(key) = secrets::dataplane_key_of(mesh).filter(|k| request.snapshot.get(k).is_none())
    else {
        return Ok(Vec::new());
    };
    let content = secrets::new_key()
        .await
        .map_err(|error| Refusal::new("", format!("cannot make a signing key: {error}")))?
        .to_pem();
    let resource = secrets::resource(key, &content, request.new.created());
    Ok(vec![Op::Put {
        resource: resource.into(),
        expect: Expect::Absent,
    }])
}

/// Everything in the mesh.
pub(crate) fn evict(request: &Evict, is_safe: bool) -> Result<Vec<Op>, Refusal> {
    let mesh = name_of(request.old.key().name().as_str());
    let snapshot = &request.snapshot;
    let has_dataplanes = snapshot
        .list_in_mesh(ResourceType::Dataplane, &mesh)
        .next()
        .is_some();
    if is_safe && has_dataplanes {
        return Err(Refusal::new(
            "mesh",
            format!("mesh \"{mesh}\" still has Dataplanes; remove them first"),
        ));
    }
    Ok(ResourceType::ALL
        .into_iter()
        .filter(|ty| ty.is_mesh_scoped())
        .flat_map(|ty| snapshot.list_in_mesh(ty, &mesh))
        .map(|resource| Op::Delete {
            key: resource.key().clone(),
            expect: Expect::Anything,
        })
        .collect())
}

fn name_of(text: &str) -> MeshName {
    MeshName::parse(text).expect("what names a Mesh names a mesh")
}
