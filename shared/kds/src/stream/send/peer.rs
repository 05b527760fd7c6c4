//! The peer of a stream, as far as it is known: what it is offered, and what it said last.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use mesh_delta::{Matcher, Response, Sender};
use tokio::time::Instant;

use super::passages::Passages;
use super::{ANSWER_TIMEOUT, Probe};
use crate::kind::Kind;
use crate::lack::Lack;
use crate::peer::Abilities;
use crate::precheck::Precheck;
use crate::projection::{Projection, View};
use crate::receipt::Standing;
use crate::stream::End;

/// How much of what a peer lacks is told.
const MOST_LACKS: usize = 1000;

/// The peer, once it introduced itself.
pub(super) struct Peer {
    pub(super) sender: Sender<Kind>,
    pub(super) projection: Arc<Projection>,
    /// What is for this peer only, where peers differ.
    pub(super) view: Option<View>,
    /// What a stock peer can take of it.
    pub(super) precheck: Option<Precheck>,
    /// Whether the peer lacks anything that it was offered.
    pub(super) has_lacks: bool,
    pub(super) abilities: Abilities,
    /// Types of which it is being found out what the peer holds.
    pub(super) matching: BTreeMap<Kind, Matcher>,
    /// Chunks that are still to be sent, each with whether it is the last of its response.
    pub(super) backlog: VecDeque<(Response<Kind>, bool)>,
    /// When the transport took the last chunk, or the first of those that wait came.
    pub(super) moved: Instant,
    /// When the open response of a type left.
    pub(super) sent: BTreeMap<Kind, Instant>,
    /// When the peer answered anything last. A stock zone applies one type after the other, so
    /// that who answers is not dead.
    pub(super) answered: Option<Instant>,
    /// When it was sent what.
    pub(super) passages: Passages,
}

impl Peer {
    /// When the peer has had enough time to read or answer, and what is to be said of it then.
    pub(super) fn overdue_at(&self) -> Option<(Instant, End)> {
        if !self.backlog.is_empty() {
            return Some((self.moved + ANSWER_TIMEOUT, End::NotReading));
        }
        let (at, kind) = self.sent.iter().map(|(kind, at)| (*at, *kind)).min()?;
        let at = self.answered.map_or(at, |answered| at.max(answered));
        Some((at + ANSWER_TIMEOUT, End::Unanswered(kind)))
    }

    /// Offers what there is for the peer in `latest`.
    pub(super) fn look(&mut self, latest: &mesh_store::Snapshot) {
        let offer = self.projection.at(latest);
        let items = match &mut self.view {
            Some(view) => view.at(offer),
            None => offer.items,
        };
        self.sender.offer(match &mut self.precheck {
            Some(precheck) => precheck.pass(&items),
            None => items,
        });
    }

    /// Where a version of a resource stands with the peer.
    pub(super) fn standing(&self, probe: &Probe) -> Standing {
        let Probe {
            kind,
            name,
            version,
            ..
        } = probe;
        let left_out = self.precheck.iter().flat_map(Precheck::left_out);
        let reason = left_out.filter(|(place, _)| place.0 == *kind && place.1 == *name);
        if let Some((_, reason)) = reason.into_iter().next() {
            return Standing::Lacks(reason.clone());
        }
        let offered = self.sender.offered();
        let is_offered = offered.is_some_and(|o| o.items(*kind).contains_key(name));
        if !is_offered {
            return Standing::NotForZone;
        }
        if self.sender.held_version(*kind, name).as_ref() == Some(version) {
            return Standing::Accepted;
        }
        let mut refused = self.sender.rejections();
        match refused.find(|refused| refused.ty == *kind && refused.name == *name) {
            Some(refused) => Standing::Lacks(refused.reason.to_string()),
            None => Standing::UnderWay,
        }
    }

    /// What the peer does not have of what there is for it, as far as that is somebody's verdict.
    pub(super) fn lacks(&self) -> Vec<Lack> {
        let offered = self.sender.offered();
        let refused = self.sender.rejections().map(|refused| {
            let item = offered.and_then(|offered| offered.items(refused.ty).get(&refused.name));
            Lack::new(refused.ty, &refused.name, item, &refused.reason, true)
        });
        let left_out = self.precheck.iter().flat_map(Precheck::lacks);
        left_out.chain(refused).take(MOST_LACKS).collect()
    }

    pub(super) fn answered(&mut self, kind: Kind) {
        self.sent.remove(&kind);
        self.answered = Some(Instant::now());
    }
}
