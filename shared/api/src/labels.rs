//! The labels of a written resource: what the author may say, and what the server adds.

use std::collections::BTreeMap;

use mesh_model::labels::{
    CREATED, DISPLAY_NAME, ENV, MESH, ORIGIN, ORIGIN_GLOBAL, ORIGIN_ZONE, PROXY_TYPE, ZONE,
};
use mesh_model::validate::{self, Violation};
use mesh_model::{Key, Resource, ResourceType, Spec, Timestamp};
use mesh_proto::mesh::Dataplane;

use crate::context::Mode;

type Labels = BTreeMap<String, String>;

/// What is wrong with labels by themselves.
pub(crate) fn check(
    labels: &Labels,
    mode: &Mode,
    ty: ResourceType,
    mesh: Option<&str>,
) -> Vec<Violation> {
    let mut found = validate::labels(labels);
    if let Some(origin) = labels.get(ORIGIN) {
        let here = match mode {
            Mode::Global => ORIGIN_GLOBAL,
            Mode::FederatedZone { .. } => ORIGIN_ZONE,
        };
        if origin != here {
            found.push(violation(
                ORIGIN,
                format!("what is written here has the origin {here:?}"),
            ));
        }
    }
    if let Mode::FederatedZone { zone } = mode {
        // What is written for all zones is often sent to one by mistake, so an author says that
        // this zone is meant. Users know this of the types that have it, and of no others.
        if ty.is_json() && !labels.contains_key(ORIGIN) {
            found.push(violation(
                ORIGIN,
                format!("must be {ORIGIN_ZONE:?} for a {ty} of this zone alone; others are written on the global control plane"),
            ));
        }
        if labels.get(ZONE).is_some_and(|z| z != zone.as_str()) {
            found.push(violation(ZONE, format!("this is zone {:?}", zone.as_str())));
        }
        if let (Some(given), Some(mesh)) = (labels.get(MESH), mesh)
            && given != mesh
        {
            found.push(violation(MESH, format!("the resource is in mesh {mesh:?}")));
        }
    }
    found
}

/// A global control plane sends resources under their display names, so one with a foreign
/// display name would take another one's place in zones: such as a copy of what a zone shows.
/// One that is stored already stays; what may be changed of it, [`check_update`] says.
pub(crate) fn check_display_name(
    labels: &Labels,
    mode: &Mode,
    name: &str,
    old: Option<&Resource>,
) -> Option<Violation> {
    let given = labels.get(DISPLAY_NAME)?;
    let is_stored = old.and_then(|old| old.label(DISPLAY_NAME)) == Some(given);
    (*mode == Mode::Global && given != name && !is_stored).then(|| {
        violation(
            DISPLAY_NAME,
            format!("must be the name {name:?} or be left out, not {given:?}"),
        )
    })
}

/// Adds what the server knows.
pub(crate) fn complete(
    mut labels: Labels,
    mode: &Mode,
    key: &Key,
    spec: &Spec,
    old: Option<&Resource>,
    now: Timestamp,
) -> Labels {
    if let Some(mesh) = key.mesh() {
        labels.insert(MESH.to_owned(), mesh.to_string());
    }
    match mode {
        Mode::Global => {
            if matches!(
                key.ty(),
                ResourceType::MeshGateway | ResourceType::MeshGatewayRoute
            ) {
                let created = created(&labels, old, now);
                labels.insert(CREATED.to_owned(), created);
            }
        }
        Mode::FederatedZone { zone } => {
            labels.insert(ENV.to_owned(), "universal".to_owned());
            labels.insert(ORIGIN.to_owned(), ORIGIN_ZONE.to_owned());
            labels.insert(ZONE.to_owned(), zone.to_string());
            if let Some(proxy) = proxy_type(spec) {
                labels.insert(PROXY_TYPE.to_owned(), proxy.to_owned());
            }
        }
    }
    labels
}

/// When the resource was created, in Unix seconds: once known, it stays. An author who restores
/// a resource brings the time along, so that routes keep their order.
fn created(given: &Labels, old: Option<&Resource>, now: Timestamp) -> String {
    let known = match old {
        Some(old) => old.label(CREATED).map(str::to_owned),
        None => given.get(CREATED).cloned(),
    };
    known
        .filter(|text| text.parse::<u32>().is_ok())
        .unwrap_or_else(|| {
            old.map_or(now, Resource::created)
                .unix_seconds()
                .to_string()
        })
}

fn proxy_type(spec: &Spec) -> Option<&'static str> {
    match spec.ty() {
        ResourceType::Dataplane => {
            let networking = spec.decode::<Dataplane>().networking;
            Some(if networking.is_some_and(|n| n.gateway.is_some()) {
                "gateway"
            } else {
                "sidecar"
            })
        }
        ResourceType::ZoneIngress => Some("zoneingress"),
        ResourceType::ZoneEgress => Some("zoneegress"),
        _ => None,
    }
}

/// What an update may not change.
pub(crate) fn check_update(old: &Resource, new: &Labels) -> Vec<Violation> {
    [ORIGIN, ZONE, DISPLAY_NAME]
        .into_iter()
        .filter_map(|key| {
            let was = old.label(key)?;
            match new.get(key) {
                Some(now) if now == was => None,
                Some(now) => Some(violation(
                    key,
                    format!("cannot be changed from {was:?} to {now:?}"),
                )),
                None => Some(violation(key, format!("cannot be removed, it was {was:?}"))),
            }
        })
        .collect()
}

/// What a zone was given by the global control plane, and may not delete.
pub(crate) fn check_delete(old: &Resource, mode: &Mode) -> Vec<Violation> {
    let is_given = mode.zone().is_some() && old.label(ORIGIN) == Some(ORIGIN_GLOBAL);
    is_given
        .then(|| {
            violation(
                ORIGIN,
                "belongs to the global control plane: delete it there".to_owned(),
            )
        })
        .into_iter()
        .collect()
}

fn violation(key: &str, message: String) -> Violation {
    Violation::new(format!("labels[{key:?}]"), message)
}
