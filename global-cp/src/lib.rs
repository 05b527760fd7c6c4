//! The global control plane: admin API, validation, policy store, KDS server, fleet inventory.
//!
//! [`GlobalCp`] is the whole of it in one process or one test; [`cli`] is the program around it.
//! What operators write arrives through `mesh-api` and meets the rules in `policy`; what zones
//! report arrives through `sync`; what zones need to know of all others is counted in `insights`.
//! All of it ends in one store, and everything else reads that.
//!
//! **Invariant:** nothing here waits for a zone.

#![warn(missing_docs)]

pub mod cli;
mod defaults;
mod insights;
mod policy;
mod secrets;
mod server;
mod startup;
mod sync;

pub use server::{Addresses, GlobalCp, run};
