//! Which resources a peer gets, and how they are named and labelled for it.
//!
//! Pure functions from a stored resource to what travels. `docs/kds.md` has the rules as a
//! contract; they are Kuma's, chosen per peer by what it announced.

use std::collections::BTreeMap;

use bytes::Bytes;
use mesh_delta::{Item, Name};
use mesh_model::hash_suffix::hashed_name;
use mesh_model::{Resource, ResourceType, Spec, ZoneName, cluster, labels};
use mesh_proto::{mesh, system};

use crate::kind::Kind;
use crate::peer::Naming;
use crate::wire::{self, Outgoing};

/// Prefix of the secrets that sign zone tokens; zones get their public halves.
pub const ZONE_TOKEN_KEY: &str = "zone-token-signing-key";
/// Prefix of the public halves of the secrets that sign zone tokens.
pub const ZONE_TOKEN_PUBLIC_KEY: &str = "zone-token-signing-public-key";
/// Global secrets that stay on their control plane.
const LOCAL_GLOBAL_SECRETS: [&str; 4] = [
    "envoy-admin-ca",
    "admin-user-token",
    "inter-cp-ca",
    "user-token-revocations",
];
const USER_TOKEN_KEY: &str = "user-token-signing-key";

/// A resource on its way to a peer.
pub type Mapped = (Kind, Name, Item<Kind>);

/// A rule from stored resources to what one class of peers gets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Mapping {
    /// From the global to zones that want this naming.
    Down(Naming),
    /// From a zone to a global that wants this naming.
    Up(ZoneName, Naming),
}

impl Mapping {
    /// What the peer gets for `resource`; `None` if it does not travel this way.
    pub fn apply(&self, resource: &Resource) -> Option<Mapped> {
        match self {
            Self::Down(naming) => down(resource, *naming),
            Self::Up(zone, naming) => up(resource, zone, *naming),
        }
    }

    /// The kind and stream name under which the peer knows `resource`; cheaper than
    /// [`Mapping::apply`] and always in agreement with it.
    pub fn stream_name(&self, resource: &Resource) -> Option<(Kind, Name)> {
        let name = match self {
            Self::Down(naming) => {
                travels_down(resource, *naming).then(|| down_name(resource, *naming))
            }
            Self::Up(zone, naming) => {
                travels_up(resource).then(|| up_name(resource, zone, *naming))
            }
        }?;
        let kind = Kind::of(resource.key().ty())?;
        Some((kind, wire::stream_name(&name, resource.key().mesh_str())))
    }
}

fn travels_down(resource: &Resource, naming: Naming) -> bool {
    let key = resource.key();
    let name = key.name().as_str();
    if resource.label(labels::KDS_SYNC) == Some("disabled") {
        return false;
    }
    match key.ty() {
        ResourceType::Config => name == cluster::ID,
        ResourceType::GlobalSecret => match naming {
            Naming::Plain => name.starts_with(ZONE_TOKEN_KEY),
            Naming::Hashed => {
                !LOCAL_GLOBAL_SECRETS.contains(&name) && !name.starts_with(USER_TOKEN_KEY)
            }
        },
        ty if ty.describe().ways.down => {
            resource.label(labels::ORIGIN) != Some(labels::ORIGIN_ZONE)
        }
        _ => false,
    }
}

fn down_name(resource: &Resource, naming: Naming) -> String {
    let name = resource.key().name().as_str();
    match resource.key().ty() {
        // Kuma hashes no other type's name towards zones (2.9 and later). A signing key becomes
        // another secret: its public half.
        ResourceType::GlobalSecret if name.starts_with(ZONE_TOKEN_KEY) => {
            name.replacen(ZONE_TOKEN_KEY, ZONE_TOKEN_PUBLIC_KEY, 1)
        }
        ResourceType::Mesh
        | ResourceType::Secret
        | ResourceType::GlobalSecret
        | ResourceType::Config => name.to_owned(),
        _ => match naming {
            Naming::Plain => name.to_owned(),
            Naming::Hashed => hashed_name(
                resource.key().mesh_str(),
                resource.display_name(),
                &name_extras(resource.label(labels::ZONE), resource),
            ),
        },
    }
}

fn down(resource: &Resource, naming: Naming) -> Option<Mapped> {
    if !travels_down(resource, naming) {
        return None;
    }
    let key = resource.key();
    let kind = Kind::of(key.ty())?;
    let name = down_name(resource, naming);
    let mut sent = BTreeMap::clone(resource.labels());
    sent.insert(labels::ORIGIN.to_owned(), labels::ORIGIN_GLOBAL.to_owned());
    if name != key.name().as_str() {
        sent.entry(labels::DISPLAY_NAME.to_owned())
            .or_insert_with(|| key.name().as_str().to_owned());
    }
    let spec = if name.starts_with(ZONE_TOKEN_PUBLIC_KEY) {
        public_half(resource)?
    } else {
        resource.spec().bytes().clone()
    };
    let item = wire::encode(Outgoing {
        ty: key.ty(),
        name: &name,
        mesh: key.mesh_str(),
        labels: sent,
        spec,
        status: None,
    });
    Some((kind, wire::stream_name(&name, key.mesh_str()), item))
}

/// The public half of a signing key; `None` for a secret that is no such key. Secrets are
/// checked when they are written, and one odd key must not stop the others.
fn public_half(resource: &Resource) -> Option<Bytes> {
    let secret: system::Secret = resource.decode();
    let key = mesh_runtime::tokens::SigningKey::parse(&secret.data?).ok()?;
    let public = system::Secret {
        data: Some(key.public().to_pem().into_bytes()),
    };
    Some(
        Spec::encode(ResourceType::GlobalSecret, &public)
            .bytes()
            .clone(),
    )
}

fn travels_up(resource: &Resource) -> bool {
    resource.key().ty().describe().ways.up
        && resource.label(labels::KDS_SYNC) != Some("disabled")
        && resource
            .label(labels::ORIGIN)
            .is_none_or(|o| o == labels::ORIGIN_ZONE)
}

fn up_name(resource: &Resource, zone: &ZoneName, naming: Naming) -> String {
    match naming {
        Naming::Plain => resource.key().name().as_str().to_owned(),
        Naming::Hashed => hashed_name(
            resource.key().mesh_str(),
            resource.display_name(),
            &name_extras(Some(zone.as_str()), resource),
        ),
    }
}

fn up(resource: &Resource, zone: &ZoneName, naming: Naming) -> Option<Mapped> {
    if !travels_up(resource) {
        return None;
    }
    let key = resource.key();
    let kind = Kind::of(key.ty())?;
    let name = up_name(resource, zone, naming);
    let mut sent = BTreeMap::clone(resource.labels());
    sent.remove(labels::DELETION_GRACE_PERIOD);
    sent.insert(labels::ORIGIN.to_owned(), labels::ORIGIN_ZONE.to_owned());
    sent.insert(labels::ZONE.to_owned(), zone.as_str().to_owned());
    if naming == Naming::Hashed {
        sent.entry(labels::DISPLAY_NAME.to_owned())
            .or_insert_with(|| key.name().as_str().to_owned());
    }
    let spec = match key.ty() {
        ResourceType::DataplaneInsight => without_generation(resource),
        _ => resource.spec().bytes().clone(),
    };
    let item = wire::encode(Outgoing {
        ty: key.ty(),
        name: &name,
        mesh: key.mesh_str(),
        labels: sent,
        spec,
        status: resource.status().map(|status| status.bytes().clone()),
    });
    Some((kind, wire::stream_name(&name, key.mesh_str()), item))
}

/// An insight without its subscriptions' generations, which mean something to their own control
/// plane only and would cause traffic each time they move.
fn without_generation(resource: &Resource) -> Bytes {
    let mut insight: mesh::DataplaneInsight = resource.decode();
    if insight.subscriptions.iter().all(|s| s.generation == 0) {
        return resource.spec().bytes().clone();
    }
    for subscription in &mut insight.subscriptions {
        subscription.generation = 0;
    }
    Spec::encode(ResourceType::DataplaneInsight, &insight)
        .bytes()
        .clone()
}

fn name_extras<'a>(zone: Option<&'a str>, resource: &'a Resource) -> Vec<&'a str> {
    zone.into_iter()
        .chain(resource.label(labels::NAMESPACE))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_model::{Key, MeshName, ResourceName, Timestamp};

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
            Spec::parse(ty, Bytes::new()).unwrap(),
            Timestamp::EPOCH,
            Timestamp::EPOCH,
        )
    }

    fn sent(mapping: &Mapping, resource: &Resource) -> Option<(String, BTreeMap<String, String>)> {
        let (kind, name, item) = mapping.apply(resource)?;
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
        let hashed = Mapping::Down(Naming::Hashed);
        let plain = Mapping::Down(Naming::Plain);
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
        let hashed = Mapping::Down(Naming::Hashed);
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
        assert_eq!(sent(&Mapping::Down(Naming::Plain), &revocations), None);
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
        let (kind, _, item) = mapping.apply(&insight).unwrap();
        let sent = wire::decode(kind.resource_type(), item.payload.to_bytes()).unwrap();
        let sent: mesh::DataplaneInsight = sent.spec.decode();
        assert_eq!(sent.subscriptions[0].generation, 0);
    }
}
