//! What an answer to the open response changes.
//!
//! **Invariant:** only what the receiver surely applied counts as held. After a response that was
//! refused as a whole, what it said is in doubt, until it is accepted or refused by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entry::{Entry, Held, Phase};
use super::split;
use super::state::{Items, Resend, TypeState};
use crate::message::{Nonce, Time};
use crate::policy::{OnNack, Policy};
use crate::snapshot::{Item, Name, TypeSet};

/// How many refusals in a row are followed by the next smaller response at once.
const UNPACED_SPLITS: u32 = 16;
const SHORTEST_PAUSE: Time = Time::from_millis(100);
const LONGEST_PAUSE: Time = Time::from_secs(5);

impl<T: TypeSet> TypeState<T> {
    pub(super) fn is_open(&self, nonce: &Nonce) -> bool {
        self.in_flight
            .as_ref()
            .is_some_and(|open| open.nonce == *nonce)
    }

    /// Drops names that the open response does not hold.
    pub(super) fn retain_in_flight(&self, rejected: &mut BTreeMap<Name, Arc<str>>) {
        let open = self.in_flight.iter().flat_map(|open| &open.entries);
        let mut listed = std::mem::take(rejected);
        for (name, _) in open {
            if let Some(reason) = listed.remove(name) {
                rejected.insert(name.clone(), reason);
            }
        }
    }

    /// The open response was applied, except for what is in `rejected`.
    pub(super) fn applied(
        &mut self,
        rejected: &BTreeMap<Name, Arc<str>>,
        offered: &Items<T>,
    ) -> Vec<Name> {
        if rejected.is_empty() {
            self.counters.acked += 1;
        } else {
            self.counters.nacked += 1;
        }
        self.refusals_in_a_row = 0;
        self.retry_at = None;
        self.resend = None;
        self.owes_any = false;
        let mut refused = Vec::new();
        for (name, sent) in self.take_in_flight() {
            let Some(entry) = self.entries.get_mut(&name) else {
                continue;
            };
            match rejected.get(&name) {
                None => {
                    if let Some(digest) = &mut self.digest {
                        let version = |held: Option<&Held<T>>| held.map(|h| h.version.clone());
                        let (old, new) = (version(entry.held.as_ref()), version(sent.as_ref()));
                        digest.replace(&name, old.as_ref(), new.as_ref());
                    }
                    entry.accept(sent);
                    self.settle(&name, offered.get(&name));
                }
                Some(reason) => {
                    entry.exclude(sent.as_ref());
                    self.refuse(&name, sent, reason, offered);
                    refused.push(name);
                }
            }
        }
        refused
    }

    /// The open response was refused as a whole.
    pub(super) fn refused(
        &mut self,
        now: Time,
        text: &str,
        policy: &Policy,
        offered: &Items<T>,
    ) -> Vec<Name> {
        self.counters.nacked += 1;
        self.refusals_in_a_row = self.refusals_in_a_row.saturating_add(1);
        let (was_complete, was_empty, is_alone) = match &self.in_flight {
            Some(open) => (
                open.is_complete,
                open.entries.is_empty(),
                open.entries.len() == 1,
            ),
            None => return Vec::new(),
        };
        // While every response has to be complete, there is no smaller one.
        let splits = policy.on_nack == OnNack::Split && !self.must_be_complete(policy);
        let reason: Arc<str> = text.into();
        let mut suspects = Vec::new();
        let mut names = Vec::new();
        for (name, sent) in self.take_in_flight() {
            names.push(name.clone());
            let Some(entry) = self.entries.get_mut(&name) else {
                continue;
            };
            if is_alone {
                entry.exclude(sent.as_ref());
                self.refuse(&name, sent, &reason, offered);
                continue;
            }
            entry.doubt(sent.clone());
            if !splits {
                self.refuse(&name, sent, &reason, offered);
            } else if is_current(entry, sent.as_ref(), offered.get(&name)) {
                entry.was_refused |= entry.held.is_none();
                entry.phase = Phase::Suspect;
                suspects.push(name);
            } else {
                self.settle(&name, offered.get(&name));
            }
        }
        self.retries
            .extend(split::groups(suspects, text, policy.max_chunk));
        self.owes_any = splits && !was_empty && (self.owes_any || was_complete);
        self.retry_at = self.split_pause().map(|pause| now + pause);
        self.resend = self.next_resend(now, policy.on_nack);
        names
    }

    /// The entries of the open response that are still about this subscription.
    fn take_in_flight(&mut self) -> Vec<(Name, Option<Held<T>>)> {
        let Some(open) = self.in_flight.take() else {
            return Vec::new();
        };
        let mut entries = open.entries;
        // A name that was forgotten and subscribed again since is sent again in any case.
        entries.retain(|(name, _)| self.entries.get(name).is_some_and(Entry::is_in_flight));
        entries
    }

    fn refuse(
        &mut self,
        name: &Name,
        sent: Option<Held<T>>,
        reason: &Arc<str>,
        offered: &Items<T>,
    ) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        let is_current = is_current(entry, sent.as_ref(), offered.get(name));
        entry.refuse(sent.map(|sent| sent.version), Arc::clone(reason));
        if !is_current {
            self.settle(name, offered.get(name));
        }
    }

    /// A receiver that refuses one response after another is not asked as fast as it can answer.
    fn split_pause(&self) -> Option<Time> {
        let exponent = self.refusals_in_a_row.checked_sub(UNPACED_SPLITS)?;
        Some(doubled(SHORTEST_PAUSE, exponent, LONGEST_PAUSE))
    }

    fn next_resend(&self, now: Time, on_nack: OnNack) -> Option<Resend> {
        let OnNack::ResendWholeType {
            after,
            max,
            attempts,
        } = on_nack
        else {
            return None;
        };
        let wait = doubled(after, self.refusals_in_a_row.saturating_sub(1), max);
        Some(Resend {
            at: (self.refusals_in_a_row < attempts).then_some(now + wait),
            changed_at: now + after,
        })
    }
}

/// Whether what was sent is what would be sent now.
fn is_current<T: TypeSet>(
    entry: &Entry<T>,
    sent: Option<&Held<T>>,
    offered: Option<&Item<T>>,
) -> bool {
    !entry.is_owed && sent.map(|held| &held.version) == offered.map(|item| &item.version)
}

fn doubled(first: Time, times: u32, max: Time) -> Time {
    first
        .saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX))
        .min(max)
}
