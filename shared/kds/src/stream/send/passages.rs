//! When resources went to a peer, and when it said that it has them.

use std::collections::VecDeque;

use mesh_delta::{Name, Response, Version};
use mesh_model::Timestamp;

use crate::kind::Kind;
use crate::receipt::Passage;

/// How many resources are remembered: the latest.
const MOST: usize = 64;

/// The latest resources that went to a peer.
#[derive(Debug, Default)]
pub(super) struct Passages(VecDeque<Passed>);

#[derive(Debug)]
struct Passed {
    kind: Kind,
    name: Name,
    version: Version,
    passage: Passage,
}

impl Passages {
    /// Takes note of a response that leaves.
    pub(super) fn left(&mut self, response: &Response<Kind>, now: Timestamp) {
        let resources = &response.resources;
        let latest = &resources[resources.len().saturating_sub(MOST)..];
        let room = MOST - latest.len();
        self.0.drain(..self.0.len().saturating_sub(room));
        self.0.extend(latest.iter().map(|(name, item)| Passed {
            kind: response.ty,
            name: name.clone(),
            version: item.version.clone(),
            passage: Passage {
                sent_at: Some(now),
                accepted_at: None,
            },
        }));
    }

    /// Takes note that the peer accepted what it was sent of a kind.
    pub(super) fn accepted(&mut self, kind: Kind, now: Timestamp) {
        let open = self.0.iter_mut().rev().filter(|one| one.kind == kind);
        for one in open.take_while(|one| one.passage.accepted_at.is_none()) {
            one.passage.accepted_at = Some(now);
        }
    }

    /// What is remembered of a version of a resource.
    pub(super) fn of(&self, kind: Kind, name: &Name, version: &Version) -> Passage {
        let mut latest = self.0.iter().rev();
        latest
            .find(|one| one.kind == kind && one.name == *name && one.version == *version)
            .map(|one| one.passage)
            .unwrap_or_default()
    }
}
