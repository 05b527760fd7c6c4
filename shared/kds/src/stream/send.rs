//! A `Sender` over a stream: what this control plane owns, to a peer that subscribes.

use std::num::NonZeroUsize;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use mesh_delta::{Event, Policy, Response, Sender};
use mesh_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_store::SharedStore;
use prost::Message as _;
use tokio::time::Instant;
use tonic::Status;

use super::{End, Outbox};
use crate::convert;
use crate::kind::Kind;
use crate::peer::{Naming, NodeInfo};
use crate::projection::Projection;

/// How many resources an increment for a stock peer holds at most.
const MOST_IN_INCREMENT: usize = 1000;

/// What happens on a stream, for bookkeeping.
#[derive(Debug)]
pub(crate) enum Happened<'a> {
    /// The peer introduced itself.
    Opened(&'a NodeInfo),
    /// A response of a type was sent.
    Sent(Kind),
    /// The peer applied one.
    Acked(Kind),
    /// The peer refused one, and why.
    Rejected(Kind, &'a str),
}

/// A stream on which this side sends.
pub(crate) struct Sending<'a, O> {
    /// The node id that every request must carry.
    pub(crate) node_id: &'a str,
    /// What responses carry as the sender's identity.
    pub(crate) identifier: &'a str,
    /// The kinds that this side sends on this stream.
    pub(crate) kinds: &'a [Kind],
    /// Where the resources are.
    pub(crate) store: SharedStore,
    /// The largest message that the peer takes, in bytes.
    pub(crate) max_message: usize,
    /// Whether the peer says its release in gRPC metadata, as all do from 2.7 on.
    pub(crate) says_version: bool,
    /// Chooses what the peer gets, once it said what it can.
    pub(crate) projection: &'a (dyn Fn(Naming) -> Arc<Projection> + Send + Sync),
    /// Where responses go.
    pub(crate) outbox: O,
    /// Told of everything that happens.
    pub(crate) on_event: &'a mut (dyn FnMut(Happened<'_>) + Send),
}

impl<O: Outbox<DeltaDiscoveryResponse>> Sending<'_, O> {
    /// Runs until the stream ends, and says why it did.
    pub(crate) async fn run(
        mut self,
        mut inbound: impl Stream<Item = Result<DeltaDiscoveryRequest, Status>> + Unpin,
    ) -> End {
        match self.drive(&mut inbound).await {
            Err(end) => end,
            Ok(never) => match never {},
        }
    }

    async fn drive(
        &mut self,
        inbound: &mut (impl Stream<Item = Result<DeltaDiscoveryRequest, Status>> + Unpin),
    ) -> Result<std::convert::Infallible, End> {
        let start = Instant::now();
        let mut snapshots = self.store.watch();
        let mut peer: Option<(Sender<Kind>, Arc<Projection>)> = None;
        loop {
            let deadline = peer.as_ref().and_then(|(sender, _)| sender.next_deadline());
            tokio::select! {
                message = inbound.next() => {
                    let request = message.ok_or(End::PeerGone)?.map_err(End::Failed)?;
                    self.take(&mut peer, request, start)?;
                }
                changed = snapshots.changed() => {
                    changed.map_err(|_closed| End::Shutdown)?;
                }
                () = at(start, deadline) => {}
            }
            let Some((sender, projection)) = &mut peer else {
                continue;
            };
            let latest = snapshots.borrow_and_update().clone();
            sender.offer(projection.at(&latest));
            while let Some(response) = sender.poll(start.elapsed()) {
                self.put(response)?;
            }
        }
    }

    /// How the peer is treated, by what it announced.
    fn policy(&self, peer: &NodeInfo) -> Policy {
        if peer.is_meridian() {
            return Policy::own();
        }
        let policy = match peer.naming() {
            Naming::Plain => Policy::stock_resending(),
            // 2.6 takes every response before its first ACK for the complete state.
            Naming::Hashed => Policy {
                complete_until_first_ack: !self.says_version,
                ..Policy::stock()
            },
        };
        // What need not be complete is kept well below the limit of a message.
        Policy {
            max_chunk: NonZeroUsize::new(MOST_IN_INCREMENT),
            ..policy
        }
    }

    fn put(&mut self, response: Response<Kind>) -> Result<(), End> {
        let kind = response.ty;
        let message = convert::response_to_wire(response, self.identifier);
        let size = message.encoded_len();
        if size > self.max_message {
            // The peer would break off and come back for the same, for ever, and no other type
            // would get through. Without an answer this type rests until the next connection.
            tracing::error!(
                type_url = %kind,
                size,
                limit = self.max_message,
                "the {kind}s together are larger than the peer takes in a message, and are not \
                 sent; raise kds.maxMsgSize on both sides"
            );
            return Ok(());
        }
        (self.on_event)(Happened::Sent(kind));
        self.outbox.put(message)
    }

    fn take(
        &mut self,
        peer: &mut Option<(Sender<Kind>, Arc<Projection>)>,
        request: DeltaDiscoveryRequest,
        start: Instant,
    ) -> Result<(), End> {
        let node = request
            .node
            .as_ref()
            .ok_or_else(|| End::Protocol("a request has no node".to_owned()))?;
        if node.id != self.node_id {
            return Err(End::Protocol(format!(
                "the node of a request is {:?}, but the stream is that of {:?}",
                node.id, self.node_id
            )));
        }
        if peer.is_none() {
            let info = NodeInfo::from_node(node);
            let naming = info.naming();
            (self.on_event)(Happened::Opened(&info));
            let policy = self.policy(&info);
            *peer = Some((Sender::new(policy), (self.projection)(naming)));
        }
        let (sender, _) = peer.as_mut().expect("it was just set");
        // A type of another release: staying silent leaves what the peer holds of it alone.
        let Some(kind) = Kind::from_type_url(&request.type_url).filter(|k| self.kinds.contains(k))
        else {
            tracing::debug!(
                type_url = request.type_url,
                "the peer asks for a type that is not offered here"
            );
            return Ok(());
        };
        let event = sender
            .on_request(start.elapsed(), convert::request_from_wire(kind, &request))
            .map_err(|error| End::Protocol(error.to_string()))?;
        match event {
            Event::Acked { .. } => (self.on_event)(Happened::Acked(kind)),
            Event::Nacked { text, .. } => (self.on_event)(Happened::Rejected(kind, &text)),
            _ => {}
        }
        Ok(())
    }
}

/// Resolves at `deadline` after `start`; never without one.
async fn at(start: Instant, deadline: Option<std::time::Duration>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(start + deadline).await,
        None => std::future::pending().await,
    }
}
