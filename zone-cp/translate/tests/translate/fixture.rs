//! Resources from YAML, and views and proxies of them.

use std::sync::Arc;

use mesh_model::json::parse_document;
use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Timestamp};
use mesh_proto::mesh::Dataplane;
use zone_translate::{Proxy, ZoneView};

/// The resources of a file with several documents.
pub(crate) fn resources(yaml: &str) -> Vec<Arc<Resource>> {
    mesh_runtime::yaml::parse(yaml)
        .expect("fixtures are YAML")
        .into_iter()
        .map(|document| {
            let parsed = parse_document(&document.value).expect("fixtures are resources");
            assert_eq!(
                parsed.unknown,
                Vec::<String>::new(),
                "fixtures have no typing errors"
            );
            let mesh = parsed
                .mesh
                .map(|mesh| MeshName::parse(&mesh).expect("a name"));
            let name = ResourceName::parse(&parsed.name).expect("a name");
            let key = Key::try_new(parsed.ty, mesh, name).expect("scope and mesh agree");
            let labels = parsed.labels;
            let epoch = Timestamp::EPOCH;
            Arc::new(Resource::new(key, labels, parsed.spec, epoch, epoch))
        })
        .collect()
}

/// A view of resources.
pub(crate) fn view<'a>(resources: impl IntoIterator<Item = &'a Arc<Resource>>) -> ZoneView {
    let mut view = ZoneView::default();
    for resource in resources {
        view.put(resource);
    }
    view
}

/// The only builtin gateway among resources.
pub(crate) fn gateway(resources: &[Arc<Resource>]) -> Proxy {
    let dataplane = resources
        .iter()
        .filter(|resource| resource.key().ty() == ResourceType::Dataplane)
        .find(|resource| {
            let networking = resource.decode::<Dataplane>().networking;
            networking.is_some_and(|networking| networking.gateway.is_some())
        })
        .expect("fixtures have a gateway");
    Proxy::new(Arc::clone(dataplane), None)
}

/// Secrets with certificates, called after the kind of their key.
pub(crate) fn certificates() -> Vec<Arc<Resource>> {
    let kinds = [
        ("rsa", &rcgen::PKCS_RSA_SHA256),
        ("ecdsa", &rcgen::PKCS_ECDSA_P256_SHA256),
    ];
    let secret = |(name, kind)| {
        let key = rcgen::KeyPair::generate_for(kind).expect("a key");
        let params = rcgen::CertificateParams::new(["*.example.com".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        let spec = mesh_proto::system::Secret {
            data: Some((certificate.pem() + &key.serialize_pem()).into_bytes()),
        };
        crate::generate::resource(
            crate::generate::key(ResourceType::Secret, name),
            None,
            &spec,
        )
    };
    kinds.map(secret).into()
}
