//! One request on its way through the API.

use http::request::Parts;
use mesh_runtime::serve::Scheme;
use tokio::sync::RwLock;

use crate::auth::{self, User};
use crate::context::Context;
use crate::path::Query;
use crate::route::Route;

/// A request that was routed and whose author is known.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) context: &'a Context,
    /// Held shared by writes, exclusively by deletions of meshes.
    pub(crate) guard: &'a RwLock<()>,
    pub(crate) parts: &'a Parts,
    /// The path as it was asked for, still encoded.
    pub(crate) path: &'a str,
    pub(crate) query: Query,
    pub(crate) route: Route,
    pub(crate) user: User,
}

impl Request<'_> {
    /// The scheme and host that the caller used, such as `http://cp.example:5681`.
    pub(crate) fn origin(&self) -> String {
        let scheme = match self.parts.extensions.get::<Scheme>() {
            Some(Scheme::Https) => "https",
            Some(Scheme::Http) | None => "http",
        };
        let host = auth::host(self.parts).unwrap_or("localhost");
        format!("{scheme}://{host}")
    }
}
