//! What a translation costs in CPU time: from scratch, and for one changed route of many.
//!
//! `cargo run --release -p zone-translate --example measure [routes ...]`

#![expect(
    clippy::print_stdout,
    reason = "a table for people is what this is for"
)]

use std::sync::Arc;
use std::time::Duration;

use mesh_model::tags::{SERVICE, Tags};
use mesh_model::{
    Key, MeshName, Resource, ResourceName, ResourceType, Spec, SpecMessage, Timestamp,
};
use mesh_proto::mesh::dataplane::Networking;
use mesh_proto::mesh::dataplane::networking::gateway::GatewayType;
use mesh_proto::mesh::dataplane::networking::{Gateway, Inbound};
use mesh_proto::mesh::mesh_gateway::listener::Protocol;
use mesh_proto::mesh::mesh_gateway::{self, Listener};
use mesh_proto::mesh::mesh_gateway_route::http_route::r#match::{Path, path};
use mesh_proto::mesh::mesh_gateway_route::http_route::{Match, Rule};
use mesh_proto::mesh::mesh_gateway_route::{Backend, Conf, HttpRoute, conf};
use mesh_proto::mesh::{Dataplane, MeshGateway, MeshGatewayRoute, Selector};
use zone_translate::{EnvoyType, Proxy, Translator, ZoneView};

/// Changes measured per size.
const CHANGES: usize = 200;

fn main() {
    let sizes: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|n| n.parse().ok())
        .collect();
    let sizes = if sizes.is_empty() {
        vec![1_000, 5_000, 40_000]
    } else {
        sizes
    };
    println!(
        "{:>7} {:>6} {:>10} {:>10} {:>11} {:>11} {:>11} {:>10} {:>8}",
        "routes",
        "hosts",
        "view ms",
        "first ms",
        "change p50",
        "change p99",
        "endpoint µs",
        "RDS bytes",
        "RSS MiB"
    );
    for routes in sizes {
        for hosts in [0, 1, routes / 16] {
            measure(routes, hosts);
        }
    }
}

/// One row; with 0 hosts the routes have exact paths and no hostname, else prefixes.
fn measure(routes: usize, hosts: usize) {
    let mut view = ZoneView::default();
    let (gateway, dataplane) = gateway();
    let view_time = time(|| {
        view.put(&gateway);
        for service in 0..100 {
            view.put(&backend(service, 80));
        }
        for number in 0..routes {
            view.put(&route(number, hosts, 0));
        }
    });
    let mut translator = Translator::new(Proxy::new(dataplane, None));
    let first = time(|| drop(translator.update(&view)));
    let mut changes: Vec<Duration> = (0..CHANGES)
        .map(|n| {
            let changed = route(n * 7919 % routes, hosts, n + 1);
            time(|| {
                view.put(&changed);
                assert!(translator.update(&view).is_some(), "the route did change");
            })
        })
        .collect();
    changes.sort();
    let endpoint = time(|| {
        for n in 0..CHANGES {
            view.put(&backend(n % 100, 81 + u32::try_from(n % 7).unwrap_or(0)));
            translator.update(&view);
        }
    }) / 200;
    let snapshot = translator.translation().snapshot;
    let bytes: usize = snapshot
        .items(EnvoyType::Route)
        .values()
        .map(|item| item.payload.len())
        .sum();
    println!(
        "{routes:>7} {hosts:>6} {:>10.1} {:>10.1} {:>8.2} ms {:>8.2} ms {:>11.1} {bytes:>10} {:>8.1}",
        ms(view_time),
        ms(first),
        ms(changes[CHANGES / 2]),
        ms(changes[CHANGES * 99 / 100]),
        ms(endpoint) * 1000.0,
        resident_mib(),
    );
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The CPU time of this thread that `work` takes; other processes do not count.
fn time(work: impl FnOnce()) -> Duration {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(time).expect("CPU time is not negative")
    };
    let start = now();
    work();
    now() - start
}

/// Resident memory of this process, 0 where it cannot be told.
fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

fn resource<M: SpecMessage>(ty: ResourceType, name: &str, spec: &M) -> Arc<Resource> {
    let mesh = MeshName::parse("default").expect("a name");
    let key = Key::in_mesh(ty, mesh, ResourceName::parse(name).expect("a name"));
    let labels = [("meridian.io/created".to_owned(), "1700000000".to_owned())];
    let epoch = Timestamp::EPOCH;
    Arc::new(Resource::new(
        key,
        labels.into(),
        Spec::encode(ty, spec),
        epoch,
        epoch,
    ))
}

fn service(name: &str) -> Tags {
    Tags::from([(SERVICE.to_owned(), name.to_owned())])
}

fn selectors() -> Vec<Selector> {
    vec![Selector {
        r#match: service("edge"),
    }]
}

fn gateway() -> (Arc<Resource>, Arc<Resource>) {
    let listener = Listener {
        port: 8080,
        protocol: Protocol::Http.into(),
        ..Default::default()
    };
    let gateway = MeshGateway {
        selectors: selectors(),
        conf: Some(mesh_gateway::Conf {
            listeners: vec![listener],
        }),
        ..Default::default()
    };
    let mut tags = service("edge");
    tags.insert("kuma.io/zone".to_owned(), "east".to_owned());
    let dataplane = Dataplane {
        networking: Some(Networking {
            address: "10.0.0.1".to_owned(),
            gateway: Some(Gateway {
                tags,
                r#type: GatewayType::Builtin.into(),
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    (
        resource(ResourceType::MeshGateway, "edge", &gateway),
        resource(ResourceType::Dataplane, "gw", &dataplane),
    )
}

fn backend(number: usize, port: u32) -> Arc<Resource> {
    let inbound = Inbound {
        port,
        tags: service(&format!("service-{number}")),
        ..Default::default()
    };
    let dataplane = Dataplane {
        networking: Some(Networking {
            address: "10.0.1.1".to_owned(),
            inbound: vec![inbound],
            ..Default::default()
        }),
        ..Default::default()
    };
    resource(
        ResourceType::Dataplane,
        &format!("backend-{number}"),
        &dataplane,
    )
}

fn route(number: usize, hosts: usize, revision: usize) -> Arc<Resource> {
    let kind = if hosts == 0 {
        path::MatchType::Exact
    } else {
        path::MatchType::Prefix
    };
    let matched = Match {
        path: Some(Path {
            r#match: kind.into(),
            value: format!("/route-{number}/{revision}"),
        }),
        ..Default::default()
    };
    let destination = service(&format!("service-{}", number % 100));
    let http = HttpRoute {
        hostnames: (hosts > 1)
            .then(|| format!("host-{}.example.com", number % hosts))
            .into_iter()
            .collect(),
        rules: vec![Rule {
            matches: vec![matched],
            filters: vec![],
            backends: vec![Backend {
                weight: 1,
                destination,
            }],
        }],
    };
    let spec = MeshGatewayRoute {
        selectors: selectors(),
        conf: Some(Conf {
            route: Some(conf::Route::Http(http)),
        }),
    };
    resource(
        ResourceType::MeshGatewayRoute,
        &format!("route-{number:05}"),
        &spec,
    )
}
