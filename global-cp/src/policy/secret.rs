//! Secrets: a mesh's certificate authority does not lose its own.

use mesh_api::{Evict, Refusal};
use mesh_model::{Key, ResourceName, ResourceType};
use mesh_proto::mesh::{CertificateAuthorityBackend, Mesh};
use prost_types::Struct;
use prost_types::value::Kind;

use super::authority;

/// Refuses to delete a secret that a certificate authority of its mesh uses.
pub(crate) fn evict(request: &Evict) -> Result<(), Refusal> {
    let key = request.old.key();
    let name = key.name().as_str();
    let Some(mesh) = key
        .mesh()
        .and_then(|mesh| ResourceName::parse(mesh.as_str()).ok())
    else {
        return Ok(());
    };
    let mesh = Key::global(ResourceType::Mesh, mesh);
    let user = request.snapshot.get(&mesh).and_then(|resource| {
        let backends = resource.decode::<Mesh>().mtls?.backends;
        backends
            .into_iter()
            .find(|backend| is_used(backend, mesh.name().as_str(), name))
    });
    match user {
        None => Ok(()),
        Some(backend) => Err(Refusal::new(
            "name",
            format!(
                "Secret {name:?} is in use by the mTLS backend {:?} of mesh \"{}\"; change the \
                 mesh first",
                backend.name,
                mesh.name()
            ),
        )),
    }
}

fn is_used(backend: &CertificateAuthorityBackend, mesh: &str, secret: &str) -> bool {
    match backend.r#type.as_str() {
        "builtin" => authority::PARTS
            .into_iter()
            .any(|part| secret == authority::secret_name(mesh, part, &backend.name)),
        _ => backend.conf.as_ref().is_some_and(|conf| {
            ["cert", "key"]
                .into_iter()
                .any(|part| source(conf, part) == Some(secret))
        }),
    }
}

/// The secret that a part of a provided authority comes from.
fn source<'a>(conf: &'a Struct, part: &str) -> Option<&'a str> {
    let Kind::StructValue(source) = authority::value(conf, part)? else {
        return None;
    };
    match authority::value(source, "secret")? {
        Kind::StringValue(secret) => Some(secret),
        _ => None,
    }
}
