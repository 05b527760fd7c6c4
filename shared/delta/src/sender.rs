//! The sending half of a delta stream: what one receiver has to be told next.
//!
//! Feed it what is offered ([`Sender::offer`], by level: the latest snapshot) and what the
//! receiver says ([`Sender::on_request`]); drain it with [`Sender::poll`] until that gives
//! nothing, and again at [`Sender::next_deadline`]. One response per type is open at a time.
//!
//! **Invariant:** nothing is sent before the first offer. A store that is not loaded yet must not
//! look like an empty one.

mod answer;
mod draft;
mod entry;
mod ordering;
mod split;
mod state;
mod status;
mod subscription;

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::ordmap::DiffItem;

use self::draft::{Draft, Found};
use self::entry::{Held, Phase};
use self::ordering::{Order, Step};
pub use self::state::Counters;
use self::state::{InFlight, Items, TypeState};
pub use self::status::{Rejected, Subscribed, TypeStatus};
use crate::digest::Digest;
use crate::message::{History, Nonce, Position, ProtocolError, Request, Response, Time};
use crate::policy::Policy;
use crate::snapshot::{Name, Snapshot, TypeSet};

/// What a request meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<T> {
    /// It changed a subscription, or said nothing new.
    Subscribed {
        /// The type.
        ty: T,
    },
    /// The response was applied.
    Acked {
        /// The type.
        ty: T,
        /// The response.
        nonce: Nonce,
    },
    /// The response was refused, wholly or in part.
    Nacked {
        /// The type.
        ty: T,
        /// The response.
        nonce: Nonce,
        /// What the receiver says about it.
        text: String,
        /// The refused names: those that the receiver listed, or else all in the response.
        names: Vec<Name>,
    },
    /// It answers no open response, and is ignored as an answer.
    Stale {
        /// The type.
        ty: T,
        /// The nonce.
        nonce: Nonce,
    },
}

/// The sending half of one delta stream. It is made for one stream and dies with it.
#[derive(Debug)]
pub struct Sender<T: TypeSet> {
    policy: Policy,
    history: Option<History>,
    offered: Option<Snapshot<T>>,
    types: Vec<TypeState<T>>,
    last_nonce: u64,
    deadline: Option<Time>,
    /// Whether nothing happened since `poll` found nothing to do.
    is_settled: bool,
}

impl<T: TypeSet> Sender<T> {
    /// A sender for a stream that was just opened.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            history: None,
            offered: None,
            types: T::ALL.iter().map(|&ty| TypeState::new(ty)).collect(),
            last_nonce: 0,
            deadline: None,
            is_settled: false,
        }
    }

    /// The same sender, stating in each response the position of the store that is offered.
    #[must_use]
    pub fn with_history(mut self, history: History) -> Self {
        self.history = Some(history);
        self
    }

    /// The same sender, keeping the digest of what its receiver accepted. For receivers that say
    /// what they hold, or hold nothing, and that list what they reject.
    #[must_use]
    pub fn with_digests(mut self) -> Self {
        for state in &mut self.types {
            state.digest = Some(Digest::default());
        }
        self
    }

    /// Replaces what is offered. The cost is that of the difference if the snapshots share
    /// structure. Returns whether the snapshot was taken: one with a lower revision than the last
    /// is older and ignored. After a change of the store's history, start a new stream.
    pub fn offer(&mut self, snapshot: Snapshot<T>) -> bool {
        if let Some(old) = &self.offered {
            if snapshot.revision() < old.revision() {
                return false;
            }
            for (&ty, state) in T::ALL.iter().zip(&mut self.types) {
                if state.subscription.is_some() {
                    compare(state, old.items(ty), snapshot.items(ty));
                }
            }
        } else {
            for (&ty, state) in T::ALL.iter().zip(&mut self.types) {
                state.load(snapshot.items(ty));
            }
        }
        self.offered = Some(snapshot);
        self.is_settled = false;
        true
    }

    /// What is offered; `None` before the first offer.
    pub fn offered(&self) -> Option<&Snapshot<T>> {
        self.offered.as_ref()
    }

    /// What the receiver holds under these names may be gone: a response that lacks them is on its
    /// way.
    pub(crate) fn lose<'a>(&mut self, ty: T, names: impl IntoIterator<Item = &'a Name>) {
        let state = &mut self.types[ty.index()];
        for name in names {
            if let Some(entry) = state.entries.get_mut(name) {
                let held = entry.held.take();
                entry.doubt(held);
            }
        }
        self.is_settled = false;
    }

    /// The revision of what is offered; `None` before the first offer.
    pub fn revision(&self) -> Option<u64> {
        self.offered.as_ref().map(Snapshot::revision)
    }

    /// Takes in what the receiver says.
    ///
    /// # Errors
    ///
    /// If the request cannot belong to this stream, or asks for too much. Stale and repeated
    /// answers are no errors.
    pub fn on_request(
        &mut self,
        now: Time,
        request: Request<T>,
    ) -> Result<Event<T>, ProtocolError<T>> {
        let ty = request.ty;
        self.is_settled = false;
        let offered = self.offered.as_ref().map(|offered| offered.items(ty));
        let state = &mut self.types[ty.index()];
        if state.subscription.is_none() {
            if let Some(nonce) = request.nonce {
                return Err(ProtocolError::AnswerBeforeSubscription { ty, nonce });
            }
            state.check_names(ty, &request.subscribe, self.policy.max_names)?;
            state.start(&request.subscribe, request.initial_versions, offered);
            state.unsubscribe(&request.unsubscribe, offered);
            return Ok(Event::Subscribed { ty });
        }
        // The answer first: a name that the same request subscribes to again is sent again.
        let event = match (request.nonce.clone(), offered) {
            (None, _) => Event::Subscribed { ty },
            (Some(nonce), Some(offered)) if state.is_open(&nonce) => {
                answer(state, &self.policy, now, offered, nonce, &request)
            }
            (Some(nonce), _) => Event::Stale { ty, nonce },
        };
        state.unsubscribe(&request.unsubscribe, offered);
        state.check_names(ty, &request.subscribe, self.policy.max_names)?;
        state.subscribe(&request.subscribe, offered);
        Ok(event)
    }

    /// The next response that may be sent now, if any.
    pub fn poll(&mut self, now: Time) -> Option<Response<T>> {
        if self.is_settled && self.deadline.is_none_or(|deadline| now < deadline) {
            return None;
        }
        let offered = self.offered.as_ref()?;
        let mut order = Order::new(now, &self.policy, offered, &self.types);
        let mut found = Found::new();
        let mut next: Option<Draft<T>> = None;
        for &ty in T::ALL {
            match draft::draft(&mut order, ty, &mut found) {
                // Removals alone go in the opposite order, after all additions.
                Some(removal) if removal.is_removal() => next = Some(removal),
                Some(addition) => {
                    next = Some(addition);
                    break;
                }
                None => {}
            }
        }
        self.record_waits(now, found.waits);
        for (ty, groups) in found.spent {
            self.types[ty.index()].retries.drain(..groups);
        }
        self.deadline = found.deadline;
        match next {
            Some(draft) => Some(self.send(draft)),
            None => {
                self.is_settled = true;
                None
            }
        }
    }

    /// When [`Self::poll`] may have something to say without anything having happened. Valid
    /// after `poll` returned `None`.
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Sends a rejected item again as it is: for a refusal that was not about what it says.
    pub fn try_again(&mut self, ty: T, name: &Name) {
        let Some(offered) = &self.offered else {
            return;
        };
        let state = &mut self.types[ty.index()];
        let entry = state.entries.get(name);
        if entry.is_some_and(|entry| matches!(entry.phase, Phase::Rejected { .. })) {
            state.settle(name, offered.items(ty).get(name));
            self.is_settled = false;
        }
    }

    fn record_waits(&mut self, now: Time, waits: Vec<(T, Name, Step<T>)>) {
        let Some(offered) = &self.offered else {
            return;
        };
        for (ty, name, wait) in waits {
            let state = &mut self.types[ty.index()];
            let Some(entry) = state.entries.get_mut(&name) else {
                continue;
            };
            if entry.phase == Phase::Suspect {
                // Its group goes without it.
                state.settle(&name, offered.items(ty).get(&name));
            }
            let Some(entry) = state.entries.get_mut(&name) else {
                continue;
            };
            match wait {
                Step::Blocked { until } => {
                    entry.blocked_since = until.and(entry.blocked_since.or(Some(now)));
                }
                Step::Deferred { until } => {
                    entry.is_deferred = true;
                    entry.free_since = until.and(entry.free_since.or(Some(now)));
                }
                Step::Send(_) | Step::Remove => {}
            }
        }
    }

    fn send(&mut self, draft: Draft<T>) -> Response<T> {
        let ty = draft.ty;
        self.last_nonce += 1;
        let nonce = Nonce::counted(self.last_nonce);
        let state = &mut self.types[ty.index()];
        let sent = draft
            .resources
            .iter()
            .map(|(name, item)| (name.clone(), Some(Held::of(item))))
            .chain(draft.removed.iter().map(|name| (name.clone(), None)));
        let entries: Vec<_> = sent.collect();
        let mut updated = Vec::new();
        for (name, sent) in &entries {
            state.queue.remove(name);
            if let Some(entry) = state.entries.get_mut(name) {
                if let Some(sent) = sent
                    && entry.possible().any(|held| held.version != sent.version)
                {
                    updated.push(name.clone());
                }
                entry.phase = Phase::InFlight {
                    is_removal: sent.is_none(),
                };
                entry.is_owed = false;
                entry.is_deferred = false;
                // `blocked_since` stays: what was sent in spite of its needs does not wait for
                // them once more when it is split off from a refused response.
            }
        }
        if draft.is_retry {
            state.retries.pop_front();
        }
        state.prefers_retry = !draft.is_retry && !state.retries.is_empty();
        state.counters.sent += 1;
        state.in_flight = Some(InFlight {
            nonce: nonce.clone(),
            entries,
            is_complete: draft.is_complete,
        });
        self.owe_companions(ty, &updated);
        Response {
            ty,
            nonce,
            resources: draft.resources,
            removed: draft.removed,
            is_complete: draft.is_complete,
            position: self.position(),
        }
    }

    fn owe_companions(&mut self, ty: T, updated: &[Name]) {
        let (Some(companion), Some(offered)) = (ty.companion(), &self.offered) else {
            return;
        };
        let state = &mut self.types[companion.index()];
        let items = offered.items(companion);
        for name in updated {
            state.owe_companion(name, items);
        }
    }

    fn position(&self) -> Option<Position> {
        Some(Position {
            history: self.history?,
            revision: self.offered.as_ref()?.revision(),
        })
    }
}

/// Takes in the answer to the open response.
fn answer<T: TypeSet>(
    state: &mut TypeState<T>,
    policy: &Policy,
    now: Time,
    offered: &Items<T>,
    nonce: Nonce,
    request: &Request<T>,
) -> Event<T> {
    let ty = request.ty;
    if request.error.is_none() && request.rejected.is_empty() {
        state.applied(&BTreeMap::new(), offered);
        return Event::Acked { ty, nonce };
    }
    let text = request.error.clone().unwrap_or_else(|| {
        let reasons = request.rejected.iter();
        let reasons: Vec<_> = reasons
            .map(|rejection| format!("{}: {}", rejection.name, rejection.reason))
            .collect();
        reasons.join("; ")
    });
    let mut rejected: BTreeMap<Name, Arc<str>> = request
        .rejected
        .iter()
        .map(|rejection| (rejection.name.clone(), rejection.reason.as_str().into()))
        .collect();
    state.retain_in_flight(&mut rejected);
    // Who lists nothing that was in the response refuses it as a whole.
    let names = if rejected.is_empty() {
        state.refused(now, &text, policy, offered)
    } else {
        state.applied(&rejected, offered)
    };
    Event::Nacked {
        ty,
        nonce,
        text,
        names,
    }
}

/// Tells a type what differs between two offers.
fn compare<T: TypeSet>(state: &mut TypeState<T>, old: &Items<T>, new: &Items<T>) {
    for difference in old.diff(new) {
        let (name, old, new) = match difference {
            DiffItem::Add(name, item) => (name, None, Some(item)),
            DiffItem::Update {
                old: (name, old),
                new: (_, new),
            } => (name, Some(old), Some(new)),
            DiffItem::Remove(name, item) => (name, Some(item), None),
        };
        let is_same = old.map(|item| &item.version) == new.map(|item| &item.version);
        if !is_same && state.covers(name) {
            state.changed(name, old, new);
        }
    }
}

#[cfg(test)]
mod tests;
