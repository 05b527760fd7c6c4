use std::collections::BTreeMap;

use bytes::Bytes;
use mesh_model::{Key, MeshName, ResourceName, Spec, Timestamp, cluster};
use mesh_proto::mesh;

use super::*;

fn resource(ty: ResourceType, name: &str, labels: &[(&str, &str)]) -> Resource {
    let mesh = ty
        .is_mesh_scoped()
        .then(|| MeshName::parse("default").unwrap());
    Resource::new(
        Key::try_new(ty, mesh, ResourceName::parse(name).unwrap()).unwrap(),
        labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        Spec::parse(
            ty,
            if ty.is_json() {
                "{}".into()
            } else {
                Bytes::new()
            },
        )
        .unwrap(),
        Timestamp::EPOCH,
        Timestamp::EPOCH,
    )
}

fn sent(mapping: &Mapping, resource: &Resource) -> Option<(String, BTreeMap<String, String>)> {
    let Mapped {
        kind, name, item, ..
    } = mapping.apply(resource)?;
    assert_eq!(mapping.stream_name(resource), Some((kind, name.clone())));
    let incoming = wire::decode(kind.resource_type(), item.payload.to_bytes()).unwrap();
    Some((name.to_string(), incoming.labels))
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

#[test]
fn down_names_and_labels_are_those_of_stock_globals() {
    let hashed = Mapping::Down(ZoneClass::HASHED);
    let plain = Mapping::Down(ZoneClass::PLAIN);
    let edge = resource(
        ResourceType::MeshGateway,
        "edge",
        &[(labels::MESH, "default")],
    );
    assert_eq!(
        sent(&hashed, &edge),
        Some((
            "edge-5c75xw87847wvc4c.default".into(),
            map(&[
                (labels::ORIGIN, "global"),
                (labels::DISPLAY_NAME, "edge"),
                (labels::MESH, "default")
            ])
        ))
    );
    assert_eq!(
        sent(&plain, &edge),
        Some((
            "edge.default".into(),
            map(&[(labels::ORIGIN, "global"), (labels::MESH, "default")])
        ))
    );
    let outside = resource(ResourceType::ExternalService, "es-tls", &[]);
    let (name, _) = sent(&hashed, &outside).unwrap();
    assert_eq!(name, "es-tls-zbf5c92f8xb64872.default");
    let mesh = resource(ResourceType::Mesh, "default", &[]);
    assert_eq!(
        sent(&hashed, &mesh),
        Some(("default.".into(), map(&[(labels::ORIGIN, "global")])))
    );
}

#[test]
fn what_belongs_to_a_control_plane_does_not_travel_down() {
    let hashed = Mapping::Down(ZoneClass::HASHED);
    for (ty, name) in [
        (ResourceType::Config, "cp-catalog"),
        (ResourceType::GlobalSecret, "admin-user-token"),
        (ResourceType::GlobalSecret, "user-token-signing-key-1"),
        (ResourceType::GlobalSecret, "inter-cp-ca"),
        (ResourceType::Zone, "east"),
        (ResourceType::Dataplane, "echo-1"),
    ] {
        assert_eq!(sent(&hashed, &resource(ty, name, &[])), None, "{ty} {name}");
    }
    assert!(sent(&hashed, &resource(ResourceType::Config, cluster::ID, &[])).is_some());
    let off = resource(
        ResourceType::Mesh,
        "default",
        &[(labels::KDS_SYNC, "disabled")],
    );
    assert_eq!(sent(&hashed, &off), None);
    // Revocations travel to 2.10 and later, and no secret but keys to 2.5.
    let revocations = resource(ResourceType::GlobalSecret, "zone-token-revocations", &[]);
    assert!(sent(&hashed, &revocations).is_some());
    assert_eq!(sent(&Mapping::Down(ZoneClass::PLAIN), &revocations), None);
}

#[test]
fn up_names_and_labels_are_those_of_stock_zones() {
    let zone = ZoneName::parse("zone-1").unwrap();
    let echo = resource(
        ResourceType::Dataplane,
        "echo-1",
        &[(labels::DELETION_GRACE_PERIOD, "x")],
    );
    let expected = map(&[
        (labels::ORIGIN, "zone"),
        (labels::ZONE, "zone-1"),
        (labels::DISPLAY_NAME, "echo-1"),
    ]);
    assert_eq!(
        sent(&Mapping::Up(zone.clone(), Naming::Hashed), &echo),
        Some(("echo-1-f4bvx7x6bwfv64wz.default".into(), expected))
    );
    assert_eq!(
        sent(&Mapping::Up(zone.clone(), Naming::Plain), &echo)
            .unwrap()
            .0,
        "echo-1.default"
    );
    let synced = resource(ResourceType::Dataplane, "x", &[(labels::ORIGIN, "global")]);
    assert_eq!(sent(&Mapping::Up(zone, Naming::Hashed), &synced), None);
}

#[test]
fn an_insight_travels_without_its_generation() {
    let insight = mesh::DataplaneInsight {
        subscriptions: vec![mesh::DiscoverySubscription {
            id: "1".into(),
            generation: 4,
            ..Default::default()
        }],
        ..Default::default()
    };
    let base = resource(ResourceType::DataplaneInsight, "echo-1", &[]);
    let insight = Resource::new(
        base.key().clone(),
        BTreeMap::new(),
        Spec::encode(ResourceType::DataplaneInsight, &insight),
        Timestamp::EPOCH,
        Timestamp::EPOCH,
    );
    let mapping = Mapping::Up(ZoneName::parse("zone-1").unwrap(), Naming::Hashed);
    let Mapped { kind, item, .. } = mapping.apply(&insight).unwrap();
    let sent = wire::decode(kind.resource_type(), item.payload.to_bytes()).unwrap();
    let sent: mesh::DataplaneInsight = sent.spec.decode();
    assert_eq!(sent.subscriptions[0].generation, 0);
}

fn json(ty: ResourceType, name: &str, labels: &[(&str, &str)], spec: &'static str) -> Resource {
    let base = resource(ty, name, labels);
    Resource::new(
        base.key().clone(),
        BTreeMap::clone(base.labels()),
        Spec::parse(ty, spec.into()).unwrap(),
        Timestamp::EPOCH,
        Timestamp::EPOCH,
    )
}

/// Which zones out of east and west get a resource.
fn reached(class: ZoneClass, resource: &Resource) -> Vec<&'static str> {
    let mapped = Mapping::Down(class).apply(resource);
    let Some(mapped) = mapped else {
        return Vec::new();
    };
    let admits = |zone: &&&str| {
        let zone = ZoneName::parse(zone).unwrap();
        mapped.audience.as_ref().is_none_or(|a| a.admits(&zone))
    };
    ["east", "west"].iter().filter(admits).copied().collect()
}

const FROM_EAST: [(&str, &str); 2] = [
    (labels::ORIGIN, labels::ORIGIN_ZONE),
    (labels::ZONE, "east"),
];

#[test]
fn a_zone_gets_what_others_own_and_never_its_own() {
    for ty in [
        ResourceType::ZoneIngress,
        ResourceType::MeshService,
        ResourceType::MeshZoneAddress,
    ] {
        let theirs = resource(ty, "one", &FROM_EAST);
        assert_eq!(reached(ZoneClass::HASHED, &theirs), ["west"], "{ty}");
    }
    // Of 2.5: the zone is in the name.
    let ty = ResourceType::ZoneIngress;
    let old = resource(ty, "east.ingress", &[(labels::ORIGIN, "zone")]);
    assert_eq!(reached(ZoneClass::PLAIN, &old), ["west"]);
    for ty in [
        ResourceType::ZoneEgress,
        ResourceType::Dataplane,
        ResourceType::MeshExternalService,
        ResourceType::MeshGateway,
    ] {
        let theirs = resource(ty, "one", &FROM_EAST);
        assert_eq!(reached(ZoneClass::HASHED, &theirs), [""; 0], "{ty}");
    }
    let off = [FROM_EAST[0], FROM_EAST[1], (labels::KDS_SYNC, "disabled")];
    let kept = resource(ResourceType::MeshService, "one", &off);
    assert_eq!(reached(ZoneClass::HASHED, &kept), [""; 0]);
}

#[test]
fn what_goes_across_keeps_the_name_that_its_zone_gave_it() {
    let ingress = resource(ResourceType::ZoneIngress, "ingress-1", &[]);
    let zone = ZoneName::parse("zone-1").unwrap();
    let up = Mapping::Up(zone, Naming::Hashed).apply(&ingress).unwrap();
    let came = wire::decode(ResourceType::ZoneIngress, up.item.payload.to_bytes()).unwrap();
    assert_eq!(&*up.name, "ingress-1-d42xfc5b76vxd222.");
    let stored = Resource::new(
        came.key,
        came.labels,
        came.spec,
        Timestamp::EPOCH,
        Timestamp::EPOCH,
    );
    let (name, labels) = sent(&Mapping::Down(ZoneClass::HASHED), &stored).unwrap();
    assert_eq!(name, "ingress-1-d42xfc5b76vxd222.");
    let expected = map(&[
        (labels::ORIGIN, "global"),
        (labels::ZONE, "zone-1"),
        (labels::DISPLAY_NAME, "ingress-1"),
    ]);
    assert_eq!(labels, expected);
}

#[test]
fn a_producers_policy_goes_to_zones_that_know_such() {
    let labelled = |more: &[(&'static str, &'static str)]| {
        let base = [
            (labels::NAMESPACE, "shop"),
            (labels::POLICY_ROLE, "producer"),
        ];
        [&FROM_EAST[..], &base[..], more].concat()
    };
    let policy = |labels: &[(&str, &str)], spec| json(ResourceType::MeshTimeout, "t", labels, spec);
    let good = r#"{"to":[{"targetRef":{"kind":"MeshService","name":"pay"}}]}"#;
    let class = ZoneClass::HASHED;
    assert_eq!(reached(class, &policy(&labelled(&[]), good)), ["west"]);
    let older = ZoneClass {
        producer_policies: false,
        ..class
    };
    assert_eq!(reached(older, &policy(&labelled(&[]), good)), [""; 0]);
    for (labels, spec) in [
        // The label alone does not make a producer.
        (labelled(&[(labels::NAMESPACE, "kuma-system")]), good),
        (labelled(&[(labels::POLICY_ROLE, "consumer")]), good),
        (FROM_EAST.to_vec(), good),
        (labelled(&[]), r#"{"from":[{"targetRef":{"kind":"Mesh"}}]}"#),
        (labelled(&[]), r#"{"to":[]}"#),
        (labelled(&[]), r#"{"to":[{"targetRef":{"kind":"Mesh"}}]}"#),
        (
            labelled(&[]),
            r#"{"to":[{"targetRef":{"kind":"MeshService"}}]}"#,
        ),
        (
            labelled(&[]),
            r#"{"to":[{"targetRef":{"kind":"MeshService","name":"pay","namespace":"bank"}}]}"#,
        ),
    ] {
        assert_eq!(
            reached(class, &policy(&labels, spec)),
            [""; 0],
            "{labels:?} {spec}"
        );
    }
    let for_one = r#"{"targetRef":{"kind":"MeshSubset","tags":{"kuma.io/zone":"south"}},
        "to":[{"targetRef":{"kind":"MeshHTTPRoute","name":"pay","namespace":"shop"}}]}"#;
    assert_eq!(reached(class, &policy(&labelled(&[]), for_one)), [""; 0]);
}

#[test]
fn older_zones_get_policies_in_a_form_that_they_know() {
    let older = ZoneClass {
        optional_target_ref: false,
        ..ZoneClass::HASHED
    };
    let spec_for = |class, spec| {
        let policy = json(ResourceType::MeshTimeout, "t", &[], spec);
        let mapped = Mapping::Down(class).apply(&policy)?;
        let came = wire::decode(ResourceType::MeshTimeout, mapped.item.payload.to_bytes());
        Some(came.unwrap().spec.json().unwrap())
    };
    let parse = |text| Some(serde_json::from_str(text).unwrap());
    let without = r#"{"to":[{"targetRef":{"kind":"Mesh"}}]}"#;
    let with = r#"{"targetRef":{"kind":"Mesh"},"to":[{"targetRef":{"kind":"Mesh"}}]}"#;
    assert_eq!(spec_for(ZoneClass::HASHED, without), parse(without));
    assert_eq!(spec_for(older, without), parse(with));
    assert_eq!(spec_for(older, with), parse(with));
    // They would not know what this says.
    assert_eq!(spec_for(older, r#"{"rules":[{"default":{}}]}"#), None);
    // Of a Meshtype that is no policy nothing is asked.
    let trust = json(ResourceType::MeshTrust, "t", &[], "{}");
    assert!(Mapping::Down(older).apply(&trust).is_some());
}

#[test]
fn generators_for_services_of_many_zones_go_where_they_are_known() {
    let older = ZoneClass {
        multi_zone_selectors: false,
        ..ZoneClass::HASHED
    };
    let ty = ResourceType::HostnameGenerator;
    let multi = json(ty, "m", &[], r#"{"selector":{"meshMultiZoneService":{}}}"#);
    let plain = json(ty, "p", &[], r#"{"selector":{"meshService":{}}}"#);
    assert_eq!(reached(older, &multi), [""; 0]);
    assert_eq!(reached(older, &plain), ["east", "west"]);
    assert_eq!(reached(ZoneClass::HASHED, &multi), ["east", "west"]);
}

#[test]
fn zones_of_2_5_get_the_keys_that_they_use() {
    let ty = ResourceType::GlobalSecret;
    let key = resource(ty, "zone-ingress-token-signing-key-1", &[]);
    assert!(sent(&Mapping::Down(ZoneClass::PLAIN), &key).is_some());
    let without_tokens = ZoneClass {
        zone_tokens: false,
        ..ZoneClass::PLAIN
    };
    let signing = resource(ty, "zone-token-signing-key-1", &[]);
    let mapping = Mapping::Down(without_tokens);
    assert_eq!(mapping.stream_name(&signing), None);
    let (_, name) = Mapping::Down(ZoneClass::PLAIN)
        .stream_name(&signing)
        .unwrap();
    assert_eq!(&*name, "zone-token-signing-public-key-1.");
}

#[test]
fn the_global_sends_no_status_but_an_empty_one() {
    let status = mesh_model::Status::parse(r#"{"of":"zone"}"#.into()).unwrap();
    for (ty, expected) in [
        (ResourceType::MeshTrust, Some("{}")),
        (ResourceType::MeshMultiZoneService, Some("{}")),
        (ResourceType::MeshTimeout, None),
    ] {
        let resource = json(ty, "t", &[], r#"{"to":[]}"#).with_status(Some(status.clone()));
        let of = |class| {
            let mapped = Mapping::Down(class).apply(&resource).unwrap();
            let came = wire::decode(ty, mapped.item.payload.to_bytes()).unwrap();
            came.status.map(|status| status.bytes().clone())
        };
        assert_eq!(
            of(ZoneClass::HASHED).as_deref(),
            expected.map(str::as_bytes),
            "{ty}"
        );
        assert_eq!(of(ZoneClass::PLAIN), None);
    }
}
