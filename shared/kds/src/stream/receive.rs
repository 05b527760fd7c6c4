//! A `Receiver` over a stream: what a peer owns, into this control plane's store.

use futures_util::{Stream, StreamExt as _};
use imbl::OrdMap;
use mesh_delta::{Mode, Nonce, Receiver, Rejection, Resume, Verdict};
use mesh_proto::core::Node;
use mesh_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_runtime::clock;
use mesh_store::{SharedStore, Snapshot};
use tonic::Status;

use super::{End, Outbox};
use crate::convert;
use crate::intake::{Delivery, Intake, Refused};
use crate::kind::Kind;
use crate::peer::NodeInfo;

/// Looks at a response before it is applied, and may hold it back or end the stream.
pub(crate) trait Gate: Send {
    /// What to do with the delivery.
    fn check(&mut self, snapshot: &Snapshot, delivery: &Delivery) -> Result<Pass, End>;
}

/// What a gate decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// Apply it.
    Now,
    /// Keep it, unanswered, until a later response opens the gate.
    Later,
    /// Answer it and write nothing.
    Never,
}

/// A gate that lets everything pass.
#[derive(Debug)]
pub(crate) struct Open;

impl Gate for Open {
    fn check(&mut self, _snapshot: &Snapshot, _delivery: &Delivery) -> Result<Pass, End> {
        Ok(Pass::Now)
    }
}

/// A response was applied, for bookkeeping and logs.
#[derive(Debug)]
pub(crate) struct Applied<'a> {
    /// The type.
    pub(crate) kind: Kind,
    /// How many resources were written or removed.
    pub(crate) changes: usize,
    /// What was not taken.
    pub(crate) refused: &'a [Refused],
}

/// A stream on which this side receives.
pub(crate) struct Receiving<'a, O, G> {
    /// What this side says of itself in first requests. `id` is the zone's name in either role.
    pub(crate) node: &'a NodeInfo,
    /// What to ask for.
    pub(crate) kinds: Vec<Kind>,
    /// Whose resources arrive.
    pub(crate) intake: Intake,
    /// Looks at each response first.
    pub(crate) gate: G,
    /// Where resources go.
    pub(crate) store: SharedStore,
    /// Where requests go.
    pub(crate) outbox: O,
    /// Told of every response that was applied.
    pub(crate) on_applied: &'a mut (dyn FnMut(Applied<'_>) + Send),
}

/// A response that waits for the gate.
struct Held {
    kind: Kind,
    nonce: Nonce,
    delivery: Delivery,
}

impl<O: Outbox<DeltaDiscoveryRequest>, G: Gate> Receiving<'_, O, G> {
    /// Runs until the stream ends, and says why it did.
    pub(crate) async fn run(
        mut self,
        mut inbound: impl Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Unpin,
    ) -> End {
        match self.drive(&mut inbound).await {
            Err(end) => end,
            Ok(never) => match never {},
        }
    }

    async fn drive(
        &mut self,
        inbound: &mut (impl Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Unpin),
    ) -> Result<std::convert::Infallible, End> {
        let mut receiver = Receiver::new();
        let introduction = self.node.to_node();
        let nothing_held = self.kinds.iter().map(|kind| (*kind, OrdMap::new()));
        for request in receiver.subscriptions(nothing_held, Resume::Nothing) {
            self.outbox
                .put(convert::request_to_wire(request, introduction.clone()))?;
        }
        let mut held: Vec<Held> = Vec::new();
        loop {
            let response = inbound
                .next()
                .await
                .ok_or(End::PeerGone)?
                .map_err(End::Failed)?;
            let kind = Kind::from_type_url(&response.type_url).filter(|k| self.kinds.contains(k));
            let Some(kind) = kind else {
                return Err(End::Protocol(format!(
                    "a response has type {:?}, which was never asked for",
                    response.type_url
                )));
            };
            let response = convert::response_from_wire(kind, response)
                .map_err(|error| End::Protocol(error.to_string()))?;
            let apply = receiver
                .on_response(response)
                .map_err(|e| End::Protocol(e.to_string()))?;
            let is_complete = apply.mode == Mode::Complete;
            let nonce = apply.nonce;
            let delivery = convert::delivery(
                kind.resource_type(),
                is_complete,
                apply.upserts,
                apply.removed,
            );
            let arrived = Held {
                kind,
                nonce,
                delivery,
            };
            match self.gate.check(&self.store.snapshot(), &arrived.delivery)? {
                Pass::Later => held.push(arrived),
                Pass::Never => self.answer(
                    &mut receiver,
                    arrived.kind,
                    arrived.nonce,
                    Verdict::Accepted,
                )?,
                Pass::Now => {
                    self.apply(&mut receiver, arrived).await?;
                    for waiting in std::mem::take(&mut held) {
                        self.apply(&mut receiver, waiting).await?;
                    }
                }
            }
        }
    }

    /// Writes a response and answers it. The answer leaves once the write is durable.
    async fn apply(&mut self, receiver: &mut Receiver<Kind>, held: Held) -> Result<(), End> {
        let Held {
            kind,
            nonce,
            delivery,
        } = held;
        let plan = self
            .intake
            .plan(&self.store.snapshot(), delivery, clock::now());
        let changes = plan.batch.ops().len();
        if changes > 0 {
            self.store.commit(plan.batch).await?;
        }
        (self.on_applied)(Applied {
            kind,
            changes,
            refused: &plan.refused,
        });
        let rejected = plan.refused.into_iter().map(|one| Rejection {
            name: one.name,
            version: None,
            reason: one.reason,
        });
        self.answer(receiver, kind, nonce, Verdict::Rejected(rejected.collect()))
    }

    fn answer(
        &mut self,
        receiver: &mut Receiver<Kind>,
        kind: Kind,
        nonce: Nonce,
        verdict: Verdict,
    ) -> Result<(), End> {
        let answer = receiver
            .answer(kind, nonce, verdict)
            .map_err(|e| End::Protocol(e.to_string()))?;
        let node = Node {
            id: self.node.id.clone(),
            ..Node::default()
        };
        self.outbox.put(convert::request_to_wire(answer, node))
    }
}
