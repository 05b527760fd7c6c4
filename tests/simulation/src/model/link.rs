//! A connection of a zone: two streams, with what is under way on them.

use std::collections::VecDeque;

use crate::dice::Dice;
use crate::model::receiving::Receiving;
use crate::model::sending::{Sending, ToReceiver, ToSender};
use crate::model::store::Ty;

/// Messages under way in one direction of a stream. The messages of one type keep their order.
#[derive(Debug)]
pub(super) struct Way<M> {
    messages: VecDeque<(Ty, M)>,
    /// Whether messages of different types may overtake one another.
    mixes: bool,
}

impl<M> Way<M> {
    fn new(mixes: bool) -> Self {
        Self {
            messages: VecDeque::new(),
            mixes,
        }
    }

    /// Puts a message behind all others of its type.
    pub(super) fn push(&mut self, ty: Ty, message: M) {
        self.messages.push_back((ty, message));
    }

    /// The next to arrive.
    pub(super) fn take(&mut self, dice: &mut Dice) -> Option<M> {
        let at = if self.mixes {
            let chosen = self.messages.get(dice.below(self.messages.len()))?.0;
            self.messages.iter().position(|(ty, _)| *ty == chosen)?
        } else {
            0
        };
        Some(self.messages.remove(at)?.1)
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether none is.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// All messages of a type.
    pub(super) fn of(&self, ty: Ty) -> impl Iterator<Item = &M> {
        let all = self.messages.iter();
        all.filter(move |(of, _)| *of == ty).map(|(_, m)| m)
    }

    /// Loses all.
    pub(super) fn clear(&mut self) {
        self.messages.clear();
    }
}

/// Which of the two streams of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    /// The global sends.
    Down,
    /// The zone sends.
    Up,
}

/// One stream. A half is there while its control plane has it open.
#[derive(Debug)]
pub(super) struct Stream {
    /// The half that sends.
    pub sending: Option<Sending>,
    /// The half that receives.
    pub receiving: Option<Receiving>,
    /// Whether the receiver offered what it holds.
    pub resumed: bool,
    /// On its way to the receiver.
    pub to_receiver: Way<ToReceiver>,
    /// On its way to the sender.
    pub to_sender: Way<ToSender>,
}

impl Stream {
    fn new(mixes: bool) -> Self {
        Self {
            sending: None,
            receiving: None,
            resumed: false,
            to_receiver: Way::new(mixes),
            to_sender: Way::new(mixes),
        }
    }
}

/// One connection of a zone.
#[derive(Debug)]
pub(super) struct Connection {
    /// The zone.
    pub zone: usize,
    /// The newest of a zone has the highest.
    pub id: u64,
    /// Where the global sends.
    pub down: Stream,
    /// Where the zone sends.
    pub up: Stream,
    /// Whether the zone has it open.
    pub is_open_at_zone: bool,
    /// Whether the global took the down stream, and the up stream.
    pub was_taken: [bool; 2],
    /// Whether the global has them open.
    pub is_open_at_global: [bool; 2],
    /// Nothing passes any more, and nobody knows.
    pub is_cut: bool,
    /// Types that the zone took all of since.
    pub taken: std::collections::BTreeSet<Ty>,
}

impl Connection {
    /// One that the zone has just opened.
    pub(super) fn new(zone: usize, id: u64, mixes: bool) -> Self {
        Self {
            zone,
            id,
            down: Stream::new(mixes),
            up: Stream::new(mixes),
            is_open_at_zone: true,
            was_taken: [false; 2],
            is_open_at_global: [false; 2],
            is_cut: false,
            taken: std::collections::BTreeSet::new(),
        }
    }

    /// One of its streams.
    pub(super) fn stream(&mut self, direction: Direction) -> &mut Stream {
        match direction {
            Direction::Down => &mut self.down,
            Direction::Up => &mut self.up,
        }
    }

    /// Whether nobody has anything of it.
    pub(super) fn is_gone(&self) -> bool {
        !self.is_open_at_zone && self.is_open_at_global == [false; 2]
    }

    /// The zone ends it. What it said may still arrive.
    pub(super) fn close_at_zone(&mut self) {
        self.is_open_at_zone = false;
        self.down.receiving = None;
        self.up.sending = None;
        self.down.to_receiver.clear();
        self.up.to_sender.clear();
    }

    /// The global ends one of its streams. What it said may still arrive.
    pub(super) fn close_at_global(&mut self, direction: Direction) {
        self.is_open_at_global[direction as usize] = false;
        match direction {
            Direction::Down => {
                self.down.sending = None;
                self.down.to_sender.clear();
            }
            Direction::Up => {
                self.up.receiving = None;
                self.up.to_receiver.clear();
            }
        }
    }
}
