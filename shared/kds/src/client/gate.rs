//! A zone takes nothing from a global that is not the one it follows.
//!
//! A typo in a global's work directory makes an empty global. Every type's first response is
//! complete, so following it would delete everything that the zone serves. The identity of the
//! deployment travels as the `Config` named `kuma-cluster-id`: until it was seen to be the known
//! one, nothing else is applied.

use std::collections::BTreeMap;

use mesh_model::{Key, Resource, ResourceName, ResourceType, Spec, Timestamp, cluster};
use mesh_proto::system;
use mesh_store::Snapshot;
use tokio::sync::watch;
use uuid::Uuid;

use crate::intake::Delivery;
use crate::stream::End;
use crate::stream::receive::{Gate, Pass};

/// The cluster id that a zone follows; `None` before it ever followed one.
pub fn known_cluster_id(snapshot: &Snapshot) -> Option<String> {
    config(snapshot, cluster::ID)
}

/// The store of the global that a zone followed last; `None` before there was one of ours.
pub(crate) fn followed_store(snapshot: &Snapshot) -> Option<Uuid> {
    Uuid::parse_str(&config(snapshot, cluster::FOLLOWED_STORE)?).ok()
}

/// What a zone remembers of the store of its global.
pub(crate) fn followed(store: Uuid, now: Timestamp) -> Resource {
    let name = ResourceName::parse(cluster::FOLLOWED_STORE).expect("it is a name");
    let config = system::Config {
        config: store.to_string(),
    };
    let spec = Spec::encode(ResourceType::Config, &config);
    let key = Key::global(ResourceType::Config, name);
    Resource::new(key, BTreeMap::new(), spec, now, now)
}

fn config(snapshot: &Snapshot, name: &str) -> Option<String> {
    let name = ResourceName::parse(name).expect("the names of this module are names");
    let resource = snapshot.get(&Key::global(ResourceType::Config, name))?;
    Some(resource.decode::<system::Config>().config).filter(|id| !id.is_empty())
}

/// Lets a stream pass once its cluster id was seen to be the known one, or is the first that this
/// zone follows. Until then other types wait, so that a zone never holds anything of a global
/// whose id it doesn't.
#[derive(Debug)]
pub(crate) struct ClusterGate {
    known: Option<String>,
    accepted: Option<String>,
    is_open: bool,
    /// Told when the gate opens.
    opened: watch::Sender<bool>,
}

impl ClusterGate {
    /// A gate for a stream of a zone whose store is at `snapshot`.
    pub(crate) fn new(snapshot: &Snapshot, opened: watch::Sender<bool>) -> Self {
        Self {
            known: known_cluster_id(snapshot),
            accepted: config(snapshot, cluster::ACCEPTED_ID),
            is_open: false,
            opened,
        }
    }
}

impl Gate for ClusterGate {
    fn check(&mut self, _snapshot: &Snapshot, delivery: &Delivery) -> Result<Pass, End> {
        if delivery.ty != ResourceType::Config {
            return Ok(if self.is_open { Pass::Now } else { Pass::Later });
        }
        let offered = delivery
            .arrived
            .iter()
            .filter_map(|arrived| arrived.content.as_ref().ok())
            .find(|incoming| incoming.key.name().as_str() == cluster::ID)
            .map(|incoming| incoming.spec.decode::<system::Config>().config)
            .filter(|id| !id.is_empty());
        let Some(offered) = offered else {
            if !self.is_open {
                tracing::warn!(
                    "the global has no kuma-cluster-id yet; nothing is taken before it has"
                );
            }
            return Ok(if self.is_open { Pass::Now } else { Pass::Never });
        };
        let known = self.known.get_or_insert_with(|| offered.clone());
        if *known != offered {
            if self.accepted.as_ref() != Some(&offered) {
                let known = known.clone();
                return Err(End::OtherCluster { known, offered });
            }
            known.clone_from(&offered);
        }
        self.is_open = true;
        self.opened.send_replace(true);
        Ok(Pass::Now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::Arrived;
    use crate::wire::Incoming;

    fn delivery(ty: ResourceType, id: Option<&str>) -> Delivery {
        let arrived = id.map(|id| Arrived {
            name: "kuma-cluster-id.".into(),
            content: Ok(Incoming {
                key: Key::global(
                    ResourceType::Config,
                    ResourceName::parse(cluster::ID).unwrap(),
                ),
                labels: BTreeMap::new(),
                spec: Spec::encode(
                    ResourceType::Config,
                    &system::Config {
                        config: id.to_owned(),
                    },
                ),
                status: None,
            }),
        });
        Delivery {
            ty,
            is_complete: true,
            arrived: arrived.into_iter().collect(),
            removed: Vec::new(),
        }
    }

    #[test]
    fn a_zone_that_follows_nobody_takes_a_cluster_id_before_anything_else() {
        let store = mesh_store::Store::id(&mesh_store::Memory::new());
        let snapshot = Snapshot::empty(store);
        let mut gate = ClusterGate::new(&snapshot, watch::Sender::new(false));
        let mut check = |ty, id| gate.check(&snapshot, &delivery(ty, id));
        assert_eq!(check(ResourceType::Mesh, None).unwrap(), Pass::Later);
        // A global that has just started has no id yet; it sends one when it has.
        assert_eq!(check(ResourceType::Config, None).unwrap(), Pass::Never);
        assert_eq!(
            check(ResourceType::Config, Some("fleet-1")).unwrap(),
            Pass::Now
        );
        assert_eq!(check(ResourceType::Mesh, None).unwrap(), Pass::Now);
        // And holds on to it while the stream lasts.
        assert!(matches!(
            check(ResourceType::Config, Some("fleet-2")),
            Err(End::OtherCluster { .. })
        ));
    }
}
