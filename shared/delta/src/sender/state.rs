//! What a sender knows about one type on one stream.
//!
//! Only differences are kept: a covered name without an [`Entry`] is held exactly as it is
//! offered. So a receiver that is in sync costs nothing per resource.
//!
//! **Invariant:** an entry is in the queue if and only if its phase is `Unsent`, and in the open
//! response if its phase is `InFlight`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use imbl::OrdMap;

use super::entry::{Entry, Held, Phase};
use super::subscription::Subscription;
use crate::digest::Digest;
use crate::message::{Nonce, ProtocolError, Time, WILDCARD};
use crate::policy::Policy;
use crate::snapshot::{Item, Name, TypeSet, Version};

/// The longest name that is remembered for a receiver, in bytes. Those that we offer are shorter.
const LONGEST_NAME: usize = 1024;

pub(super) type Items<T> = OrdMap<Name, Item<T>>;

/// How often something happened on this stream, for one type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Responses sent.
    pub sent: u64,
    /// Responses that were applied.
    pub acked: u64,
    /// Responses that were refused, wholly or in part.
    pub nacked: u64,
}

/// The response that waits for an answer.
#[derive(Debug)]
pub(super) struct InFlight<T> {
    pub(super) nonce: Nonce,
    /// What it said of each name; `None` is a removal.
    pub(super) entries: Vec<(Name, Option<Held<T>>)>,
    pub(super) is_complete: bool,
}

/// When everything is sent again after a refusal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resend {
    /// When the unchanged content is; `None` when it was tried often enough.
    pub(super) at: Option<Time>,
    /// When changed content may be.
    pub(super) changed_at: Time,
}

#[derive(Debug)]
pub(super) struct TypeState<T: TypeSet> {
    /// `None` until the first request.
    pub(super) subscription: Option<Subscription>,
    /// What the receiver said it holds, until there is an offer to compare it with.
    initial: BTreeMap<Name, Version>,
    /// Whether the type is the companion of another.
    is_companion: bool,
    /// Whether the receiver said what it holds: its first response may be a difference.
    pub(super) is_resumed: bool,
    pub(super) entries: BTreeMap<Name, Entry<T>>,
    pub(super) queue: BTreeSet<Name>,
    /// Suspects, in the groups in which they are sent again.
    pub(super) retries: VecDeque<Vec<Name>>,
    /// Whether the next response is one of `retries` though there is something in `queue`.
    pub(super) prefers_retry: bool,
    /// No retry is sent before.
    pub(super) retry_at: Option<Time>,
    pub(super) resend: Option<Resend>,
    pub(super) refusals_in_a_row: u32,
    /// A complete response was refused as a whole. The receiver still has to drop what it lacked,
    /// and does so with the next response that it accepts; so there has to be one.
    pub(super) owes_any: bool,
    pub(super) in_flight: Option<InFlight<T>>,
    pub(super) counters: Counters,
    /// The digest of what was accepted last, where it is kept.
    pub(super) digest: Option<Digest>,
}

impl<T: TypeSet> TypeState<T> {
    pub(super) fn new(ty: T) -> Self {
        Self {
            is_companion: T::ALL.iter().any(|owner| owner.companion() == Some(ty)),
            subscription: None,
            initial: BTreeMap::new(),
            is_resumed: false,
            entries: BTreeMap::new(),
            queue: BTreeSet::new(),
            retries: VecDeque::new(),
            prefers_retry: false,
            retry_at: None,
            resend: None,
            refusals_in_a_row: 0,
            owes_any: false,
            in_flight: None,
            counters: Counters::default(),
            digest: None,
        }
    }

    pub(super) fn covers(&self, name: &Name) -> bool {
        self.subscription
            .as_ref()
            .is_some_and(|subscription| subscription.covers(name))
    }

    /// Whether nothing was sent yet.
    pub(super) fn is_first(&self) -> bool {
        self.counters.sent == 0
    }

    /// Whether a response may hold differences only.
    pub(super) fn must_be_complete(&self, policy: &Policy) -> bool {
        !self.is_resumed
            && (self.is_first() || (policy.complete_until_first_ack && self.counters.acked == 0))
    }

    /// When the next response of a type that is to be sent again as a whole may leave; `Err` when
    /// only an event can bring it.
    pub(super) fn resend_time(&self) -> Result<Time, ()> {
        match self.resend {
            None => Ok(Time::ZERO),
            Some(resend) if !self.queue.is_empty() => Ok(resend.changed_at),
            Some(resend) => resend.at.ok_or(()),
        }
    }

    // Subscriptions.

    /// Refuses a request after which more than `limit` names would be subscribed to, or one that
    /// is longer than names are.
    pub(super) fn check_names(
        &self,
        ty: T,
        subscribe: &[Name],
        limit: usize,
    ) -> Result<(), ProtocolError<T>> {
        if let Some(long) = subscribe.iter().find(|name| name.len() > LONGEST_NAME) {
            return Err(ProtocolError::NameTooLong {
                ty,
                length: long.len(),
                limit: LONGEST_NAME,
            });
        }
        let known = self.subscription.as_ref().map(|s| &s.names);
        let free = limit.saturating_sub(known.map_or(0, BTreeSet::len));
        if subscribe.len() <= free {
            return Ok(());
        }
        let more: BTreeSet<&Name> = subscribe
            .iter()
            .filter(|name| &***name != WILDCARD && known.is_none_or(|k| !k.contains(*name)))
            .collect();
        if more.len() <= free {
            Ok(())
        } else {
            Err(ProtocolError::TooManyNames { ty, limit })
        }
    }

    /// The first request of the type.
    pub(super) fn start(
        &mut self,
        subscribe: &[Name],
        initial: BTreeMap<Name, Version>,
        offered: Option<&Items<T>>,
    ) {
        self.subscription = Some(Subscription::first(subscribe));
        self.is_resumed = !initial.is_empty();
        if let Some(digest) = &mut self.digest {
            *digest = initial.iter().collect();
        }
        self.initial = initial;
        if let Some(offered) = offered {
            self.load(offered);
        }
    }

    /// Compares what the receiver holds with what is offered, once both are known.
    pub(super) fn load(&mut self, offered: &Items<T>) {
        let Some(subscription) = &self.subscription else {
            return;
        };
        let mut initial = std::mem::take(&mut self.initial);
        let mut entries = Vec::new();
        for name in &subscription.names {
            let held = initial.remove(name).map(Held::from_before);
            // Who asks by name gets an answer for each, unless it said that it has it. A
            // companion that it has may still have to come again: perhaps the last stream ended
            // between an update and its companion.
            let is_owed = held.is_none() || self.is_companion;
            let entry = Entry::new(held);
            entries.push((name.clone(), Entry { is_owed, ..entry }));
        }
        if subscription.wildcard {
            for (name, _) in offered {
                if !subscription.names.contains(name) {
                    let held = initial.remove(name).map(Held::from_before);
                    let is_owed = held.is_some() && self.is_companion;
                    let entry = Entry::new(held);
                    entries.push((name.clone(), Entry { is_owed, ..entry }));
                }
            }
            for (name, version) in initial {
                entries.push((name, Entry::new(Some(Held::from_before(version)))));
            }
        }
        for (name, entry) in entries {
            self.insert(name, entry, offered);
        }
    }

    fn insert(&mut self, name: Name, entry: Entry<T>, offered: &Items<T>) {
        if !entry.agrees_with(offered.get(&name)) {
            self.queue.insert(name.clone());
            self.entries.insert(name, entry);
        }
    }

    /// A later request subscribes to more, or to the same again.
    pub(super) fn subscribe(&mut self, names: &[Name], offered: Option<&Items<T>>) {
        for name in names {
            if &**name == WILDCARD {
                self.subscribe_all(offered);
            } else {
                self.subscribe_name(name, offered);
            }
        }
    }

    /// A repeated `*` changes nothing: stock control planes say it in every NACK.
    fn subscribe_all(&mut self, offered: Option<&Items<T>>) {
        let subscription = self.subscription.get_or_insert_default();
        if subscription.wildcard {
            return;
        }
        subscription.wildcard = true;
        let names = subscription.names.clone();
        for (name, _) in offered.into_iter().flatten() {
            if !names.contains(name) {
                self.entries.insert(name.clone(), Entry::new(None));
                self.queue.insert(name.clone());
            }
        }
    }

    fn subscribe_name(&mut self, name: &Name, offered: Option<&Items<T>>) {
        let was_covered = self.covers(name);
        let subscription = self.subscription.get_or_insert_default();
        // The snapshot's own copy of the name is shared by all receivers.
        let name = offered
            .and_then(|offered| offered.get_key_value(name))
            .map_or_else(|| name.clone(), |(name, _)| name.clone());
        subscription.names.insert(name.clone());
        match offered {
            // "The server must send the resource even if it believes the client has it."
            Some(offered) => self.owe(&name, was_covered, offered),
            None => _ = self.initial.remove(&name),
        }
    }

    pub(super) fn unsubscribe(&mut self, names: &[Name], offered: Option<&Items<T>>) {
        for name in names {
            let Some(subscription) = self.subscription.as_mut() else {
                return;
            };
            if &**name == WILDCARD {
                subscription.wildcard = false;
                self.forget_uncovered();
            } else if subscription.names.remove(name) {
                match offered {
                    // The receiver cannot know whether `*` still covers the name, and is told.
                    Some(offered) if subscription.wildcard => self.owe(name, true, offered),
                    _ if subscription.wildcard => {}
                    _ => self.forget(name),
                }
            }
        }
    }

    fn forget(&mut self, name: &Name) {
        self.entries.remove(name);
        self.queue.remove(name);
        self.initial.remove(name);
    }

    fn forget_uncovered(&mut self) {
        let kept = self
            .subscription
            .as_ref()
            .map(|subscription| subscription.names.clone())
            .unwrap_or_default();
        self.entries.retain(|name, _| kept.contains(name));
        self.queue.retain(|name| kept.contains(name));
        self.initial.retain(|name, _| kept.contains(name));
    }

    /// Makes the name be sent, or answered as removed, even if it is held.
    pub(super) fn owe(&mut self, name: &Name, was_covered: bool, offered: &Items<T>) {
        let item = offered.get(name);
        if let Some(entry) = self.entries.get_mut(name) {
            entry.is_owed = true;
        } else {
            let held = item.filter(|_| was_covered).map(Held::of);
            self.entries.insert(name.clone(), Entry::owed(held));
        }
        self.settle_unless_in_flight(name, item);
    }

    /// As [`Self::owe`], for an item that the receiver did not ask for. It has no use for one that
    /// it rejects, or that is gone; if such a one comes back as it was, it is sent all the same.
    pub(super) fn owe_companion(&mut self, name: &Name, offered: &Items<T>) {
        if !self.covers(name) {
            return;
        }
        match self.entries.get_mut(name) {
            Some(entry) if matches!(entry.phase, Phase::Rejected { .. }) => entry.is_owed = true,
            None if !offered.contains_key(name) => {}
            Some(_) | None => self.owe(name, true, offered),
        }
    }

    // Changes of what is offered.

    /// A covered name changed. `old` is what was offered before.
    pub(super) fn changed(&mut self, name: &Name, old: Option<&Item<T>>, new: Option<&Item<T>>) {
        let entry = self
            .entries
            .entry(name.clone())
            .or_insert_with(|| Entry::new(old.map(Held::of)));
        if let Phase::Rejected { version, .. } = &entry.phase
            && version.as_ref() == new.map(|item| &item.version)
        {
            return;
        }
        self.settle_unless_in_flight(name, new);
    }

    fn settle_unless_in_flight(&mut self, name: &Name, offered: Option<&Item<T>>) {
        if let Some(entry) = self.entries.get(name)
            && !entry.is_in_flight()
        {
            self.settle(name, offered);
        }
    }

    /// Drops the entry if there is nothing more to say about the name, or else queues it.
    pub(super) fn settle(&mut self, name: &Name, offered: Option<&Item<T>>) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        if entry.agrees_with(offered) {
            self.entries.remove(name);
            self.queue.remove(name);
            return;
        }
        entry.phase = Phase::Unsent;
        entry.is_deferred = false;
        if offered.is_some() {
            entry.free_since = None;
        } else {
            entry.blocked_since = None;
        }
        self.queue.insert(name.clone());
    }
}
