//! A zone takes nothing from a global that is not the one it follows.
//!
//! A typo in a global's work directory makes an empty global. Every type's first response is
//! complete, so following it would delete everything that the zone serves. The identity of the
//! deployment travels as the `Config` named `kuma-cluster-id`: until it was seen to be the known
//! one, nothing else is applied.

use mesh_model::{Key, ResourceName, ResourceType, cluster};
use mesh_proto::system;
use mesh_store::Snapshot;

use crate::intake::Delivery;
use crate::stream::End;
use crate::stream::receive::{Gate, Pass};

/// The cluster id that a zone follows; `None` before it ever followed one.
pub fn known_cluster_id(snapshot: &Snapshot) -> Option<String> {
    config(snapshot, cluster::ID)
}

fn config(snapshot: &Snapshot, name: &str) -> Option<String> {
    let name = ResourceName::parse(name).expect("both names of this module are names");
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
}

impl ClusterGate {
    /// A gate for a stream of a zone whose store is at `snapshot`.
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        Self {
            known: known_cluster_id(snapshot),
            accepted: config(snapshot, cluster::ACCEPTED_ID),
            is_open: false,
        }
    }
}

impl Gate for ClusterGate {
    fn check(&mut self, _snapshot: &Snapshot, delivery: &Delivery) -> Result<Pass, End> {
        if self.is_open {
            return Ok(Pass::Now);
        }
        if delivery.ty != ResourceType::Config {
            return Ok(Pass::Later);
        }
        let Some(known) = &self.known else {
            self.is_open = true;
            return Ok(Pass::Now);
        };
        let offered = delivery
            .arrived
            .iter()
            .filter_map(|arrived| arrived.content.as_ref().ok())
            .find(|incoming| incoming.key.name().as_str() == cluster::ID)
            .map(|incoming| incoming.spec.decode::<system::Config>().config);
        match offered {
            // A global that has just started has no id yet; it sends one when it has.
            None => Ok(Pass::Never),
            Some(offered) if offered == *known || Some(&offered) == self.accepted.as_ref() => {
                self.is_open = true;
                Ok(Pass::Now)
            }
            Some(offered) => Err(End::OtherCluster {
                known: known.clone(),
                offered,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_that_follows_nobody_takes_the_cluster_id_before_anything_else() {
        let store = mesh_store::Store::id(&mesh_store::Memory::new());
        let snapshot = Snapshot::empty(store);
        let delivery = |ty| Delivery {
            ty,
            is_complete: true,
            arrived: Vec::new(),
            removed: Vec::new(),
        };
        let mut gate = ClusterGate::new(&snapshot);
        let mut check = |ty| gate.check(&snapshot, &delivery(ty)).unwrap();
        assert_eq!(check(ResourceType::Mesh), Pass::Later);
        assert_eq!(check(ResourceType::Config), Pass::Now);
        assert_eq!(check(ResourceType::Mesh), Pass::Now);
    }
}
