use std::collections::BTreeMap;

use crate::json::Meta;
use crate::resource_type::ResourceType;
use crate::validate::{Violation, labels, new_mesh_name, new_name, url_agrees};

fn fields(found: &[Violation]) -> Vec<&str> {
    found.iter().map(|v| v.field.as_str()).collect()
}

#[test]
fn labels_have_the_syntax_of_kubernetes() {
    let long = "l".repeat(64);
    for (key, value, is_good) in [
        ("team", "edge", true),
        ("team", "", true),
        ("example.com/team", "Edge_1.x-y", true),
        ("kuma.io/origin", "zone", true),
        ("kuma.io/origin", "moon", false),
        ("a b", "c", false),
        ("a", "b c", false),
        ("a", "-b", false),
        ("a", "b_", false),
        ("", "b", false),
        ("example.com/", "b", false),
        ("/team", "b", false),
        ("Example_/team", "b", false),
        ("a/b/c", "d", false),
        (long.as_str(), "b", false),
        ("a", long.as_str(), false),
    ] {
        let found = labels(&BTreeMap::from([(key.to_owned(), value.to_owned())]));
        assert_eq!(found.is_empty(), is_good, "{key}={value}: {found:?}");
        assert!(found.iter().all(|v| v.field == format!("labels[{key:?}]")));
    }
}

#[test]
fn new_names_are_dns_names_and_those_of_meshes_short() {
    assert_eq!(new_name("edge.zone-1"), []);
    for bad in ["", "UPPER", "edge_1", "-a", &"a".repeat(254)] {
        assert_eq!(fields(&new_name(bad)), ["name"], "{bad}");
    }
    assert_eq!(new_name("")[0].to_string(), "name: cannot be empty");
    assert_eq!(new_mesh_name(&"m".repeat(63)), []);
    assert_eq!(fields(&new_mesh_name(&"m".repeat(64))), ["name"]);
    assert_eq!(fields(&new_mesh_name(&"m".repeat(254))), ["name"]);
}

#[test]
fn a_document_agrees_with_its_url() {
    let meta = |ty: &str, mesh: Option<&str>, name: Option<&str>| Meta {
        ty: Some(ty.to_owned()),
        mesh: mesh.map(str::to_owned),
        name: name.map(str::to_owned),
        labels: BTreeMap::new(),
    };
    let check = |meta: &Meta| {
        url_agrees(meta, ResourceType::MeshGateway, Some("default"), "edge")
            .iter()
            .map(Violation::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        check(&meta("MeshGateway", Some("default"), Some("edge"))),
        [""; 0]
    );
    assert_eq!(
        check(&meta("Retry", Some("shop"), Some("other"))),
        [
            "name: name from the URL has to be the same as in body",
            "type: type from the URL has to be the same as in body",
            "mesh: mesh from the URL has to be the same as in body",
        ]
    );
    assert_eq!(
        check(&meta("MeshGateway", Some("default"), None)),
        [
            "name: name from the URL has to be the same as in body",
            "name: cannot be empty",
        ]
    );
    assert_eq!(
        check(&meta("MeshGateway", None, Some("edge"))),
        [
            "mesh: mesh from the URL has to be the same as in body",
            "mesh: cannot be empty",
        ]
    );
    let mesh = meta("Mesh", None, Some("shop"));
    assert_eq!(url_agrees(&mesh, ResourceType::Mesh, None, "shop"), []);
}
