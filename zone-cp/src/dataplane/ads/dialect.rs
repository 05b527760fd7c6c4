//! The two dialects of ADS: increments, and state of the world.
//!
//! Our bootstrap asks for the first. Envoys that were started with the bootstrap of a stock zone
//! speak the second, and come back with it when ours takes over. A stream speaks one of them; what
//! is offered, and in which order it is said, is the same [`Sender`]'s business in both.

use mesh_delta::{Event, ProtocolError, Response, Sender, Time, World, WorldResponse};
use mesh_proto::core::Node;
use mesh_proto::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
use tonic::Status;
use zone_translate::EnvoyType;

use super::wire;

/// What a proxy says, in either dialect.
#[derive(Debug)]
pub(super) enum Incoming {
    Delta(DeltaDiscoveryRequest),
    World(DiscoveryRequest),
}

impl Incoming {
    pub(super) fn node(&self) -> Option<&Node> {
        match self {
            Self::Delta(request) => request.node.as_ref(),
            Self::World(request) => request.node.as_ref(),
        }
    }

    pub(super) fn type_url(&self) -> &str {
        match self {
            Self::Delta(request) => &request.type_url,
            Self::World(request) => &request.type_url,
        }
    }
}

/// What is said to a proxy, in either dialect.
#[derive(Debug)]
pub(super) enum Said {
    Delta(Response<EnvoyType>),
    World(WorldResponse<EnvoyType>),
}

impl Said {
    pub(super) fn ty(&self) -> EnvoyType {
        match self {
            Self::Delta(response) => response.ty,
            Self::World(response) => response.ty,
        }
    }

    pub(super) fn nonce(&self) -> &mesh_delta::Nonce {
        match self {
            Self::Delta(response) => &response.nonce,
            Self::World(response) => &response.nonce,
        }
    }

    /// How many names it brings news of.
    pub(super) fn changes(&self) -> usize {
        match self {
            Self::Delta(response) => response.resources.len() + response.removed.len(),
            Self::World(response) => response.changes,
        }
    }

    pub(super) fn to_wire(&self, identifier: &str) -> Result<wire::Pieces, Status> {
        match self {
            Self::Delta(response) => wire::to_wire(response, identifier),
            Self::World(response) => wire::world_to_wire(response, identifier),
        }
    }
}

/// What one stream speaks.
#[derive(Debug)]
pub(super) enum Dialect {
    Delta,
    World(World<EnvoyType>),
}

impl Dialect {
    /// The dialect of a stream's first request.
    pub(super) fn of(first: &Incoming) -> Self {
        match first {
            Incoming::Delta(_) => Self::Delta,
            Incoming::World(_) => Self::World(World::new(|name| zone_translate::stand_in(name))),
        }
    }

    /// Takes in a request, once something is offered.
    pub(super) fn on_request(
        &mut self,
        now: Time,
        sender: &mut Sender<EnvoyType>,
        ty: EnvoyType,
        request: &Incoming,
    ) -> Result<Event<EnvoyType>, ProtocolError<EnvoyType>> {
        match (self, request) {
            (Self::World(world), Incoming::World(request)) => {
                world.on_request(now, sender, wire::from_world(ty, request))
            }
            (_, Incoming::Delta(request)) => sender.on_request(now, wire::from_wire(ty, request)),
            // A stream is one method's, and so of one dialect.
            (Self::Delta, Incoming::World(_)) => Ok(Event::Subscribed { ty }),
        }
    }

    /// What may be said now, if anything.
    pub(super) fn poll(&mut self, now: Time, sender: &mut Sender<EnvoyType>) -> Option<Said> {
        match self {
            Self::Delta => sender.poll(now).map(Said::Delta),
            Self::World(world) => world.poll(now, sender).map(Said::World),
        }
    }

    /// When there may be something to say without anything having happened.
    pub(super) fn next_deadline(&self, sender: &Sender<EnvoyType>) -> Option<Time> {
        match self {
            Self::Delta => sender.next_deadline(),
            Self::World(world) => world.next_deadline(sender),
        }
    }
}
