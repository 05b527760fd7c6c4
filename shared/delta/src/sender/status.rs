//! What a sender can say about its receiver, for insights and operators.

use std::sync::Arc;

use super::entry::{Entry, Phase};
use super::{Counters, Sender};
use crate::digest::Digest;
use crate::snapshot::{Name, TypeSet, Version};

/// What a receiver subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscribed {
    /// Everything of the type.
    Everything,
    /// This many names.
    Names(usize),
}

/// Where one type stands on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeStatus {
    /// `None` until the first request for the type.
    pub subscribed: Option<Subscribed>,
    /// Responses so far.
    pub counters: Counters,
    /// Whether a response waits for its answer.
    pub is_in_flight: bool,
    /// How many names are not held as they are offered, whatever the reason; but for those that
    /// are to be removed once nothing needs them.
    pub outstanding: usize,
    /// How many of these were rejected.
    pub rejected: usize,
}

/// A name that the receiver refused, and which is not sent again until it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected<T> {
    /// Its type.
    pub ty: T,
    /// Its name.
    pub name: Name,
    /// The refused version; `None` where its removal was refused.
    pub version: Option<Version>,
    /// What the receiver said.
    pub reason: Arc<str>,
}

impl<T: TypeSet> Sender<T> {
    /// Where a type stands.
    pub fn status(&self, ty: T) -> TypeStatus {
        let state = &self.types[ty.index()];
        let is_rejected = |phase: &Phase| matches!(phase, Phase::Rejected { .. });
        let is_outstanding = |entry: &&Entry<T>| entry.phase != Phase::Unsent || !entry.is_deferred;
        TypeStatus {
            subscribed: state.subscription.as_ref().map(|subscription| {
                if subscription.wildcard {
                    Subscribed::Everything
                } else {
                    Subscribed::Names(subscription.names.len())
                }
            }),
            counters: state.counters,
            is_in_flight: state.in_flight.is_some(),
            outstanding: state.entries.values().filter(is_outstanding).count(),
            rejected: state
                .entries
                .values()
                .filter(|entry| is_rejected(&entry.phase))
                .count(),
        }
    }

    /// Whether everything that is offered, and subscribed to, is held or was rejected. Names that
    /// are to be removed once nothing needs them do not count; what waits for a rejected need
    /// does. False while there is no offer or no subscription, and while an answer is missing.
    pub fn is_synced(&self) -> bool {
        let mut subscribed = self
            .types
            .iter()
            .filter(|state| state.subscription.is_some())
            .peekable();
        self.offered.is_some()
            && subscribed.peek().is_some()
            && subscribed.all(|state| {
                !state.is_first()
                    && state.in_flight.is_none()
                    && state.entries.values().all(|entry| match entry.phase {
                        Phase::Unsent => entry.is_deferred,
                        Phase::InFlight { .. } | Phase::Suspect => false,
                        Phase::Rejected { .. } => true,
                    })
            })
    }

    /// The digest of what the receiver accepted of a type, once it answered a response of it;
    /// `None` unless digests [are kept](Sender::with_digests).
    pub fn digest(&self, ty: T) -> Option<Digest> {
        let state = &self.types[ty.index()];
        let Counters { acked, nacked, .. } = state.counters;
        state.digest.filter(|_| acked + nacked > 0)
    }

    /// The version that the receiver accepted last and was not told to drop since.
    pub fn held_version(&self, ty: T, name: &Name) -> Option<Version> {
        let state = &self.types[ty.index()];
        if !state.covers(name) {
            return None;
        }
        match state.entries.get(name) {
            Some(entry) => entry.held.as_ref().map(|held| held.version.clone()),
            None => {
                let item = self.offered.as_ref()?.items(ty).get(name)?;
                Some(item.version.clone())
            }
        }
    }

    /// What the receiver refused and has not been offered otherwise since.
    pub fn rejections(&self) -> impl Iterator<Item = Rejected<T>> + '_ {
        T::ALL.iter().zip(&self.types).flat_map(|(&ty, state)| {
            state
                .entries
                .iter()
                .filter_map(move |(name, entry)| match &entry.phase {
                    Phase::Rejected { version, reason } => Some(Rejected {
                        ty,
                        name: name.clone(),
                        version: version.clone(),
                        reason: Arc::clone(reason),
                    }),
                    Phase::Unsent | Phase::InFlight { .. } | Phase::Suspect => None,
                })
        })
    }

    /// What is offered but waits, after [`Sender::poll`] returned `None`: for something that it
    /// needs, for instance because that was rejected.
    pub fn blocked(&self) -> impl Iterator<Item = (T, Name)> + '_ {
        T::ALL
            .iter()
            .zip(&self.types)
            .flat_map(move |(&ty, state)| {
                state
                    .queue
                    .iter()
                    .filter(move |name| {
                        state.in_flight.is_none()
                            && self
                                .offered
                                .as_ref()
                                .is_some_and(|offered| offered.items(ty).contains_key(*name))
                    })
                    .map(move |name| (ty, name.clone()))
            })
    }
}
