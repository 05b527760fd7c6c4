//! Backends as routes of every kind and their filters name them: which cluster one is, on the
//! listener that the route is on.

use std::sync::Arc;

use mesh_delta::Name;
use mesh_model::tags::{self, Tags};
use mesh_proto::mesh::mesh_gateway_route::Backend;

use crate::claims::Claims;
use crate::cluster::{self, Kind, Use, Uses};
use crate::plan::{HostListener, Port, Protocol};
use crate::policy::Policies;

/// What a listener contributes to the routes on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The listener's merged tags.
    pub(crate) listener_tags: &'a Arc<Tags>,
    /// The listener's port.
    pub(crate) port: u32,
    /// What it speaks there.
    pub(crate) protocol: Protocol,
    /// Which kind of routes it serves.
    pub(crate) kind: Kind,
    /// What the names of its clusters are told apart by, see [`cluster::name`].
    pub(crate) distinction: &'static str,
    pub(crate) policies: Policies,
    claims: &'a Claims,
}

impl<'a> Context<'a> {
    /// For routes on a listener of a port.
    pub(crate) fn new(
        port: &Port,
        listener: &'a HostListener,
        policies: Policies,
        claims: &'a Claims,
    ) -> Self {
        let distinction = if listener.shares_tags_with_http {
            "tcp"
        } else {
            ""
        };
        Self {
            listener_tags: &listener.tags,
            port: port.number,
            protocol: port.protocol,
            kind: if port.protocol.is_http() {
                Kind::Http
            } else {
                Kind::Tcp
            },
            distinction,
            policies,
            claims,
        }
    }
}

/// What is wrong with a backend that [`destination`] has no name for.
pub(crate) const NO_SERVICE: &str = "the destination names no kuma.io/service; it is left out";

/// The cluster of a backend, noted in `clusters` unless it is [`cluster::UNRESOLVED`].
pub(crate) fn destination(
    backend: &Backend,
    context: &Context<'_>,
    clusters: &mut Uses,
) -> Option<Name> {
    let service = backend.destination.get(tags::SERVICE)?;
    if service.is_empty() {
        return None;
    }
    let usual = cluster::name(
        &backend.destination,
        context.listener_tags,
        context.distinction,
    );
    if &*usual == cluster::UNRESOLVED {
        return Some(usual);
    }
    let of = Use {
        destination: backend.destination.clone(),
        listener_tags: Arc::clone(context.listener_tags),
        kind: context.kind,
    };
    let name = context.claims.name(&usual, &of);
    clusters.note(usual, of);
    Some(name)
}
