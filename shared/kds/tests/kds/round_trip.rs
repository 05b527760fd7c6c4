//! Nothing of a resource is lost, of whatever type: on the disk, on the wire, in a document.
//!
//! The specs are those that `kumactl` 2.14 wrote, with what this release knows nothing of mixed
//! in: fields of messages, fields of JSON, spellings of numbers, white space.

use std::collections::BTreeMap;

use bytes::Bytes;
use mesh_kds::wire::{self, Outgoing};
use mesh_model::json::{parse_body, parse_document, to_document};
use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Spec, Status, Timestamp};
use mesh_store::{Batch, Disk, Role, Store as _};
use proptest::prelude::*;
use serde_json::Value;

/// A spec of each type, as encoded: the recorded one, or the least there is.
fn specs() -> BTreeMap<ResourceType, Spec> {
    let recorded = include_str!("../../../api/tests/recorded/types-2.14.jsonl").lines();
    let recorded = recorded.map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let document = parse_document(&line["shown"]).unwrap();
        (document.ty, document.spec)
    });
    let least = ResourceType::ALL.into_iter().map(|ty| {
        let bytes: &[u8] = if ty.is_json() { b"{}" } else { b"" };
        (ty, Spec::parse(ty, Bytes::from_static(bytes)).unwrap())
    });
    least.chain(recorded).collect()
}

/// JSON as text: any spelling that is JSON.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        any::<f64>()
            .prop_filter("JSON has no other numbers", |n| n.is_finite())
            .prop_map(|n| format!("{n:e}")),
        prop::sample::select(vec![
            "-0.0",
            "1.50",
            "1E2",
            "123456789012345678901234567890"
        ])
        .prop_map(str::to_owned),
        ".{0,8}".prop_map(|text| Value::from(text).to_string()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let field = (".{0,4}", "[ \n\t]{0,2}", inner.clone())
            .prop_map(|(key, space, value)| format!("{}:{space}{value}", Value::from(key)));
        prop_oneof![
            prop::collection::vec(inner, 0..3).prop_map(|items| format!("[{}]", items.join(" ,"))),
            prop::collection::vec(field, 0..3)
                .prop_map(|fields| format!("{{{}}}", fields.join(","))),
        ]
    })
}

/// `spec` with a field that nobody knows.
fn with_unknown(spec: &Spec, json: &str, number: u64) -> Spec {
    let mut bytes = spec.bytes().to_vec();
    if spec.ty().is_json() {
        let rest = String::from_utf8(bytes[1..].to_vec()).unwrap();
        let comma = if rest.trim() == "}" { "" } else { "," };
        bytes = format!("{{ \"unknown\" :{json}{comma}{rest}").into_bytes();
    } else {
        // Field 1001, varint.
        prost::encoding::uint64::encode(1001, &number, &mut bytes);
    }
    Spec::parse(spec.ty(), bytes.into()).unwrap()
}

fn key(ty: ResourceType) -> Key {
    let mesh = ty
        .is_mesh_scoped()
        .then(|| MeshName::parse("default").unwrap());
    Key::try_new(ty, mesh, ResourceName::parse("some.name-1").unwrap()).unwrap()
}

/// One resource of each type.
fn resources() -> impl Strategy<Value = Vec<Resource>> {
    let specs = specs();
    let labels = prop::collection::btree_map("[a-z./-]{1,8}", ".{0,8}", 0..3);
    let status = prop::option::of(json_text().prop_map(|json| format!("{{\"status\": {json}}}")));
    (json_text(), any::<u64>(), labels, status).prop_map(move |(json, number, labels, status)| {
        let resource = |(ty, spec): (&ResourceType, &Spec)| {
            let status = status.clone().filter(|_| ty.is_json());
            let spec = with_unknown(spec, &json, number);
            let (created, modified) = (Timestamp::EPOCH, Timestamp::from_unix_seconds(7));
            Resource::new(key(*ty), labels.clone(), spec, created, modified)
                .with_status(status.map(|text| Status::parse(text.into()).unwrap()))
        };
        specs.iter().map(resource).collect()
    })
}

/// What arrives when `resource` is sent as it is.
fn over_the_wire(resource: &Resource) -> Resource {
    let item = wire::encode(Outgoing {
        ty: resource.key().ty(),
        name: resource.key().name().as_str(),
        mesh: resource.key().mesh_str(),
        labels: BTreeMap::clone(resource.labels()),
        spec: resource.spec().bytes().clone(),
        status: resource.status().map(|status| status.bytes().clone()),
    });
    let came = wire::decode(resource.key().ty(), item.payload.to_bytes()).unwrap();
    let (created, modified) = (resource.created(), resource.modified());
    Resource::new(came.key, came.labels, came.spec, created, modified).with_status(came.status)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_resource_of_any_type_survives_disk_and_wire_and_disk_unchanged(all in resources()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let mut moving = all.clone();
        for dir in &dirs {
            let store = Disk::open(dir.path(), Role::Global).unwrap();
            let batch = moving.iter().cloned().fold(Batch::new(), Batch::put);
            runtime.block_on(store.commit(batch)).unwrap();
            drop(store);
            let store = Disk::open(dir.path(), Role::Global).unwrap();
            let read: Vec<Resource> = store.snapshot().iter().map(|r| Resource::clone(r)).collect();
            prop_assert_eq!(&read, &all);
            moving = read.iter().map(over_the_wire).collect();
            prop_assert_eq!(&moving, &all);
        }
    }

    #[test]
    fn what_the_api_shows_of_any_type_reads_back_as_the_same(all in resources()) {
        for resource in all {
            let ty = resource.key().ty();
            let shown = Value::Object(to_document(&resource)).to_string();
            let shown: Value = serde_json::from_str(&shown).unwrap();
            let read = parse_body(ty, &shown).unwrap();
            prop_assert_eq!(read.unknown, Vec::<String>::new());
            prop_assert_eq!(&read.meta.labels, &**resource.labels());
            prop_assert_eq!(read.meta.name.as_deref(), Some("some.name-1"));
            if let Some(status) = resource.status() {
                prop_assert_eq!(&shown["status"], &Value::Object(status.json()));
            }
            // Of JSON everything; of messages all but fields that nobody knows, which have no
            // name to be shown under.
            match resource.spec().json() {
                Some(fields) => {
                    let read_fields = read.spec.json().unwrap();
                    prop_assert!(read_fields.keys().eq(fields.keys()));
                    prop_assert_eq!(read_fields, fields);
                }
                None => prop_assert_eq!(read.spec, resource.spec().to_canonical()),
            }
        }
    }
}

#[test]
fn a_spec_or_status_that_is_none_refuses_its_resource_with_a_reason() {
    use mesh_proto::Any;
    use mesh_proto::mesh::{KumaResource, kuma_resource::Meta};
    use prost::Message as _;

    let any = |url: &str, value: &'static str| {
        Some(Any {
            type_url: url.to_owned(),
            value: Bytes::from_static(value.as_bytes()),
        })
    };
    let decode = |spec: Option<Any>, status: Option<Any>| {
        let meta = Some(Meta {
            name: "t".to_owned(),
            mesh: "default".to_owned(),
            ..Meta::default()
        });
        let envelope = KumaResource { meta, spec, status };
        wire::decode(ResourceType::MeshTrace, envelope.encode_to_vec().into())
    };
    let reason = |result: Result<wire::Incoming, wire::DecodeError>| {
        let error = result.unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    };
    assert!(reason(decode(None, None)).contains("no spec"));
    assert!(reason(decode(any("", ""), None)).contains("an empty one is {}"));
    assert!(reason(decode(any("", "[]"), None)).contains("no object"));
    assert!(reason(decode(any("", "{}"), any("", "7"))).contains("no object"));
    // What the type URL says is not looked at, and a status may be empty or absent.
    for status in [None, any("", "")] {
        let came = decode(any("type.googleapis.com/whatever", "{}"), status).unwrap();
        assert_eq!(
            (came.spec.bytes().as_ref(), came.status),
            (&b"{}"[..], None)
        );
    }
    let came = decode(any("", "{}"), any("x", "{ }")).unwrap();
    assert_eq!(came.status.unwrap().bytes().as_ref(), b"{ }");
}
