//! Certificates in a whole translation.

use imbl::ordmap::DiffItem;
use mesh_delta::{Payload, TypeSet as _};
use mesh_proto::mesh::dataplane::Networking;
use mesh_proto::mesh::dataplane::networking::Gateway;
use mesh_proto::mesh::dataplane::networking::gateway::GatewayType;
use mesh_proto::mesh::{Dataplane, Selector};

use super::*;
use crate::{EnvoyType, Proxy, Snapshot, Translation, Translator, render};

fn service() -> BTreeMap<String, String> {
    [("kuma.io/service".to_owned(), "edge".to_owned())].into()
}

fn proxy() -> Proxy {
    let mut gateway = Gateway {
        tags: service(),
        ..Gateway::default()
    };
    gateway.set_type(GatewayType::Builtin);
    let dataplane = Dataplane {
        networking: Some(Networking {
            address: "127.0.0.1".to_owned(),
            gateway: Some(gateway),
            ..Networking::default()
        }),
        ..Dataplane::default()
    };
    let spec = Spec::encode(ResourceType::Dataplane, &dataplane);
    Proxy::new(resource(ResourceType::Dataplane, "gateway-1", spec), None)
}

/// The gateway of the other tests, for this proxy.
fn selected(certificates: Vec<DataSource>) -> Arc<Resource> {
    let mut spec: MeshGateway = gateway(certificates).decode();
    spec.selectors = vec![Selector { r#match: service() }];
    let spec = Spec::encode(ResourceType::MeshGateway, &spec);
    resource(ResourceType::MeshGateway, "edge", spec)
}

fn payloads(snapshot: &Snapshot, ty: EnvoyType) -> Vec<(Name, Payload)> {
    let items = snapshot.items(ty).iter();
    items
        .map(|(name, item)| (Arc::clone(name), item.payload.clone()))
        .collect()
}

fn put_secret(view: &mut ZoneView, name: &str, text: &str) {
    let data = Some(text.as_bytes().to_vec());
    let spec = Spec::encode(ResourceType::Secret, &Secret { data });
    view.put(&resource(ResourceType::Secret, name, spec));
}

#[test]
fn a_rotated_secret_changes_its_own_item_and_nothing_else() {
    let mut view = view(&[("a", &ECDSA.both()), ("b", &RSA.both())]);
    view.put(&selected(vec![secret("a"), secret("b")]));
    let mut translator = Translator::new(proxy());
    let before = translator.update(&view).unwrap();
    assert_eq!(before.findings, []);
    assert_eq!(before.snapshot.items(EnvoyType::Secret).len(), 2);
    assert_eq!(before.snapshot.items(EnvoyType::Listener).len(), 1);

    put_secret(&mut view, "a", &OTHER.both());
    let after = translator.update(&view).unwrap();
    for ty in EnvoyType::ALL.iter().copied() {
        let (before, after) = (before.snapshot.items(ty), after.snapshot.items(ty));
        if ty == EnvoyType::Secret {
            let changes = before.diff(after).map(|change| match change {
                DiffItem::Update { new, .. } => new.0,
                other => panic!("{other:?}"),
            });
            let names: Vec<&Name> = changes.collect();
            assert_eq!(names, [&Name::from("cert.ecdsa:secret:a")]);
        } else {
            assert!(before.ptr_eq(after), "{ty:?}");
        }
    }

    // Secrets of others are nothing to this proxy.
    put_secret(&mut view, "unrelated", "text");
    assert!(translator.update(&view).is_none());
}

#[test]
fn a_listener_whose_certificate_is_missing_is_out_until_it_comes() {
    let mut view = ZoneView::default();
    view.put(&selected(vec![secret("a")]));
    let mut translator = Translator::new(proxy());
    let before = translator.update(&view).unwrap();
    assert!(before.snapshot.items(EnvoyType::Listener).is_empty());
    assert_eq!(before.findings.len(), 1, "{:#?}", before.findings);
    put_secret(&mut view, "a", &ECDSA.both());
    let after = translator.update(&view).unwrap();
    assert_eq!(after.findings, []);
    let scratch = crate::translate(&view, &proxy());
    for ty in [EnvoyType::Listener, EnvoyType::Secret] {
        let incremental = payloads(&after.snapshot, ty);
        assert_eq!(incremental.len(), 1);
        assert_eq!(incremental, payloads(&scratch.snapshot, ty));
    }
}

#[test]
fn no_dump_has_a_key_unless_it_is_asked_for() {
    let mut view = view(&[("a", &ECDSA.both())]);
    view.put(&selected(vec![secret("a"), inline(&RSA)]));
    let mut translator = Translator::new(proxy());
    let translation: Translation = translator.update(&view).unwrap();
    let snapshot = &translation.snapshot;
    let shown = [
        format!("{view:?}{translator:?}{translation:?}"),
        render::resources(snapshot).to_string(),
        render::bootstrap(snapshot).to_string(),
    ];
    let all = render::bootstrap_with_keys(snapshot).to_string();
    for made in [&ECDSA, &RSA] {
        let key = made.key.serialize_pem();
        // A line of the text; and what the text is in Envoy's JSON, which is base64 again.
        let line = key.lines().nth(1).unwrap();
        let encoded = base64(key.as_bytes());
        let encoded = &encoded[..encoded.len() - 4];
        for text in &shown {
            assert!(!text.contains(line), "{text}");
            assert!(!text.contains(encoded), "{text}");
        }
        assert!(all.contains(encoded), "{all}");
    }
    assert!(shown[1].contains("[redacted]"));
}

fn base64(bytes: &[u8]) -> String {
    let block = pem::encode_config(
        &pem::Pem::new("X", bytes),
        pem::EncodeConfig::new().set_line_wrap(1 << 16),
    );
    block.lines().nth(1).unwrap().to_owned()
}
