use std::collections::BTreeMap;

use bytes::Bytes;
use mesh_proto::{mesh, system};
use serde_json::{Value, json};

use crate::json::{Meta, parse_body, parse_document, to_document};
use crate::name::{MeshName, ResourceName};
use crate::resource::{Key, Resource};
use crate::resource_type::ResourceType;
use crate::spec::Spec;
use crate::timestamp::Timestamp;

fn resource(ty: ResourceType, labels: &[(&str, &str)], spec: Spec) -> Resource {
    let mesh = ty
        .is_mesh_scoped()
        .then(|| MeshName::parse("default").unwrap());
    Resource::new(
        Key::try_new(ty, mesh, ResourceName::parse("edge").unwrap()).unwrap(),
        labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        spec,
        Timestamp::from_unix_nanos(1_772_359_200_123_456_000),
        Timestamp::from_unix_seconds(1_772_359_200),
    )
}

#[test]
fn a_document_has_its_meta_first() {
    let spec = Spec::encode(
        ResourceType::Dataplane,
        &mesh::Dataplane {
            networking: Some(mesh::dataplane::Networking {
                address: "10.0.0.7".into(),
                ..Default::default()
            }),
            ..Default::default()
        },
    );
    let labels = [
        ("kuma.io/zone", "zone-1"),
        ("kuma.io/display-name", "gw"),
        ("a", "b"),
    ];
    let document = to_document(&resource(ResourceType::Dataplane, &labels, spec.clone()));
    assert_eq!(
        Value::Object(document.clone()).to_string(),
        json!({
            "type": "Dataplane",
            "mesh": "default",
            "name": "edge",
            "creationTime": "2026-03-01T10:00:00.123456Z",
            "modificationTime": "2026-03-01T10:00:00Z",
            "labels": {"a": "b", "kuma.io/display-name": "gw", "kuma.io/zone": "zone-1"},
            "kri": "kri_dp_default_zone-1__gw_",
            "networking": {"address": "10.0.0.7"},
        })
        .to_string()
    );
    let read = parse_document(&Value::Object(document)).unwrap();
    assert_eq!(
        (read.ty, read.mesh.as_deref(), read.name.as_str(), read.spec),
        (ResourceType::Dataplane, Some("default"), "edge", spec)
    );
    assert_eq!(read.labels["a"], "b");
    assert!(read.unknown.is_empty());
}

#[test]
fn kri_exists_for_the_types_that_have_a_short_name() {
    for (ty, kri) in [
        (ResourceType::Mesh, Some("kri_m____edge_")),
        (ResourceType::MeshGateway, Some("kri_mgw_default___edge_")),
        (ResourceType::MeshGatewayRoute, None),
        (ResourceType::ExternalService, None),
        (ResourceType::Secret, None),
        (ResourceType::Dataplane, Some("kri_dp_default___edge_")),
        (ResourceType::DataplaneInsight, None),
        (ResourceType::Zone, Some("kri_z____edge_")),
        (ResourceType::ZoneIngress, Some("kri_zi____edge_")),
    ] {
        let empty = Spec::parse(ty, Bytes::new()).unwrap();
        let document = to_document(&resource(ty, &[], empty));
        assert_eq!(document.get("kri").and_then(Value::as_str), kri, "{ty}");
        assert_eq!(document.contains_key("mesh"), ty.is_mesh_scoped());
        assert!(!document.contains_key("labels"));
    }
}

#[test]
fn documents_say_what_is_wrong_with_their_meta() {
    for (value, wanted) in [
        (json!(null), "expected an object, found null"),
        (
            json!("just some text"),
            "expected an object, found \"just some text\"",
        ),
        (json!([]), "expected an object, found a list"),
        (json!({"name": "x"}), "type: has no type"),
        (
            json!({"type": "NoSuchThing"}),
            "type: unknown resource type \"NoSuchThing\"",
        ),
        (
            json!({"type": "Zone", "name": 5}),
            "name: expected a string, found the number 5",
        ),
        (
            json!({"type": "Zone", "labels": ["a"]}),
            "labels: expected an object, found a list",
        ),
        (
            json!({"type": "Zone", "labels": {"a": 1}}),
            "labels[\"a\"]: expected a string",
        ),
        (
            json!({"type": "Zone", "creationTime": "yesterday"}),
            "creationTime: \"yesterday\" is not a time",
        ),
        (
            json!({"type": "Zone", "modificationTime": 5}),
            "modificationTime: expected a string",
        ),
    ] {
        let found = parse_document(&value).unwrap_err().to_string();
        assert!(
            found.starts_with(wanted),
            "{found}\nshould start with\n{wanted}"
        );
    }
    let zero =
        json!({"type": "Zone", "creationTime": "0001-01-01T00:00:00Z", "kri": {}, "surplus": 1});
    let document = parse_document(&zero).unwrap();
    assert_eq!((document.mesh, document.name), (None, String::new()));
    assert_eq!(document.unknown, ["surplus"]);
}

#[test]
fn a_body_is_read_as_the_type_it_was_sent_to() {
    let body = parse_body(
        ResourceType::Zone,
        &json!({"type": "Mesh", "name": "z", "enabled": true, "labels": {"a": "b"}}),
    )
    .unwrap();
    assert_eq!(body.meta.ty.as_deref(), Some("Mesh"));
    assert_eq!(body.meta.labels, BTreeMap::from([("a".into(), "b".into())]));
    assert_eq!(body.spec.decode::<system::Zone>().enabled, Some(true));
    let empty = parse_body(ResourceType::Zone, &Value::Null).unwrap();
    assert_eq!(empty.meta, Meta::default());
}
