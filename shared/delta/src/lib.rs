//! Incremental xDS, the protocol of every stream here, as two sans-IO state machines.
//!
//! Global→zone, zone→global and zone→Envoy are the same conversation: names and versions of
//! resources, nonces, ACKs, NACKs and removals. A [`Snapshot`] is what one side offers; its
//! [`Sender`] decides what to say next, and a [`Receiver`] on the other side what that means.
//!
//! **Invariant:** this crate knows no clock, no socket and no encoding; time is a parameter.

//! ```
//! use std::time::Duration;
//! use mesh_delta::{Item, Name, Policy, Receiver, Resume, Sender, Snapshot, TypeSet, Verdict};
//!
//! #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
//! enum Type {
//!     Mesh,
//! }
//!
//! impl TypeSet for Type {
//!     const ALL: &'static [Self] = &[Self::Mesh];
//!     fn index(self) -> usize {
//!         self as usize
//!     }
//! }
//!
//! # fn main() -> Result<(), mesh_delta::ProtocolError<Type>> {
//! let now = Duration::ZERO;
//! let mut sender = Sender::new(Policy::own());
//! let meshes = [(Name::from("default."), Item::new("v1", "payload"))];
//! sender.offer(Snapshot::empty().with(1, [(Type::Mesh, meshes.into_iter().collect())]));
//!
//! let mut receiver = Receiver::new();
//! for request in receiver.subscriptions([(Type::Mesh, Default::default())], Resume::Versions) {
//!     sender.on_request(now, request)?;
//! }
//! while let Some(response) = sender.poll(now) {
//!     let apply = receiver.on_response(response)?;
//!     // Judge and apply, then:
//!     let answer = receiver.answer(apply.ty, apply.nonce, Verdict::Accepted)?;
//!     sender.on_request(now, answer)?;
//! }
//! assert!(sender.is_synced());
//! assert_eq!(receiver.held(Type::Mesh).len(), 1);
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

mod digest;
mod message;
mod payload;
mod policy;
mod receiver;
mod resume;
mod sender;
mod snapshot;
mod world;

#[cfg(test)]
mod convergence;
#[cfg(test)]
mod testkit;

pub use digest::Digest;
pub use message::{
    History, Nonce, Position, ProtocolError, Rejection, Request, Response, Time, WILDCARD,
};
pub use payload::Payload;
pub use policy::{OnNack, Policy};
pub use receiver::{Apply, Mode, Receiver, Resume, Verdict};
pub use resume::{Content, Holder, Index, Matcher, Part, Prefix, ResumeError};
pub use sender::{Counters, Event, Rejected, Sender, Subscribed, TypeStatus};
pub use snapshot::{Item, Name, Snapshot, TypeSet, Version};
pub use world::{World, WorldRequest, WorldResponse};
