//! Dataplane.

use std::net::IpAddr;

use mesh_proto::mesh::Dataplane;
use mesh_proto::mesh::dataplane::networking::gateway::GatewayType;
use mesh_proto::mesh::dataplane::networking::inbound::ServiceProbe;
use mesh_proto::mesh::dataplane::networking::{Gateway, Inbound, Listener, Outbound, listener};
use mesh_proto::mesh::dataplane::{Networking, Probes};

use super::hostname::{check_address, check_ip, covers_loopback};
use super::tags::{self as tag_rules, Rules, is_protocol};
use super::{EMPTY, Violations, mesh_backends};
use crate::tags;

/// The tags of an inbound or a gateway.
const TAGS: Rules<'_> = Rules {
    is_selector: false,
    is_required: false,
    needs_service: false,
    forbidden: &[],
};

/// What an outbound may point at besides tags.
const BACKEND_KINDS: [&str; 3] = ["MeshExternalService", "MeshMultiZoneService", "MeshService"];

pub(super) fn check(dataplane: &Dataplane, found: &mut Violations) {
    let Some(networking) = &dataplane.networking else {
        found.add("networking", "must be defined");
        return;
    };
    check_admin_port(networking, found);
    match &networking.gateway {
        Some(gateway) => check_gateway(dataplane, networking, gateway, found),
        None => {
            // Kuma 2.5 takes the zone of a Dataplane from its gateway or first inbound. Without
            // either its zones stop sending anything at all, so none may get in.
            if networking.inbound.is_empty() {
                found.add("networking", "must have at least one inbound, or a gateway");
            }
            if let Some(metrics) = &dataplane.metrics {
                mesh_backends::check_metrics(found, "metrics", metrics);
            }
        }
    }
    check_address(found, "networking.address", &networking.address);
    for (i, inbound) in networking.inbound.iter().enumerate() {
        check_inbound(
            found,
            &format!("networking.inbound[{i}]"),
            inbound,
            networking,
        );
    }
    for (i, outbound) in networking.outbound.iter().enumerate() {
        check_outbound(found, &format!("networking.outbound[{i}]"), outbound);
    }
    if networking.gateway.is_none() {
        for (i, listener) in networking.listeners.iter().enumerate() {
            check_listener(found, &format!("networking.listeners[{i}]"), listener);
        }
    }
    check_reachable_backends(networking, found);
    if !is_builtin(networking)
        && let Some(probes) = &dataplane.probes
    {
        check_probes(found, probes);
    }
}

fn is_builtin(networking: &Networking) -> bool {
    networking
        .gateway
        .as_ref()
        .is_some_and(|g| g.r#type == GatewayType::Builtin as i32)
}

/// Envoy's admin port is on 127.0.0.1: nothing else of the proxy may be there.
fn check_admin_port(networking: &Networking, found: &mut Violations) {
    let port = networking.admin.as_ref().map_or(0, |admin| admin.port);
    if port == 0 {
        return;
    }
    let is_taken_by_inbound = networking.inbound.iter().any(|inbound| {
        let address = or(&inbound.address, &networking.address);
        let service_address = or(&inbound.service_address, address);
        let service_port = match inbound.service_port {
            0 => inbound.port,
            port => port,
        };
        (inbound.port == port && covers_loopback(address))
            || (service_port == port && covers_loopback(service_address))
    });
    if is_taken_by_inbound {
        found.add("networking.admin.port", "must differ from inbound ports");
    }
    let is_taken_by_outbound = networking
        .outbound
        .iter()
        .any(|o| o.port == port && covers_loopback(or(&o.address, "127.0.0.1")));
    if is_taken_by_outbound {
        found.add("networking.admin.port", "must differ from outbound ports");
    }
}

fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}

fn check_gateway(
    dataplane: &Dataplane,
    networking: &Networking,
    gateway: &Gateway,
    found: &mut Violations,
) {
    if !networking.inbound.is_empty() {
        found.add("networking.inbound", "cannot be defined for gateways");
    }
    if is_builtin(networking) {
        if !networking.outbound.is_empty() {
            found.add(
                "networking.outbound",
                "cannot be defined for builtin gateways",
            );
        }
        if dataplane.probes.is_some() {
            // The field is `probes`; the place is what users know.
            found.add(
                "networking.probes",
                "cannot be defined for builtin gateways",
            );
        }
    }
    if !networking.listeners.is_empty() {
        found.add("networking.listeners", "cannot be defined for gateways");
    }
    let path = "networking.gateway.tags";
    tag_rules::check(
        found,
        path,
        &gateway.tags,
        Rules {
            needs_service: !gateway.tags.is_empty(),
            ..TAGS
        },
    );
    if gateway
        .tags
        .get(tags::PROTOCOL)
        .is_some_and(|protocol| !protocol.eq_ignore_ascii_case("tcp"))
    {
        found.add(
            format!("{path}[{:?}]", tags::PROTOCOL),
            "other values than tcp are not allowed",
        );
    }
}

fn check_inbound(found: &mut Violations, path: &str, inbound: &Inbound, networking: &Networking) {
    found.port(&format!("{path}.port"), inbound.port);
    if inbound.service_port != 0 {
        found.port(&format!("{path}.servicePort"), inbound.service_port);
    }
    let shares_port = matches!(inbound.service_port, 0) || inbound.service_port == inbound.port;
    let place = format!("{path}.serviceAddress");
    check_ip(found, &place, &inbound.service_address);
    let is_same = |address: &str| {
        !inbound.service_address.is_empty() && inbound.service_address == address && shares_port
    };
    if is_same(&networking.address) {
        found.add(
            place.as_str(),
            "serviceAddress and servicePort have to differ from address and port",
        );
    }
    check_ip(found, &format!("{path}.address"), &inbound.address);
    if is_same(&inbound.address) {
        found.add(
            place,
            "serviceAddress and servicePort have to differ from the inbound's address and port",
        );
    }
    let place = format!("{path}.tags");
    tag_rules::check(found, &place, &inbound.tags, TAGS);
    let unknown_protocol = || {
        format!(
            "unknown protocol, must be one of {}",
            tag_rules::PROTOCOLS.join(", ")
        )
    };
    if inbound
        .tags
        .get(tags::PROTOCOL)
        .is_some_and(|protocol| !protocol.is_empty() && !is_protocol(protocol))
    {
        found.add(format!("{place}[{:?}]", tags::PROTOCOL), unknown_protocol());
    }
    if !inbound.tags.is_empty() && !inbound.tags.contains_key(tags::SERVICE) {
        found.add(
            format!("{place}[{:?}]", tags::SERVICE),
            tag_rules::missing_service(),
        );
    }
    if !inbound.protocol.is_empty() && !is_protocol(&inbound.protocol) {
        found.add(format!("{path}.protocol"), unknown_protocol());
    }
    if let Some(probe) = &inbound.service_probe {
        check_service_probe(found, &format!("{path}.serviceProbe"), probe);
    }
}

fn check_service_probe(found: &mut Violations, path: &str, probe: &ServiceProbe) {
    for (name, duration) in [("interval", &probe.interval), ("timeout", &probe.timeout)] {
        if let Some(duration) = duration
            && (duration.seconds < 0
                || duration.nanos < 0
                || (duration.seconds == 0 && duration.nanos == 0))
        {
            found.add(format!("{path}.{name}"), "must have a positive value");
        }
    }
    for (name, threshold) in [
        ("unhealthyThreshold", probe.unhealthy_threshold),
        ("healthyThreshold", probe.healthy_threshold),
    ] {
        if threshold == Some(0) {
            found.add(format!("{path}.{name}"), "must have a positive value");
        }
    }
}

fn check_outbound(found: &mut Violations, path: &str, outbound: &Outbound) {
    found.port(&format!("{path}.port"), outbound.port);
    check_ip(found, &format!("{path}.address"), &outbound.address);
    let place = format!("{path}.tags");
    let Some(backend) = &outbound.backend_ref else {
        tag_rules::check(
            found,
            &place,
            &outbound.tags,
            Rules {
                is_required: true,
                needs_service: !outbound.tags.is_empty(),
                ..TAGS
            },
        );
        return;
    };
    if !outbound.tags.is_empty() {
        found.add(path, "cannot have both tags and backendRef");
    }
    let place = format!("{path}.backendRef");
    check_backend(
        found,
        &place,
        &backend.kind,
        &backend.name,
        backend.labels.is_empty(),
    );
    found.port(&format!("{place}.port"), backend.port);
}

fn check_backend(found: &mut Violations, path: &str, kind: &str, name: &str, has_no_labels: bool) {
    if !BACKEND_KINDS.contains(&kind) {
        found.add(
            format!("{path}.kind"),
            format!("invalid kind, must be one of {}", BACKEND_KINDS.join(", ")),
        );
    }
    if name.is_empty() && has_no_labels {
        found.add(format!("{path}.name"), "must have a name or labels");
    }
    if !name.is_empty() && !has_no_labels {
        found.add(
            format!("{path}.labels"),
            "cannot be used together with name",
        );
    }
}

fn check_reachable_backends(networking: &Networking, found: &mut Violations) {
    let refs = networking
        .transparent_proxying
        .as_ref()
        .and_then(|t| t.reachable_backends.as_ref())
        .map_or(&[][..], |backends| &backends.refs);
    for (i, backend) in refs.iter().enumerate() {
        // The place is spelt so by every release that users know.
        let path = format!("networking.transparentProxing.reachableBackends.refs[{i}]");
        check_backend(
            found,
            &path,
            &backend.kind,
            &backend.name,
            backend.labels.is_empty(),
        );
        if let Some(port) = backend.port {
            found.port(&format!("{path}.port"), port);
        }
    }
}

fn check_listener(found: &mut Violations, path: &str, item: &Listener) {
    if item.r#type == listener::Type::Unspecified as i32 {
        found.add(format!("{path}.type"), EMPTY);
    }
    if item.address.is_empty() {
        found.add(format!("{path}.address"), EMPTY);
    }
    check_ip(found, &format!("{path}.address"), &item.address);
    if item
        .address
        .parse::<IpAddr>()
        .is_ok_and(|ip| ip.is_unspecified())
    {
        found.add(format!("{path}.address"), "must not be 0.0.0.0 or ::");
    }
    found.port(&format!("{path}.port"), item.port);
}

fn check_probes(found: &mut Violations, probes: &Probes) {
    found.port("probes.port", probes.port);
    for (i, endpoint) in probes.endpoints.iter().enumerate() {
        let path = format!("probes.endpoints[{i}]");
        found.port(&format!("{path}.inboundPort"), endpoint.inbound_port);
        for (name, value) in [
            ("inboundPath", &endpoint.inbound_path),
            ("path", &endpoint.path),
        ] {
            if !is_request_target(value) {
                found.add(format!("{path}.{name}"), "should be a valid URL path");
            }
        }
    }
}

/// Whether `text` may stand in a request line: an absolute path or URL.
fn is_request_target(text: &str) -> bool {
    let is_absolute = text.starts_with('/')
        || text
            .split_once("://")
            .is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    is_absolute && !text.contains(|c: char| c.is_ascii_control() || c == ' ')
}
