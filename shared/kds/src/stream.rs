//! The two drive loops: a delta `Sender` and a delta `Receiver`, each over one gRPC stream.
//!
//! Either loop runs at either end: which peer dialled does not matter to it. A loop waits for a
//! message, a newer snapshot or a deadline, feeds the machine and sends what it gives. Nothing
//! here blocks on a peer that does not read: at most one response per type is unanswered, so
//! what waits in the channel is bounded, and a full channel ends the stream.

pub(crate) mod receive;
pub(crate) mod send;

use mesh_model::Key;
use mesh_store::CommitError;
use tokio::sync::mpsc;
use tonic::Status;

use crate::kind::Kind;
use crate::server::Refusal;

/// Room for one unanswered response, or one answer, of every type, and some.
pub(crate) const CHANNEL: usize = 64;

/// How large a message between our own control planes is, about: no resource waits long behind
/// another type's, and a receiver sees that there is progress.
pub(crate) const CHUNK: usize = 255 << 10;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    /// The peer closed it or went away.
    #[error("the peer ended the stream")]
    PeerGone,
    /// The transport or the peer reported an error.
    #[error("the stream failed: {}", describe(.0))]
    Failed(Status),
    /// Its token was taken back or expired.
    #[error("{0}")]
    Unauthenticated(Refusal),
    /// A newer connection of the same zone took over.
    #[error("a newer connection of the zone took over")]
    Superseded,
    /// This process shuts down.
    #[error("the control plane is shutting down")]
    Shutdown,
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
    /// The peer does not read.
    #[error("the peer does not read what it is sent")]
    NotReading,
    /// The peer took what it was sent and never answered.
    #[error("the peer did not answer what it was sent of type {0} within 30 s")]
    Unanswered(Kind),
    /// Nothing comes from the peer any more.
    #[error("nothing came from the peer for 5 s")]
    Silent,
    /// The peer does not hold what it should, and is sent what differs on a new stream.
    #[error("the peer differs: {0}")]
    Diverged(String),
    /// What was received could not be stored.
    #[error("cannot store what was received")]
    Store(#[from] CommitError),
    /// A resource that could not be taken can be taken now.
    #[error("{0} has gone, and what it was in the place of is fetched again")]
    MadeRoom(Key),
    /// The global is another one than this zone follows.
    #[error(
        "this global's kuma-cluster-id is {offered}, but this zone follows {known}; nothing is \
         changed until an operator accepts the new id"
    )]
    OtherCluster {
        /// The id that this zone follows.
        known: String,
        /// The id that the global has.
        offered: String,
    },
}

impl End {
    /// The status with which a server ends the stream. Never OK: a stock zone takes that for the
    /// quiet end of a stream and does not come back.
    pub(crate) fn to_status(&self) -> Status {
        let text = self.to_string();
        match self {
            Self::PeerGone => Status::cancelled(text),
            Self::Failed(status) => status.clone(),
            Self::Unauthenticated(refusal) => refusal.to_status(),
            Self::Superseded
            | Self::Shutdown
            | Self::Unanswered(_)
            | Self::Silent
            | Self::Diverged(_)
            | Self::Store(_)
            | Self::MadeRoom(_) => Status::unavailable(text),
            Self::Protocol(_) => Status::invalid_argument(text),
            Self::NotReading => Status::resource_exhausted(text),
            Self::OtherCluster { .. } => Status::failed_precondition(text),
        }
    }
}

fn describe(status: &Status) -> String {
    if status.message().is_empty() {
        status.code().to_string()
    } else {
        format!("{} ({:?})", status.message(), status.code())
    }
}

/// Where a loop puts what it says.
pub(crate) trait Outbox<M> {
    /// Puts a message into the channel without waiting.
    fn put(&self, message: M) -> Result<(), End>;
}

impl<M> Outbox<M> for mpsc::Sender<M> {
    fn put(&self, message: M) -> Result<(), End> {
        self.try_send(message).map_err(refused)
    }
}

fn refused<M>(error: mpsc::error::TrySendError<M>) -> End {
    match error {
        mpsc::error::TrySendError::Full(_) => End::NotReading,
        mpsc::error::TrySendError::Closed(_) => End::PeerGone,
    }
}
