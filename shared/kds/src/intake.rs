//! From what a peer sent to what is written: attribution, scope, pruning, rejections.
//!
//! A pure plan over a snapshot. A resource that cannot be taken rejects only itself: it is
//! listed with its reason, and what is stored under its name stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_delta::{Name, Version};
use mesh_model::{
    Key, MeshName, Resource, ResourceName, ResourceType, Spec, Timestamp, ZoneName, cluster,
    labels, tags,
};
use mesh_proto::mesh::{Dataplane, ZoneIngress};
use mesh_store::{Batch, Expect, Op, Snapshot};

use crate::peer::Naming;
use crate::wire::{self, DecodeError, Incoming};

/// Whose resources arrive, and so what they may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intake {
    /// A zone takes what its global owns.
    FromGlobal,
    /// The global takes what a zone owns.
    FromZone {
        /// The zone, as it was authenticated.
        zone: ZoneName,
        /// How it names what it sends.
        naming: Naming,
    },
}

/// One resource of a response, decoded or not.
#[derive(Debug)]
pub struct Arrived {
    /// Its name on the stream.
    pub name: Name,
    /// What it is.
    pub content: Result<Incoming, DecodeError>,
}

/// A response of one type.
#[derive(Debug)]
pub struct Delivery {
    /// The type.
    pub ty: ResourceType,
    /// Whether what is not in it is gone.
    pub is_complete: bool,
    /// New and changed resources.
    pub arrived: Vec<Arrived>,
    /// Stream names of resources that are gone.
    pub removed: Vec<Name>,
}

/// A resource that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its name on the stream.
    pub name: Name,
    /// Why.
    pub reason: String,
    /// The resource of somebody else that is in its place; it could be taken if that went.
    pub occupied: Option<Key>,
}

/// What to write, and what was refused.
#[derive(Debug, Default)]
pub struct Plan {
    /// The writes; empty if the store already holds everything.
    pub batch: Batch,
    /// What was not taken.
    pub refused: Vec<Refused>,
    /// How many resources the sender said are gone that are not its own, and stay.
    pub foreign_removals: usize,
}

impl Intake {
    /// What `delivery` does to a store at `snapshot`.
    ///
    /// Every write expects what the snapshot holds: if another writer was faster, plan again.
    pub fn plan(&self, snapshot: &Snapshot, delivery: &Delivery, now: Timestamp) -> Plan {
        let mut plan = Plan::default();
        let ty = delivery.ty;
        // Names that the sender still has, taken or not: they are not pruned.
        let mut present: BTreeSet<Key> = BTreeSet::new();
        let mut written: BTreeSet<Key> = BTreeSet::new();
        let mut is_prunable = delivery.is_complete;
        for Arrived { name, content } in &delivery.arrived {
            match self.key(ty, name) {
                Some(key) => drop(present.insert(key)),
                // It stands for a resource that exists, and nobody can say which.
                None => is_prunable &= content.is_ok(),
            }
            let adopted = match content {
                Ok(incoming) => self.adopt(snapshot, incoming, now),
                Err(error) => Err((report(error), None)),
            };
            match adopted {
                Ok(Some(resource)) if !written.insert(resource.key().clone()) => {
                    plan.refused.push(Refused {
                        name: name.clone(),
                        reason: format!("{} is in the response twice", resource.key()),
                        occupied: None,
                    });
                }
                Ok(Some(resource)) => {
                    present.insert(resource.key().clone());
                    let expect = expected(snapshot, resource.key());
                    plan.batch.push(Op::Put { resource, expect });
                }
                Ok(None) => {}
                Err((reason, occupied)) => plan.refused.push(Refused {
                    name: name.clone(),
                    reason,
                    occupied,
                }),
            }
        }
        let gone: BTreeSet<Key> = delivery
            .removed
            .iter()
            .filter_map(|name| self.key(ty, name))
            .collect();
        let stays = |key: &&Key| snapshot.get(key).is_some_and(|r| !self.may_remove(r));
        plan.foreign_removals = gone.iter().filter(stays).count();
        // Only a complete response is worth a look at everything that is stored.
        let pruned = is_prunable
            .then(|| snapshot.list(ty))
            .into_iter()
            .flatten()
            .filter(|r| !present.contains(r.key()))
            .map(|r| r.key().clone());
        let doomed: BTreeSet<Key> = gone
            .into_iter()
            .chain(pruned)
            .filter(|k| !present.contains(k))
            .collect();
        for key in doomed {
            if snapshot.get(&key).is_some_and(|r| self.may_remove(r)) {
                let expect = expected(snapshot, &key);
                plan.batch.push(Op::Delete { key, expect });
            }
        }
        plan
    }

    /// The name and version of a resource of the sender's, as the sender gave them. What was
    /// changed on arrival has another version here, and is sent again.
    pub(crate) fn held(&self, resource: &Resource) -> Option<(Name, Version)> {
        self.owns(resource).then(|| wire::as_received(resource))
    }

    /// The key under which a stream name is stored here; `None` for a name that is none.
    fn key(&self, ty: ResourceType, name: &str) -> Option<Key> {
        let (name, mesh) = wire::split_stream_name(name)?;
        let mesh = (!mesh.is_empty())
            .then(|| MeshName::parse(mesh))
            .transpose()
            .ok()?;
        Key::try_new(ty, mesh, ResourceName::parse(&self.stored_name(name)).ok()?)
    }

    fn stored_name(&self, sent: &str) -> String {
        match self {
            Self::FromZone {
                zone,
                naming: Naming::Plain,
            } => format!("{zone}.{sent}"),
            Self::FromGlobal
            | Self::FromZone {
                naming: Naming::Hashed,
                ..
            } => sent.to_owned(),
        }
    }

    /// Whether a removal of a stored resource is followed. A deployment keeps its identity: one
    /// that loses it would be taken for another.
    fn may_remove(&self, resource: &Resource) -> bool {
        let key = resource.key();
        let is_identity = key.ty() == ResourceType::Config && key.name().as_str() == cluster::ID;
        self.owns(resource) && !is_identity
    }

    /// Whether the sender may change a stored resource.
    fn owns(&self, resource: &Resource) -> bool {
        match self {
            Self::FromGlobal => resource.label(labels::ORIGIN) == Some(labels::ORIGIN_GLOBAL),
            Self::FromZone { zone, .. } => match resource.label(labels::ZONE) {
                Some(owner) => owner == zone.as_str(),
                None => resource
                    .key()
                    .name()
                    .as_str()
                    .strip_prefix(zone.as_str())
                    .is_some_and(|rest| rest.starts_with('.')),
            },
        }
    }

    /// The resource as it is stored here; `None` if that is what is stored already. The error has
    /// the reason, and the key of the resource that is in its place.
    fn adopt(
        &self,
        snapshot: &Snapshot,
        incoming: &Incoming,
        now: Timestamp,
    ) -> Result<Option<Arc<Resource>>, (String, Option<Key>)> {
        let Incoming {
            key,
            labels: sent,
            spec,
            status,
        } = incoming;
        let name = self.stored_name(key.name().as_str());
        let name = ResourceName::parse(&name)
            .map_err(|error| (format!("name {name:?} here: {error}"), None))?;
        let stored_key = key.with_name(name);
        let current = snapshot.get(&stored_key);
        if let Some(current) = current
            && !self.owns(current)
        {
            let reason = match current.label(labels::ZONE) {
                Some(owner) => format!("{stored_key} exists already and belongs to zone {owner}"),
                None => format!("{stored_key} exists already and is not the sender's"),
            };
            return Err((reason, Some(stored_key)));
        }
        let labels = self.labels(key, sent.clone());
        let spec = self.attribute(spec.clone());
        let created = current.map_or(now, |c| c.created());
        let adopted =
            Resource::new(stored_key, labels, spec, created, now).with_status(status.clone());
        if current.is_some_and(|current| current.version() == adopted.version()) {
            return Ok(None);
        }
        Ok(Some(Arc::new(adopted)))
    }

    fn labels(&self, key: &Key, mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut set = |label: &str, value: &str| labels.insert(label.to_owned(), value.to_owned());
        match self {
            // A 2.5 global sends no labels; what it sends is its own all the same.
            Self::FromGlobal => {
                set(labels::ORIGIN, labels::ORIGIN_GLOBAL);
            }
            Self::FromZone { zone, naming } => {
                set(labels::ORIGIN, labels::ORIGIN_ZONE);
                set(labels::ZONE, zone.as_str());
                if *naming == Naming::Plain {
                    set(labels::DISPLAY_NAME, key.name().as_str());
                }
            }
        }
        labels
    }

    /// The spec with the zone written into it where it names one; the bytes as they came where
    /// it says so already, or says nothing.
    fn attribute(&self, spec: Spec) -> Spec {
        let Self::FromZone { zone, .. } = self else {
            return spec;
        };
        let relabel = |tags: &mut BTreeMap<String, String>| match tags.get_mut(tags::ZONE) {
            Some(value) if value != zone.as_str() => {
                *value = zone.as_str().to_owned();
                true
            }
            _ => false,
        };
        match spec.ty() {
            ResourceType::Dataplane => {
                let mut dataplane: Dataplane = spec.decode();
                let Some(networking) = &mut dataplane.networking else {
                    return spec;
                };
                let inbounds = networking.inbound.iter_mut().map(|i| &mut i.tags);
                let gateway = networking.gateway.iter_mut().map(|g| &mut g.tags);
                let changed = inbounds
                    .chain(gateway)
                    .filter_map(|t| relabel(t).then_some(()))
                    .count();
                if changed == 0 {
                    spec
                } else {
                    Spec::encode(spec.ty(), &dataplane)
                }
            }
            ResourceType::ZoneIngress => {
                let mut ingress: ZoneIngress = spec.decode();
                let services = ingress.available_services.iter_mut().map(|s| &mut s.tags);
                let changed = services.filter_map(|t| relabel(t).then_some(())).count();
                if changed == 0 && ingress.zone == zone.as_str() {
                    return spec;
                }
                ingress.zone = zone.as_str().to_owned();
                Spec::encode(spec.ty(), &ingress)
            }
            _ => spec,
        }
    }
}

/// What a write to `key` that was planned on `snapshot` expects to find.
fn expected(snapshot: &Snapshot, key: &Key) -> Expect {
    snapshot
        .get(key)
        .map_or(Expect::Absent, |current| Expect::Version(current.version()))
}

/// An error with its causes, as one line.
fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use mesh_proto::mesh::{self, dataplane};
    use mesh_store::{Memory, Store as _};

    use super::*;
    use crate::mapping::Mapping;

    fn zone(name: &str) -> ZoneName {
        ZoneName::parse(name).unwrap()
    }

    fn key(ty: ResourceType, name: &str) -> Key {
        let mesh = ty
            .is_mesh_scoped()
            .then(|| MeshName::parse("default").unwrap());
        Key::try_new(ty, mesh, ResourceName::parse(name).unwrap()).unwrap()
    }

    fn resource(ty: ResourceType, name: &str, labels: &[(&str, &str)]) -> Resource {
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let spec = Spec::parse(ty, bytes::Bytes::new()).unwrap();
        Resource::new(
            key(ty, name),
            labels,
            spec,
            Timestamp::EPOCH,
            Timestamp::EPOCH,
        )
    }

    fn arrived(mapping: &Mapping, resource: &Resource) -> Arrived {
        let (kind, name, item) = mapping.apply(resource).unwrap();
        Arrived {
            name,
            content: wire::decode(kind.resource_type(), item.payload.to_bytes()),
        }
    }

    fn delivery(
        ty: ResourceType,
        is_complete: bool,
        arrived: Vec<Arrived>,
        removed: &[&str],
    ) -> Delivery {
        Delivery {
            ty,
            is_complete,
            arrived,
            removed: removed.iter().map(|n| Name::from(*n)).collect(),
        }
    }

    async fn run(
        store: &Memory,
        intake: &Intake,
        delivery: Delivery,
    ) -> (Vec<String>, Vec<String>) {
        let plan = intake.plan(
            &store.snapshot(),
            &delivery,
            Timestamp::from_unix_seconds(1),
        );
        let ops = plan
            .batch
            .ops()
            .iter()
            .map(|op| match op {
                Op::Put { resource, .. } => format!("+{}", resource.key()),
                Op::Delete { key, .. } => format!("-{key}"),
            })
            .collect();
        store.commit(plan.batch).await.unwrap();
        (
            ops,
            plan.refused
                .into_iter()
                .map(|r| format!("{}: {}", r.name, r.reason))
                .collect(),
        )
    }

    #[tokio::test]
    async fn a_zone_prunes_only_what_the_global_owns() {
        let store = Memory::new();
        let own = resource(ResourceType::GlobalSecret, "user-token-signing-key-1", &[]);
        store.commit(Batch::new().put(own)).await.unwrap();
        let down = Mapping::Down(Naming::Hashed);
        let synced = resource(ResourceType::GlobalSecret, "zone-token-revocations", &[]);
        let first = delivery(
            ResourceType::GlobalSecret,
            true,
            vec![arrived(&down, &synced)],
            &[],
        );
        let (ops, refused) = run(&store, &Intake::FromGlobal, first).await;
        assert_eq!(ops, ["+GlobalSecret zone-token-revocations"]);
        assert!(refused.is_empty());
        let empty = delivery(ResourceType::GlobalSecret, true, vec![], &[]);
        let (ops, _) = run(&store, &Intake::FromGlobal, empty).await;
        assert_eq!(ops, ["-GlobalSecret zone-token-revocations"]);
        assert_eq!(store.snapshot().len(), 1);
    }

    #[tokio::test]
    async fn what_a_zone_says_is_gone_of_others_stays_and_is_counted() {
        let store = Memory::new();
        let of = |name: &str, zone: &str| {
            let origin = (labels::ORIGIN, labels::ORIGIN_ZONE);
            resource(
                ResourceType::Dataplane,
                name,
                &[origin, (labels::ZONE, zone)],
            )
        };
        let batch = Batch::new()
            .put(of("east-1", "east"))
            .put(of("west-1", "west"));
        store.commit(batch).await.unwrap();
        let intake = Intake::FromZone {
            zone: zone("east"),
            naming: Naming::Hashed,
        };
        let gone = ["east-1.default", "west-1.default", "none.default"];
        let gone = delivery(ResourceType::Dataplane, false, vec![], &gone);
        let plan = intake.plan(&store.snapshot(), &gone, Timestamp::EPOCH);
        assert_eq!(plan.foreign_removals, 1);
        let (ops, _) = run(&store, &intake, gone).await;
        assert_eq!(ops, ["-Dataplane default/east-1"]);
        // What a complete response leaves out of others is no word about them.
        let empty = delivery(ResourceType::Dataplane, true, vec![], &[]);
        let plan = intake.plan(&store.snapshot(), &empty, Timestamp::EPOCH);
        assert!(plan.batch.is_empty() && plan.foreign_removals == 0);
    }

    #[tokio::test]
    async fn a_global_without_labels_owns_what_it_sends() {
        let store = Memory::new();
        let gateway = resource(ResourceType::MeshGateway, "edge", &[]);
        let item = wire::encode(wire::Outgoing {
            ty: ResourceType::MeshGateway,
            name: "edge",
            mesh: "default",
            labels: BTreeMap::new(),
            spec: gateway.spec().bytes().clone(),
            status: None,
        });
        let arrived = Arrived {
            name: "edge.default".into(),
            content: wire::decode(ResourceType::MeshGateway, item.payload.to_bytes()),
        };
        let first = delivery(ResourceType::MeshGateway, true, vec![arrived], &[]);
        run(&store, &Intake::FromGlobal, first).await;
        let stored = store.get(gateway.key()).unwrap();
        assert_eq!(stored.label(labels::ORIGIN), Some(labels::ORIGIN_GLOBAL));
        let gone = delivery(ResourceType::MeshGateway, false, vec![], &["edge.default"]);
        let (ops, _) = run(&store, &Intake::FromGlobal, gone).await;
        assert_eq!(ops, ["-MeshGateway default/edge"]);
    }

    #[tokio::test]
    async fn a_refused_resource_keeps_its_last_good_version() {
        let store = Memory::new();
        let good = resource(ResourceType::Mesh, "default", &[(labels::ORIGIN, "global")]);
        store.commit(Batch::new().put(good)).await.unwrap();
        let bad = Arrived {
            name: "default.".into(),
            content: wire::decode(ResourceType::Mesh, bytes::Bytes::from_static(b"\xff")),
        };
        let first = delivery(ResourceType::Mesh, true, vec![bad], &[]);
        let (ops, refused) = run(&store, &Intake::FromGlobal, first).await;
        assert!(ops.is_empty(), "{ops:?}");
        assert_eq!(refused.len(), 1);
        assert!(
            refused[0].starts_with("default.: not an encoded KumaResource"),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn a_zone_writes_only_under_its_own_name() {
        let store = Memory::new();
        let theirs = resource(ResourceType::Dataplane, "echo", &[(labels::ZONE, "west")]);
        let prefixed = resource(ResourceType::Dataplane, "east.old", &[]);
        store
            .commit(Batch::new().put(theirs).put(prefixed))
            .await
            .unwrap();
        let east = Intake::FromZone {
            zone: zone("east"),
            naming: Naming::Hashed,
        };
        let incoming = Arrived {
            name: "echo.default".into(),
            content: Ok(Incoming {
                key: key(ResourceType::Dataplane, "echo"),
                labels: BTreeMap::new(),
                spec: Spec::parse(ResourceType::Dataplane, bytes::Bytes::new()).unwrap(),
                status: None,
            }),
        };
        let first = delivery(
            ResourceType::Dataplane,
            true,
            vec![incoming],
            &["echo.default"],
        );
        let (ops, refused) = run(&store, &east, first).await;
        assert_eq!(ops, ["-Dataplane default/east.old"]);
        assert_eq!(
            refused,
            ["echo.default: Dataplane default/echo exists already and belongs to zone west"]
        );
    }

    #[tokio::test]
    async fn plain_names_are_prefixed_and_zone_tags_corrected() {
        let store = Memory::new();
        let spec = mesh::Dataplane {
            networking: Some(dataplane::Networking {
                inbound: vec![dataplane::networking::Inbound {
                    tags: [(tags::ZONE.to_owned(), "west".to_owned())].into(),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        };
        let incoming = Arrived {
            name: "echo.default".into(),
            content: Ok(Incoming {
                key: key(ResourceType::Dataplane, "echo"),
                labels: BTreeMap::new(),
                spec: Spec::encode(ResourceType::Dataplane, &spec),
                status: None,
            }),
        };
        let east = Intake::FromZone {
            zone: zone("east"),
            naming: Naming::Plain,
        };
        let first = delivery(ResourceType::Dataplane, true, vec![incoming], &[]);
        let (ops, _) = run(&store, &east, first).await;
        assert_eq!(ops, ["+Dataplane default/east.echo"]);
        let stored = store
            .get(&key(ResourceType::Dataplane, "east.echo"))
            .unwrap();
        assert_eq!(stored.display_name(), "echo");
        assert_eq!(stored.label(labels::ZONE), Some("east"));
        let stored: mesh::Dataplane = stored.decode();
        assert_eq!(
            stored.networking.unwrap().inbound[0].tags[tags::ZONE],
            "east"
        );
        let gone = delivery(ResourceType::Dataplane, false, vec![], &["echo.default"]);
        let (ops, _) = run(&store, &east, gone).await;
        assert_eq!(ops, ["-Dataplane default/east.echo"]);
    }

    #[tokio::test]
    async fn the_same_content_again_writes_nothing() {
        let store = Memory::new();
        let mapping = Mapping::Up(zone("east"), Naming::Hashed);
        let east = Intake::FromZone {
            zone: zone("east"),
            naming: Naming::Hashed,
        };
        let echo = resource(ResourceType::Dataplane, "echo", &[]);
        for expected in [1, 0] {
            let first = delivery(
                ResourceType::Dataplane,
                true,
                vec![arrived(&mapping, &echo)],
                &[],
            );
            let (ops, _) = run(&store, &east, first).await;
            assert_eq!(ops.len(), expected);
        }
    }
}
