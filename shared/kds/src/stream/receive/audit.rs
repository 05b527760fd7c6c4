//! Whether a store still holds what was taken from the peer.
//!
//! What the peer sends is compared by heartbeats, on what this end says that it holds. If somebody
//! else writes to the store, that is no longer true and nobody would notice before the next
//! connection. So what changed in the store is looked at now and then, which costs time in
//! proportion to the changes.

use mesh_delta::Receiver;
use mesh_store::Snapshot;

use crate::intake::Intake;
use crate::kind::Kind;
use crate::wire;

/// What was looked at.
#[derive(Debug)]
pub(super) struct Audit {
    seen: Snapshot,
}

impl Audit {
    /// What is different from now on is noticed.
    pub(super) fn new(seen: Snapshot) -> Self {
        Self { seen }
    }

    /// The first resource of these kinds that is not what was accepted of the peer, by its name on
    /// the stream, among those that changed since the last look.
    pub(super) fn look(
        &mut self,
        now: &Snapshot,
        intake: &Intake,
        receiver: &Receiver<Kind>,
        is_answered: impl Fn(Kind) -> bool,
    ) -> Option<(Kind, String)> {
        let mut other = None;
        for change in now.changes_since(&self.seen).filter(|c| c.is_of_content()) {
            let key = change.key();
            let Some(kind) = Kind::of(key.ty()).filter(|kind| is_answered(*kind)) else {
                continue;
            };
            let name = wire::stream_name(key.name().as_str(), key.mesh_str());
            let held = change.new_resource().and_then(|new| intake.held(new));
            let accepted = receiver.held(kind).get(&name);
            if accepted != held.as_ref().map(|(_, version)| version) {
                other.get_or_insert((kind, name.to_string()));
            }
        }
        self.seen = now.clone();
        other
    }
}
