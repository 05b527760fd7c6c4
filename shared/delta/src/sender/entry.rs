//! What is known about one name that the receiver does not hold as it is offered.

use std::sync::Arc;

use crate::message::Time;
use crate::snapshot::{Item, Name, TypeSet, Version};

/// How many states in doubt are told apart; more are taken together.
const MAX_DOUBTS: usize = 4;

/// A version of an item that a receiver holds. The payload is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held<T> {
    pub(super) version: Version,
    /// `None` when unknown: the receiver has it from an earlier stream.
    pub(super) needs: Option<Arc<[(T, Name)]>>,
}

impl<T: TypeSet> Held<T> {
    pub(super) fn of(item: &Item<T>) -> Self {
        Self {
            version: item.version.clone(),
            needs: Some(Arc::clone(&item.needs)),
        }
    }

    pub(super) fn from_before(version: Version) -> Self {
        Self {
            version,
            needs: None,
        }
    }
}

/// Where the sending of one name stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is to be sent as soon as its order allows.
    Unsent,
    /// It is in the response that waits for an answer.
    InFlight { is_removal: bool },
    /// It was in a response that was refused as a whole, and will be sent in a smaller one.
    Suspect,
    /// It was refused at this version (`None`: its removal was), and waits for a change.
    Rejected {
        version: Option<Version>,
        reason: Arc<str>,
    },
}

/// One name that the receiver does not hold as it is offered, or that it is owed.
#[derive(Debug, Clone)]
pub(super) struct Entry<T> {
    /// What the receiver accepted last.
    pub(super) held: Option<Held<T>>,
    /// What it may hold instead, after a response that was refused as a whole.
    pub(super) doubts: Vec<Option<Held<T>>>,
    pub(super) phase: Phase,
    /// Must be sent although the receiver may hold it: it subscribed (again), or the item is a
    /// companion of one that changed.
    pub(super) is_owed: bool,
    /// Was refused while nothing was known to be held. The receiver may have an older version
    /// from before this stream, so that the name needs an explicit removal.
    pub(super) was_refused: bool,
    /// Since when only soft needs keep it from being sent.
    pub(super) blocked_since: Option<Time>,
    /// Since when nothing needs the name that is to be removed.
    pub(super) free_since: Option<Time>,
    /// Whether its removal waits for others, or lingers.
    pub(super) is_deferred: bool,
}

impl<T: TypeSet> Entry<T> {
    pub(super) fn new(held: Option<Held<T>>) -> Self {
        Self {
            held,
            doubts: Vec::new(),
            phase: Phase::Unsent,
            is_owed: false,
            was_refused: false,
            blocked_since: None,
            free_since: None,
            is_deferred: false,
        }
    }

    pub(super) fn owed(held: Option<Held<T>>) -> Self {
        Self {
            is_owed: true,
            ..Self::new(held)
        }
    }

    /// Whether there is nothing to say about the name while `offered` is offered.
    pub(super) fn agrees_with(&self, offered: Option<&Item<T>>) -> bool {
        !self.is_owed
            && self.doubts.is_empty()
            && match (&self.held, offered) {
                (Some(held), Some(item)) => held.version == item.version,
                (None, None) => !self.was_refused,
                (Some(_), None) | (None, Some(_)) => false,
            }
    }

    /// Whether the receiver surely holds some version, and goes on holding one.
    pub(super) fn is_surely_held(&self) -> bool {
        self.held.is_some()
            && !self.doubts.contains(&None)
            && self.phase != Phase::InFlight { is_removal: true }
    }

    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.phase, Phase::InFlight { .. })
    }

    /// Whether the receiver may hold some version.
    pub(super) fn may_be_held(&self) -> bool {
        self.held.is_some() || self.was_refused || self.doubts.iter().any(Option::is_some)
    }

    /// Everything that the receiver may hold under the name.
    pub(super) fn possible(&self) -> impl Iterator<Item = &Held<T>> {
        self.held.iter().chain(self.doubts.iter().flatten())
    }

    pub(super) fn accept(&mut self, sent: Option<Held<T>>) {
        self.held = sent;
        self.doubts.clear();
        self.was_refused = false;
    }

    /// Records that the receiver may or may not have applied `sent`.
    pub(super) fn doubt(&mut self, sent: Option<Held<T>>) {
        let same = |known: &Option<Held<T>>| {
            known.as_ref().map(|held| &held.version) == sent.as_ref().map(|held| &held.version)
        };
        if same(&self.held) || self.doubts.iter().any(same) {
            return;
        }
        if self.doubts.len() < MAX_DOUBTS || sent.is_none() {
            self.doubts.push(sent);
        } else if let Some(one) = self.doubts.iter_mut().flatten().next() {
            // A receiver that refuses everything must not cost more and more memory.
            one.needs = None;
        }
    }

    /// Records that the receiver surely has not applied `sent`: it refused just this. Then it has
    /// not applied it from an earlier response either.
    pub(super) fn exclude(&mut self, sent: Option<&Held<T>>) {
        let version = |held: Option<&Held<T>>| held.map(|held| held.version.clone());
        let excluded = version(sent);
        self.doubts
            .retain(|doubt| version(doubt.as_ref()) != excluded);
    }

    pub(super) fn refuse(&mut self, version: Option<Version>, reason: Arc<str>) {
        self.was_refused |= self.held.is_none();
        self.phase = Phase::Rejected { version, reason };
    }
}
