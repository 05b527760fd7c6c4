//! One simulated fleet, from its first start to the time when everybody holds everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mesh_kds::client::State;
use mesh_model::Timestamp;
use mesh_store::StoreId;
use parking_lot::Mutex;
use uuid::Uuid;

use super::disk::Disk;
use super::faults::{Faults, Link};
use super::hosts::{self, Host, Online, Shared};
use super::ledger::{GLOBAL, Ledger};
use super::mute::{self, MUTE};
use super::tamper::{self, RELAY, Tamper};
use super::wire::Trace;
use super::workload::{self, Workload};
use super::{Options, Summary, Without};
use crate::dice::Dice;

/// How much of the story is told of a run that goes wrong.
const LEAST_TOLD: usize = 40;
/// How finely time passes.
const TICK: Duration = Duration::from_millis(5);
/// Within so long after the last fault everybody holds everything: 30 s until an end counts as
/// gone that has said no heartbeat yet, 5 s to connect, and some.
const SETTLED: Duration = Duration::from_secs(45);
/// How long an end may be silent before it is shown offline, and how long it takes to show.
const SILENCE: Duration = Duration::from_millis(5_000 + 750);
/// The same before its first heartbeat, and for a peer that does not answer.
const FIRST_SILENCE: Duration = Duration::from_millis(30_000 + 750);
/// How old what hosts show of their links may be.
const SHOWN: Duration = Duration::from_millis(50);
/// After so long on a stream its ends have heard one another's heartbeats.
const HEARD: Duration = Duration::from_secs(4);
/// How often it is looked whether zones and their global hold the same.
const LOOK: Duration = Duration::from_millis(500);
/// With nothing in the way they differ for no longer: what a slow disk was still writing when it
/// became a fast one takes some seconds.
const STALE: Duration = Duration::from_secs(8);
/// A connection that was opened so long after a fault has lost nothing to it.
const SOUND: Duration = Duration::from_secs(1);
/// A peer that never reads is written what fits into its windows, and what goes around that.
const MOST_FOR_MUTE: u64 = mute::WINDOW as u64 + (4 << 10);
/// A change that meets no fault is everywhere within so long.
const PROBE: Duration = Duration::from_secs(3);

/// A fleet under simulation.
pub(super) struct Fleet<'a> {
    pub(super) sim: turmoil::Sim<'a>,
    pub(super) global: Arc<Host>,
    pub(super) zones: Vec<Arc<Host>>,
    pub(super) shared: Arc<Shared>,
    pub(super) workload: Workload,
    pub(super) dice: Dice,
    /// What is between each zone and its global.
    pub(super) ways: Vec<Way>,
    has_mute: bool,
    /// Whether the relay does what it does.
    is_tampered: Arc<AtomicBool>,
    has_heartbeats: bool,
    has_relay: bool,
}

/// What is between a zone and its global.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// Since when something has kept them apart.
    apart_since: Option<Duration>,
    /// Since when nothing has.
    whole_since: Duration,
    /// The zone, shown online since then, and its global have heard one another's heartbeats.
    heard_since: Option<Duration>,
    /// Since when one of them has not held what it should, though nothing was in the way.
    differs_since: Option<Duration>,
}

fn wall_clock() -> Timestamp {
    let start = 1_800_000_000_000_000_000;
    let since = i64::try_from(super::wire::now().as_nanos()).unwrap_or_default();
    Timestamp::from_unix_nanos(start + since)
}

/// Plays a seed.
pub(super) fn play(seed: u64, options: &Options) -> Result<Summary, String> {
    let _clock = mesh_runtime::clock::simulate(wall_clock);
    let mut fleet = Fleet::new(seed, options);
    let end = fleet.run(options);
    let ledger = fleet.shared.ledger.lock();
    match end {
        Ok(summary) if options.story == 0 => Ok(summary),
        Ok(summary) => Ok(Summary {
            story: ledger.story(options.story),
            ..summary
        }),
        Err(error) => Err(format!(
            "{error}\n{}",
            ledger.story(options.story.max(LEAST_TOLD))
        )),
    }
}

impl Fleet<'_> {
    fn new(seed: u64, options: &Options) -> Self {
        let mut dice = Dice::new(seed);
        let ledger: Arc<Mutex<Ledger>> = Arc::default();
        let trace: Arc<Trace> = Arc::default();
        let shared = Arc::new(Shared {
            book: Arc::new(Online::new(Arc::clone(&ledger))),
            trace: Arc::clone(&trace),
            ledger: Arc::clone(&ledger),
        });
        let mut sim = turmoil::Builder::new()
            .rng_seed(dice.throw())
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3600))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(dice.millis(5, 60))
            .tcp_capacity(4096)
            .enable_random_order()
            .build();
        let target = if options.has_relay(seed) {
            RELAY
        } else {
            GLOBAL
        };
        let count = options.zones.unwrap_or_else(|| dice.between(1, 8));
        let mut host = |name: &str| {
            let ledger = Arc::clone(&ledger);
            let place = name.to_owned();
            let id = StoreId(Uuid::from_u64_pair(dice.throw(), dice.throw()));
            let disk = Disk::new(
                id,
                dice.fork(),
                Box::new(move |before, after| ledger.lock().committed(&place, before, after)),
            );
            Arc::new(Host {
                name: name.to_owned(),
                disk: Mutex::new(disk),
                other_disk: Mutex::default(),
                writes: Mutex::default(),
                is_doubled_until: Mutex::default(),
                target: target.to_owned(),
                state: Mutex::default(),
                client: Mutex::default(),
                silent_for: Mutex::default(),
                differences: Mutex::default(),
                seed: dice.throw(),
            })
        };
        let global = host(GLOBAL);
        global.disk().fill(workload::identity(workload::FLEET));
        let (runs, of_runs) = (Arc::clone(&global), Arc::clone(&shared));
        sim.host(GLOBAL, move || {
            hosts::run_global(Arc::clone(&runs), Arc::clone(&of_runs))
        });
        let zones: Vec<Arc<Host>> = (1..=count).map(|n| host(&format!("zone-{n}"))).collect();
        for zone in &zones {
            let (runs, of_runs) = (Arc::clone(zone), Arc::clone(&shared));
            sim.host(zone.name.as_str(), move || {
                hosts::run_zone(Arc::clone(&runs), Arc::clone(&of_runs))
            });
        }
        let is_tampered: Arc<AtomicBool> = Arc::new(AtomicBool::new(true));
        if options.has_relay(seed) {
            let tamper = Tamper {
                trace: Arc::clone(&trace),
                mischief: options.mischief,
                without: options.without(seed),
                is_active: Arc::clone(&is_tampered),
                dice: Arc::new(Mutex::new(dice.fork())),
            };
            sim.host(RELAY, move || tamper::run(tamper.clone()));
        }
        let has_mute = options.has_mute.unwrap_or_else(|| dice.percent(25));
        if has_mute {
            let after = dice.millis(500, 10_000);
            sim.host(MUTE, move || mute::run(after, Arc::clone(&trace)));
        }
        Self {
            sim,
            ways: zones.iter().map(|_| Way::default()).collect(),
            global,
            zones,
            shared,
            workload: Workload::new(dice.fork()),
            dice,
            has_mute,
            is_tampered,
            has_heartbeats: options.without(seed) == Without::Nothing,
            has_relay: options.has_relay(seed),
        }
    }

    fn run(&mut self, options: &Options) -> Result<Summary, String> {
        self.fill();
        let mut summary = Summary::default();
        let mut has_doubled = false;
        if options.has_faults {
            let mut faults = Faults::new(self.dice.fork(), self.zones.len());
            let end = self.dice.millis(15_000, 45_000);
            let mut next = Duration::ZERO;
            while self.sim.elapsed() < end {
                if self.sim.elapsed() >= next {
                    faults.happen(self);
                    next = self.sim.elapsed() + self.dice.millis(50, 1_200);
                }
                faults.heal(self, false);
                self.step()?;
            }
            faults.heal(self, true);
            summary.faults = faults.happened;
            has_doubled = faults.has_doubled;
        }
        self.is_tampered.store(false, Ordering::Relaxed);
        let healed = self.sim.elapsed();
        self.tell("faults stop");
        summary.settled = self.settle(healed)?;
        summary.probed = self.probe()?;
        summary.sum_up(self);
        // What one of two clients takes is, to the other one, what somebody else changed in the store.
        if summary.differences > 0 && !self.has_relay && !has_doubled {
            return Err("digests differed, though nothing was lost".to_owned());
        }
        Ok(summary)
    }

    pub(super) fn tell(&self, text: &str) {
        self.shared.ledger.lock().tell(self.sim.elapsed(), text);
    }

    /// What is there from the start.
    fn fill(&mut self) {
        for host in std::iter::once(&self.global).chain(&self.zones) {
            let batch = self.workload.changes(&host.name, 8, 12);
            host.writes.lock().push_back(batch);
        }
        if self.has_mute {
            // More than its windows take.
            let batch = self.workload.changes(GLOBAL, 2_500, 2_000);
            self.global.writes.lock().push_back(batch);
        }
    }

    /// Time passes, and what must hold at any time is checked.
    pub(super) fn step(&mut self) -> Result<(), String> {
        let failed = |error: Box<dyn std::error::Error>| format!("a host failed: {error}");
        self.sim.step().map_err(failed)?;
        self.check_liveness();
        self.check_mute();
        if self.sim.elapsed().as_millis() % LOOK.as_millis() == 0 {
            self.check_staleness();
        }
        match self.shared.ledger.lock().violation() {
            Some(violation) => Err(violation.to_owned()),
            None => Ok(()),
        }
    }

    /// Who is shown online can be reached, or could until a moment ago.
    fn check_liveness(&mut self) {
        let now = self.sim.elapsed();
        // A relay is in nobody's way, and holds streams that nobody holds any more.
        let zones = self.zones.iter().filter(|_| !self.has_relay);
        for (zone, way) in zones.zip(&mut self.ways) {
            let Some(online_since) = self.shared.book.since(&zone.name) else {
                continue;
            };
            let Some(apart_since) = way.apart_since else {
                // What was opened before has lost a part of what was said on it, and waits for it.
                let is_sound =
                    online_since >= way.whole_since + SOUND || way.whole_since == Duration::ZERO;
                if is_sound && now >= online_since + HEARD {
                    way.heard_since = Some(online_since);
                }
                continue;
            };
            let was_heard = way.heard_since == Some(online_since);
            let limit = if was_heard { SILENCE } else { FIRST_SILENCE };
            // What was under way when they were parted may have opened a stream since.
            let silent_for = now.saturating_sub(apart_since.max(online_since));
            if silent_for > limit {
                let text = format!(
                    "{} is shown online, and nothing has come from it for {silent_for:?}",
                    zone.name
                );
                self.shared.ledger.lock().accuse(now, text);
            }
        }
    }

    /// Changes get through to who is shown online and has nothing in its way.
    fn check_staleness(&mut self) {
        let now = self.sim.elapsed();
        let is_here = self.global.other_disk.lock().is_none();
        for (zone, way) in self.zones.iter().zip(&mut self.ways) {
            let online_since = self.shared.book.since(&zone.name);
            let is_sound = way.apart_since.is_none()
                && online_since.is_some()
                && way.heard_since == online_since
                && is_here
                && !zone.disk().is_slow()
                && !self.global.disk().is_slow();
            let ledger = self.shared.ledger.lock();
            let difference = ledger.difference_of(&zone.name).filter(|_| is_sound);
            drop(ledger);
            let Some(difference) = difference else {
                way.differs_since = None;
                continue;
            };
            let since = *way.differs_since.get_or_insert(now);
            if now - since > STALE {
                let text = format!(
                    "{} is shown online and heard, and stale for {:?}: {difference}",
                    zone.name,
                    now - since
                );
                self.shared.ledger.lock().accuse(now, text);
            }
        }
    }

    /// Who never reads is written little, and loses its stream.
    fn check_mute(&mut self) {
        let now = self.sim.elapsed();
        if self.has_mute
            && let Some(since) = self.shared.book.since(MUTE)
            && now.saturating_sub(since) > FIRST_SILENCE
        {
            let text = "a peer that never reads still has its stream".to_owned();
            self.shared.ledger.lock().accuse(now, text);
        }
        let bytes = self.shared.trace.bytes_by(&hosts::said_by(GLOBAL, MUTE));
        if bytes > MOST_FOR_MUTE {
            let text = format!("a peer that never reads was written {bytes} bytes");
            self.shared.ledger.lock().accuse(now, text);
        }
    }

    /// Waits until everybody holds everything.
    fn settle(&mut self, healed: Duration) -> Result<Duration, String> {
        let names: Vec<String> = self.zones.iter().map(|zone| zone.name.clone()).collect();
        let mut last = Some("nothing was looked at".to_owned());
        while self.sim.elapsed() < healed + SETTLED {
            for _ in 0..20 {
                self.step()?;
            }
            let is_written = std::iter::once(&self.global)
                .chain(&self.zones)
                .all(|host| host.writes.lock().is_empty() && host.disk().is_idle());
            last = self.shared.ledger.lock().difference(&names);
            last = last.or_else(|| self.offline());
            if self.has_heartbeats {
                last = last.or_else(|| self.unheard(healed));
            }
            if last.is_none() && is_written {
                return Ok(self.sim.elapsed() - healed);
            }
        }
        Err(format!(
            "{SETTLED:?} after the last fault: {}",
            last.as_deref()
                .unwrap_or("something is still to be written")
        ))
    }

    /// A zone that is shown offline, or follows nobody.
    fn offline(&self) -> Option<String> {
        self.zones.iter().find_map(|zone| {
            let name = zone.name.as_str();
            let state = zone.state.lock();
            let state = state.as_ref().map(|state| state.borrow().clone());
            if self.shared.book.since(name).is_none() {
                Some(format!("{name} is shown offline"))
            } else if state != Some(State::Following) {
                Some(format!("{name} is {state:?}"))
            } else {
                None
            }
        })
    }

    /// A zone that has not heard its global since, or the other way round.
    fn unheard(&self, healed: Duration) -> Option<String> {
        let healed_for = self.sim.elapsed().saturating_sub(healed);
        // A connection that a fault has made holes in looks sound until somebody finds out.
        let is_heard = |host: &Host, zone: &str| {
            let silent_for = host.silent_for.lock();
            let silent_for = silent_for.get(zone);
            silent_for.is_some_and(|silent_for| *silent_for + SHOWN < healed_for)
        };
        self.zones.iter().find_map(|zone| {
            let is_heard = is_heard(zone, &zone.name) && is_heard(&self.global, &zone.name);
            (!is_heard).then(|| format!("{} and the global have not heard one another", zone.name))
        })
    }

    /// A change of each, once nothing is wrong, is soon where it belongs, and nobody is shown
    /// offline.
    fn probe(&mut self) -> Result<Duration, String> {
        let mut expected = Vec::new();
        let (batch, content) = self.workload.probe(GLOBAL);
        self.global.writes.lock().push_back(batch);
        for zone in &self.zones {
            expected.push((zone.name.clone(), content));
            let (batch, content) = self.workload.probe(&zone.name);
            zone.writes.lock().push_back(batch);
            expected.push((GLOBAL.to_owned(), content));
        }
        let start = self.sim.elapsed();
        while self.sim.elapsed() < start + PROBE {
            self.step()?;
            if let Some(offline) = self.offline() {
                return Err(format!("while nothing is wrong, {offline}"));
            }
            let ledger = self.shared.ledger.lock();
            if (expected.iter()).all(|(place, content)| ledger.holds(place, *content)) {
                return Ok(self.sim.elapsed() - start);
            }
        }
        Err(format!("a change was not everywhere after {PROBE:?}"))
    }

    /// Takes note of what is between a zone and its global.
    pub(super) fn note_link(&mut self, zone: usize, link: Link, is_up: bool) {
        let now = self.sim.elapsed();
        let way = &mut self.ways[zone];
        if link != Link::Whole || !is_up {
            way.apart_since.get_or_insert(now);
        } else if way.apart_since.take().is_some() {
            way.whole_since = now;
        }
    }
}
