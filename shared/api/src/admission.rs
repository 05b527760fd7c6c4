//! Where a control plane adds rules of its own to the writes of the admin API.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use mesh_model::Resource;
use mesh_model::validate::Violation;
use mesh_store::{Op, Snapshot};

/// A resource about to be written. It is valid by itself, and its labels are complete.
#[derive(Debug, Clone)]
pub struct Admit {
    /// The state that the write is based on.
    pub snapshot: Snapshot,
    /// What is stored under the same key.
    pub old: Option<Arc<Resource>>,
    /// What shall be stored.
    pub new: Resource,
}

/// What may be written.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// The resource, possibly completed.
    pub resource: Resource,
    /// What is written in the same batch.
    pub more: Vec<Op>,
}

/// A resource about to be deleted.
#[derive(Debug, Clone)]
pub struct Evict {
    /// The state that the deletion is based on.
    pub snapshot: Snapshot,
    /// What shall go.
    pub old: Arc<Resource>,
}

/// Why a write may not happen: answered with status 400.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub Vec<Violation>);

impl Refusal {
    /// A refusal with a single reason.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self(vec![Violation::new(field, message)])
    }
}

/// The rules of one control plane, asked about what is valid by itself.
///
/// A write that meets a concurrent one is tried again from a newer snapshot, so a method may be
/// called several times for one request and must leave no trace of its own.
#[async_trait]
pub trait Admission: Send + Sync + fmt::Debug {
    /// Whether a resource may be created or replaced, and what is written with it.
    async fn admit(&self, request: Admit) -> Result<Admitted, Refusal>;

    /// Whether a resource may be deleted, and what is deleted with it: in several batches where
    /// it is much, the resource itself with the last.
    async fn evict(&self, request: Evict) -> Result<Vec<Op>, Refusal>;
}

/// No rules beyond those that hold on any control plane.
#[derive(Debug, Clone, Copy, Default)]
pub struct Open;

#[async_trait]
impl Admission for Open {
    async fn admit(&self, request: Admit) -> Result<Admitted, Refusal> {
        Ok(Admitted {
            resource: request.new,
            more: Vec::new(),
        })
    }

    async fn evict(&self, _: Evict) -> Result<Vec<Op>, Refusal> {
        Ok(Vec::new())
    }
}
