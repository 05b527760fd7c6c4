//! Whether the two ends of a connection live and agree, between our own control planes.
//!
//! Every two seconds the zone says a heartbeat, and the global answers with one of its own. Each
//! says the digest of what it holds of the other's resources after so many answers; the other
//! knows what that digest should be, because it read these answers. So the two compare the same
//! moment, however much is under way.
//!
//! **Invariant:** a difference means that something was lost or invented between the two ends;
//! resources on their way, or rejected ones, make none.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mesh_delta::{Digest, Receiver, Sender};
use mesh_proto::link;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::kind::Kind;
use crate::metrics::Metrics;

/// How often a zone says a heartbeat.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);
/// After so long without a word the other end counts as gone.
const SILENCE: Duration = Duration::from_secs(5);
/// The same before the first heartbeat: an end that has much to do when it starts is not dead.
const FIRST_SILENCE: Duration = Duration::from_secs(30);
/// An end that looks so much too late was held up itself, and has yet to read what came meanwhile.
const HELD_UP: Duration = Duration::from_millis(500);
/// How many answers back a heartbeat can be compared.
const MOST_STATES: usize = 128;
/// A heartbeat that is so much later than another was said after everything that had been read
/// when that one came.
const SURELY_LATER: Duration = Duration::from_millis(1500);
/// The pause after the first repair; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// After so long in agreement the next repair is a first one.
const AGREED: Duration = Duration::from_secs(60);

/// Digests by type, of the types of which a response was answered.
type Digests = BTreeMap<Kind, Digest>;

/// One connection, as both of its sync streams and its heartbeats see it.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// The zone, and the direction in which this side sends.
    zone: String,
    sends: &'static str,
    receives: &'static str,
    /// When the other end was heard last.
    heard: watch::Sender<Heard>,
    /// Told when the ends differ and the connection is to be made anew.
    diverged: watch::Sender<Option<String>>,
    state: Mutex<State>,
    repairs: Arc<Mutex<Repairs>>,
    metrics: Metrics,
}

/// The last word of the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heard {
    at: Instant,
    /// How long it may be the last one.
    patience: Duration,
}

#[derive(Debug, Default)]
struct State {
    /// What the other end should hold, after each of its latest answers.
    should_hold: VecDeque<(u64, Digests)>,
    /// How many answers were read.
    read: u64,
    /// How many had been read when an earlier heartbeat came.
    read_then: Option<(Instant, u64)>,
    /// A heartbeat that overtook an answer.
    early: Option<link::Holding>,
    /// The other end holds something else; which types, it is to say.
    is_suspect: bool,
    /// How many responses were answered here, and what is held since.
    answered: u64,
    holds: Digests,
    /// A difference was reported.
    is_reported: bool,
    /// The other end asks for the digest of each type.
    is_asked: bool,
    /// How far the other end is behind.
    lag: link::Lag,
    behind_since: Option<Instant>,
    /// How far this end is behind, as the other one says.
    lag_here: link::Lag,
}

/// What heartbeats have led to on the connections of one zone.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    in_a_row: u32,
    last: Option<Instant>,
    /// How many differences were found, on all connections.
    found: u64,
    /// What the last one was.
    what: String,
}

/// Where one connection between our own control planes stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkStatus {
    /// The zone.
    pub zone: String,
    /// When the other end was heard last.
    pub silent_for: Duration,
    /// How far the zone is behind the global.
    pub down: Lag,
    /// How far the global is behind the zone.
    pub up: Lag,
    /// How many differences this end found since it was started.
    pub differences: u64,
    /// What the last of them was; empty if there was none.
    pub last_difference: String,
}

/// How far a receiver is behind its sender.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// The revision of the sender's store.
    pub revision: u64,
    /// The revision up to which the receiver answered everything.
    pub answered_revision: u64,
    /// For how long there has been something unanswered.
    pub behind_for: Duration,
}

impl LinkStatus {
    /// As the admin API shows it.
    pub fn to_json(&self) -> Value {
        json!({
            "zone": self.zone,
            "silentForMilliseconds": milliseconds(self.silent_for),
            "down": self.down.to_json(),
            "up": self.up.to_json(),
            "differences": self.differences,
            "lastDifference": self.last_difference,
        })
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Lag {
    fn to_json(self) -> Value {
        json!({
            "revision": self.revision,
            "answeredRevision": self.answered_revision,
            "lagRevisions": self.revision.saturating_sub(self.answered_revision),
            "lagMilliseconds": milliseconds(self.behind_for),
        })
    }

    fn from_wire(lag: link::Lag) -> Self {
        Self {
            revision: lag.revision,
            answered_revision: lag.answered_revision,
            behind_for: Duration::from_millis(lag.milliseconds),
        }
    }
}

impl Repairs {
    /// Whether there is anything to remember once no connection is left.
    pub(crate) fn is_worth_keeping(&self) -> bool {
        self.found > 0
    }

    /// Whether to repair now: a difference that comes back is reported, and not chased as fast
    /// as connections can be made.
    fn allow(&mut self, now: Instant) -> bool {
        if let Some(last) = self.last {
            let doubled = 1_u32.checked_shl(self.in_a_row.saturating_sub(1));
            let pause = FIRST_PAUSE.saturating_mul(doubled.unwrap_or(u32::MAX));
            if now < last + pause.min(LONGEST_PAUSE) {
                return false;
            }
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.last = Some(now);
        true
    }

    fn agreed(&mut self, now: Instant) {
        if self.last.is_some_and(|last| now > last + AGREED) {
            self.in_a_row = 0;
            self.last = None;
        }
    }
}

/// Which end of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The global, which sends down.
    Global,
    /// A zone, which sends up.
    Zone,
}

impl Pulse {
    /// A connection that was just made.
    pub(crate) fn new(
        end: End,
        zone: String,
        repairs: Arc<Mutex<Repairs>>,
        metrics: Metrics,
    ) -> Self {
        let (sends, receives) = match end {
            End::Global => ("down", "up"),
            End::Zone => ("up", "down"),
        };
        Self {
            zone,
            sends,
            receives,
            heard: watch::Sender::new(Heard {
                at: Instant::now(),
                patience: FIRST_SILENCE,
            }),
            diverged: watch::Sender::new(None),
            state: Mutex::default(),
            repairs,
            metrics,
        }
    }

    /// Something came from the other end.
    pub(crate) fn is_alive(&self) {
        self.heard.send_modify(|heard| heard.at = Instant::now());
    }

    /// Resolves once nothing came from the other end for too long. One future is to see all of a
    /// connection: it remembers when this end was held up.
    pub(crate) async fn silence(&self) {
        let mut heard = self.heard.subscribe();
        let mut since = Instant::now();
        loop {
            let Heard { at, patience } = *heard.borrow_and_update();
            let deadline = at.max(since) + patience;
            tokio::select! {
                biased;
                // The sender is in `self`.
                _ = heard.changed() => continue,
                () = tokio::time::sleep_until(deadline) => {}
            }
            let now = Instant::now();
            if now > deadline + HELD_UP {
                since = now;
            } else if heard.borrow().at == at {
                return;
            }
        }
    }

    /// Resolves once the ends differ and the connection is to be made anew.
    pub(crate) async fn divergence(&self) -> String {
        let mut diverged = self.diverged.subscribe();
        let what = match diverged.wait_for(Option::is_some).await {
            Ok(what) => what.clone(),
            Err(_closed) => None,
        };
        match what {
            Some(what) => what,
            None => std::future::pending().await,
        }
    }

    /// Where the connection stands.
    pub(crate) fn status(&self) -> LinkStatus {
        let state = self.state.lock();
        let there = Lag::from_wire(self.lag(&state));
        let here = Lag::from_wire(state.lag_here);
        drop(state);
        let (down, up) = match self.sends {
            "down" => (there, here),
            _ => (here, there),
        };
        let repairs = self.repairs.lock();
        LinkStatus {
            zone: self.zone.clone(),
            silent_for: self.heard.borrow().at.elapsed(),
            down,
            up,
            differences: repairs.found,
            last_difference: repairs.what.clone(),
        }
    }

    /// The sending stream read an answer.
    pub(crate) fn read_answer(&self, sender: &Sender<Kind>, kinds: &[Kind]) {
        let digests = kinds.iter();
        let digests = digests.filter_map(|kind| Some((*kind, sender.digest(*kind)?)));
        let mut state = self.state.lock();
        state.read += 1;
        let read = state.read;
        if state.should_hold.len() == MOST_STATES {
            state.should_hold.pop_front();
        }
        state.should_hold.push_back((read, digests.collect()));
        if let Some(early) = state.early.take() {
            self.compare(&mut state, early, Instant::now());
        }
    }

    /// The sending stream has said what it can, at this revision of the store.
    pub(crate) fn sent(&self, sender: &Sender<Kind>, revision: u64) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.lag.revision = revision;
        if sender.is_synced() {
            state.lag.answered_revision = revision;
            state.behind_since = None;
        } else {
            state.behind_since.get_or_insert(now);
        }
    }

    /// The receiving stream answered a response of one of these types.
    pub(crate) fn answered(&self, receiver: &Receiver<Kind>, answered: impl Iterator<Item = Kind>) {
        let holds = answered.map(|kind| (kind, receiver.digest(kind))).collect();
        let mut state = self.state.lock();
        state.answered += 1;
        state.holds = holds;
    }

    /// This end's store does not hold any more what it answered for: somebody else changed it.
    pub(crate) fn holds_other(&self, kind: Kind, name: &str) {
        let what = format!("{name} was changed in the store of its receiver");
        let mut state = self.state.lock();
        self.diverge(&mut state, self.receives, &what, &[kind]);
    }

    /// What is to be said now.
    pub(crate) fn heartbeat(&self) -> link::Heartbeat {
        let mut state = self.state.lock();
        let lag = self.lag(&state);
        let digests = std::mem::take(&mut state.is_asked).then(|| {
            let each = state.holds.iter();
            each.map(|(kind, digest)| (kind.to_string(), digest.to_bytes().to_vec()))
                .collect()
        });
        link::Heartbeat {
            holding: Some(link::Holding {
                answered: state.answered,
                root: root(&state.holds),
                digests: digests.unwrap_or_default(),
            }),
            lag: Some(lag),
            wants_digests: state.is_suspect,
        }
    }

    /// Takes in what the other end said. Whether there is something to say before the next
    /// heartbeat is due.
    pub(crate) fn hear(&self, heartbeat: link::Heartbeat) -> bool {
        let now = Instant::now();
        self.heard.send_replace(Heard {
            at: now,
            patience: SILENCE,
        });
        let mut state = self.state.lock();
        self.metrics.lag(&self.zone, self.sends, &self.lag(&state));
        if let Some(lag) = heartbeat.lag {
            self.metrics.lag(&self.zone, self.receives, &lag);
            state.lag_here = lag;
        }
        state.is_asked = heartbeat.wants_digests;
        if let Some(holding) = heartbeat.holding {
            let claimed = holding.answered;
            match state.read_then {
                Some((then, read)) if now < then + SURELY_LATER => {
                    state.read_then = Some((then, read));
                }
                Some((_, read)) if claimed < read => {
                    let what = "it did not give answers that arrived";
                    self.diverge(&mut state, self.sends, what, &[]);
                }
                _ => state.read_then = Some((now, state.read)),
            }
            self.compare(&mut state, holding, now);
        }
        state.is_asked || state.is_suspect
    }

    fn lag(&self, state: &State) -> link::Lag {
        let behind = state.behind_since.map(|since| since.elapsed());
        link::Lag {
            milliseconds: behind
                .and_then(|behind| u64::try_from(behind.as_millis()).ok())
                .unwrap_or_default(),
            ..state.lag
        }
    }

    fn compare(&self, state: &mut State, holding: link::Holding, now: Instant) {
        if holding.answered > state.read {
            state.early = Some(holding);
            return;
        }
        let then = state.should_hold.iter();
        let mut then = then.filter(|(read, _)| *read == holding.answered);
        let Some((_, should_hold)) = then.next() else {
            return;
        };
        if root(should_hold) == holding.root {
            state.is_suspect = false;
            self.repairs.lock().agreed(now);
            return;
        }
        if holding.digests.is_empty() {
            state.is_suspect = true;
            return;
        }
        let differs = |kind: &Kind| {
            let held = holding.digests.get(&kind.to_string());
            let held = held.and_then(|bytes| Digest::from_bytes(bytes));
            held != should_hold.get(kind).copied()
        };
        let kinds: Vec<Kind> = should_hold.keys().copied().filter(differs).collect();
        state.is_suspect = false;
        let what = "it does not hold what it answered for";
        self.diverge(state, self.sends, what, &kinds);
    }

    /// Reports a difference, once per connection, and has it repaired unless that was tried just
    /// now.
    fn diverge(&self, state: &mut State, direction: &'static str, what: &str, kinds: &[Kind]) {
        let types: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        let types = types.join(", ");
        let zone = &self.zone;
        let is_repaired = self.repairs.lock().allow(Instant::now());
        if !std::mem::replace(&mut state.is_reported, true) {
            self.metrics.differs(&self.zone, direction, kinds);
            let mut repairs = self.repairs.lock();
            repairs.found += 1;
            repairs.what = format!("{direction}: {what} ({types})");
            drop(repairs);
            tracing::error!(
                zone.name = %zone,
                direction,
                types,
                is_repaired,
                "what zone {zone} and its global hold of what is sent {direction} differs: {what}"
            );
        }
        if is_repaired {
            self.diverged
                .send_replace(Some(format!("{what} (types: {types})")));
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        for direction in [self.sends, self.receives] {
            self.metrics.forget_lag(&self.zone, direction);
        }
    }
}

/// One digest over those of all types, in the order of their names.
fn root(digests: &Digests) -> Vec<u8> {
    let named: BTreeMap<String, Digest> = digests
        .iter()
        .map(|(kind, digest)| (kind.to_string(), *digest))
        .collect();
    let mut hash = sha2::Sha256::new();
    for (name, digest) in named {
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(digest.to_bytes());
    }
    let mut root = hash.finalize().to_vec();
    root.truncate(Digest::LENGTH);
    root
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::time::{advance, sleep, timeout};

    use super::*;

    fn pulse() -> Pulse {
        let repairs = Arc::default();
        Pulse::new(End::Global, "east".into(), repairs, Metrics::default())
    }

    /// When the other end counts as gone, from now on.
    async fn gone_after(silence: impl Future<Output = ()>) -> Duration {
        let start = Instant::now();
        silence.await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_said_no_heartbeat_yet_has_more_time() {
        let pulse = pulse();
        assert_eq!(gone_after(pulse.silence()).await.as_secs(), 30);
        let pulse = self::pulse();
        sleep(Duration::from_secs(10)).await;
        pulse.hear(link::Heartbeat::default());
        assert_eq!(gone_after(pulse.silence()).await.as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_held_up_itself_listens_once_more() {
        let pulse = pulse();
        pulse.hear(link::Heartbeat::default());
        let mut silence = pin!(pulse.silence());
        assert!(timeout(Duration::ZERO, &mut silence).await.is_err());
        // As a process that was stopped for a minute sees it.
        advance(Duration::from_secs(60)).await;
        assert_eq!(gone_after(silence).await.as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_just_heard_is_not_gone_however_late_one_looks() {
        let pulse = pulse();
        for _ in 0..64 {
            pulse.hear(link::Heartbeat::default());
            let mut silence = pin!(pulse.silence());
            assert!(timeout(Duration::ZERO, &mut silence).await.is_err());
            advance(SILENCE + Duration::from_millis(100)).await;
            pulse.is_alive();
            // The timer and the word are both there when this end is polled.
            let early = timeout(Duration::from_secs(4), &mut silence).await;
            assert!(early.is_err());
        }
    }

    #[test]
    fn a_difference_that_comes_back_is_not_chased() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut repairs = Repairs::default();
        assert!(repairs.allow(start));
        assert!(!repairs.allow(after(4)));
        assert!(repairs.allow(after(5)));
        assert!(!repairs.allow(after(14)));
        assert!(repairs.allow(after(15)));
        repairs.agreed(after(50));
        assert!(!repairs.allow(after(30)));
        repairs.agreed(after(76));
        assert!(repairs.allow(after(76)));
    }
}
