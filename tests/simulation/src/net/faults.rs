//! What goes wrong in a simulated fleet, and when it is put right.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mesh_kds::client::known_cluster_id;
use mesh_store::{Store as _, StoreId};
use uuid::Uuid;

use super::disk::Disk;
use super::hosts::Host;
use super::ledger::GLOBAL;
use super::run::Fleet;
use super::workload::{FLEET, identity};
use crate::dice::Dice;

/// What is between a zone and its global.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// Nothing is wrong.
    Whole,
    /// Nothing passes, and what was under way is lost.
    Parted,
    /// Nothing passes from the zone to the global.
    DeafGlobal,
    /// Nothing passes from the global to the zone.
    DeafZone,
    /// What is said waits.
    Held,
}

/// What may happen, and how often where all of it does.
const KINDS: [(Kind, usize); 11] = [
    (Kind::Write, 40),
    (Kind::Burst, 1),
    (Kind::Link, 12),
    (Kind::CrashZone, 4),
    (Kind::LoseZone, 3),
    (Kind::CrashGlobal, 3),
    (Kind::NewStore, 2),
    (Kind::OtherGlobal, 2),
    (Kind::SlowDisk, 4),
    (Kind::Double, 3),
    (Kind::Rest, 6),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Somebody writes.
    Write,
    /// Somebody writes very much.
    Burst,
    /// A link fails.
    Link,
    /// The process of a zone dies.
    CrashZone,
    /// The machine of a zone dies, and nobody is told.
    LoseZone,
    /// The process of the global dies.
    CrashGlobal,
    /// The process of the global dies, and what it has is in another store when it comes back.
    NewStore,
    /// The process of the global dies, and another deployment's comes in its place.
    OtherGlobal,
    /// A disk takes its time.
    SlowDisk,
    /// A zone has two processes for a while.
    Double,
    /// Nothing for now.
    Rest,
}

/// What is wrong now.
#[derive(Debug)]
pub(super) struct Faults {
    dice: Dice,
    weights: Vec<(Kind, usize)>,
    links: Vec<(Link, Duration)>,
    /// Who is down, and until when.
    down: BTreeMap<usize, Duration>,
    /// The same for the global.
    global_down: Option<Duration>,
    /// Until when another deployment's global is in its place.
    other_global: Option<Duration>,
    slow: BTreeMap<String, Duration>,
    pub(super) happened: usize,
    /// Whether a zone has run twice, so that two clients wrote to its store.
    pub(super) has_doubled: bool,
}

impl Faults {
    pub(super) fn new(mut dice: Dice, zones: usize) -> Self {
        let has_burst = dice.percent(10);
        // In each run some things happen never.
        let weight = |(kind, weight): (Kind, usize)| {
            let weight = match kind {
                Kind::Write | Kind::Rest => weight,
                Kind::Burst => usize::from(has_burst),
                _ if dice.percent(35) => 0,
                _ => weight,
            };
            (kind, weight)
        };
        let weights = KINDS.into_iter().map(weight).collect();
        Self {
            weights,
            links: vec![(Link::Whole, Duration::ZERO); zones],
            down: BTreeMap::new(),
            global_down: None,
            other_global: None,
            slow: BTreeMap::new(),
            happened: 0,
            has_doubled: false,
            dice,
        }
    }

    /// Something happens.
    pub(super) fn happen(&mut self, fleet: &mut Fleet<'_>) {
        let total = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut at = self.dice.below(total);
        let kind = self.weights.iter().find_map(|(kind, weight)| {
            let is_it = at < *weight;
            at = at.saturating_sub(*weight);
            is_it.then_some(*kind)
        });
        let zone = self.dice.below(self.links.len());
        let now = fleet.sim.elapsed();
        let until = now + self.how_long();
        match kind.unwrap_or(Kind::Rest) {
            Kind::Write => {
                let changes = self.dice.between(1, 6);
                self.write(fleet, zone, changes, 12);
            }
            Kind::Burst => self.write(fleet, zone, 1_000, 700),
            Kind::Link => self.part(fleet, zone, until),
            Kind::CrashZone => self.crash(fleet, zone, until),
            Kind::LoseZone => {
                if self.links[zone].0 == Link::Whole {
                    self.set_link(fleet, zone, Link::Parted, until);
                }
                self.crash(fleet, zone, until);
            }
            Kind::CrashGlobal => _ = self.crash_global(fleet, until),
            Kind::NewStore => {
                if self.crash_global(fleet, until) {
                    self.replace_store(fleet);
                }
            }
            Kind::OtherGlobal => self.replace_global(fleet, until),
            Kind::SlowDisk => self.slow_down(fleet, zone, until),
            Kind::Double => {
                self.happened += 1;
                self.has_doubled = true;
                fleet.tell(&format!("{} runs twice", fleet.zones[zone].name));
                *fleet.zones[zone].is_doubled_until.lock() = until;
            }
            Kind::Rest => {}
        }
    }

    /// Most faults are short, and some are longer than anybody's patience.
    fn how_long(&mut self) -> Duration {
        match self.dice.below(4) {
            0 => self.dice.millis(5, 500),
            1 | 2 => self.dice.millis(500, 6_000),
            _ => self.dice.millis(6_000, 40_000),
        }
    }

    fn write(&mut self, fleet: &mut Fleet<'_>, zone: usize, changes: usize, of: usize) {
        let host = if self.dice.percent(55) {
            &fleet.global
        } else {
            &fleet.zones[zone]
        };
        let batch = fleet.workload.changes(&host.name, changes, of);
        host.writes.lock().push_back(batch);
    }

    fn part(&mut self, fleet: &mut Fleet<'_>, zone: usize, until: Duration) {
        if self.links[zone].0 != Link::Whole {
            return;
        }
        let link = match self.dice.below(5) {
            0 | 1 => Link::Parted,
            2 => Link::DeafGlobal,
            3 => Link::DeafZone,
            _ => Link::Held,
        };
        self.set_link(fleet, zone, link, until);
    }

    fn set_link(&mut self, fleet: &mut Fleet<'_>, zone: usize, link: Link, until: Duration) {
        let host = Arc::clone(&fleet.zones[zone]);
        let (name, global) = (host.name.as_str(), host.target.as_str());
        match (self.links[zone].0, link) {
            (_, Link::Parted) => fleet.sim.partition(name, global),
            (_, Link::DeafGlobal) => fleet.sim.partition_oneway(name, global),
            (_, Link::DeafZone) => fleet.sim.partition_oneway(global, name),
            (_, Link::Held) => fleet.sim.hold(name, global),
            (Link::DeafGlobal, Link::Whole) => fleet.sim.repair_oneway(name, global),
            (Link::DeafZone, Link::Whole) => fleet.sim.repair_oneway(global, name),
            (Link::Held, Link::Whole) => fleet.sim.release(name, global),
            (_, Link::Whole) => fleet.sim.repair(name, global),
        }
        self.happened += usize::from(link != Link::Whole);
        fleet.tell(&format!("the link of {name} is {link:?}"));
        self.links[zone] = (link, until);
        fleet.note_link(zone, link, !self.down.contains_key(&zone));
    }

    fn crash(&mut self, fleet: &mut Fleet<'_>, zone: usize, until: Duration) {
        if self.down.contains_key(&zone) {
            return;
        }
        self.happened += 1;
        let host = &fleet.zones[zone];
        fleet.sim.crash(host.name.as_str());
        host.disk().crash();
        *host.state.lock() = None;
        *host.client.lock() = None;
        host.silent_for.lock().clear();
        fleet.tell(&format!("{} crashes", fleet.zones[zone].name));
        self.down.insert(zone, until);
        fleet.note_link(zone, self.links[zone].0, false);
    }

    /// Whether there was one to crash.
    fn crash_global(&mut self, fleet: &mut Fleet<'_>, until: Duration) -> bool {
        if self.global_down.is_some() || self.other_global.is_some() {
            return false;
        }
        self.happened += 1;
        self.stop_global(fleet);
        self.global_down = Some(until);
        true
    }

    fn stop_global(&mut self, fleet: &mut Fleet<'_>) {
        fleet.sim.crash(GLOBAL);
        fleet.global.disk().crash();
        fleet.shared.book.forget();
        fleet.global.silent_for.lock().clear();
        fleet.tell("the global crashes");
    }

    /// As after a restore: everything is there, and the store has another identity.
    fn replace_store(&mut self, fleet: &mut Fleet<'_>) {
        let mut old = fleet.global.disk.lock();
        let ledger = Arc::clone(&fleet.shared.ledger);
        let id = StoreId(Uuid::from_u64_pair(self.dice.throw(), self.dice.throw()));
        *old = old.copied(
            id,
            self.dice.fork(),
            Box::new(move |before, after| ledger.lock().committed(GLOBAL, before, after)),
        );
        drop(old);
        fleet.tell("what the global has is in another store");
    }

    /// A typo in its work directory, say. No zone may take anything from it, or lose anything.
    fn replace_global(&mut self, fleet: &mut Fleet<'_>, until: Duration) {
        // A zone that follows nobody yet follows the first that it meets.
        let follows =
            |host: &Arc<Host>| known_cluster_id(&host.disk().snapshot()).as_deref() == Some(FLEET);
        let is_early = !fleet.zones.iter().all(follows);
        if is_early || !self.crash_global(fleet, until) {
            return;
        }
        let id = StoreId(Uuid::from_u64_pair(self.dice.throw(), self.dice.throw()));
        let other = Disk::new(id, self.dice.fork(), Box::new(|_, _| {}));
        if self.dice.percent(70) {
            other.fill(identity("fleet-2"));
        }
        *fleet.global.other_disk.lock() = Some(other);
        self.global_down = None;
        self.other_global = Some(until);
        fleet.sim.bounce(GLOBAL);
        fleet.tell("another deployment's global is in its place");
    }

    fn slow_down(&mut self, fleet: &mut Fleet<'_>, zone: usize, until: Duration) {
        self.happened += 1;
        let slowness = Some(self.dice.millis(50, 4_000));
        let host = if self.dice.percent(20) {
            &fleet.global
        } else {
            &fleet.zones[zone]
        };
        host.disk().set_slowness(slowness);
        fleet.tell(&format!("the disk of {} is slow", host.name));
        self.slow.insert(host.name.clone(), until);
    }

    /// Puts right what has been wrong long enough, or everything.
    pub(super) fn heal(&mut self, fleet: &mut Fleet<'_>, is_all: bool) {
        let now = fleet.sim.elapsed();
        let is_over = |until: Duration| is_all || until <= now;
        for host in std::iter::once(&fleet.global).chain(&fleet.zones) {
            if self.slow.get(&host.name).is_some_and(|u| is_over(*u)) {
                self.slow.remove(&host.name);
                host.disk().set_slowness(None);
            }
        }
        for zone in 0..self.links.len() {
            let (link, until) = self.links[zone];
            if link != Link::Whole && is_over(until) {
                self.set_link(fleet, zone, Link::Whole, Duration::MAX);
            }
            if self.down.get(&zone).is_some_and(|until| is_over(*until)) {
                self.down.remove(&zone);
                fleet.sim.bounce(fleet.zones[zone].name.as_str());
                fleet.tell(&format!("{} starts again", fleet.zones[zone].name));
                fleet.note_link(zone, self.links[zone].0, true);
            }
            if is_all {
                *fleet.zones[zone].is_doubled_until.lock() = Duration::ZERO;
            }
        }
        if self.other_global.is_some_and(is_over) {
            self.other_global = None;
            self.stop_global(fleet);
            *fleet.global.other_disk.lock() = None;
            self.global_down = Some(now);
        }
        if self.global_down.is_some_and(is_over) {
            self.global_down = None;
            fleet.sim.bounce(GLOBAL);
            fleet.tell("the global starts again");
        }
    }
}
