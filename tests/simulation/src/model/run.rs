//! What happens, by chance, and what must be true in the end.

use std::time::Duration;

use mesh_delta::{History, TypeSet as _};

use crate::mischief::Mischief;
use crate::model::link::Direction;
use crate::model::peer::Kind;
use crate::model::store::{Owner, Ty};
use crate::model::summary::Summary;
use crate::model::world::{Peers, Violation, World};

/// After so many rounds without faults there must be nothing left to say.
const MOST_ROUNDS: usize = 2_000;

/// Something that may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happening {
    Change,
    Burst,
    Wake,
    ToReceiver,
    ToSender,
    Admit,
    Dial,
    HangUp,
    Notice,
    Cut,
    CrashZone,
    CrashGlobal,
    NewStore,
    Repeat,
    Wait,
}

/// What may happen, and how often in a run in which all of it does.
const HAPPENINGS: [(Happening, usize); 15] = [
    (Happening::Change, 40),
    (Happening::Burst, 1),
    (Happening::Wake, 60),
    (Happening::ToReceiver, 100),
    (Happening::ToSender, 100),
    (Happening::Admit, 30),
    (Happening::Dial, 10),
    (Happening::HangUp, 2),
    (Happening::Notice, 3),
    (Happening::Cut, 2),
    (Happening::CrashZone, 2),
    (Happening::CrashGlobal, 1),
    (Happening::NewStore, 1),
    (Happening::Repeat, 3),
    (Happening::Wait, 4),
];

/// Plays a seed to its end.
///
/// # Errors
/// The first thing that must not happen; [`story`] tells how it came to that.
pub fn play(seed: u64, peers: Peers, mischief: Mischief) -> Result<Summary, Violation> {
    let mut world = World::new(seed, peers, mischief, false);
    world.run()?;
    Ok(world.summary)
}

/// The last lines of the story of a seed, and how it ends.
pub fn story(seed: u64, peers: Peers, mischief: Mischief, lines: usize) -> String {
    let mut world = World::new(seed, peers, mischief, true);
    let end = world.run();
    let story = world.story.take().unwrap_or_default();
    let mut text: Vec<String> = story[story.len().saturating_sub(lines)..].to_vec();
    text.push(match end {
        Ok(()) => world.summary.to_string(),
        Err(violation) => format!("VIOLATION: {violation}"),
    });
    text.join("\n")
}

impl World {
    fn run(&mut self) -> Result<(), Violation> {
        self.introduce();
        // In each run some things happen never, and others often.
        let mut weights = HAPPENINGS;
        let has_burst = self.dice.percent(4);
        for (happening, weight) in &mut weights {
            match happening {
                Happening::Burst => *weight = usize::from(has_burst),
                Happening::Wake | Happening::ToReceiver | Happening::ToSender => {}
                Happening::Admit | Happening::Dial | Happening::Change => {}
                _ if self.dice.percent(40) => *weight = 0,
                _ => *weight *= self.dice.between(1, 2),
            }
        }
        let total: usize = weights.iter().map(|(_, weight)| weight).sum();
        for _ in 0..self.dice.between(50, 700) {
            let mut at = self.dice.below(total);
            let happening = weights.iter().find_map(|(happening, weight)| {
                let is_it = at < *weight;
                at = at.saturating_sub(*weight);
                is_it.then_some(*happening)
            });
            if let Some(happening) = happening {
                self.happen(happening)?;
            }
        }
        self.settle()?;
        self.check()
    }

    fn introduce(&mut self) {
        let kinds: Vec<_> = self
            .zones
            .iter()
            .map(|zone| (zone.owner, zone.kind))
            .collect();
        let global = (self.global.kind, self.global.taste);
        self.tell(|| format!("a global {global:?} and zones {kinds:?}"));
        let names = self.names;
        self.change(Owner::Global, 3, names);
        for zone in 0..self.zones.len() {
            self.change(Owner::Zone(zone), 2, names);
        }
    }

    fn somebody(&mut self) -> Owner {
        if self.dice.percent(50) {
            Owner::Global
        } else {
            Owner::Zone(self.dice.below(self.zones.len()))
        }
    }

    fn some_stream(&mut self) -> Option<(usize, Direction)> {
        if self.connections.is_empty() {
            return None;
        }
        let at = self.dice.below(self.connections.len());
        let direction = if self.dice.percent(60) {
            Direction::Down
        } else {
            Direction::Up
        };
        Some((at, direction))
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        let zone = self.dice.below(self.zones.len());
        match happening {
            Happening::Change => {
                let (owner, changes) = (self.somebody(), self.dice.between(1, 4));
                let names = self.names;
                self.change(owner, changes, names);
            }
            Happening::Burst => {
                let owner = self.somebody();
                self.change(owner, 1_000, 700);
            }
            Happening::Dial => {
                if self.dice.percent(30) || !self.is_connected(zone) {
                    self.dial(zone);
                }
            }
            Happening::HangUp => self.hang_up(zone),
            Happening::CrashZone => self.crash(Owner::Zone(zone)),
            Happening::CrashGlobal => self.crash(Owner::Global),
            Happening::NewStore => {
                self.crash(Owner::Global);
                let history = History(u128::from(self.dice.throw()));
                self.global.store.history = history;
                self.global.store.revision = 0;
                self.tell(|| "the global's resources are in another store".into());
            }
            Happening::Wait => {
                let seconds = self.dice.between(1, 40);
                self.now += Duration::from_secs(seconds as u64);
            }
            Happening::Wake | Happening::ToReceiver | Happening::ToSender => {
                if let Some((at, direction)) = self.some_stream() {
                    match happening {
                        Happening::Wake => _ = self.wake(at, direction)?,
                        Happening::ToReceiver => _ = self.deliver_to_receiver(at, direction)?,
                        _ => {
                            let has_heard = self.deliver_to_sender(at, direction)?;
                            if has_heard && self.dice.percent(70) && at < self.connections.len() {
                                self.wake(at, direction)?;
                            }
                        }
                    }
                }
            }
            Happening::Admit | Happening::Notice | Happening::Cut | Happening::Repeat => {
                if let Some((at, direction)) = self.some_stream() {
                    self.happen_to(happening, at, direction);
                }
            }
        }
        Ok(())
    }

    fn happen_to(&mut self, happening: Happening, at: usize, direction: Direction) {
        match happening {
            Happening::Admit => self.admit(at, direction),
            Happening::Cut => {
                self.connections[at].is_cut = true;
                self.count(7);
            }
            Happening::Repeat => {
                let ty = Ty::ALL[self.dice.below(Ty::ALL.len())];
                self.repeat(at, direction, ty);
            }
            _ => self.notice(at),
        }
    }

    fn is_connected(&self, zone: usize) -> bool {
        let mut all = self.connections.iter();
        all.any(|connection| connection.zone == zone && connection.is_open_at_zone)
    }

    /// Each end finds out that the other has ended a connection, or that nothing passes.
    fn notice(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        let zone = connection.zone;
        let ended = |direction: Direction, c: &crate::model::link::Connection| {
            c.was_taken[direction as usize] && !c.is_open_at_global[direction as usize]
        };
        let is_ended = connection.is_cut
            || ended(Direction::Down, connection)
            || ended(Direction::Up, connection);
        if !connection.is_open_at_zone || connection.is_cut {
            for direction in [Direction::Down, Direction::Up] {
                connection.close_at_global(direction);
            }
        }
        if is_ended && connection.is_open_at_zone {
            self.hang_up(zone);
        }
        self.bury();
    }

    /// Faults stop, and everything is said that there is to say.
    fn settle(&mut self) -> Result<(), Violation> {
        self.is_quiet = true;
        self.tell(|| "faults stop".into());
        for _ in 0..MOST_ROUNDS {
            if self.round()? || self.beat() {
                continue;
            }
            let deadlines = self.connections.iter().flat_map(|connection| {
                let streams = [&connection.down, &connection.up];
                streams.map(|stream| stream.sending.as_ref().and_then(|s| s.next_deadline()))
            });
            match deadlines.flatten().min() {
                Some(at) => self.now = self.now.max(at),
                None => return Ok(()),
            }
        }
        Err(format!(
            "there was still something to say after {MOST_ROUNDS} rounds"
        ))
    }

    /// Whatever can happen without faults, once.
    fn round(&mut self) -> Result<bool, Violation> {
        let before = self.tick;
        while let Some(at) = self.connections.iter().position(|connection| {
            let was_taken = connection.was_taken;
            let is_ended = [0, 1].map(|d| was_taken[d] && !connection.is_open_at_global[d]);
            connection.is_cut || !connection.is_open_at_zone || is_ended.contains(&true)
        }) {
            self.notice(at);
            self.count(8);
            if self.connections.get(at).is_some_and(|c| c.is_gone()) {
                self.bury();
            }
        }
        for zone in 0..self.zones.len() {
            if !self.is_connected(zone) {
                self.dial(zone);
            }
        }
        for direction in [Direction::Down, Direction::Up] {
            for at in 0..self.connections.len() {
                if !self.connections[at].was_taken[direction as usize] {
                    self.admit(at, direction);
                }
            }
            let mut at = 0;
            while at < self.connections.len() {
                self.wake(at, direction)?;
                while at < self.connections.len() && self.deliver_to_receiver(at, direction)? {}
                while at < self.connections.len() && self.deliver_to_sender(at, direction)? {}
                at += 1;
            }
        }
        self.look_for_room();
        Ok(self.tick != before)
    }

    /// Compares what is held with what should be, where both ends can.
    fn beat(&mut self) -> bool {
        for at in 0..self.connections.len() {
            for direction in [Direction::Down, Direction::Up] {
                let stream = self.connections[at].stream(direction);
                let (Some(sending), Some(receiving)) = (&stream.sending, &stream.receiving) else {
                    continue;
                };
                let differing = Ty::ALL.iter().find(|ty| {
                    let (should, holds) = (sending.digest(**ty), receiving.digest(**ty));
                    should.is_some() && holds.is_some() && should != holds
                });
                if let Some(ty) = differing.copied() {
                    self.differs(at, ty);
                    return true;
                }
            }
        }
        false
    }

    /// What must be true once all is said.
    fn check(&mut self) -> Result<(), Violation> {
        for zone in 0..self.zones.len() {
            let zone = Owner::Zone(zone);
            for ty in Ty::DOWN {
                self.check_pair(zone, Owner::Global, ty)?;
            }
            for ty in Ty::UP {
                self.check_pair(Owner::Global, zone, ty)?;
            }
        }
        for connection in &self.connections {
            for stream in [&connection.down, &connection.up] {
                if !stream.sending.as_ref().is_some_and(|s| s.is_synced()) {
                    return Err(format!("a sender of z{} is not done", connection.zone));
                }
            }
        }
        if self.mischief == Mischief::None && self.summary.differences > 0 {
            return Err("digests differed, though nothing was lost".into());
        }
        Ok(())
    }

    /// A receiver holds for each name what is offered or, where it refuses that, what it accepted
    /// last.
    fn check_pair(&mut self, here: Owner, peer: Owner, ty: Ty) -> Result<(), Violation> {
        let offered = self.node(peer).store.offer(peer, here);
        let offered = offered.items(ty).clone();
        let held = self.node(here).store.received(here, peer, ty);
        // Until its first ACK everything has to be said to 2.6 at once, and it applies nothing of
        // what it refuses: what it cannot take must not be offered to it in the first place.
        let is_stuck = self.node(here).kind == Kind::Stock26
            && (offered.iter()).any(|(name, item)| self.dislikes(here, peer, ty, name, item));
        if is_stuck {
            return Ok(());
        }
        for (name, item) in &offered {
            let holder = self.node(here).store.owner(ty, name);
            let is_occupied = here == Owner::Global && holder.is_some_and(|holder| holder != peer);
            if held.get(name) == Some(&item.version) || is_occupied {
                continue;
            }
            if !self.dislikes(here, peer, ty, name, item) {
                return Err(format!(
                    "{here} holds {:?} of {ty:?} {name}, and {peer} offers {}",
                    held.get(name),
                    item.version
                ));
            }
            let accepted = self.node(here).accepted.get(&(peer, ty, name.clone()));
            let Some(accepted) = accepted.copied() else {
                continue;
            };
            let was_gone = self.node(peer).store.was_absent_after(ty, name, accepted);
            if held.get(name).is_none() && !was_gone {
                return Err(format!(
                    "{here} refused {ty:?} {name}, and lost what it had accepted before"
                ));
            }
        }
        match held.keys().find(|name| !offered.contains_key(*name)) {
            Some(name) => Err(format!(
                "{here} holds {ty:?} {name}, which {peer} has removed"
            )),
            None => Ok(()),
        }
    }
}
