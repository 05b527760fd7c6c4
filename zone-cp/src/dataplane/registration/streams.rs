//! Which proxies have a stream, which are leaving, and whose Dataplane is due to be removed.
//!
//! Pure decisions: time comes in, and what has to be done goes out. A stream that said goodbye
//! is no reason to keep a Dataplane, and its end no reason to remove one.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_model::Key;
use tokio::time::Instant;

/// How long after its goodbye, or the end of its last stream, an Envoy that only drains is not
/// registered again.
const LEAVING: Duration = Duration::from_secs(5 * 60);
/// How long after its bootstrap an agent's Envoy is expected to open its stream.
const EXPECTED: Duration = Duration::from_secs(60);
/// The most agents that are expected at once; goodbyes need no more of them.
const MAX_EXPECTED: usize = 10_000;

/// What is known of all proxies.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: BTreeMap<Key, Vec<Stream>>,
    /// Proxies whose agent said goodbye, and until when their Envoys are known to drain.
    leaving: BTreeMap<Key, Instant>,
    /// Proxies whose new agent fetched its bootstrap, and until when its stream is expected.
    expected: BTreeMap<Key, Instant>,
    /// Removals that wait for their time; a stream that opens takes its own out.
    due: BTreeMap<Key, Removal>,
    last_id: u64,
}

#[derive(Debug)]
struct Stream {
    id: StreamId,
    /// Whether it, or one that it overlapped with, brought the Dataplane.
    has_brought: bool,
    has_left: bool,
}

/// Names an open stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamId(u64);

/// Names a removal that was armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Removal(u64);

/// What a goodbye means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Goodbye {
    /// Another agent runs the proxy, or is about to.
    Stay,
    /// The Dataplane has to go, and these streams are those of the agent that leaves.
    Leave(Vec<StreamId>),
}

impl Streams {
    /// A stream of `key` opened.
    pub(super) fn opened(&mut self, key: &Key, has_brought: bool) -> StreamId {
        self.due.remove(key);
        self.leaving.remove(key);
        self.expected.remove(key);
        let id = StreamId(self.next_id());
        let streams = self.open.entry(key.clone()).or_default();
        let has_brought = has_brought || streams.iter().any(|s| s.has_brought && !s.has_left);
        streams.push(Stream {
            id,
            has_brought,
            has_left: false,
        });
        id
    }

    /// A stream ended. A removal that is returned has to be carried out after the delay, if it
    /// is due then.
    pub(super) fn closed(&mut self, key: &Key, id: StreamId, now: Instant) -> Option<Removal> {
        self.sweep(now);
        let streams = self.open.get_mut(key)?;
        let stream = streams.remove(streams.iter().position(|s| s.id == id)?);
        let is_last = !streams.iter().any(|s| !s.has_left);
        if streams.is_empty() {
            self.open.remove(key);
        }
        if stream.has_left {
            if let Some(until) = self.leaving.get_mut(key) {
                *until = now + LEAVING;
            }
            return None;
        }
        (is_last && stream.has_brought).then(|| self.arm(key))
    }

    /// Arms the removal of a Dataplane without a stream.
    pub(super) fn arm(&mut self, key: &Key) -> Removal {
        let removal = Removal(self.next_id());
        self.due.insert(key.clone(), removal);
        removal
    }

    /// Whether nothing has happened since that is a reason not to remove.
    pub(super) fn is_due(&self, key: &Key, removal: Removal) -> bool {
        self.due.get(key) == Some(&removal)
    }

    /// The removal was carried out.
    pub(super) fn removed(&mut self, key: &Key) {
        self.due.remove(key);
    }

    /// A new agent of `key` fetched its bootstrap: what its predecessor said is over, and what it
    /// still says is not about the newcomer.
    pub(super) fn expect(&mut self, key: &Key, now: Instant) {
        self.leaving.remove(key);
        if self.expected.len() >= MAX_EXPECTED {
            self.sweep(now);
        }
        if self.expected.len() < MAX_EXPECTED || self.expected.contains_key(key) {
            self.expected.insert(key.clone(), now + EXPECTED);
        }
    }

    /// An agent of `key` says goodbye. Its streams count as gone from now on;
    /// [`Streams::failed`] takes that back.
    pub(super) fn goodbye(&mut self, key: &Key, now: Instant) -> Goodbye {
        self.sweep(now);
        let streams = self
            .open
            .get_mut(key)
            .map_or(&mut [][..], Vec::as_mut_slice);
        let live = streams.iter_mut().filter(|s| !s.has_left);
        let mut live: Vec<&mut Stream> = live.collect();
        if live.len() > 1 || self.expected.contains_key(key) {
            return Goodbye::Stay;
        }
        self.leaving.insert(key.clone(), now + LEAVING);
        let mark = |stream: &mut &mut Stream| {
            stream.has_left = true;
            stream.id
        };
        Goodbye::Leave(live.iter_mut().map(mark).collect())
    }

    /// A goodbye came to nothing. If its streams have ended meanwhile, a removal is armed.
    pub(super) fn failed(&mut self, key: &Key, left: &[StreamId]) -> Option<Removal> {
        self.leaving.remove(key);
        let streams = self
            .open
            .get_mut(key)
            .map_or(&mut [][..], Vec::as_mut_slice);
        for stream in streams.iter_mut().filter(|s| left.contains(&s.id)) {
            stream.has_left = false;
        }
        let is_live = streams.iter().any(|s| !s.has_left);
        (!is_live && !left.is_empty()).then(|| self.arm(key))
    }

    /// Whether streams of `key` that open now belong to an Envoy that only drains.
    pub(super) fn is_leaving(&self, key: &Key, now: Instant) -> bool {
        let is_draining = |streams: &Vec<Stream>| streams.iter().any(|s| s.has_left);
        self.leaving
            .get(key)
            .is_some_and(|until| *until > now || self.open.get(key).is_some_and(is_draining))
    }

    /// Whether the agent of an open stream said goodbye.
    pub(super) fn has_left(&self, key: &Key, id: StreamId) -> bool {
        self.open
            .get(key)
            .is_some_and(|streams| streams.iter().any(|s| s.id == id && s.has_left))
    }

    fn sweep(&mut self, now: Instant) {
        let open = &self.open;
        self.leaving
            .retain(|key, until| *until > now || open.contains_key(key));
        self.expected.retain(|_, until| *until > now);
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

#[cfg(test)]
mod tests {
    use mesh_model::{MeshName, ResourceName, ResourceType};

    use super::*;

    fn key() -> Key {
        Key::in_mesh(
            ResourceType::Dataplane,
            MeshName::parse("default").unwrap(),
            ResourceName::parse("edge").unwrap(),
        )
    }

    #[test]
    fn a_removal_is_due_until_a_stream_opens_and_the_next_close_arms_another() {
        let (mut streams, key, now) = (Streams::default(), key(), Instant::now());
        let first = streams.opened(&key, true);
        let early = streams.closed(&key, first, now).unwrap();
        assert!(streams.is_due(&key, early));
        let second = streams.opened(&key, true);
        assert!(!streams.is_due(&key, early));
        let late = streams.closed(&key, second, now).unwrap();
        assert!(!streams.is_due(&key, early) && streams.is_due(&key, late));
    }

    #[test]
    fn only_the_end_of_the_last_stream_counts_and_of_one_that_brought_its_dataplane() {
        let (mut streams, key, now) = (Streams::default(), key(), Instant::now());
        let stored = streams.opened(&key, false);
        assert_eq!(streams.closed(&key, stored, now), None);
        let brought = streams.opened(&key, true);
        let stored = streams.opened(&key, false);
        assert_eq!(streams.closed(&key, brought, now), None);
        assert!(streams.closed(&key, stored, now).is_some());
        assert!(streams.open.is_empty());
    }

    #[test]
    fn the_end_of_the_live_stream_counts_though_a_predecessor_still_drains() {
        let (mut streams, key, now) = (Streams::default(), key(), Instant::now());
        let old = streams.opened(&key, true);
        assert_eq!(streams.goodbye(&key, now), Goodbye::Leave(vec![old]));
        streams.expect(&key, now);
        let new = streams.opened(&key, true);
        assert!(streams.has_left(&key, old) && !streams.has_left(&key, new));
        assert!(streams.closed(&key, new, now).is_some());
        assert_eq!(streams.closed(&key, old, now), None);
    }

    #[test]
    fn a_goodbye_is_about_the_only_live_stream_or_about_none() {
        let (mut streams, key, now) = (Streams::default(), key(), Instant::now());
        let old = streams.opened(&key, true);
        let new = streams.opened(&key, true);
        assert_eq!(streams.goodbye(&key, now), Goodbye::Stay);
        assert_eq!(streams.closed(&key, old, now), None);
        assert_eq!(streams.goodbye(&key, now), Goodbye::Leave(vec![new]));
        assert_eq!(streams.goodbye(&key, now), Goodbye::Leave(vec![]));
    }

    #[test]
    fn a_new_agent_that_has_its_bootstrap_is_waited_for() {
        let (mut streams, key, now) = (Streams::default(), key(), Instant::now());
        let old = streams.opened(&key, true);
        streams.expect(&key, now);
        assert_eq!(streams.goodbye(&key, now), Goodbye::Stay);
        // It never came.
        let later = now + EXPECTED;
        assert_eq!(streams.goodbye(&key, later), Goodbye::Leave(vec![old]));
    }

    #[test]
    fn leaving_lasts_while_the_envoy_drains_and_some_time_longer() {
        let (mut streams, key, now) = (Streams::default(), key(), Instant::now());
        let id = streams.opened(&key, true);
        streams.goodbye(&key, now);
        let drained = now + 2 * LEAVING;
        assert!(streams.is_leaving(&key, drained));
        assert_eq!(streams.closed(&key, id, drained), None);
        assert!(streams.is_leaving(&key, drained + LEAVING / 2));
        assert!(!streams.is_leaving(&key, drained + LEAVING));
        streams.sweep(drained + LEAVING);
        assert!(streams.leaving.is_empty());
    }

    #[test]
    fn a_goodbye_that_failed_is_taken_back() {
        let (mut streams, key, now) = (Streams::default(), key(), Instant::now());
        let id = streams.opened(&key, true);
        assert_eq!(streams.goodbye(&key, now), Goodbye::Leave(vec![id]));
        assert_eq!(streams.failed(&key, &[id]), None);
        assert!(!streams.has_left(&key, id) && !streams.is_leaving(&key, now));
        // The stream ends while the goodbye fails.
        streams.goodbye(&key, now);
        assert_eq!(streams.closed(&key, id, now), None);
        assert!(streams.failed(&key, &[id]).is_some());
    }

    #[test]
    fn the_agents_that_are_expected_are_bounded() {
        let (mut streams, now) = (Streams::default(), Instant::now());
        let named = |number: usize| {
            let name = ResourceName::parse(&format!("edge-{number}")).unwrap();
            Key::in_mesh(
                ResourceType::Dataplane,
                MeshName::parse("default").unwrap(),
                name,
            )
        };
        for number in 0..=MAX_EXPECTED {
            streams.expect(&named(number), now);
        }
        assert_eq!(streams.expected.len(), MAX_EXPECTED);
        streams.expect(&named(MAX_EXPECTED), now + EXPECTED);
        assert_eq!(streams.expected.len(), 1);
    }
}
