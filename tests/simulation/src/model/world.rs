//! A global and its zones, and what may happen to them.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_delta::{Event, History, Name, TypeSet as _};

use crate::dice::Dice;
use crate::mischief::Mischief;
use crate::model::link::{Connection, Direction};
use crate::model::peer::Kind;
use crate::model::receiving::Receiving;
use crate::model::sending::{
    Heard, OwnSending, Sending, StockSending, ToReceiver, ToSender, pieces, said,
};
use crate::model::store::{Owner, Store, Ty, item};
use crate::model::summary::Summary;

/// Bursts make long lines.
const LONGEST_LINE: usize = 300;

/// Who is in a world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Peers {
    /// Any: ours with any of their abilities, and stock ones.
    #[default]
    Any,
    /// Ours, with all abilities.
    Own,
    /// Ours, that do not compare what they hold.
    Undigested,
    /// A global of ours, and stock zones.
    Stock,
}

/// Something that must not happen.
pub type Violation = String;

/// One control plane.
#[derive(Debug)]
pub(super) struct Node {
    /// Who.
    pub owner: Owner,
    /// Its kind.
    pub kind: Kind,
    /// What survives.
    pub store: Store,
    /// What it refuses; nothing at 0.
    pub taste: u64,
    /// Names that are someone else's and were refused for that.
    pub occupied: Vec<(Ty, Name)>,
    /// What was accepted last of each name, and when it was said.
    pub accepted: BTreeMap<(Owner, Ty, Name), u64>,
    /// When what was applied last was said, by peer.
    pub applied_at: BTreeMap<(Owner, Ty), u64>,
}

/// A global, its zones, and the connections between them.
#[derive(Debug)]
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) global: Node,
    pub(super) zones: Vec<Node>,
    pub(super) connections: Vec<Connection>,
    pub(super) mischief: Mischief,
    /// Whether nothing goes wrong any more.
    pub(super) is_quiet: bool,
    /// Counts what happens.
    pub(super) tick: u64,
    pub(super) now: Duration,
    pub(super) chunk: usize,
    pub(super) mixes: bool,
    pub(super) names: usize,
    next_connection: u64,
    pub(super) summary: Summary,
    /// The story, if somebody listens.
    pub(super) story: Option<Vec<String>>,
}

impl World {
    /// The world of a seed.
    pub(super) fn new(seed: u64, peers: Peers, mischief: Mischief, is_told: bool) -> Self {
        let mut dice = Dice::new(seed);
        let zones = dice.between(1, 4);
        // Two stock control planes talk to one another without us.
        let global_kind = match peers {
            Peers::Any if dice.percent(20) => Kind::stock(&mut dice),
            Peers::Any | Peers::Stock => Kind::own(&mut dice),
            Peers::Own => Kind::ours(true),
            Peers::Undigested => Kind::ours(false),
        };
        let node = |owner, kind, dice: &mut Dice| Node {
            owner,
            kind,
            store: Store::new(History(u128::from(dice.throw()))),
            taste: if dice.percent(50) {
                dice.throw() | 1
            } else {
                0
            },
            occupied: Vec::new(),
            accepted: BTreeMap::new(),
            applied_at: BTreeMap::new(),
        };
        let global = node(Owner::Global, global_kind, &mut dice);
        let zones = (0..zones)
            .map(|zone| {
                let kind = match peers {
                    Peers::Any if global_kind.is_own() => Kind::any(&mut dice),
                    Peers::Any => Kind::own(&mut dice),
                    Peers::Own | Peers::Undigested => global_kind,
                    Peers::Stock => Kind::stock(&mut dice),
                };
                node(Owner::Zone(zone), kind, &mut dice)
            })
            .collect();
        Self {
            chunk: dice.between(1, 6),
            mixes: dice.percent(50),
            names: dice.between(2, 8),
            global,
            zones,
            connections: Vec::new(),
            mischief,
            is_quiet: false,
            tick: 0,
            now: Duration::ZERO,
            next_connection: 0,
            summary: Summary::default(),
            story: is_told.then(Vec::new),
            dice,
        }
    }

    /// Notes what happens.
    pub(super) fn tell(&mut self, text: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            let text: String = text().chars().take(LONGEST_LINE).collect();
            story.push(format!(
                "{:>6} {:>4} s {text}",
                self.tick,
                self.now.as_secs()
            ));
        }
    }

    /// Time passes for the world's clock, and what happened goes into the trace.
    pub(super) fn count(&mut self, what: u64) -> u64 {
        self.tick += 1;
        self.summary.trace = crate::dice::mixed(self.summary.trace ^ what ^ self.tick);
        self.tick
    }

    /// Some of the owner's resources change, some go.
    pub(super) fn change(&mut self, owner: Owner, changes: usize, of: usize) {
        for _ in 0..changes {
            let (ty, name) = self.place(owner, of);
            let content = self.dice.below(12) as u64;
            let is_removal = self.dice.percent(30);
            let tick = self.count(content);
            let node = self.node(owner);
            if !is_removal {
                node.store
                    .put(owner, (ty, &name), item(owner, content), tick, tick);
            } else if node.store.owner(ty, &name) == Some(owner) {
                node.store.remove(ty, &name);
            }
            self.tell(|| {
                let what = if is_removal {
                    "-".into()
                } else {
                    content.to_string()
                };
                format!("{owner}: {ty:?} {name} becomes {what}")
            });
        }
    }

    /// A name that the owner writes to. Some zones give names that others have given too.
    fn place(&mut self, owner: Owner, of: usize) -> (Ty, Name) {
        let n = self.dice.below(of);
        match owner {
            Owner::Global => {
                let ty = if self.dice.percent(25) {
                    Ty::Mesh
                } else {
                    Ty::Route
                };
                (ty, format!("g-{n}").into())
            }
            Owner::Zone(zone) => {
                // What 2.5 sends is sent again as long as it is refused, and no stock global says
                // when it has room.
                let may_collide =
                    self.zones[zone].kind != Kind::Stock25 && self.global.kind.is_own();
                if may_collide && self.dice.percent(10) {
                    (Ty::Dataplane, format!("shared-{}", n % 2).into())
                } else if self.dice.percent(25) {
                    (Ty::Ingress, format!("z{zone}-{}", n % 3).into())
                } else {
                    (Ty::Dataplane, format!("z{zone}-{n}").into())
                }
            }
        }
    }

    pub(super) fn node(&mut self, owner: Owner) -> &mut Node {
        match owner {
            Owner::Global => &mut self.global,
            Owner::Zone(zone) => &mut self.zones[zone],
        }
    }

    /// The zone opens a connection, and forgets the one that it had.
    pub(super) fn dial(&mut self, zone: usize) {
        self.hang_up(zone);
        self.next_connection += 1;
        self.summary.connections += 1;
        let id = self.next_connection;
        let tick = self.count(id);
        let mut connection = Connection::new(zone, id, self.mixes);
        let (node, global) = (&self.zones[zone], &self.global);
        // A global that takes its time is not recognised, and offered nothing.
        let is_known = self.dice.percent(90);
        let resumes = is_known
            && node.kind.abilities().resume
            && global.kind.abilities().resume
            && node.store.followed == Some(global.store.history);
        let held = |ty| match resumes {
            true => node.store.received(node.owner, Owner::Global, ty),
            false => imbl::OrdMap::new(),
        };
        let held = Ty::DOWN.iter().map(|ty| (*ty, held(*ty))).collect();
        let (receiving, said) = Receiving::begin(node.kind, held, resumes);
        connection.down.resumed = resumes;
        connection.down.receiving = Some(receiving);
        for message in said {
            connection.down.to_sender.push(message.ty(), message);
        }
        let up = sending(
            node.kind,
            global.kind,
            true,
            self.chunk,
            self.is_forgetful(),
        );
        connection.up.sending = Some(up);
        self.connections.push(connection);
        self.tell(|| format!("z{zone} opens connection {id} at {tick}, resumes: {resumes}"));
    }

    fn is_forgetful(&self) -> bool {
        self.mischief == Mischief::ForgetsHeld && !self.is_quiet
    }

    /// The zone ends the connection that it has.
    pub(super) fn hang_up(&mut self, zone: usize) {
        let of_zone = self.connections.iter_mut();
        for connection in of_zone.filter(|c| c.zone == zone && c.is_open_at_zone) {
            connection.close_at_zone();
        }
        self.bury();
    }

    /// A connection reaches the global, which takes one of its streams from an older one.
    pub(super) fn admit(&mut self, at: usize, direction: Direction) {
        let (zone, id) = (self.connections[at].zone, self.connections[at].id);
        if std::mem::replace(
            &mut self.connections[at].was_taken[direction as usize],
            true,
        ) {
            return;
        }
        for older in self.connections.iter_mut().filter(|c| c.zone == zone) {
            if older.id != id && older.is_open_at_global[direction as usize] {
                older.close_at_global(direction);
            }
        }
        self.count(id);
        self.tell(|| format!("the global takes {direction:?} of connection {id} of z{zone}"));
        let forgets = self.is_forgetful();
        let (node, global) = (&self.zones[zone], &self.global);
        let connection = &mut self.connections[at];
        connection.is_open_at_global[direction as usize] = true;
        match direction {
            Direction::Down => {
                let down = sending(global.kind, node.kind, false, self.chunk, forgets);
                connection.down.sending = Some(down);
            }
            Direction::Up => {
                let resumes = node.kind.abilities().resume && global.kind.abilities().resume;
                let held = |ty| match resumes {
                    true => global.store.received(Owner::Global, node.owner, ty),
                    false => imbl::OrdMap::new(),
                };
                let held = Ty::UP.iter().map(|ty| (*ty, held(*ty))).collect();
                let (receiving, said) = Receiving::begin(global.kind, held, resumes);
                connection.up.resumed = resumes;
                connection.up.receiving = Some(receiving);
                for message in said {
                    connection.up.to_sender.push(message.ty(), message);
                }
            }
        }
    }

    /// A sender looks at its store, and says what it may.
    pub(super) fn wake(&mut self, at: usize, direction: Direction) -> Result<bool, Violation> {
        let zone = self.connections[at].zone;
        let (from, to) = match direction {
            Direction::Down => (Owner::Global, Owner::Zone(zone)),
            Direction::Up => (Owner::Zone(zone), Owner::Global),
        };
        let takes_pieces = match direction {
            Direction::Down => {
                self.zones[zone].kind.abilities().chunks && self.global.kind.is_own()
            }
            Direction::Up => self.global.kind.abilities().chunks && self.zones[zone].kind.is_own(),
        };
        let offer = self.node(from).store.offer(from, to);
        let mut has_said = false;
        let now = self.now;
        if let Some(sending) = &mut self.connections[at].stream(direction).sending {
            sending.offer(offer);
        }
        loop {
            let stream = self.connections[at].stream(direction);
            let Some(mut response) = stream.sending.as_mut().and_then(|s| s.poll(now)) else {
                return Ok(has_said);
            };
            has_said = true;
            if self.mischief == Mischief::LosesRemovals && !self.is_quiet && self.dice.percent(60) {
                response.removed.clear();
            }
            let said_at = self.count(response.resources.len() as u64);
            self.tell(|| format!("{from} to {to}: {}", said(&response)));
            let size = if takes_pieces { self.chunk } else { usize::MAX };
            let stream = self.connections[at].stream(direction);
            let ty = response.ty;
            for (response, has_more) in pieces(response, size) {
                let piece = ToReceiver::Piece {
                    response,
                    has_more,
                    said_at,
                };
                stream.to_receiver.push(ty, piece);
            }
            self.check_bounds(at, direction)?;
        }
    }

    /// A message arrives at a sender.
    pub(super) fn deliver_to_sender(
        &mut self,
        at: usize,
        direction: Direction,
    ) -> Result<bool, Violation> {
        let mut dice = self.dice.fork();
        let (now, zone, id) = {
            let connection = &self.connections[at];
            (self.now, connection.zone, connection.id)
        };
        let from = match direction {
            Direction::Down => Owner::Global,
            Direction::Up => Owner::Zone(zone),
        };
        if self.connections[at].is_cut {
            return Ok(false);
        }
        let offer = {
            let to = match direction {
                Direction::Down => Owner::Zone(zone),
                Direction::Up => Owner::Global,
            };
            self.node(from).store.offer(from, to)
        };
        let stream = self.connections[at].stream(direction);
        let Some(sending) = &mut stream.sending else {
            return Ok(false);
        };
        let Some(message) = stream.to_sender.take(&mut dice) else {
            return Ok(false);
        };
        // KDS offers before it hears the first word.
        sending.offer(offer);
        let heard = sending.hear(now, message);
        self.summary.messages += 1;
        self.count(1);
        match heard {
            Ok(Heard::Taken(event)) => {
                if let Some(Event::Nacked { names, .. }) = event {
                    self.tell(|| format!("{from} hears that {names:?} are refused"));
                }
            }
            Ok(Heard::Asks(ty, asked)) => {
                let ask = ToReceiver::Ask(ty, asked);
                self.connections[at]
                    .stream(direction)
                    .to_receiver
                    .push(ty, ask);
            }
            Ok(Heard::Differs(ty)) => {
                self.differs(at, ty);
            }
            Err(error) => {
                return Err(format!(
                    "{from} ends {direction:?} of connection {id}: {error}"
                ));
            }
        }
        Ok(true)
    }

    /// Digests differ: it is reported, and the connection made anew.
    pub(super) fn differs(&mut self, at: usize, ty: Ty) {
        let (zone, id) = (self.connections[at].zone, self.connections[at].id);
        self.summary.differences += 1;
        self.tell(|| format!("connection {id}: the ends differ in {ty:?}"));
        for direction in [Direction::Down, Direction::Up] {
            self.connections[at].close_at_global(direction);
        }
        if self.connections[at].is_open_at_zone {
            self.hang_up(zone);
        }
        self.bury();
    }

    /// Forgets connections of which nobody has anything.
    pub(super) fn bury(&mut self) {
        self.connections.retain(|connection| !connection.is_gone());
    }

    /// What is under way is bounded, whoever does not read.
    fn check_bounds(&mut self, at: usize, direction: Direction) -> Result<(), Violation> {
        let is_repeated = |kind: Kind| !kind.is_own();
        let zone = self.connections[at].zone;
        let may_repeat = is_repeated(self.global.kind) || is_repeated(self.zones[zone].kind);
        let stream = self.connections[at].stream(direction);
        let under_way = stream.to_receiver.len() + stream.to_sender.len();
        let open: Vec<(Ty, usize)> = Ty::ALL
            .iter()
            .map(|ty| {
                let nonces = stream
                    .to_receiver
                    .of(*ty)
                    .filter_map(|message| match message {
                        ToReceiver::Piece { response, .. } => Some(response.nonce.clone()),
                        ToReceiver::Ask(..) => None,
                    });
                let mut nonces: Vec<_> = nonces.collect();
                nonces.dedup();
                (*ty, nonces.len())
            })
            .collect();
        self.summary.most_under_way = self.summary.most_under_way.max(under_way);
        match open.iter().find(|(_, open)| *open > 1) {
            // A stock sender goes on with every request, and repeated ACKs are requests.
            Some((ty, open)) if !may_repeat => Err(format!(
                "{open} responses of {ty:?} are under way {direction:?} of z{zone}"
            )),
            _ => Ok(()),
        }
    }

    /// The last ACK of a type is said once more.
    pub(super) fn repeat(&mut self, at: usize, direction: Direction, ty: Ty) {
        let stream = self.connections[at].stream(direction);
        // Who does not read hears nothing new either.
        if !stream.to_sender.is_empty() {
            return;
        }
        if let Some(ack) = stream.receiving.as_ref().and_then(|r| r.last_ack(ty)) {
            stream.to_sender.push(ty, ToSender::Request(ack, None));
            self.count(2);
        }
    }
}

/// The half that sends, of a control plane of `kind` to one of `peer`.
fn sending(kind: Kind, peer: Kind, is_up: bool, chunk: usize, forgets: bool) -> Sending {
    match kind {
        Kind::Own(abilities) => Sending::Own(OwnSending::new(
            peer.policy(is_up, chunk),
            abilities.digests && peer.abilities().digests,
            forgets,
        )),
        Kind::Stock25 => Sending::Stock(StockSending::new(true, false)),
        Kind::Stock26 | Kind::Stock27 => Sending::Stock(StockSending::new(false, false)),
        Kind::Stock214 => Sending::Stock(StockSending::new(false, true)),
    }
}
