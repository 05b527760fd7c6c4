//! Resources of every kind that a gateway depends on, good and bad, for properties.

use std::sync::{Arc, LazyLock};

use mesh_model::tags::Tags;
use mesh_model::{
    Key, MeshName, Resource, ResourceName, ResourceType, Spec, SpecMessage, Timestamp, labels,
};
use mesh_proto::mesh::dataplane::Networking;
use mesh_proto::mesh::dataplane::networking::gateway::GatewayType;
use mesh_proto::mesh::dataplane::networking::{Gateway, Inbound};
use mesh_proto::mesh::mesh_gateway::listener::{Protocol, Resources};
use mesh_proto::mesh::mesh_gateway::tls::{self, Mode};
use mesh_proto::mesh::mesh_gateway::{self, Listener};
use mesh_proto::mesh::mesh_gateway_route::http_route::r#match::{Header, Path, path};
use mesh_proto::mesh::mesh_gateway_route::http_route::{Match, Rule};
use mesh_proto::mesh::mesh_gateway_route::{Backend, Conf, HttpRoute, TcpRoute, conf, tcp_route};
use mesh_proto::mesh::{
    Dataplane, ExternalService, MeshGateway, MeshGatewayRoute, Selector, external_service,
};
use mesh_proto::system::{DataSource, Secret, data_source};
use proptest::prelude::*;

pub(crate) fn key(ty: ResourceType, name: &str) -> Key {
    let mesh = MeshName::parse("default").expect("a name");
    Key::in_mesh(ty, mesh, ResourceName::parse(name).expect("a name"))
}

pub(crate) fn resource<M: SpecMessage>(key: Key, created: Option<u8>, spec: &M) -> Arc<Resource> {
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

/// A certificate and its key, PEM.
static CERTIFICATE: LazyLock<String> = LazyLock::new(|| {
    let certificate = rcgen::generate_simple_self_signed(["edge".to_owned()]);
    let certificate = certificate.expect("a certificate");
    certificate.cert.pem() + &certificate.signing_key.serialize_pem()
});

/// What happens to a zone's resources.
#[derive(Debug, Clone)]
pub(crate) enum Event {
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

pub(crate) fn own_dataplane(team: &str) -> Arc<Resource> {
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

pub(crate) fn gateway() -> impl Strategy<Value = Event> {
    use Protocol::{Http, Https, Tcp, Tls};
    let protocols = [Http, Http, Https, Https, Tcp, Tls, Tls, Protocol::None];
    let listener = (
        hostname(),
        1_u32..4,
        prop::sample::select(protocols.to_vec()),
        tls(),
        prop::sample::select(&["a", "b"][..]),
        0_u32..2,
    );
    let listener = listener.prop_map(|(hostname, port, protocol, tls, vhost, limit)| Listener {
        hostname,
        port: 8000 + port,
        protocol: protocol.into(),
        tls,
        tags: tags(&[("vhost", vhost)]),
        cross_mesh: limit == 1 && port == 3,
        resources: Some(Resources {
            connection_limit: limit,
        }),
    });
    let listeners = prop::collection::vec(listener, 1..6);
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

/// Tags of a destination beside its service. Stock gives the last two one cluster name.
pub(crate) type Subsets = &'static [Option<(&'static str, &'static str)>];
pub(crate) const SUBSETS: Subsets = &[None, Some(("version", "v1")), Some(("versio", "nv1"))];

fn backends(subsets: Subsets) -> impl Strategy<Value = Vec<Backend>> {
    let backend =
        (0_u32..2, 0_u8..3, prop::sample::select(subsets)).prop_map(|(weight, service, subset)| {
            let mut destination = tags(&[("kuma.io/service", &format!("s{service}"))]);
            if let Some((key, value)) = subset {
                destination.insert(key.to_owned(), value.to_owned());
            }
            Backend {
                weight,
                destination,
            }
        });
    prop::collection::vec(backend, 1..3)
}

/// Mostly a block that works once there are certificates.
fn tls() -> impl Strategy<Value = Option<tls::Conf>> {
    use data_source::Type::{InlineString, Secret};
    let source = |r#type| DataSource {
        r#type: Some(r#type),
    };
    let certificates = [
        source(Secret("cert-0".to_owned())),
        source(Secret("cert-1".to_owned())),
        source(InlineString(CERTIFICATE.clone())),
        source(InlineString("bad".to_owned())),
    ];
    let certificates = prop::sample::subsequence(certificates.to_vec(), 0..3);
    let modes = [
        Mode::Terminate,
        Mode::Terminate,
        Mode::Passthrough,
        Mode::None,
    ];
    let conf = (prop::sample::select(modes.to_vec()), certificates);
    prop_oneof![
        1 => Just(None),
        6 => conf.prop_map(|(mode, certificates)| Some(tls::Conf {
            mode: mode.into(),
            certificates,
            ..Default::default()
        })),
    ]
}

fn rule(subsets: Subsets) -> impl Strategy<Value = Rule> {
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
    let matches = prop::collection::vec(matched, 1..3);
    (matches, backends(subsets)).prop_map(|(matches, backends)| Rule {
        matches,
        filters: vec![],
        backends,
    })
}

pub(crate) fn route(subsets: Subsets) -> impl Strategy<Value = Event> {
    let selectors = prop::sample::select(
        &[
            ("vhost", "a"),
            ("vhost", "b"),
            ("team", "red"),
            ("team", "*"),
        ][..],
    );
    (0_u8..5, prop::option::of(0_u8..3), selectors, conf(subsets)).prop_map(
        |(name, created, tag, conf)| {
            let spec = MeshGatewayRoute {
                selectors: vec![selector(tags(&[("kuma.io/service", "edge"), tag]))],
                conf: Some(Conf { route: Some(conf) }),
            };
            let key = key(ResourceType::MeshGatewayRoute, &format!("route-{name}"));
            Event::Put(resource(key, created, &spec))
        },
    )
}

fn conf(subsets: Subsets) -> impl Strategy<Value = conf::Route> {
    let hostnames = prop::collection::vec(hostname(), 0..3);
    let http = (hostnames, prop::collection::vec(rule(subsets), 1..3));
    let tcp = prop::collection::vec(backends(subsets), 0..3);
    prop_oneof![
        2 => http.prop_map(|(hostnames, rules)| conf::Route::Http(HttpRoute { hostnames, rules })),
        1 => tcp.prop_map(|rules| {
            let rules = rules.into_iter().map(|backends| tcp_route::Rule { backends });
            conf::Route::Tcp(TcpRoute {
                rules: rules.collect(),
            })
        }),
    ]
}

pub(crate) fn backend() -> impl Strategy<Value = Event> {
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

pub(crate) fn external() -> impl Strategy<Value = Event> {
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

pub(crate) fn secret() -> impl Strategy<Value = Event> {
    static AUTHORITY: LazyLock<String> = LazyLock::new(|| {
        let authority = rcgen::generate_simple_self_signed(["ca".to_owned()]);
        authority.expect("a certificate").cert.pem()
    });
    (0_u8..2, any::<bool>(), any::<bool>()).prop_map(|(name, is_good, is_authority)| {
        let (kind, good) = if is_authority {
            ("ca", &*AUTHORITY)
        } else {
            ("cert", &*CERTIFICATE)
        };
        let text = if is_good { good.as_str() } else { "bad" };
        let spec = Secret {
            data: Some(text.as_bytes().to_vec()),
        };
        let key = key(ResourceType::Secret, &format!("{kind}-{name}"));
        Event::Put(resource(key, None, &spec))
    })
}

pub(crate) fn event(subsets: Subsets) -> impl Strategy<Value = Event> {
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
            (ResourceType::Secret, "cert-0"),
            (ResourceType::Secret, "cert-1"),
        ][..],
    );
    prop_oneof![
        2 => gateway(),
        8 => route(subsets),
        4 => backend(),
        4 => external(),
        3 => secret(),
        1 => prop::sample::select(&["red", "blue"][..]).prop_map(|team| Event::Put(own_dataplane(team))),
        4 => deleted.prop_map(|(ty, name)| Event::Delete(key(ty, name))),
        8 => Just(Event::Look),
    ]
}
