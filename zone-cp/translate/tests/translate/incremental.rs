//! A translator that follows a view offers what a translation from scratch does, whatever
//! happened before; and what it offers is consistent in itself.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use mesh_delta::TypeSet as _;
use mesh_model::tags::Tags;
use mesh_model::{
    Key, MeshName, Resource, ResourceName, ResourceType, Spec, SpecMessage, Timestamp, ZoneName,
    labels,
};
use mesh_proto::mesh::dataplane::Networking;
use mesh_proto::mesh::dataplane::networking::gateway::GatewayType;
use mesh_proto::mesh::dataplane::networking::{Gateway, Inbound};
use mesh_proto::mesh::mesh_gateway::listener::{Protocol, Resources};
use mesh_proto::mesh::mesh_gateway::{self, Listener};
use mesh_proto::mesh::mesh_gateway_route::http_route::r#match::{Header, Path, path};
use mesh_proto::mesh::mesh_gateway_route::http_route::{Match, Rule};
use mesh_proto::mesh::mesh_gateway_route::{Backend, Conf, HttpRoute, conf};
use mesh_proto::mesh::{
    Dataplane, ExternalService, MeshGateway, MeshGatewayRoute, Selector, external_service,
};
use mesh_proto::system::{DataSource, Secret, data_source};
use proptest::prelude::*;
use zone_translate::{
    EnvoyType, Proxy, Snapshot, Translation, Translator, ZoneView, render, translate,
};

fn key(ty: ResourceType, name: &str) -> Key {
    let mesh = MeshName::parse("default").expect("a name");
    Key::in_mesh(ty, mesh, ResourceName::parse(name).expect("a name"))
}

fn resource<M: SpecMessage>(key: Key, created: Option<u8>, spec: &M) -> Arc<Resource> {
    let label = created.map(|at| (labels::CREATED.to_owned(), at.to_string()));
    let spec = Spec::encode(key.ty(), spec);
    let epoch = Timestamp::EPOCH;
    Arc::new(Resource::new(
        key,
        label.into_iter().collect(),
        spec,
        epoch,
        epoch,
    ))
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn selector(tags: Tags) -> Selector {
    Selector { r#match: tags }
}

/// What happens to a zone's resources.
#[derive(Debug, Clone)]
enum Event {
    Put(Arc<Resource>),
    Delete(Key),
    /// The translator looks at the view.
    Look,
}

fn hostname() -> impl Strategy<Value = String> {
    let names = [
        "",
        "*",
        "a.example.com",
        "b.example.com",
        "*.example.com",
        "*.com",
        "x.org",
        "a..b",
    ];
    prop::sample::select(names.to_vec()).prop_map(str::to_owned)
}

fn own_dataplane(team: &str) -> Arc<Resource> {
    let gateway = Gateway {
        tags: tags(&[("kuma.io/service", "edge"), ("team", team)]),
        r#type: GatewayType::Builtin.into(),
    };
    let networking = Networking {
        // Names are resolved to addresses of its family.
        address: if team == "red" { "10.0.0.9" } else { "fd00::9" }.to_owned(),
        gateway: Some(gateway),
        ..Default::default()
    };
    let spec = Dataplane {
        networking: Some(networking),
        ..Default::default()
    };
    resource(key(ResourceType::Dataplane, "gw"), None, &spec)
}

fn gateway() -> impl Strategy<Value = Event> {
    let listener = (
        hostname(),
        1_u32..3,
        prop::sample::select(&["a", "b"][..]),
        0_u32..2,
    );
    let listener = listener.prop_map(|(hostname, port, vhost, connection_limit)| Listener {
        hostname,
        port: 8000 + port,
        protocol: Protocol::Http.into(),
        tags: tags(&[("vhost", vhost)]),
        resources: Some(Resources { connection_limit }),
        ..Default::default()
    });
    let listeners = prop::collection::vec(listener, 1..5);
    (0_u8..2, prop::option::of(0_u8..3), any::<bool>(), listeners).prop_map(
        |(name, created, is_exact, listeners)| {
            let service = if is_exact { "edge" } else { "*" };
            let spec = MeshGateway {
                selectors: vec![selector(tags(&[("kuma.io/service", service)]))],
                tags: Tags::new(),
                conf: Some(mesh_gateway::Conf { listeners }),
            };
            let key = key(ResourceType::MeshGateway, &format!("edge-{name}"));
            Event::Put(resource(key, created, &spec))
        },
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    use path::MatchType::{Exact, Prefix, Regex};
    let paths = [
        (Exact, "/a"),
        (Exact, "/a/b"),
        (Prefix, "/"),
        (Prefix, "/a"),
        (Regex, "/.*"),
        (Regex, "("),
    ];
    let matched =
        (prop::sample::select(paths.to_vec()), 0..2_usize).prop_map(|((kind, value), headers)| {
            Match {
                path: Some(Path {
                    r#match: kind.into(),
                    value: value.to_owned(),
                }),
                headers: vec![
                    Header {
                        name: "x".to_owned(),
                        value: "1".to_owned(),
                        ..Default::default()
                    };
                    headers
                ],
                ..Default::default()
            }
        });
    let backend = (0_u32..2, 0_u8..3, any::<bool>()).prop_map(|(weight, service, is_filtered)| {
        let mut destination = tags(&[("kuma.io/service", &format!("s{service}"))]);
        if is_filtered {
            destination.insert("version".to_owned(), "v1".to_owned());
        }
        Backend {
            weight,
            destination,
        }
    });
    let matches = prop::collection::vec(matched, 1..3);
    let backends = prop::collection::vec(backend, 1..3);
    (matches, backends).prop_map(|(matches, backends)| Rule {
        matches,
        filters: vec![],
        backends,
    })
}

fn route() -> impl Strategy<Value = Event> {
    let selectors = prop::sample::select(
        &[
            ("vhost", "a"),
            ("vhost", "b"),
            ("team", "red"),
            ("team", "*"),
        ][..],
    );
    (
        0_u8..5,
        prop::option::of(0_u8..3),
        selectors,
        prop::collection::vec(hostname(), 0..3),
        prop::collection::vec(rule(), 1..3),
    )
        .prop_map(|(name, created, tag, hostnames, rules)| {
            let spec = MeshGatewayRoute {
                selectors: vec![selector(tags(&[("kuma.io/service", "edge"), tag]))],
                conf: Some(Conf {
                    route: Some(conf::Route::Http(HttpRoute { hostnames, rules })),
                }),
            };
            let key = key(ResourceType::MeshGatewayRoute, &format!("route-{name}"));
            Event::Put(resource(key, created, &spec))
        })
}

fn backend() -> impl Strategy<Value = Event> {
    let inbound = (0_u8..3, 0_u8..2, any::<bool>(), any::<bool>());
    let inbounds = prop::collection::vec(inbound, 0..3);
    (0_u8..3, inbounds).prop_map(|(name, inbounds)| {
        let inbound = inbounds
            .into_iter()
            .map(|(service, version, is_ready, is_grpc)| Inbound {
                port: 80,
                tags: tags(&[
                    ("kuma.io/service", &format!("s{service}")),
                    ("kuma.io/protocol", if is_grpc { "grpc" } else { "http" }),
                    ("version", &format!("v{version}")),
                ]),
                state: i32::from(!is_ready),
                ..Default::default()
            });
        let networking = Networking {
            // One of them is no IP address.
            address: if name == 2 {
                "db.internal".to_owned()
            } else {
                format!("10.0.1.{name}")
            },
            inbound: inbound.collect(),
            ..Default::default()
        };
        let spec = Dataplane {
            networking: Some(networking),
            ..Default::default()
        };
        Event::Put(resource(
            key(ResourceType::Dataplane, &format!("backend-{name}")),
            None,
            &spec,
        ))
    })
}

fn external() -> impl Strategy<Value = Event> {
    let address = prop::sample::select(&["192.0.2.1:80", "a.example:80", "a.example"][..]);
    let tls = prop::sample::select(&[None, Some(None), Some(Some("ca-0")), Some(Some("ca-1"))][..]);
    let tagged = (any::<bool>(), any::<bool>(), any::<bool>());
    (0_u8..3, 0_u8..3, address, tls, tagged).prop_map(
        |(name, service, address, ca, (is_v1, is_grpc, is_elsewhere))| {
            let mut tags = tags(&[("kuma.io/service", &format!("s{service}"))]);
            let more = [
                ("version", "v1", is_v1),
                ("kuma.io/protocol", "grpc", is_grpc),
                ("kuma.io/zone", "elsewhere", is_elsewhere),
            ];
            let more = more.into_iter().filter(|(.., is_there)| *is_there);
            tags.extend(more.map(|(key, value, _)| (key.to_owned(), value.to_owned())));
            let tls = ca.map(|ca| external_service::networking::Tls {
                enabled: true,
                ca_cert: ca.map(|name| DataSource {
                    r#type: Some(data_source::Type::Secret(name.to_owned())),
                }),
                ..Default::default()
            });
            let spec = ExternalService {
                networking: Some(external_service::Networking {
                    address: address.to_owned(),
                    tls,
                    ..Default::default()
                }),
                tags,
            };
            let key = key(ResourceType::ExternalService, &format!("external-{name}"));
            Event::Put(resource(key, None, &spec))
        },
    )
}

fn secret() -> impl Strategy<Value = Event> {
    static AUTHORITY: LazyLock<String> = LazyLock::new(|| {
        let authority = rcgen::generate_simple_self_signed(["ca".to_owned()]);
        authority.expect("a certificate").cert.pem()
    });
    (0_u8..2, any::<bool>()).prop_map(|(name, is_good)| {
        let text = if is_good { AUTHORITY.as_str() } else { "bad" };
        let spec = Secret {
            data: Some(text.as_bytes().to_vec()),
        };
        let key = key(ResourceType::Secret, &format!("ca-{name}"));
        Event::Put(resource(key, None, &spec))
    })
}

fn event() -> impl Strategy<Value = Event> {
    let deleted = prop::sample::select(
        &[
            (ResourceType::MeshGateway, "edge-0"),
            (ResourceType::MeshGateway, "edge-1"),
            (ResourceType::MeshGatewayRoute, "route-0"),
            (ResourceType::MeshGatewayRoute, "route-1"),
            (ResourceType::MeshGatewayRoute, "route-2"),
            (ResourceType::Dataplane, "backend-0"),
            (ResourceType::Dataplane, "backend-1"),
            (ResourceType::Dataplane, "gw"),
            (ResourceType::ExternalService, "external-0"),
            (ResourceType::ExternalService, "external-1"),
            (ResourceType::ExternalService, "external-2"),
            (ResourceType::Secret, "ca-0"),
        ][..],
    );
    prop_oneof![
        2 => gateway(),
        8 => route(),
        4 => backend(),
        4 => external(),
        1 => secret(),
        1 => prop::sample::select(&["red", "blue"][..]).prop_map(|team| Event::Put(own_dataplane(team))),
        4 => deleted.prop_map(|(ty, name)| Event::Delete(key(ty, name))),
        8 => Just(Event::Look),
    ]
}

/// Everything of a snapshot but its revision.
type Items<'a> = BTreeMap<(EnvoyType, &'a str), &'a mesh_delta::Item<EnvoyType>>;

fn items(snapshot: &Snapshot) -> Items<'_> {
    EnvoyType::ALL
        .iter()
        .flat_map(|ty| {
            snapshot
                .items(*ty)
                .iter()
                .map(|(name, item)| ((*ty, &**name), item))
        })
        .collect()
}

fn assert_same(followed: &Translation, scratch: &Translation) {
    let (followed_items, scratch_items) = (items(&followed.snapshot), items(&scratch.snapshot));
    let names = |items: &Items<'_>| -> Vec<String> {
        items
            .keys()
            .map(|(ty, name)| format!("{ty:?} {name}"))
            .collect()
    };
    assert_eq!(names(&followed_items), names(&scratch_items));
    for (key, item) in followed_items {
        assert!(item == scratch_items[&key], "{key:?} differs");
    }
    assert_eq!(followed.findings, scratch.findings);
}

/// No item needs what is not offered (endpoints of clusters that know them apart), and nothing is offered that no route needs.
fn assert_consistent(snapshot: &Snapshot) {
    let all = items(snapshot);
    let rendered = render::resources(snapshot);
    let clusters = rendered["clusters"].as_array().into_iter().flatten();
    let with_endpoints: Vec<_> = clusters
        .filter(|cluster| cluster["load_assignment"].is_object())
        .map(|cluster| &cluster["name"])
        .collect();
    let mut needed = BTreeMap::new();
    for ((ty, name), item) in &all {
        for (needed_ty, needed_name) in item.needs.iter() {
            let need = (*needed_ty, &**needed_name);
            if *needed_ty == EnvoyType::Endpoint
                && with_endpoints.iter().any(|name| *name == need.1)
            {
                continue;
            }
            assert!(all.contains_key(&need), "{ty:?} {name} needs {need:?}");
            needed.insert(need, ());
        }
    }
    for (ty, name) in all.keys() {
        if matches!(ty, EnvoyType::Cluster | EnvoyType::Endpoint) {
            assert!(
                needed.contains_key(&(*ty, *name)),
                "nothing needs {ty:?} {name}"
            );
        }
    }
    assert_eq!(
        snapshot.items(EnvoyType::Listener).len(),
        snapshot.items(EnvoyType::Route).len()
    );
    assert_eq!(snapshot.items(EnvoyType::Runtime).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn following_a_view_gives_what_translating_it_from_scratch_gives(
        events in prop::collection::vec(event(), 1..40),
    ) {
        let mut view = ZoneView::default();
        let zone = ZoneName::parse("here").expect("a name");
        let mut translator = Translator::new(Proxy::new(own_dataplane("red"), Some(zone)));
        for event in events.into_iter().chain([Event::Look]) {
            match event {
                Event::Put(resource) => view.put(&resource),
                Event::Delete(key) => view.delete(&key),
                Event::Look => {
                    let before = translator.translation();
                    let followed = translator.update(&view);
                    assert_same(&translator.translation(), &translate(&view, translator.proxy()));
                    assert_consistent(&translator.translation().snapshot);
                    if followed.is_none() {
                        assert_same(&before, &translator.translation());
                    }
                    // Looking again finds nothing new.
                    prop_assert!(translator.update(&view).is_none());
                }
            }
        }
    }
}

#[test]
fn what_gateways_do_not_depend_on_changes_nothing() {
    let mut view = ZoneView::default();
    let mut translator = Translator::new(Proxy::new(own_dataplane("red"), None));
    assert!(
        translator.update(&view).is_some(),
        "the first look always has a result"
    );
    let insight = mesh_proto::mesh::DataplaneInsight::default();
    view.put(&resource(
        key(ResourceType::DataplaneInsight, "gw"),
        None,
        &insight,
    ));
    assert!(translator.update(&view).is_none());
}
