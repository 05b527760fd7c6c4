//! A `Receiver` over a stream: what a peer owns, into this control plane's store.

mod audit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use imbl::OrdMap;
use mesh_delta::{
    Holder, Mode, Name, Nonce, Prefix, Receiver, Rejection, Resume, ResumeError, Verdict, Version,
    WILDCARD,
};
use mesh_model::{Key, ResourceType};
use mesh_proto::core::Node;
use mesh_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_runtime::clock;
use mesh_store::{CommitError, SharedStore, Snapshot};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tonic::Status;

use self::audit::Audit;
use super::{CHUNK, End, Outbox};
use crate::convert::{self, Nacks};
use crate::intake::{Delivery, Intake, Refused};
use crate::kind::Kind;
use crate::metrics::Metrics;
use crate::peer::NodeInfo;
use crate::pulse::Pulse;

/// How often the last answers are repeated towards a stock peer.
const REPEAT: Duration = Duration::from_secs(10);
/// How many bytes of responses may wait for the rest of them. It is what a zone took in one
/// message before there were chunks.
const LARGEST_RESPONSES: usize = 256 << 20;
/// After how many stored resources other tasks have their turn.
const BREATH: usize = 256;
/// What a peer may ask about in any case.
const FEW: usize = 1000;
/// How often is looked whether the store still holds what was taken.
const AUDIT: Duration = Duration::from_secs(2);
/// How often a response is planned anew because another writer was faster.
const MOST_TRIES: u32 = 16;

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
pub(crate) struct Receiving<'a, G> {
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
    pub(crate) outbox: mpsc::Sender<DeltaDiscoveryRequest>,
    /// Whether the peer reads rejections by name, as soon as that is known.
    pub(crate) lists_rejections: &'a AtomicBool,
    /// Whether what is held is offered to the peer, which then says only what differs.
    pub(crate) resume: Resume,
    /// Whether the peer is a stock control plane, as soon as that is known: its answers are
    /// repeated now and then.
    pub(crate) is_stock_peer: &'a AtomicBool,
    /// The connection, where the peer is one of ours.
    pub(crate) pulse: Option<Arc<Pulse>>,
    /// Told of every response that was applied.
    pub(crate) on_applied: &'a mut (dyn FnMut(Applied<'_>) + Send),
    /// What the loop remembers; empty at the start.
    pub(crate) memory: Memory,
    /// Where is counted what the peer may not do.
    pub(crate) metrics: Metrics,
}

/// What a receiving loop remembers.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Resources of others in the place of resources that were refused.
    occupied: BTreeSet<Key>,
    /// The last answer of each type, if it was an ACK.
    answers: BTreeMap<Kind, DeltaDiscoveryRequest>,
    /// Types of which a response was answered.
    answered: BTreeSet<Kind>,
    /// Types of which the peer may still ask what is held, and how often it may.
    holders: BTreeMap<Kind, (Holder, usize)>,
    /// Responses of which more is to come, and their size.
    partial: BTreeMap<Kind, (DeltaDiscoveryResponse, usize)>,
}

/// A response that waits for the gate.
struct Held {
    kind: Kind,
    nonce: Nonce,
    delivery: Delivery,
}

impl<G: Gate> Receiving<'_, G> {
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
        // What this finds to be held is compared with the peer; what changes later is not.
        let mut audit = Audit::new(self.store.snapshot());
        self.subscribe(&mut receiver).await?;
        let mut held: Vec<Held> = Vec::new();
        let mut snapshots = self.store.watch();
        let mut repeat = tokio::time::interval(REPEAT);
        repeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut audits = tokio::time::interval(AUDIT);
        audits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let response = tokio::select! {
                response = inbound.next() => response.ok_or(End::PeerGone)?.map_err(End::Failed)?,
                _ = snapshots.changed(), if !self.memory.occupied.is_empty() => {
                    self.look_for_room(&snapshots.borrow_and_update())?;
                    continue;
                }
                _ = audits.tick(), if self.is_audited() => {
                    self.audit(&mut audit, &receiver);
                    continue;
                }
                _ = repeat.tick(), if self.is_stock_peer.load(Ordering::Relaxed) => {
                    self.repeat_answers()?;
                    continue;
                }
            };
            if let Some(pulse) = &self.pulse {
                pulse.is_alive();
            }
            let kind = Kind::from_type_url(&response.type_url).filter(|k| self.kinds.contains(k));
            let Some(kind) = kind else {
                self.pass_over(&response)?;
                continue;
            };
            if let Some(resume) = &response.resume {
                self.say_what_is_held(kind, &resume.asked).await?;
                continue;
            }
            let Some(response) = self.assemble(kind, response)? else {
                continue;
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

    /// Asks for every type, saying what is held of it if the peer reads that.
    async fn subscribe(&mut self, receiver: &mut Receiver<Kind>) -> Result<(), End> {
        let mut introduction = self.node.to_node();
        if self.resume == Resume::Versions {
            // Who this is does not wait for what is held, which takes a while to find out. It is
            // said once: a peer that reads what is held remembers it.
            self.outbox.put(DeltaDiscoveryRequest {
                node: Some(std::mem::replace(&mut introduction, self.bare_node())),
                ..DeltaDiscoveryRequest::default()
            })?;
            tokio::task::yield_now().await;
        }
        // What an earlier stream has begun to write and nobody waited for would be added to what is
        // said to be held, and nobody would take it away again.
        self.store.settle().await?;
        let held = self.held().await;
        for mut request in receiver.subscriptions(held, self.resume) {
            let kind = request.ty;
            let held = std::mem::take(&mut request.initial_versions);
            let mut request = convert::request_to_wire(request, introduction.clone(), Nacks::Text);
            if !held.is_empty() {
                let holder = Holder::new(held);
                let parts = vec![holder.part(Prefix::ALL)];
                request.resume = convert::parts_to_wire(parts, CHUNK).pop();
                let most_questions = holder.len().saturating_add(FEW);
                self.memory.holders.insert(kind, (holder, most_questions));
            }
            self.outbox.put(request)?;
        }
        Ok(())
    }

    /// What is held of every type, as far as it is offered to the peer.
    async fn held(&mut self) -> Vec<(Kind, OrdMap<Name, Version>)> {
        let snapshot = self.store.snapshot();
        let mut all = Vec::with_capacity(self.kinds.len());
        for kind in &self.kinds {
            let ty = kind.resource_type();
            let mut held = OrdMap::new();
            // The deployment's identity is always said in full: everything else waits for it.
            if self.resume == Resume::Versions && ty != ResourceType::Config {
                for (n, resource) in snapshot.list(ty).enumerate() {
                    held.extend(self.intake.held(resource));
                    // Others want to be heard too, above all when all peers come at once.
                    if n % BREATH == BREATH - 1 {
                        tokio::task::yield_now().await;
                    }
                }
            }
            all.push((*kind, held));
        }
        all
    }

    /// Tells the peer more about what is held where that differs from what it offers.
    async fn say_what_is_held(&mut self, kind: Kind, asked: &[String]) -> Result<(), End> {
        let protocol = |text: &str| End::Protocol(format!("{kind}: {text}"));
        let Some((holder, most_questions)) = self.memory.holders.get_mut(&kind) else {
            return Err(protocol(
                "the peer asks what is held, but was not offered it",
            ));
        };
        *most_questions = most_questions.checked_sub(asked.len()).ok_or_else(|| {
            protocol("the peer asks more often what is held than there is to say")
        })?;
        let mut parts = Vec::with_capacity(asked.len());
        for prefix in asked {
            let prefix = prefix
                .parse()
                .map_err(|error: ResumeError| protocol(&error.to_string()))?;
            parts.push(holder.part(prefix));
        }
        for resume in convert::parts_to_wire(parts, CHUNK) {
            let request = DeltaDiscoveryRequest {
                node: Some(self.bare_node()),
                type_url: kind.to_string(),
                resource_names_subscribe: vec![WILDCARD.to_owned()],
                resume: Some(resume),
                ..DeltaDiscoveryRequest::default()
            };
            let sent = self.outbox.send(request).await;
            sent.map_err(|_closed| End::PeerGone)?;
        }
        Ok(())
    }

    /// Collects the messages of a response, and gives it once it is whole.
    fn assemble(
        &mut self,
        kind: Kind,
        mut next: DeltaDiscoveryResponse,
    ) -> Result<Option<DeltaDiscoveryResponse>, End> {
        let more = next.has_more;
        let earlier = self.memory.partial.remove(&kind);
        if !more && earlier.is_none() {
            return Ok(Some(next));
        }
        let size = next.encoded_len();
        let (whole, size) = match earlier {
            None => (next, size),
            Some((whole, _)) if whole.nonce != next.nonce => {
                return Err(End::Protocol(format!(
                    "{kind}: response {:?} goes on as {:?}",
                    whole.nonce, next.nonce
                )));
            }
            Some((mut whole, earlier)) => {
                whole.resources.append(&mut next.resources);
                whole.removed_resources.append(&mut next.removed_resources);
                (whole, earlier.saturating_add(size))
            }
        };
        let others = self.memory.partial.values().map(|(_, size)| size);
        if others.sum::<usize>().saturating_add(size) > LARGEST_RESPONSES {
            return Err(End::Protocol(format!(
                "{kind}: responses that are not complete yet have more than {LARGEST_RESPONSES} \
                 bytes"
            )));
        }
        if !more {
            return Ok(Some(whole));
        }
        self.memory.partial.insert(kind, (whole, size));
        Ok(None)
    }

    /// Writes a response and answers it. The answer leaves once the write is durable.
    async fn apply(&mut self, receiver: &mut Receiver<Kind>, held: Held) -> Result<(), End> {
        let Held {
            kind,
            nonce,
            delivery,
        } = held;
        let mut tries = 0;
        let plan = loop {
            let plan = self
                .intake
                .plan(&self.store.snapshot(), &delivery, clock::now());
            if plan.batch.is_empty() {
                break plan;
            }
            match self.store.commit(plan.batch.clone()).await {
                Ok(_) => break plan,
                // Another writer was faster: its change counts, and this is planned anew.
                Err(CommitError::Conflict { .. }) if tries < MOST_TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        };
        self.metrics.kept_from_removal(kind, plan.foreign_removals);
        self.metrics.of_no_concern(kind, plan.passed_over);
        if plan.passed_over > 0 {
            tracing::debug!(
                type_url = %kind,
                count = plan.passed_over,
                "passed over resources that are not the sender's to write here"
            );
        }
        (self.on_applied)(Applied {
            kind,
            changes: plan.batch.ops().len(),
            refused: &plan.refused,
        });
        self.memory
            .occupied
            .extend(plan.refused.iter().filter_map(|one| one.occupied.clone()));
        let rejected = plan.refused.into_iter().map(|one| Rejection {
            name: one.name,
            version: None,
            reason: one.reason,
        });
        self.answer(receiver, kind, nonce, Verdict::Rejected(rejected.collect()))
    }

    /// Ends the stream when a resource that was in the place of a refused one has gone: the peer
    /// sends what it refused only on a new stream.
    fn look_for_room(&self, snapshot: &Snapshot) -> Result<(), End> {
        match self
            .memory
            .occupied
            .iter()
            .find(|key| snapshot.get(key).is_none())
        {
            Some(key) => Err(End::MadeRoom(key.clone())),
            None => Ok(()),
        }
    }

    /// A type that was not asked for is answered and passed over. Breaking off would bring it
    /// back with the next connection.
    fn pass_over(&self, response: &DeltaDiscoveryResponse) -> Result<(), End> {
        self.metrics.passed_over();
        tracing::debug!(
            type_url = response.type_url,
            "passed over a type that was not asked for"
        );
        if response.nonce.is_empty() {
            return Ok(());
        }
        self.outbox.put(DeltaDiscoveryRequest {
            node: Some(self.bare_node()),
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        })
    }

    /// Whether what is stored is what was sent, bit for bit, as long as nobody else writes.
    fn is_audited(&self) -> bool {
        let is_global = matches!(self.intake, Intake::FromGlobal { .. });
        // Those of ours list rejections.
        is_global && self.pulse.is_some() && self.lists_rejections.load(Ordering::Relaxed)
    }

    /// Reports what somebody else changed of what was taken from the peer.
    fn audit(&self, audit: &mut Audit, receiver: &Receiver<Kind>) {
        let is_answered = |kind| self.memory.answered.contains(&kind);
        let other = audit.look(&self.store.snapshot(), &self.intake, receiver, is_answered);
        if let (Some(pulse), Some((kind, name))) = (&self.pulse, other) {
            pulse.holds_other(kind, &name);
        }
    }

    /// Says the last answers once more. A stock global shares what it has to say between the
    /// streams of a zone: when an old one closes late, the new one falls silent until a request
    /// comes.
    fn repeat_answers(&self) -> Result<(), End> {
        self.memory
            .answers
            .values()
            .try_for_each(|answer| self.outbox.put(answer.clone()))
    }

    fn bare_node(&self) -> Node {
        Node {
            id: self.node.id.clone(),
            ..Node::default()
        }
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
        self.memory.answered.insert(kind);
        if let Some(pulse) = &self.pulse {
            pulse.answered(receiver, self.memory.answered.iter().copied());
        }
        // What it asks for from now on would be about another state.
        self.memory.holders.remove(&kind);
        let is_ack = answer.error.is_none();
        let nacks = if self.lists_rejections.load(Ordering::Relaxed) {
            Nacks::Listed
        } else {
            Nacks::Text
        };
        let answer = convert::request_to_wire(answer, self.bare_node(), nacks);
        if is_ack {
            self.memory.answers.insert(kind, answer.clone());
        } else {
            // Repeating a refusal would make a 2.5 global send the whole type again.
            self.memory.answers.remove(&kind);
        }
        self.outbox.put(answer)
    }
}

#[cfg(test)]
mod tests;
