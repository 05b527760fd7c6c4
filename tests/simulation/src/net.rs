//! Real KDS clients and a real KDS server over a simulated network and simulated disks.
//!
//! [turmoil](https://docs.rs/turmoil) runs one global and up to eight zones on one thread, in
//! simulated time. Links are cut, in one direction or both, or hold back what is said; processes
//! and machines die and come back with what was durable; the global comes back with another store,
//! or another deployment's comes in its place; disks are slow; zones run twice; a peer never reads;
//! some seeds hide what ours can do beyond Kuma's protocol.
//!
//! Checked with every commit of every store: nothing is removed that its owner still has, nothing
//! older comes after something newer, nothing is anybody else's. Checked all the time: who is
//! shown online is not cut off for longer than five seconds, or thirty before its first
//! heartbeat; a peer that never reads loses its stream. In the end everybody holds everything, is
//! shown online, and sees a change at once.
//!
//! All chance comes from the seed if nothing in the process draws from the system's; the program
//! `sim` sees to that, with a process for each seed.

mod disk;
mod faults;
mod hosts;
mod ledger;
mod mute;
mod run;
mod tamper;
mod wire;
mod workload;

use std::fmt;
use std::time::Duration;

pub use crate::mischief::Mischief;

/// What ours do not use of what they can do beyond Kuma's protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Without {
    /// They use all of it.
    #[default]
    Nothing,
    /// No heartbeats: nobody compares what is held.
    Heartbeats,
    /// Nothing of it: each takes the other for a stock one.
    Everything,
}

/// What to play.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many zones; by the seed if not said.
    pub zones: Option<usize>,
    /// Whether anything goes wrong.
    pub has_faults: bool,
    /// Whether there is a peer that never reads; by the seed if not said.
    pub has_mute: Option<bool>,
    /// What goes wrong between the ends that never should.
    pub mischief: Mischief,
    /// What the ends do without; by the seed if not said.
    pub without: Option<Without>,
    /// How many lines of the story are told in any case.
    pub story: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            zones: None,
            has_faults: true,
            has_mute: None,
            mischief: Mischief::None,
            without: None,
            story: 0,
        }
    }
}

impl Options {
    fn without(&self, seed: u64) -> Without {
        self.without.unwrap_or(match seed % 8 {
            5 => Without::Heartbeats,
            6 => Without::Everything,
            _ => Without::Nothing,
        })
    }

    fn has_relay(&self, seed: u64) -> bool {
        self.mischief != Mischief::None || self.without(seed) != Without::Nothing
    }
}

/// What a run was like.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    zones: usize,
    faults: usize,
    writes: u64,
    removals: u64,
    differences: u64,
    bytes: u64,
    messages: u64,
    settled: Duration,
    probed: Duration,
    simulated: Duration,
    trace: String,
    story: String,
}

impl Summary {
    fn sum_up(&mut self, fleet: &run::Fleet<'_>) {
        let ledger = fleet.shared.ledger.lock();
        (self.writes, self.removals) = (ledger.writes, ledger.removals);
        (self.bytes, self.messages, self.trace) = fleet.shared.trace.summary();
        self.zones = fleet.zones.len();
        self.simulated = fleet.sim.elapsed();
        let hosts = std::iter::once(&fleet.global).chain(&fleet.zones);
        self.differences = hosts.map(|host| *host.differences.lock()).sum();
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.story.is_empty() {
            writeln!(f, "{}", self.story)?;
        }
        write!(
            f,
            "{} zones, {} faults, {} writes, {} removals, {} differences, {} bytes in {} pieces, \
             settled after {:.1} s, a change everywhere after {} ms, {:.0} s simulated, trace {}",
            self.zones,
            self.faults,
            self.writes,
            self.removals,
            self.differences,
            self.bytes,
            self.messages,
            self.settled.as_secs_f64(),
            self.probed.as_millis(),
            self.simulated.as_secs_f64(),
            self.trace
        )
    }
}

/// Plays a seed to its end.
///
/// # Errors
/// What must not happen and did, and the last part of the story.
pub fn play(seed: u64, options: &Options) -> Result<Summary, String> {
    run::play(seed, options)
}
