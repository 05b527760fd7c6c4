//! How often hosts repeat what is for wider hostnames.
//!
//! To Envoy each host has routes of its own: many hosts that serve many routes of a wider hostname
//! are a configuration that no Envoy can hold. So there is a limit for each port. Beyond it the
//! lists that cost most are not repeated. A host never leaves out a list and serves a wider one:
//! that might take the requests of what is left out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{ListKey, Table};
use crate::host::Hostname;

/// The most entries that the hosts of a port repeat.
const MAX_REPEATED: usize = 100_000;

/// A list that hosts of narrower hostnames serve, too.
#[derive(Debug)]
pub(super) struct Repeat {
    key: ListKey,
    slot: usize,
    /// How many hosts.
    hosts: usize,
}

/// What is repeated, and what is not.
#[derive(Debug)]
pub(super) struct Repeats {
    /// The most entries that are repeated.
    pub(super) limit: usize,
    /// Lists that are served by the host of their hostname only.
    pub(super) left_out: BTreeSet<ListKey>,
    /// How many entries hosts repeat: as many as when that was decided, and those that came since
    /// then and were taken over.
    pub(super) entries: usize,
}

impl Default for Repeats {
    fn default() -> Self {
        Self {
            limit: MAX_REPEATED,
            left_out: BTreeSet::new(),
            entries: 0,
        }
    }
}

impl Table {
    /// Decides which lists are repeated; whether these are others than before. It depends on the
    /// lists and hosts alone.
    pub(super) fn limit_repeats(&mut self) -> bool {
        for index in 0..self.configurations.len() {
            if self.configurations[index].is_rearranged {
                self.configurations[index].repeats = self.count_repeats(index);
            }
        }
        let limit = self.repeats.limit;
        let cost = |repeat: &Repeat| self.slots[repeat.slot].len().saturating_mul(repeat.hosts);
        let all = self.configurations.iter().flat_map(|c| &c.repeats);
        let mut entries = all.clone().map(cost).sum();
        let mut left_out = BTreeSet::new();
        if entries > limit {
            entries = 0;
            let mut all: Vec<&Repeat> = all.collect();
            // The more exact first, as hosts have it.
            all.sort_by_key(|repeat| {
                let (_, hostname) = &repeat.key;
                (Reverse(hostname.exactness()), cost(repeat), &repeat.key)
            });
            for repeat in all {
                let with_it = entries + cost(repeat);
                if with_it <= limit {
                    entries = with_it;
                } else {
                    left_out.insert(repeat.key.clone());
                }
            }
        }
        let is_changed = left_out != self.repeats.left_out;
        self.repeats.left_out = left_out;
        self.repeats.entries = entries;
        is_changed
    }

    /// The lists that hosts of a configuration would repeat.
    fn count_repeats(&self, index: usize) -> Vec<Repeat> {
        let mut repeats: BTreeMap<usize, Repeat> = BTreeMap::new();
        for (hostname, host) in &self.configurations[index].hosts {
            let wider = std::iter::successors(hostname.parent(), Hostname::parent);
            for key in wider.map(|name| (host.listener, name)) {
                if let Some(slot) = self.lists.get(&key).copied() {
                    let hosts = 0;
                    let repeat = repeats.entry(slot);
                    repeat.or_insert(Repeat { key, slot, hosts }).hosts += 1;
                }
            }
        }
        repeats.into_values().collect()
    }

    /// Hostnames whose routes are too many for other hosts to repeat.
    pub(crate) fn unrepeated(&self) -> impl Iterator<Item = &Hostname> {
        let lists = self.repeats.left_out.iter();
        lists.map(|(_, hostname)| hostname)
    }
}
