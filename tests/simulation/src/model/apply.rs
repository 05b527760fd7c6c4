//! A response arrives: it is judged, applied and answered, and what must hold at any time is
//! checked.

use mesh_delta::{Apply, Item, Name, Response};

use crate::model::link::Direction;
use crate::model::peer::Kind;
use crate::model::receiving::{Arrived, Outcome};
use crate::model::sending::ToReceiver;
use crate::model::store::{Owner, Ty};
use crate::model::world::{Violation, World};

/// A stream in the eyes of its receiver.
#[derive(Debug, Clone, Copy)]
struct Seat {
    at: usize,
    direction: Direction,
    zone: usize,
    here: Owner,
    peer: Owner,
}

impl World {
    /// A message arrives at a receiver.
    pub(super) fn deliver_to_receiver(
        &mut self,
        at: usize,
        direction: Direction,
    ) -> Result<bool, Violation> {
        let mut dice = self.dice.fork();
        let connection = &mut self.connections[at];
        let zone = connection.zone;
        let (here, peer) = match direction {
            Direction::Down => (Owner::Zone(zone), Owner::Global),
            Direction::Up => (Owner::Global, Owner::Zone(zone)),
        };
        let seat = Seat {
            at,
            direction,
            zone,
            here,
            peer,
        };
        if connection.is_cut {
            return Ok(false);
        }
        let stream = connection.stream(direction);
        if stream.receiving.is_none() {
            return Ok(false);
        }
        let Some(message) = stream.to_receiver.take(&mut dice) else {
            return Ok(false);
        };
        self.summary.messages += 1;
        self.count(3);
        match message {
            ToReceiver::Ask(ty, asked) => {
                let receiving = self.connections[at].stream(direction).receiving.as_ref();
                let Some(parts) = receiving.map(|r| r.say_what_is_held(ty, &asked)) else {
                    return Ok(true);
                };
                let parts = parts.map_err(|error| format!("{here}: {error}"))?;
                self.connections[at]
                    .stream(direction)
                    .to_sender
                    .push(ty, parts);
            }
            ToReceiver::Piece {
                response,
                has_more,
                said_at,
            } => self.take(seat, response, has_more, said_at)?,
        }
        Ok(true)
    }

    fn take(
        &mut self,
        seat: Seat,
        response: Response<Ty>,
        has_more: bool,
        said_at: u64,
    ) -> Result<(), Violation> {
        let stream = self.connections[seat.at].stream(seat.direction);
        let Some(receiving) = &mut stream.receiving else {
            return Ok(());
        };
        let arrived = receiving
            .take(response, has_more, said_at)
            .map_err(|error| format!("{} cannot take a response: {error}", seat.here))?;
        match arrived {
            Some(arrived) => self.judge(seat, arrived),
            None => Ok(()),
        }
    }

    /// Judges, applies and answers a whole response.
    fn judge(&mut self, seat: Seat, arrived: Arrived) -> Result<(), Violation> {
        let Arrived { apply, said_at } = arrived;
        let (kind, ty) = (self.node(seat.here).kind, apply.ty);
        if !self.is_quiet && self.dice.percent(1) {
            return self.fail(seat, kind, apply, said_at);
        }
        let refused = self.refused(seat, &apply);
        self.summary.refusals += refused.len() as u64;
        let outcome = if kind == Kind::Stock26 && !refused.is_empty() {
            Outcome::Refused(format!("{} resources are invalid", refused.len()))
        } else {
            self.apply(seat, &apply, &refused, said_at)?;
            Outcome::Applied(refused)
        };
        if !self.is_quiet && self.dice.percent(1) {
            // It is durable, and nobody hears of it.
            self.tell(|| format!("{} crashes before it answers", seat.here));
            self.crash(seat.here);
            return Ok(());
        }
        self.answer(seat, apply, outcome)?;
        if seat.direction == Direction::Down {
            let history = self.global.store.history;
            let connection = &mut self.connections[seat.at];
            connection.taken.insert(ty);
            if connection.taken.len() == Ty::DOWN.len() && self.global.kind.is_own() {
                self.zones[seat.zone].store.followed = Some(history);
            }
        } else {
            self.look_for_room();
        }
        Ok(())
    }

    fn answer(&mut self, seat: Seat, apply: Apply<Ty>, outcome: Outcome) -> Result<(), Violation> {
        let ty = apply.ty;
        let held = self
            .node(seat.here)
            .store
            .received(seat.here, seat.peer, ty);
        let stream = self.connections[seat.at].stream(seat.direction);
        let Some(receiving) = &mut stream.receiving else {
            return Ok(());
        };
        let answer = receiving
            .answer(apply, outcome)
            .map_err(|error| format!("{} cannot answer: {error}", seat.here))?;
        if stream.resumed && !receiving.agrees(ty, &held) {
            return Err(format!(
                "{} does not know what it holds of {ty:?}",
                seat.here
            ));
        }
        stream.to_sender.push(ty, answer);
        Ok(())
    }

    /// What cannot be stored for now: most end the stream for that, 2.5 refuses.
    fn fail(
        &mut self,
        seat: Seat,
        kind: Kind,
        mut apply: Apply<Ty>,
        said_at: u64,
    ) -> Result<(), Violation> {
        self.tell(|| format!("{} cannot store {:?}", seat.here, apply.ty));
        if kind != Kind::Stock25 {
            match seat.here {
                Owner::Global => self.connections[seat.at].close_at_global(seat.direction),
                Owner::Zone(zone) => self.hang_up(zone),
            }
            self.bury();
            return Ok(());
        }
        // What was made before the failure stays.
        let whole = apply.clone();
        apply.upserts.truncate(self.dice.below(apply.upserts.len()));
        apply.removed.clear();
        apply.mode = mesh_delta::Mode::Increment;
        self.apply(seat, &apply, &[], said_at)?;
        self.answer(seat, whole, Outcome::Refused("the store failed".into()))
    }

    /// The names that are refused.
    fn refused(&mut self, seat: Seat, apply: &Apply<Ty>) -> Vec<Name> {
        let mut refused = Vec::new();
        for (name, item) in &apply.upserts {
            let is_occupied = seat.here == Owner::Global
                && self
                    .global
                    .store
                    .owner(apply.ty, name)
                    .is_some_and(|owner| owner != seat.peer);
            if is_occupied {
                self.zones[seat.zone]
                    .occupied
                    .push((apply.ty, name.clone()));
            }
            if is_occupied || self.dislikes(seat.here, seat.peer, apply.ty, name, item) {
                refused.push(name.clone());
            }
        }
        refused
    }

    pub(super) fn dislikes(
        &mut self,
        here: Owner,
        peer: Owner,
        ty: Ty,
        name: &Name,
        item: &Item<Ty>,
    ) -> bool {
        // What 2.5 sends is sent again as long as it is refused.
        if self.node(peer).kind == Kind::Stock25 {
            return false;
        }
        let node = self.node(here);
        node.kind.refuses(node.taste, ty, name, &item.version)
    }

    fn apply(
        &mut self,
        seat: Seat,
        apply: &Apply<Ty>,
        refused: &[Name],
        said_at: u64,
    ) -> Result<(), Violation> {
        let Seat { here, peer, .. } = seat;
        let ty = apply.ty;
        self.summary.applied += 1;
        let last = self.node(here).applied_at.insert((peer, ty), said_at);
        if last.is_some_and(|last| last > said_at) {
            return Err(format!(
                "{here} applies what {peer} said of {ty:?} at {said_at}, after what it said later"
            ));
        }
        let held = self.node(here).store.received(here, peer, ty);
        for name in apply.dropped(held.keys()) {
            let said = self.node(here).store.said_at(ty, &name).unwrap_or_default();
            if !self.node(peer).store.was_absent_after(ty, &name, said) {
                return Err(format!(
                    "{here} removes {ty:?} {name}, which {peer} has had ever since it sent it"
                ));
            }
            self.count(4);
            self.summary.removals += 1;
            self.node(here).store.remove(ty, &name);
            self.tell(|| format!("{here} removes {ty:?} {name}"));
        }
        for (name, item) in &apply.upserts {
            if refused.contains(name) {
                continue;
            }
            let owner = self.attributed(seat, ty, name, item)?;
            let tick = self.count(5);
            let node = self.node(here);
            node.store
                .put(owner, (ty, name), item.clone(), said_at, tick);
            node.accepted.insert((peer, ty, name.clone()), said_at);
        }
        self.tell(|| format!("{here} applies {ty:?} of {peer}, and refuses {refused:?}"));
        Ok(())
    }

    /// Whose a resource is that arrives: a zone's is that zone's, and nobody gets its own back.
    fn attributed(
        &self,
        seat: Seat,
        ty: Ty,
        name: &Name,
        item: &Item<Ty>,
    ) -> Result<Owner, Violation> {
        let says = item.payload.to_bytes();
        let owners = (0..self.zones.len()).map(Owner::Zone);
        let owner = owners
            .chain([Owner::Global])
            .find(|owner| owner.to_string().as_bytes() == &*says)
            .ok_or_else(|| format!("{ty:?} {name} is nobody's"))?;
        let is_right = match seat.direction {
            Direction::Up => owner == seat.peer,
            Direction::Down => owner != seat.here,
        };
        let store = match seat.here {
            Owner::Global => &self.global.store,
            Owner::Zone(zone) => &self.zones[zone].store,
        };
        let holder = store.owner(ty, name);
        if !is_right || holder.is_some_and(|holder| holder != owner) {
            return Err(format!(
                "{} takes {ty:?} {name} of {owner} from {}, where it holds that of {holder:?}",
                seat.here, seat.peer
            ));
        }
        Ok(owner)
    }

    /// A name that was in the place of a refused one has gone: the global ends the stream of
    /// whoever it refused, which brings it again.
    pub(super) fn look_for_room(&mut self) {
        if !self.global.kind.is_own() {
            return;
        }
        for zone in 0..self.zones.len() {
            let occupied = &self.zones[zone].occupied;
            let store = &self.global.store;
            if !occupied
                .iter()
                .any(|(ty, name)| store.owner(*ty, name).is_none())
            {
                continue;
            }
            self.zones[zone].occupied.clear();
            self.tell(|| format!("the global has room for what it refused of z{zone}"));
            let of_zone = self.connections.iter_mut().filter(|c| c.zone == zone);
            for connection in of_zone {
                if connection.is_open_at_global[Direction::Up as usize] {
                    connection.close_at_global(Direction::Up);
                }
            }
            self.bury();
        }
    }

    /// A control plane loses everything but its store.
    pub(super) fn crash(&mut self, owner: Owner) {
        self.summary.crashes += 1;
        self.count(6);
        match owner {
            Owner::Zone(zone) => self.hang_up(zone),
            Owner::Global => {
                for connection in &mut self.connections {
                    for direction in [Direction::Down, Direction::Up] {
                        connection.close_at_global(direction);
                    }
                    // What was on its way to it is refused by its successor.
                    connection.was_taken = [true; 2];
                }
                for zone in &mut self.zones {
                    zone.occupied.clear();
                }
                self.bury();
            }
        }
        self.tell(|| format!("{owner} has crashed"));
    }
}
