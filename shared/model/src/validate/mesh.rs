//! Mesh: what can be said without a plug-in for its certificate authority.

use std::collections::BTreeSet;

use mesh_proto::mesh::Mesh;

use super::tags::Rules;
use super::{Violations, mesh_backends, tags};

/// Constraints select Dataplanes by any tags.
const CONSTRAINT: Rules<'_> = Rules {
    is_selector: true,
    is_required: true,
    needs_service: false,
    forbidden: &[],
};

pub(super) fn check(mesh: &Mesh, found: &mut Violations) {
    check_mtls(mesh, found);
    if let Some(logging) = &mesh.logging {
        for (i, backend) in logging.backends.iter().enumerate() {
            mesh_backends::check_logging(found, &format!("logging.backends[{i}]"), backend);
        }
        let names: Vec<_> = logging.backends.iter().map(|b| b.name.as_str()).collect();
        check_unique(found, "logging.backends", &names);
        check_chosen(
            found,
            "logging.defaultBackend",
            &logging.default_backend,
            &names,
        );
    }
    if let Some(tracing) = &mesh.tracing {
        for (i, backend) in tracing.backends.iter().enumerate() {
            mesh_backends::check_tracing(found, &format!("tracing.backends[{i}]"), backend);
        }
        let names: Vec<_> = tracing.backends.iter().map(|b| b.name.as_str()).collect();
        check_unique(found, "tracing.backends", &names);
        check_chosen(
            found,
            "tracing.defaultBackend",
            &tracing.default_backend,
            &names,
        );
    }
    if let Some(metrics) = &mesh.metrics {
        for (i, backend) in metrics.backends.iter().enumerate() {
            mesh_backends::check_metrics(found, &format!("metrics.backends[{i}]"), backend);
        }
        let names: Vec<_> = metrics.backends.iter().map(|b| b.name.as_str()).collect();
        check_unique(found, "metrics.backends", &names);
        check_chosen(
            found,
            "metrics.enabledBackend",
            &metrics.enabled_backend,
            &names,
        );
    }
    check_constraints(mesh, found);
    let has_mtls = mesh
        .mtls
        .as_ref()
        .is_some_and(|m| !m.enabled_backend.is_empty());
    if mesh.routing.as_ref().is_some_and(|r| r.zone_egress) && !has_mtls {
        found.add("mtls", "has to be enabled for routing.zoneEgress");
    }
}

fn check_mtls(mesh: &Mesh, found: &mut Violations) {
    let Some(mtls) = &mesh.mtls else {
        return;
    };
    if mtls.backends.len() > 1 {
        found.add("mtls.backends", "cannot have more than 1 backends");
    }
    let names: Vec<_> = mtls.backends.iter().map(|b| b.name.as_str()).collect();
    check_unique(found, "mtls.backends", &names);
    check_chosen(found, "mtls.enabledBackend", &mtls.enabled_backend, &names);
    for backend in &mtls.backends {
        if let Some(certificate) = &backend.dp_cert {
            let expiration = certificate
                .rotation
                .as_ref()
                .map_or("", |rotation| rotation.expiration.as_str());
            if !is_lifetime(expiration) {
                // The place is spelt so by every release that users know.
                found.add(
                    "mtls.dpcert.rotation.expiration",
                    "has to be a number and one of y, w, d, h, m, s, ms, such as 30d",
                );
            }
        }
    }
}

fn check_constraints(mesh: &Mesh, found: &mut Violations) {
    let Some(proxy) = mesh
        .constraints
        .as_ref()
        .and_then(|c| c.dataplane_proxy.as_ref())
    else {
        return;
    };
    for (list, rules) in [
        ("requirements", &proxy.requirements),
        ("restrictions", &proxy.restrictions),
    ] {
        for (i, rule) in rules.iter().enumerate() {
            let path = format!("constraints.dataplaneProxy.{list}[{i}].tags");
            tags::check(found, &path, &rule.tags, CONSTRAINT);
        }
    }
}

fn check_unique(found: &mut Violations, path: &str, names: &[&str]) {
    let mut seen = BTreeSet::new();
    for (i, name) in names.iter().enumerate() {
        if !seen.insert(name) {
            found.add(
                format!("{path}[{i}].name"),
                format!("{name:?} name is already used for another backend"),
            );
        }
    }
}

fn check_chosen(found: &mut Violations, path: &str, chosen: &str, names: &[&str]) {
    if !chosen.is_empty() && !names.contains(&chosen) {
        let message = match path.split_once('.') {
            Some((kind, _)) if kind != "mtls" => {
                format!("has to be set to one of the {kind} backend in mesh")
            }
            _ => "has to be set to one of the backends in the mesh".to_owned(),
        };
        found.add(path, message);
    }
}

/// Whether `text` is a lifetime of certificates: `0`, or a whole number and one unit.
fn is_lifetime(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    text == "0" || !number.is_empty() && matches!(unit, "y" | "w" | "d" | "h" | "m" | "s" | "ms")
}
