//! The global control plane's own rules for writes over the admin API.
//!
//! A mesh goes with everything in it, a zone with everything it sent; neither goes while it is
//! in use. A new mesh comes with the key that signs its dataplane tokens, and a builtin backend of
//! mTLS with its certificate authority, in the same batch.

mod authority;
mod mesh;
mod secret;
mod zone;

use async_trait::async_trait;
use mesh_api::{Admission, Admit, Admitted, Evict, Refusal};
use mesh_model::ResourceType;
use mesh_store::Op;

/// The rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Whether what is in use may be deleted nevertheless (`store.unsafeDelete`).
    pub(crate) deletes_what_is_in_use: bool,
}

#[async_trait]
impl Admission for Rules {
    async fn admit(&self, request: Admit) -> Result<Admitted, Refusal> {
        let more = match request.new.key().ty() {
            ResourceType::Mesh => mesh::admit(&request).await?,
            _ => Vec::new(),
        };
        Ok(Admitted {
            resource: request.new,
            more,
        })
    }

    async fn evict(&self, request: Evict) -> Result<Vec<Op>, Refusal> {
        let is_safe = !self.deletes_what_is_in_use;
        match request.old.key().ty() {
            ResourceType::Mesh => mesh::evict(&request, is_safe),
            ResourceType::Zone => zone::evict(&request, is_safe),
            ResourceType::Secret if is_safe => secret::evict(&request).map(|()| Vec::new()),
            _ => Ok(Vec::new()),
        }
    }
}
