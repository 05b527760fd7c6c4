//! Lists of several hostnames as one, for a host that serves them all.
//!
//! Where one list alone names a hostname it is shared; where there are more, a host has a list of
//! its own with the entries of all, in which the more specific match comes first whatever hostname
//! it is for. It follows each change of the lists that it is made of.

use std::collections::{BTreeMap, BTreeSet};

use super::{Host, Table};

/// A list that is made of others.
#[derive(Debug)]
pub(super) struct Merged {
    slot: usize,
    /// The slots of the others, and by how many labels their hostnames are wider than the host's.
    sources: Vec<(usize, usize)>,
}

/// Which lists follow which.
#[derive(Debug, Default)]
pub(super) struct Merges {
    /// By the slot of a list: the slots of those that have its entries, with the breadth that
    /// these have there.
    followers: BTreeMap<usize, Vec<(usize, usize)>>,
    /// Merged lists that have to be made again.
    outdated: BTreeSet<usize>,
}

impl Merges {
    /// The lists that have the entries of another.
    pub(super) fn of(&self, slot: usize) -> Vec<(usize, usize)> {
        self.followers.get(&slot).cloned().unwrap_or_default()
    }

    /// Takes note that a slot is not that of a list any more.
    pub(super) fn outdate(&mut self, slot: usize) {
        let followers = self.followers.remove(&slot).into_iter().flatten();
        self.outdated.extend(followers.map(|(merged, _)| merged));
    }
}

impl Table {
    /// The list of a host that is made of others.
    pub(super) fn merge(&mut self, host: &mut Host, sources: Vec<(usize, usize)>) -> usize {
        if let Some(merged) = host.merged.take() {
            if merged.sources == sources && !self.merges.outdated.contains(&merged.slot) {
                let slot = merged.slot;
                host.merged = Some(merged);
                return slot;
            }
            self.unmerge(&merged);
        }
        host.tree.reset();
        let slot = self.take_slot();
        for (source, breadth) in &sources {
            let entries: Vec<_> = self.slots[*source]
                .entries()
                .map(|(position, entry)| (position.in_host(*breadth), entry.clone()))
                .collect();
            for (position, entry) in entries {
                self.slots[slot].insert(position, entry);
            }
            let followers = self.merges.followers.entry(*source).or_default();
            followers.push((slot, *breadth));
        }
        host.merged = Some(Merged { slot, sources });
        slot
    }

    /// Frees a list that nobody serves any more.
    pub(super) fn unmerge(&mut self, merged: &Merged) {
        for (source, _) in &merged.sources {
            if let Some(followers) = self.merges.followers.get_mut(source) {
                followers.retain(|(slot, _)| *slot != merged.slot);
                if followers.is_empty() {
                    self.merges.followers.remove(source);
                }
            }
        }
        self.merges.outdated.remove(&merged.slot);
        self.slots[merged.slot].reset();
        self.free.push(merged.slot);
    }
}
