//! Control planes in the hands of an adversary: crashes, partitions, loss, refusals.
//!
//! Two simulations check what `ARCHITECTURE.md` calls invariants, in runs that a seed decides:
//!
//! * [`model`]: the real senders and receivers of `mesh-delta` over stores that are maps, with
//!   peers that are ours or behave as stock ones do. Thousands of runs in seconds.
//! * [`net`]: real KDS clients and a real KDS server over a simulated network and simulated
//!   disks, in simulated time.
//!
//! `cargo sim --help` says how to run them. `cargo test` plays 2,000 seeds of the first and 30 of
//! the second.
//!
//! # When a seed fails
//!
//! It is printed with the command that plays it again, exactly: `cargo sim --seed 42`, or
//! `cargo sim --net --seed 42 --lines 200`. What is printed is the end of the story, one line for
//! everything that happened, and at the end what must not happen and did. Fix it, and keep the
//! seed: add a test that says what it found, at the level where a few lines show it.
//!
//! A seed means the same only while nothing throws the dice differently: after a change of this
//! package, or of what is sent and when, it is another run.
//!
//! # Where chance comes from
//!
//! From [`dice`], which is this package's own so that no release of a library changes what a seed
//! means. The model needs nothing else. The network has more: the jitter of reconnecting clients
//! gets a seed, the network of turmoil gets one, time is turmoil's, the wall clock is replaced
//! ([`mesh_runtime::clock::simulate`]); and whatever draws from the system without asking (hash
//! maps, UUIDs, the branches of `select!`) draws from `mesh-chance`, which takes the system's
//! place in a process that plays one seed. Nothing has to be built with `--cfg tokio_unstable`.
//!
//! # That it can fail
//!
//! A check that cannot fail proves nothing, so the harness can do wrong on purpose
//! ([`mischief`]): lose removals, or forget what a returning peer says that it holds. Where
//! nothing repairs that, tests expect that it is noticed; between ours, that it is reported and
//! repaired.

#![warn(missing_docs)]

pub mod dice;
pub mod mischief;
pub mod model;
pub mod net;
