//! What travels on a delta stream, without its encoding.
//!
//! The shapes follow `DeltaDiscoveryRequest` and `DeltaDiscoveryResponse` of the
//! [xDS protocol](https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds);
//! `rejected` and `position` travel only between peers that announced them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::snapshot::{Item, Name, TypeSet, Version};

/// A point in time: the duration since an arbitrary start, the same for all calls to one machine.
pub type Time = Duration;

/// The name that subscribes to every resource of a type.
pub const WILDCARD: &str = "*";

/// Names one response on one stream, and dies with the stream. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Nonce(Arc<str>);

impl Nonce {
    /// The nonce with this text; `None` for the empty text, which on the wire means "no nonce".
    pub fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// Senders count in decimal over all types of a stream, from 1.
    pub(crate) fn counted(count: u64) -> Self {
        Self(count.to_string().into())
    }

    /// The text on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One resource of a response that the receiver refused, between our own peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Its name on the stream.
    pub name: Name,
    /// The refused version; `None` where a removal was refused or the receiver does not say.
    pub version: Option<Version>,
    /// Why, for people.
    pub reason: String,
}

/// What a receiver says: a change of its subscription, an answer, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<T> {
    /// The type that it is about.
    pub ty: T,
    /// Names to subscribe to; [`WILDCARD`], or none in the first request of a type, means all.
    pub subscribe: Vec<Name>,
    /// Names to forget.
    pub unsubscribe: Vec<Name>,
    /// What the receiver holds already. Read in the first request of a type only.
    pub initial_versions: BTreeMap<Name, Version>,
    /// The response that this answers; `None` when it answers none.
    pub nonce: Option<Nonce>,
    /// With a nonce: the response was refused, and why. Stock peers refuse a response as a whole.
    pub error: Option<String>,
    /// With a nonce: exactly these resources were refused and all others were applied.
    pub rejected: Vec<Rejection>,
}

impl<T> Request<T> {
    /// A request that says nothing yet.
    pub fn new(ty: T) -> Self {
        Self {
            ty,
            subscribe: Vec::new(),
            unsubscribe: Vec::new(),
            initial_versions: BTreeMap::new(),
            nonce: None,
            error: None,
            rejected: Vec::new(),
        }
    }

    /// The first request of a receiver that wants every resource of a type.
    pub fn wildcard(ty: T) -> Self {
        Self::new(ty).subscribe([WILDCARD])
    }

    /// The same request, subscribing to `names` as well.
    #[must_use]
    pub fn subscribe<N: Into<Name>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.subscribe.extend(names.into_iter().map(Into::into));
        self
    }

    /// The same request, forgetting `names` as well.
    #[must_use]
    pub fn unsubscribe<N: Into<Name>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.unsubscribe.extend(names.into_iter().map(Into::into));
        self
    }

    /// The answer "applied".
    pub fn ack(ty: T, nonce: Nonce) -> Self {
        Self {
            nonce: Some(nonce),
            ..Self::new(ty)
        }
    }

    /// The answer "refused as a whole".
    pub fn nack(ty: T, nonce: Nonce, text: impl Into<String>) -> Self {
        Self {
            error: Some(text.into()),
            ..Self::ack(ty, nonce)
        }
    }
}

/// What a sender says: resources and removals of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response<T> {
    /// The type that it is about.
    pub ty: T,
    /// Its nonce, to be repeated in the answer.
    pub nonce: Nonce,
    /// New and changed resources.
    pub resources: Vec<(Name, Item<T>)>,
    /// Names that are gone, and subscribed names that do not exist.
    pub removed: Vec<Name>,
    /// Whether it holds everything that is offered of the type. It is not on the wire: a
    /// [`Receiver`](crate::Receiver) knows by the position in the stream and does not read it.
    pub is_complete: bool,
    /// Where the sender's store stood, between our own peers.
    pub position: Option<Position>,
}

impl<T: TypeSet> Response<T> {
    /// Whether it says nothing (which may be news: "you should have none").
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty()
    }
}

/// The identity of a store: revisions compare only within one. Stores use the bits of a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct History(pub u128);

/// A state of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Whose revisions they are.
    pub history: History,
    /// The revision.
    pub revision: u64,
}

impl Position {
    /// Whether a receiver that has seen `self` may apply `next`: within one history revisions
    /// never go down. Another history is another store, about which the caller decides.
    pub fn may_be_followed_by(self, next: Self) -> bool {
        self.history != next.history || self.revision <= next.revision
    }
}

/// The peer broke the protocol in a way that the stream does not survive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError<T: TypeSet> {
    /// A request answers a response of a type that this stream never subscribed to.
    #[error("{ty:?}: nonce {nonce} answers a response, but the type was never subscribed")]
    AnswerBeforeSubscription {
        /// The type.
        ty: T,
        /// The nonce.
        nonce: Nonce,
    },
    /// The receiver subscribes to more names than are remembered for it.
    #[error("{ty:?}: the subscription has more than {limit} names, which is the most accepted")]
    TooManyNames {
        /// The type.
        ty: T,
        /// How many may be subscribed to at a time.
        limit: usize,
    },
    /// The receiver subscribes to a name that is longer than any.
    #[error(
        "{ty:?}: the subscription has a name of {length} bytes, and the longest accepted has {limit}"
    )]
    NameTooLong {
        /// The type.
        ty: T,
        /// How long the name is.
        length: usize,
        /// How long it may be.
        limit: usize,
    },
    /// The receiver refused a response that was taken for accepted before it answered.
    #[error("{ty:?}: a response was refused late, and nobody knows what is held; connect again")]
    RefusedLate {
        /// The type.
        ty: T,
    },
    /// A response has a type that was never asked for.
    #[error("{ty:?}: a response arrived, but the type was never asked for")]
    NeverAskedFor {
        /// The type.
        ty: T,
    },
    /// The sender's store is behind what was received before.
    #[error(
        "{ty:?}: the sender is at revision {revision}, but revision {seen} of the same store was \
         received before"
    )]
    RevisionWentBack {
        /// The type of the response.
        ty: T,
        /// The revision of the response.
        revision: u64,
        /// The highest revision received.
        seen: u64,
    },
    /// The sender goes on sending a type without waiting for answers.
    #[error("{ty:?}: {open} responses are unanswered")]
    TooManyUnanswered {
        /// The type.
        ty: T,
        /// How many.
        open: usize,
    },
    /// There is no unanswered response with this nonce.
    #[error("{ty:?}: no response with nonce {nonce} waits for an answer")]
    NothingToAnswer {
        /// The type.
        ty: T,
        /// The nonce.
        nonce: Nonce,
    },
}
