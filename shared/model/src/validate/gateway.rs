//! MeshGateway.

use std::collections::{BTreeMap, BTreeSet};

use mesh_proto::mesh::MeshGateway;
use mesh_proto::mesh::mesh_gateway::listener::Protocol;
use mesh_proto::mesh::mesh_gateway::tls::Mode;
use mesh_proto::mesh::mesh_gateway::{Listener, tls};

use super::tags::Rules;
use super::{AT_LEAST_ONE, EMPTY, Violations, hostname, tags as tag_rules};
use crate::tags;

/// Tags of gateways and listeners: what they are about is said elsewhere or by control planes.
const LISTENER_TAGS: Rules<'_> = Rules {
    is_selector: true,
    is_required: false,
    needs_service: false,
    forbidden: &[
        tags::EXTERNAL_SERVICE_NAME,
        tags::PROTOCOL,
        tags::SERVICE,
        tags::ZONE,
    ],
};

pub(super) fn check(gateway: &MeshGateway, found: &mut Violations) {
    tag_rules::check_selectors(found, "selectors", &gateway.selectors);
    let listeners = gateway.conf.as_ref().map_or(&[][..], |c| &c.listeners);
    if listeners.iter().any(|l| l.cross_mesh) {
        for i in 1..gateway.selectors.len() {
            found.add(
                format!("selectors[{i}]"),
                "there can be at most one selector when a listener has crossMesh",
            );
        }
    }
    tag_rules::check(found, "tags", &gateway.tags, LISTENER_TAGS);
    let Some(conf) = &gateway.conf else {
        found.add("conf", EMPTY);
        return;
    };
    if conf.listeners.is_empty() {
        found.add("conf.listeners", AT_LEAST_ONE);
    }
    for (i, listener) in conf.listeners.iter().enumerate() {
        check_listener(found, &format!("conf.listeners[{i}]"), listener);
    }
    check_ports(found, &conf.listeners);
}

fn check_listener(found: &mut Violations, path: &str, listener: &Listener) {
    hostname::check_listener(found, &format!("{path}.hostname"), &listener.hostname);
    found.port(&format!("{path}.port"), listener.port);
    // A number that no protocol has is kept as it is: it may be of a later release.
    let protocol = Protocol::try_from(listener.protocol).ok();
    match protocol {
        Some(Protocol::None) => found.add(format!("{path}.protocol"), EMPTY),
        // Ours: routes of such listeners are HTTP routes, so TCP and TLS never worked there.
        Some(Protocol::Https | Protocol::Tcp | Protocol::Tls) if listener.cross_mesh => found.add(
            format!("{path}.protocol"),
            "protocol is not supported with crossMesh",
        ),
        Some(Protocol::Https) => match &listener.tls {
            None => found.add(format!("{path}.tls"), EMPTY),
            Some(tls) if tls.mode() == Mode::Passthrough => found.add(
                format!("{path}.tls.mode"),
                "mode is not supported on HTTPS listeners",
            ),
            Some(_) => {}
        },
        _ => {}
    }
    if let Some(tls) = &listener.tls {
        check_tls(found, &format!("{path}.tls"), tls, listener.cross_mesh);
    }
    tag_rules::check(
        found,
        &format!("{path}.tags"),
        &listener.tags,
        LISTENER_TAGS,
    );
}

fn check_tls(found: &mut Violations, path: &str, tls: &tls::Conf, is_cross_mesh: bool) {
    if is_cross_mesh {
        if tls.mode != Mode::None as i32 || !tls.certificates.is_empty() {
            found.add(path, "must be empty with crossMesh");
        }
        return;
    }
    match tls.mode() {
        Mode::None => found.add(format!("{path}.mode"), EMPTY),
        Mode::Terminate if tls.certificates.is_empty() => found.add(
            format!("{path}.certificates"),
            "cannot be empty in TLS termination mode",
        ),
        Mode::Terminate if tls.certificates.len() > 2 => found.add(
            format!("{path}.certificates"),
            "cannot have more than 2 certificates",
        ),
        Mode::Terminate | Mode::Passthrough => {}
    }
}

/// Checks that listeners which share a port can also share a socket.
fn check_ports(found: &mut Violations, listeners: &[Listener]) {
    let mut by_port: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (i, listener) in listeners.iter().enumerate() {
        by_port.entry(listener.port).or_default().push(i);
    }
    let limit = |i: usize| {
        let resources = listeners[i].resources.as_ref()?;
        (resources.connection_limit != 0).then_some(resources.connection_limit)
    };
    for group in by_port.values() {
        let protocols: BTreeSet<_> = group.iter().map(|i| listeners[*i].protocol).collect();
        if protocols.len() > 1 {
            for i in group {
                found.add(
                    format!("conf.listeners[{i}]"),
                    "protocol conflicts with other listeners on this port",
                );
            }
        }
        let mut by_hostname: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for i in group {
            let hostname = match listeners[*i].hostname.as_str() {
                "" => "*",
                hostname => hostname,
            };
            by_hostname.entry(hostname).or_default().push(*i);
        }
        for same in by_hostname.values().filter(|same| same.len() > 1) {
            for i in same {
                found.add(
                    format!("conf.listeners[{i}]"),
                    "multiple listeners for hostname on this port",
                );
            }
        }
        let limits: BTreeSet<_> = group.iter().filter_map(|i| limit(*i)).collect();
        if limits.len() > 1 {
            for i in group.iter().filter(|i| limit(**i).is_some()) {
                found.add(
                    format!("conf.listeners[{i}].resources.connectionLimit"),
                    "conflicting values for this port",
                );
            }
        }
    }
}
