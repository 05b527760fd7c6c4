//! A pure model: the real senders and receivers of a global and its zones, over stores that are
//! maps, in the hands of an adversary.
//!
//! The adversary loses, delays and mixes messages, cuts connections, opens others beside them,
//! crashes either side with its store kept, refuses resources for good or for now, and changes a
//! thousand resources at once. Peers are ours, with any of their abilities missing, or behave as
//! stock ones of 2.5, 2.6, 2.7 and 2.14 do.
//!
//! Checked with everything that happens: no removal of what its owner has not removed; nothing
//! older after something newer; nothing under another owner's name; no more than one response of
//! a type under way. And in the end: convergence, and no false alarm.

mod apply;
mod link;
mod peer;
mod receiving;
mod run;
mod sending;
mod store;
mod summary;
mod world;

pub use run::{play, story};
pub use summary::Summary;
pub use world::{Peers, Violation};

pub use crate::mischief::Mischief;
