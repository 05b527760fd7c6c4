//! Incremental xDS, the protocol of every stream here, as two sans-IO state machines.
//!
//! Global→zone, zone→global and zone→Envoy are the same conversation: names and versions of
//! resources, nonces, ACKs, NACKs and removals. [`Snapshot`] is what one side offers.
//!
//! **Invariant:** this crate knows no clock, no socket and no encoding; time is a parameter.

#![warn(missing_docs)]

mod message;
mod policy;
mod receiver;
mod sender;
mod snapshot;

#[cfg(test)]
mod convergence;
#[cfg(test)]
mod testkit;

pub use message::{
    History, Nonce, Position, ProtocolError, Rejection, Request, Response, Time, WILDCARD,
};
pub use policy::{OnNack, Policy};
pub use receiver::{Apply, Mode, Receiver, Resume, Verdict};
pub use sender::{Counters, Event, Rejected, Sender, Subscribed, TypeStatus};
pub use snapshot::{Item, Name, Snapshot, TypeSet, Version};
