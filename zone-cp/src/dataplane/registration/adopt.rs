//! The Dataplane that a node brings, as the zone will store it.

use std::collections::BTreeMap;

use mesh_model::{Key, Spec, ZoneName, json, labels, tags, validate};
use mesh_proto::mesh::Dataplane;
use mesh_proto::mesh::dataplane::networking::gateway::GatewayType;

use super::RegisterError;

/// Labels that control planes set, of which a proxy has no say.
const NOT_GIVEN: [&str; 4] = [
    // A resource goes to the global under this name, and so would take the place of another.
    labels::DISPLAY_NAME,
    labels::NAMESPACE,
    labels::DELETION_GRACE_PERIOD,
    labels::CREATED,
];

/// A valid Dataplane, before the zone writes itself into it.
#[derive(Debug)]
pub(super) struct Brought {
    pub(super) dataplane: Dataplane,
    labels: BTreeMap<String, String>,
}

impl Brought {
    /// Reads the JSON text that `key`'s node brought.
    pub(super) fn read(key: &Key, text: &str) -> Result<Self, RegisterError> {
        let value = serde_json::from_str(text)
            .map_err(|error| RegisterError::Invalid(format!("it is not JSON: {error}")))?;
        let document = json::parse_document(&value)?;
        let found = format!(
            "{} {}/{}",
            document.ty,
            document.mesh.as_deref().unwrap_or(""),
            document.name
        );
        let expected = key.to_string();
        if found != expected {
            return Err(RegisterError::OtherResource { found, expected });
        }
        let violations = validate::spec(document.ty, &document.spec);
        if !violations.is_empty() {
            let text: Vec<String> = violations.iter().map(ToString::to_string).collect();
            return Err(RegisterError::Invalid(text.join("; ")));
        }
        let dataplane: Dataplane = document.spec.decode();
        let gateway = dataplane
            .networking
            .as_ref()
            .and_then(|n| n.gateway.as_ref());
        if gateway.is_none_or(|g| g.r#type() != GatewayType::Builtin) {
            return Err(RegisterError::NotAGateway { key: key.clone() });
        }
        Ok(Self {
            dataplane,
            labels: document.labels,
        })
    }

    /// What is stored.
    pub(super) fn in_zone(
        mut self,
        key: &Key,
        zone: &ZoneName,
    ) -> (Spec, BTreeMap<String, String>) {
        set_zone_tags(&mut self.dataplane, zone);
        let spec = Spec::encode(key.ty(), &self.dataplane);
        (spec, own_labels(zone, key, self.labels))
    }
}

/// Writes the zone into the tags of all inbounds and of the gateway.
pub fn set_zone_tags(dataplane: &mut Dataplane, zone: &ZoneName) {
    let Some(networking) = &mut dataplane.networking else {
        return;
    };
    let inbounds = networking.inbound.iter_mut().map(|i| &mut i.tags);
    for tags in inbounds.chain(networking.gateway.iter_mut().map(|g| &mut g.tags)) {
        tags.insert(tags::ZONE.to_owned(), zone.as_str().to_owned());
    }
}

/// The labels of a gateway of this zone: those that its author gave, but for what only control
/// planes say.
fn own_labels(
    zone: &ZoneName,
    key: &Key,
    mut given: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    given.retain(|label, _| !NOT_GIVEN.contains(&label.as_str()));
    for (label, value) in [
        (labels::MESH, key.mesh_str()),
        (labels::ORIGIN, labels::ORIGIN_ZONE),
        (labels::ZONE, zone.as_str()),
        (labels::ENV, "universal"),
        (labels::PROXY_TYPE, "gateway"),
    ] {
        given.insert(label.to_owned(), value.to_owned());
    }
    given
}

#[cfg(test)]
mod tests {
    use mesh_model::{MeshName, ResourceName, ResourceType};

    use super::*;

    #[test]
    fn a_proxy_has_no_say_in_what_control_planes_set() {
        let key = Key::in_mesh(
            ResourceType::Dataplane,
            MeshName::parse("default").unwrap(),
            ResourceName::parse("edge").unwrap(),
        );
        let text = r#"{
            "type": "Dataplane", "mesh": "default", "name": "edge",
            "labels": {
                "kuma.io/display-name": "another", "kuma.io/origin": "global",
                "kuma.io/zone": "another", "kuma.io/mesh": "another", "kuma.io/env": "kubernetes",
                "kuma.io/proxy-type": "sidecar", "k8s.kuma.io/namespace": "another",
                "kuma.io/deletion-grace-period-started-at": "1", "meridian.io/created": "1",
                "kuma.io/workload": "shop", "team": "web"
            },
            "networking": {"address": "127.0.0.1", "gateway": {
                "type": "BUILTIN", "tags": {"kuma.io/service": "edge", "kuma.io/zone": "another"}
            }}
        }"#;
        let brought = Brought::read(&key, text).unwrap();
        let (spec, labels) = brought.in_zone(&key, &ZoneName::parse("zone-1").unwrap());
        let expected = [
            ("kuma.io/env", "universal"),
            ("kuma.io/mesh", "default"),
            ("kuma.io/origin", "zone"),
            ("kuma.io/proxy-type", "gateway"),
            ("kuma.io/workload", "shop"),
            ("kuma.io/zone", "zone-1"),
            ("team", "web"),
        ];
        let expected = expected.map(|(label, value)| (label.to_owned(), value.to_owned()));
        assert_eq!(labels, BTreeMap::from(expected));
        let gateway = spec.decode::<Dataplane>().networking.unwrap().gateway;
        assert_eq!(gateway.unwrap().tags["kuma.io/zone"], "zone-1");
    }
}
