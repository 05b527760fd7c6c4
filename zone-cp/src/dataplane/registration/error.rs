//! Why a proxy is not served.

use mesh_model::json::JsonError;
use mesh_model::{Key, ParseNameError};
use mesh_store::CommitError;

use crate::dataplane::auth::Refusal;

/// Why a proxy is not served.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The node id is not `<mesh>.<name>`.
    #[error("node id {id:?} is not <mesh>.<name>")]
    NodeId {
        /// The id.
        id: String,
    },
    /// A part of the node id is no name.
    #[error("node id {id:?}")]
    Name {
        /// The id.
        id: String,
        /// What is wrong.
        #[source]
        source: ParseNameError,
    },
    /// The resource that came along is none.
    #[error("the resource in the node's metadata is not valid")]
    Resource(#[from] JsonError),
    /// The resource that came along is not allowed.
    #[error("the resource in the node's metadata is not valid: {0}")]
    Invalid(String),
    /// The resource that came along is another one.
    #[error("the resource in the node's metadata is {found}, but the node is {expected}")]
    OtherResource {
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// There is no such Dataplane.
    #[error("{key} does not exist, and the node brought no resource")]
    NotFound {
        /// The key.
        key: Key,
    },
    /// There is no such mesh.
    #[error(
        "mesh {mesh:?} does not exist in this zone: create it on the global control plane, or \
         wait until the zone has received it"
    )]
    NoMesh {
        /// The mesh.
        mesh: String,
    },
    /// Its agent said goodbye, and Envoy only drains.
    #[error("{key} was removed because its agent said goodbye; it comes back with a new agent")]
    Leaving {
        /// The key.
        key: Key,
    },
    /// Only builtin gateways are served.
    #[error(
        "{key} is not a builtin gateway (networking.gateway.type: BUILTIN); no other proxies are served yet"
    )]
    NotAGateway {
        /// The key.
        key: Key,
    },
    /// The token does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be stored.
    #[error("cannot store the Dataplane")]
    Store(#[from] CommitError),
}
