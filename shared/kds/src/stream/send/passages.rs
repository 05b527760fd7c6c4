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
pub(super) struct Passages(VecDeque<(Named, Passage)>);

/// A version of a resource.
#[derive(Debug)]
pub(super) struct Named {
    kind: Kind,
    name: Name,
    version: Version,
}

impl Passages {
    /// What is remembered of a response, if it leaves.
    pub(super) fn latest(response: &Response<Kind>) -> Vec<Named> {
        let resources = &response.resources;
        let latest = &resources[resources.len().saturating_sub(MOST)..];
        let named = latest.iter().map(|(name, item)| Named {
            kind: response.ty,
            name: name.clone(),
            version: item.version.clone(),
        });
        named.collect()
    }

    /// Takes note of what left.
    pub(super) fn left(&mut self, latest: Vec<Named>, now: Timestamp) {
        let room = MOST.saturating_sub(latest.len());
        self.0.drain(..self.0.len().saturating_sub(room));
        let passage = Passage {
            sent_at: Some(now),
            accepted_at: None,
        };
        self.0
            .extend(latest.into_iter().map(|named| (named, passage)));
    }

    /// Takes note that the peer accepted what it was sent of a kind.
    pub(super) fn accepted(&mut self, kind: Kind, now: Timestamp) {
        let of_kind = self.0.iter_mut().rev().filter(|(of, _)| of.kind == kind);
        for (_, passage) in of_kind.take_while(|(_, passage)| passage.accepted_at.is_none()) {
            passage.accepted_at = Some(now);
        }
    }

    /// What is remembered of a version of a resource.
    pub(super) fn of(&self, kind: Kind, name: &Name, version: &Version) -> Passage {
        let mut latest = self.0.iter().rev();
        latest
            .find(|(of, _)| of.kind == kind && of.name == *name && of.version == *version)
            .map(|(_, passage)| *passage)
            .unwrap_or_default()
    }
}
