//! In which order a receiver is told: what others refer to comes first and goes last.
//!
//! An item is sent once what it needs is held; a removal once nothing that the receiver has, or
//! may have, needs the name. See "Eventual consistency considerations" of the
//! [xDS protocol](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations).

use std::collections::BTreeSet;

use super::entry::Entry;
use super::state::TypeState;
use crate::message::Time;
use crate::policy::Policy;
use crate::snapshot::{Item, Name, Snapshot, TypeSet};

/// What may happen to one name now.
#[derive(Debug)]
pub(super) enum Step<T> {
    /// The item may be sent.
    Send(Item<T>),
    /// The removal may be sent.
    Remove,
    /// Something it needs is not held. `until`: when it is sent all the same.
    Blocked { until: Option<Time> },
    /// The name is needed, or lingers until then.
    Deferred { until: Option<Time> },
}

/// Names that something needs which the receiver has or may have.
#[derive(Debug)]
pub(super) struct Needed<T> {
    names: BTreeSet<(T, Name)>,
    /// The last type that has items of which nobody knows what they need.
    unknown: Option<T>,
}

impl<T: TypeSet> Needed<T> {
    /// Items that are held as they are offered need only names that are offered, so entries and
    /// open responses are all there is to look at.
    pub(super) fn of(types: &[TypeState<T>]) -> Self {
        let mut needed = Self {
            names: BTreeSet::new(),
            unknown: None,
        };
        for (&ty, state) in T::ALL.iter().zip(types) {
            let entries = state.entries.values().flat_map(Entry::possible);
            let open = state.in_flight.iter().flat_map(|open| &open.entries);
            for held in entries.chain(open.filter_map(|(_, sent)| sent.as_ref())) {
                match &held.needs {
                    Some(needs) => needed.names.extend(needs.iter().cloned()),
                    // What lingers is what others need, and is assumed to need nothing itself: a
                    // cluster and its endpoints would wait for one another.
                    None if ty.lingers() => {}
                    None => needed.unknown = Some(ty),
                }
            }
        }
        needed
    }

    fn contains(&self, ty: T, name: &Name) -> bool {
        // Needs point to earlier types, and only what lingers is worth the doubt.
        ty.lingers()
            && self
                .unknown
                .is_some_and(|unknown| unknown.index() > ty.index())
            || self.names.contains(&(ty, name.clone()))
    }
}

/// Everything that a decision about one name looks at.
#[derive(Debug)]
pub(super) struct Order<'a, T: TypeSet> {
    pub(super) now: Time,
    pub(super) policy: &'a Policy,
    pub(super) offered: &'a Snapshot<T>,
    pub(super) types: &'a [TypeState<T>],
    /// `None` until the first removal asks.
    needed: Option<Needed<T>>,
}

impl<'a, T: TypeSet> Order<'a, T> {
    pub(super) fn new(
        now: Time,
        policy: &'a Policy,
        offered: &'a Snapshot<T>,
        types: &'a [TypeState<T>],
    ) -> Self {
        Self {
            now,
            policy,
            offered,
            types,
            needed: None,
        }
    }

    pub(super) fn step(&mut self, ty: T, name: &Name) -> Step<T> {
        let entry = self.types[ty.index()].entries.get(name);
        match self.offered.items(ty).get(name) {
            Some(item) => self.addition(entry, item),
            None => self.removal(ty, name, entry),
        }
    }

    fn addition(&self, entry: Option<&Entry<T>>, item: &Item<T>) -> Step<T> {
        let mut is_blocked = false;
        for (ty, name) in &*item.needs {
            if !self.offered.items(*ty).contains_key(name) || self.is_held(*ty, name) {
                continue;
            }
            if ty.is_hard_need() {
                return Step::Blocked { until: None };
            }
            is_blocked = true;
        }
        if !is_blocked {
            return Step::Send(item.clone());
        }
        let since = entry
            .and_then(|entry| entry.blocked_since)
            .unwrap_or(self.now);
        let until = since + self.policy.need_timeout;
        if self.now < until {
            Step::Blocked { until: Some(until) }
        } else {
            Step::Send(item.clone())
        }
    }

    fn removal(&mut self, ty: T, name: &Name, entry: Option<&Entry<T>>) -> Step<T> {
        let Some(entry) = entry.filter(|entry| entry.may_be_held()) else {
            return Step::Remove; // The answer to who asked for a name that does not exist.
        };
        let can_be_said = self.policy.removes_named || ty.is_whole();
        if !can_be_said || self.is_needed(ty, name) {
            return Step::Deferred { until: None };
        }
        if !ty.lingers() {
            return Step::Remove;
        }
        let until = entry.free_since.unwrap_or(self.now) + self.policy.linger;
        if self.now < until {
            Step::Deferred { until: Some(until) }
        } else {
            Step::Remove
        }
    }

    /// Whether the receiver has accepted some version of the name, and no removal of it is under
    /// way.
    fn is_held(&self, ty: T, name: &Name) -> bool {
        let state = &self.types[ty.index()];
        state.covers(name)
            && match state.entries.get(name) {
                None => self.offered.items(ty).contains_key(name),
                Some(entry) => entry.is_surely_held(),
            }
    }

    fn is_needed(&mut self, ty: T, name: &Name) -> bool {
        // A companion outlives the item whose companion it is, and its unfinished updates.
        let is_accompanying = T::ALL.iter().any(|owner| {
            owner.companion() == Some(ty)
                && self.types[owner.index()]
                    .entries
                    .get(name)
                    .is_some_and(Entry::may_be_held)
        });
        let types = self.types;
        is_accompanying
            || self
                .needed
                .get_or_insert_with(|| Needed::of(types))
                .contains(ty, name)
    }
}
