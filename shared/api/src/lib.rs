//! The admin API that both control planes serve, as one axum router.
//!
//! This crate owns the HTTP side: paths, content negotiation, authentication, error bodies,
//! paging, and the order of checks of a write. What a control plane decides for itself (may this
//! mesh go? what comes with a new one?) it says through [`Admission`]; where it stands in the
//! fleet, through [`Mode`].
//!
//! **Invariant:** a write is answered only after the store has made it durable.

#![warn(missing_docs)]

mod acceptance;
mod admission;
mod auth;
mod body;
mod context;
mod cors;
mod document;
mod error;
mod filter;
mod fixed;
pub mod keys;
mod labels;
mod metrics;
mod negotiate;
mod page;
mod path;
mod proxy;
mod read;
mod receipts;
mod request;
mod respond;
mod route;
mod router;
mod services;
pub mod status;
mod tokens;
mod write;

pub use admission::{Admission, Admit, Admitted, Evict, Open, Refusal};
pub use context::{Context, Mode, Receipts, Report, Reports, Settings};
pub use metrics::Metrics;
pub use router::router;
