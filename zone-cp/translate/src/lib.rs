//! From resources to the Envoy configuration of one builtin gateway proxy.
//!
//! [`translate`] is a pure function of a [`ZoneView`] and a [`Proxy`]. It cannot fail as a whole:
//! what cannot be translated, or what Envoy would refuse, is left out and becomes a [`Finding`].
//! A [`Translator`] gives the same result and remembers its parts, so that a change costs what
//! it touches.
//!
//! **Invariant:** no clock, no randomness, no environment; equal inputs give equal bytes.

#![warn(missing_docs)]

mod admin;
mod assemble;
mod backend;
mod certificate;
mod claims;
mod cluster;
mod clusters;
mod endpoint;
mod envoy;
mod external;
mod filter;
mod finding;
mod host;
mod list;
mod listener;
mod matching;
mod order;
mod plan;
mod policy;
mod proxy;
mod refuse;
pub mod render;
mod route;
mod runtime;
mod table;
mod tcp;
mod translator;
mod tree;
mod view;

pub use admin::{Admin, CLIENT_NAME};
pub use certificate::{Certificate, KeyKind, Known, Source};
pub use cluster::stand_in;
pub use envoy::EnvoyType;
pub use finding::{Finding, MAX_FINDINGS};
pub use proxy::{Proxy, Settings};
pub use translator::{Content, HeldBack, Translation, Translator, translate};
pub use view::ZoneView;

/// What an Envoy is offered.
pub type Snapshot = mesh_delta::Snapshot<EnvoyType>;
