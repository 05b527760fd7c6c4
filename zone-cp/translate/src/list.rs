//! An ordered list of encoded routes that is cheap to change and cheap to write.
//!
//! Entries are kept in chunks of some 64, each with its bytes in one piece and their hash. A
//! change rebuilds one chunk; writing the list copies chunks; its hash is over their hashes.
//! Where a chunk begins is decided by the content of its first entry alone, so chunks, and with
//! them the hash, are a function of the entries and not of how the list came to hold them.
//!
//! Of entries that match the same requests only the first is written: no other is ever reached.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest as _, Sha256};

use crate::order::Position;
use crate::route::Entry;

/// A chunk begins at an entry whose hash is a multiple of this.
const CHUNK: u64 = 64;

/// Routes in order.
#[derive(Debug, Default)]
pub(crate) struct RouteList {
    entries: BTreeMap<Arc<Position>, Entry>,
    /// What comes before the first entry that begins a chunk.
    head: Option<Chunk>,
    /// Chunks by their first entry; `None` when it has to be built again.
    chunks: BTreeMap<Arc<Position>, Option<Chunk>>,
    /// The first entry of those that match the same requests.
    first: HashMap<u128, Arc<Position>>,
    /// The others.
    hidden: BTreeMap<u128, BTreeSet<Arc<Position>>>,
    /// The same, in order, each with what it matches.
    shadowed: BTreeMap<Arc<Position>, u128>,
    summary: Summary,
    is_stale: bool,
    /// Where something changed since [`RouteList::clear_touched`].
    touched: Vec<Arc<Position>>,
}

/// What a list amounts to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// How many bytes [`RouteList::chunks`] have.
    pub(crate) length: usize,
    /// A hash of them.
    pub(crate) hash: [u8; 32],
}

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    hash: [u8; 32],
}

impl RouteList {
    /// How many entries there are, hidden ones included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many entries are written.
    pub(crate) fn written_len(&self) -> usize {
        self.entries.len() - self.shadowed.len()
    }

    /// The entry at a position, unless it is hidden.
    pub(crate) fn written(&self, position: &Arc<Position>) -> Option<&Entry> {
        let entry = self.entries.get(position)?;
        (!self.shadowed.contains_key(position)).then_some(entry)
    }

    /// All entries, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Arc<Position>, &Entry)> {
        self.entries.iter()
    }

    /// All entries that are not hidden, in order.
    pub(crate) fn all_written(&self) -> impl Iterator<Item = (&Arc<Position>, &Entry)> {
        let entries = self.entries.iter();
        entries.filter(|(position, _)| !self.shadowed.contains_key(*position))
    }

    /// Positions whose [`RouteList::written`] may have changed since the last call, some more than
    /// once.
    pub(crate) fn touched(&self) -> &[Arc<Position>] {
        &self.touched
    }

    /// Starts to take note of changes anew.
    pub(crate) fn clear_touched(&mut self) {
        self.touched = Vec::new();
    }

    /// Removes what there is, but not what is noted of changes.
    pub(crate) fn reset(&mut self) {
        let touched = std::mem::take(&mut self.touched);
        *self = Self {
            touched,
            ..Self::default()
        };
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries that are never reached, each with the one that takes its requests.
    pub(crate) fn shadowed(&self) -> impl Iterator<Item = (&Arc<Position>, &Arc<Position>)> {
        let shadowed = self.shadowed.iter();
        shadowed.filter_map(|(position, matching)| Some((position, self.first.get(matching)?)))
    }

    /// Whether there are any.
    pub(crate) fn has_shadowed(&self) -> bool {
        !self.shadowed.is_empty()
    }

    /// Adds an entry. There is none at this position yet.
    pub(crate) fn insert(&mut self, position: Arc<Position>, entry: Entry) {
        self.touched.push(Arc::clone(&position));
        if begins_chunk(&entry) {
            self.chunks.insert(Arc::clone(&position), None);
        }
        self.mark(&position);
        self.hide_or_show(&position, entry.matching);
        self.entries.insert(position, entry);
    }

    /// Removes an entry, if there is one at this position.
    pub(crate) fn remove(&mut self, position: &Arc<Position>) {
        let Some(entry) = self.entries.remove(position) else {
            return;
        };
        self.touched.push(Arc::clone(position));
        self.chunks.remove(position);
        self.mark(position);
        self.reveal(position, entry.matching);
    }

    /// Builds what changed; the result is up to date until the next change.
    pub(crate) fn summarize(&mut self) -> Summary {
        if !self.is_stale {
            return self.summary;
        }
        let starts: Vec<Arc<Position>> = self.chunks.keys().map(Arc::clone).collect();
        if self.head.is_none() {
            let end = starts.first().map_or(Bound::Unbounded, Bound::Excluded);
            self.head = Some(build(
                &mut self.entries,
                &self.shadowed,
                Bound::Unbounded,
                end,
            ));
        }
        for (start, chunk) in &mut self.chunks {
            if chunk.is_none() {
                let next = starts.partition_point(|other| other <= start);
                let end = starts.get(next).map_or(Bound::Unbounded, Bound::Excluded);
                *chunk = Some(build(
                    &mut self.entries,
                    &self.shadowed,
                    Bound::Included(start),
                    end,
                ));
            }
        }
        let mut hasher = Sha256::new();
        let mut length = 0;
        for chunk in self.built() {
            length += chunk.bytes.len();
            hasher.update(chunk.hash);
        }
        self.summary = Summary {
            length,
            hash: hasher.finalize().into(),
        };
        self.is_stale = false;
        self.summary
    }

    /// The encoded entries, as last summarized.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        self.built().map(|chunk| &chunk.bytes)
    }

    fn built(&self) -> impl Iterator<Item = &Chunk> {
        self.head.iter().chain(self.chunks.values().flatten())
    }

    /// Has the chunk built again that `position` is in, or would be in if it began none.
    fn mark(&mut self, position: &Arc<Position>) {
        self.is_stale = true;
        let before = (Bound::Unbounded, Bound::Excluded(position));
        match self
            .chunks
            .range_mut::<Arc<Position>, _>(before)
            .next_back()
        {
            Some((_, chunk)) => *chunk = None,
            None => self.head = None,
        }
    }

    /// Has the chunk built again that the entry at `position` is in.
    fn mark_entry(&mut self, position: &Arc<Position>) {
        match self.chunks.get_mut(position) {
            Some(chunk) => {
                *chunk = None;
                self.is_stale = true;
            }
            None => self.mark(position),
        }
    }

    /// Takes note of a new entry that matches like others do. However many these are, it looks at
    /// one of them.
    fn hide_or_show(&mut self, position: &Arc<Position>, matching: u128) {
        let Some(first) = self.first.get(&matching).map(Arc::clone) else {
            self.first.insert(matching, Arc::clone(position));
            return;
        };
        let hidden = if *position < first {
            self.first.insert(matching, Arc::clone(position));
            self.mark_entry(&first);
            self.touched.push(Arc::clone(&first));
            first
        } else {
            Arc::clone(position)
        };
        self.shadowed.insert(Arc::clone(&hidden), matching);
        self.hidden.entry(matching).or_default().insert(hidden);
    }

    /// Takes note of the removal of an entry.
    fn reveal(&mut self, position: &Arc<Position>, matching: u128) {
        let is_first = self.first.get(&matching) == Some(position);
        let Some(hidden) = self.hidden.get_mut(&matching) else {
            self.first.remove(&matching);
            return;
        };
        let next = if is_first {
            hidden.pop_first()
        } else {
            hidden.remove(position);
            None
        };
        if hidden.is_empty() {
            self.hidden.remove(&matching);
        }
        self.shadowed.remove(next.as_ref().unwrap_or(position));
        if let Some(next) = next {
            self.first.insert(matching, Arc::clone(&next));
            self.mark_entry(&next);
            self.touched.push(next);
        }
    }
}

fn begins_chunk(entry: &Entry) -> bool {
    // FNV-1a, its bits mixed once more: similar routes have similar ends.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in &entry.bytes {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (hash >> 32).is_multiple_of(CHUNK)
}

/// Builds the chunk of a range of entries, and has them share its bytes.
fn build(
    entries: &mut BTreeMap<Arc<Position>, Entry>,
    shadowed: &BTreeMap<Arc<Position>, u128>,
    start: Bound<&Arc<Position>>,
    end: Bound<&Arc<Position>>,
) -> Chunk {
    let is_written = |position: &Arc<Position>| !shadowed.contains_key(position);
    let range = entries.range::<Arc<Position>, _>((start, end));
    let length = range
        .clone()
        .filter(|(position, _)| is_written(position))
        .map(|(_, entry)| entry.bytes.len())
        .sum();
    let mut bytes = BytesMut::with_capacity(length);
    for (_, entry) in range.filter(|(position, _)| is_written(position)) {
        bytes.put_slice(&entry.bytes);
    }
    let bytes = bytes.freeze();
    let mut from = 0;
    for (position, entry) in entries.range_mut::<Arc<Position>, _>((start, end)) {
        if is_written(position) {
            let to = from + entry.bytes.len();
            entry.bytes = bytes.slice(from..to);
            from = to;
        }
    }
    Chunk {
        hash: Sha256::digest(&bytes).into(),
        bytes,
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use mesh_model::ResourceName;

    use super::*;
    use crate::order::{PathKind, Source, Specificity};
    use crate::view::Age;

    /// Entry `number`; those with equal `matching` match the same requests.
    fn entry(number: usize, matching: u128) -> (Arc<Position>, Entry) {
        let source = Source {
            age: Age::default(),
            display_name: format!("{number:04}").into(),
            name: ResourceName::parse("r").unwrap(),
        };
        let position = Position {
            breadth: 0,
            specificity: Specificity::new(PathKind::Exact, "/", false, 0, 0),
            is_implied: Reverse(false),
            source: Arc::new(source),
            rule: 0,
            matching: 0,
        };
        let bytes = Bytes::from(format!("<{number}>"));
        (Arc::new(position), Entry { bytes, matching })
    }

    fn written(list: &mut RouteList) -> (Summary, String) {
        let summary = list.summarize();
        let out = list
            .chunks()
            .map(|chunk| &**chunk)
            .collect::<Vec<_>>()
            .concat();
        assert_eq!(out.len(), summary.length);
        (summary, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_list_is_a_function_of_its_entries() {
        let entries: Vec<_> = (0..2000).map(|n| entry(n, n as u128 / 3)).collect();
        let mut straight = RouteList::default();
        for (position, entry) in &entries[..1000] {
            straight.insert(Arc::clone(position), entry.clone());
        }
        let expected: String = (0..1000).step_by(3).map(|n| format!("<{n}>")).collect();
        assert_eq!(
            written(&mut straight).1,
            expected,
            "of three that match alike, the first"
        );
        assert_eq!(straight.shadowed().count(), 666);

        // The same set in another order, with others that come and go and a look now and then.
        let mut winding = RouteList::default();
        for step in 0..2000 {
            let (position, entry) = &entries[step * 1237 % 2000];
            winding.insert(Arc::clone(position), entry.clone());
            if step % 100 == 0 {
                written(&mut winding);
            }
        }
        for step in 0..1000 {
            winding.remove(&entries[1000 + step * 7 % 1000].0);
            if step % 100 == 0 {
                written(&mut winding);
            }
        }
        assert!(
            winding.chunks.len() > 5,
            "the list is long enough to have chunks"
        );
        assert_eq!(written(&mut winding), written(&mut straight));
        assert!(winding.shadowed().eq(straight.shadowed()));

        for (position, _) in &entries {
            winding.remove(position);
        }
        assert_eq!(written(&mut winding).1, "");
        assert!(winding.is_empty() && winding.first.is_empty() && winding.hidden.is_empty());
    }

    #[test]
    fn many_equal_matches_come_and_go_in_any_order() {
        const MATCHES: usize = 20_000;
        let entries: Vec<_> = (0..MATCHES).map(|n| entry(n, 1)).collect();
        let orders: [fn(usize) -> usize; 3] =
            [|n| n, |n| MATCHES - 1 - n, |n| n * 12_347 % MATCHES];
        for (placed, displaced) in orders.iter().flat_map(|a| orders.map(|b| (a, b))) {
            let mut list = RouteList::default();
            for n in 0..MATCHES {
                let (position, entry) = &entries[placed(n)];
                list.insert(Arc::clone(position), entry.clone());
            }
            assert_eq!(written(&mut list).1, "<0>");
            assert_eq!(list.shadowed().count(), MATCHES - 1);
            assert!(list.shadowed().all(|(_, first)| *first == entries[0].0));
            for n in 0..MATCHES {
                list.remove(&entries[displaced(n)].0);
            }
            assert_eq!(written(&mut list).1, "");
            assert!(list.first.is_empty() && list.hidden.is_empty() && !list.has_shadowed());
        }
    }
}
