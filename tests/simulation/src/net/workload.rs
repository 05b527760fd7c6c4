//! What the users of a global and of its zones write.

use std::collections::BTreeMap;

use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Spec, Timestamp, cluster};
use mesh_proto::system;
use mesh_store::Batch;

use super::ledger::{CONTENT, GLOBAL, WRITER};
use crate::dice::Dice;

/// Writes by chance; no content comes twice.
#[derive(Debug)]
pub(super) struct Workload {
    dice: Dice,
    next: u64,
}

impl Workload {
    pub(super) fn new(dice: Dice) -> Self {
        Self { dice, next: 0 }
    }

    /// Some changes at `place`, to one of so many resources each.
    pub(super) fn changes(&mut self, place: &str, changes: usize, of: usize) -> Batch {
        let mut batch = Batch::new();
        for _ in 0..changes {
            let key = self.key(place, of);
            if self.dice.percent(30) {
                batch = batch.delete(key);
            } else {
                batch = batch.put(self.content(place, key));
            }
        }
        batch
    }

    /// A write of one resource of `place`, and its content.
    pub(super) fn probe(&mut self, place: &str) -> (Batch, u64) {
        let ty = if place == GLOBAL {
            ResourceType::MeshGateway
        } else {
            ResourceType::Dataplane
        };
        let resource = self.content(place, key(ty, "probe"));
        (Batch::new().put(resource), self.next)
    }

    fn key(&mut self, place: &str, of: usize) -> Key {
        let n = self.dice.below(of);
        if place == GLOBAL {
            return match self.dice.below(4) {
                0 => key(ResourceType::Mesh, &format!("mesh-{}", n % 4)),
                1 => key(ResourceType::MeshGateway, &format!("edge-{n}")),
                _ => key(ResourceType::MeshGatewayRoute, &format!("route-{n}")),
            };
        }
        match self.dice.below(8) {
            0 | 1 => key(ResourceType::ZoneIngress, &format!("ingress-{}", n % 2)),
            // It is in the way of the global's.
            2 => key(ResourceType::Mesh, "mesh-0"),
            _ => key(ResourceType::Dataplane, &format!("echo-{n}")),
        }
    }

    fn content(&mut self, place: &str, key: Key) -> Resource {
        self.next += 1;
        let labels = [
            (CONTENT.to_owned(), self.next.to_string()),
            (WRITER.to_owned(), place.to_owned()),
        ];
        let spec = Spec::parse(key.ty(), bytes::Bytes::new());
        let spec = spec.unwrap_or_else(|_| Spec::encode(key.ty(), &system::Config::default()));
        Resource::new(
            key,
            BTreeMap::from(labels),
            spec,
            Timestamp::EPOCH,
            Timestamp::EPOCH,
        )
    }
}

fn key(ty: ResourceType, name: &str) -> Key {
    let name = ResourceName::parse(name).expect("the names of this module are names");
    if !ty.is_mesh_scoped() {
        return Key::global(ty, name);
    }
    let mesh = MeshName::parse("default").expect("it is a name");
    Key::in_mesh(ty, mesh, name)
}

/// The identity of the simulated deployment.
pub(super) const FLEET: &str = "fleet-1";

/// What tells a deployment from another.
pub(super) fn identity(id: &str) -> Batch {
    let config = system::Config {
        config: id.to_owned(),
    };
    let spec = Spec::encode(ResourceType::Config, &config);
    let key = key(ResourceType::Config, cluster::ID);
    Batch::new().put(Resource::new(
        key,
        BTreeMap::new(),
        spec,
        Timestamp::EPOCH,
        Timestamp::EPOCH,
    ))
}
