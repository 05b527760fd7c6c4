//! Clusters that a receiver has from an earlier stream and that are no longer offered.
//!
//! Nobody here can say such a cluster again, and a response without it takes it away while routes
//! of the earlier stream still name it. So a stand-in is said, which never gets endpoints: Envoy
//! goes on with the cluster that it has while the other one warms. It goes like any cluster that
//! is no longer offered: when the routes have been replaced, and some seconds later.
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/cluster_manager#cluster-warming>
//!
//! Envoy answers nothing about clusters while one warms. What it says about endpoints tells as
//! much: it asks for those of a cluster once it has it.

use std::sync::Arc;

use super::{Open, World, acknowledge};
use crate::message::Time;
use crate::payload::Payload;
use crate::sender::Sender;
use crate::snapshot::{Item, Name, TypeSet, Version};

/// The version of all stand-ins; no content has it.
const STAND_IN: &str = "stand-in";

pub(super) fn stand_in<T>(payload: Payload) -> Item<T> {
    Item::new(Version::from(STAND_IN), payload)
}

fn has_stand_in<T>(open: &Open<T>) -> bool {
    open.next.values().any(|item| &*item.version == STAND_IN)
}

impl<T: TypeSet> World<T> {
    /// Takes a response with stand-ins for accepted once its clusters surely are there.
    pub(super) fn assume(&mut self, now: Time, sender: &mut Sender<T>) {
        for &ty in T::ALL.iter().filter(|ty| ty.is_whole()) {
            if self.may_assume(ty, sender) {
                let state = &mut self.types[ty.index()];
                if let (Some(open), Some(nonce)) = (state.open.take(), state.nonce.clone()) {
                    state.accept(open);
                    state.version = None;
                    state.is_assumed = true;
                    acknowledge(now, sender, ty, nonce);
                }
            }
        }
    }

    fn may_assume(&self, ty: T, sender: &Sender<T>) -> bool {
        let (Some(companion), Some(offered)) = (ty.companion(), sender.offered()) else {
            return false;
        };
        let Some(open) = self.types[ty.index()]
            .open
            .as_ref()
            .filter(|o| has_stand_in(o))
        else {
            return false;
        };
        let accepted = &self.types[companion.index()].held;
        let accompanied = open.next.keys().filter(|name| {
            let companions = offered.items(companion);
            companions.contains_key(*name)
        });
        accompanied
            .into_iter()
            .all(|name| accepted.contains_key(name))
    }

    /// Keeps what is held of a type under names that are not offered.
    pub(super) fn stand_in_for<'a>(&mut self, ty: T, names: impl Iterator<Item = &'a Name>) {
        let make = Arc::clone(&self.stand_ins);
        let held = &mut self.types[ty.index()].held;
        for name in names {
            held.insert(name.clone(), stand_in(make(name)));
        }
    }
}
