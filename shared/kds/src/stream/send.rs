//! A `Sender` over a stream: what this control plane owns, to a peer that subscribes.

mod passages;
mod peer;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use mesh_delta::{Event, Matcher, Name, Policy, Response, Sender, Version};
use mesh_model::ZoneName;
use mesh_proto::core::Node;
use mesh_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_proto::link;
use mesh_runtime::clock;
use mesh_store::SharedStore;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tonic::Status;

use self::passages::Passages;
use self::peer::Peer;
use super::{CHANNEL, CHUNK, End, Outbox};
use crate::convert;
use crate::kind::Kind;
use crate::lack::Lack;
use crate::peer::{Naming, NodeInfo};
use crate::precheck::Precheck;
use crate::projection::{Projection, View, largest_item};
use crate::pulse::Pulse;
use crate::receipt::{Passage, Standing};

/// How many resources an increment for a stock peer holds at most.
const MOST_IN_INCREMENT: usize = 1000;
/// How long a peer may take to answer. A link on which nothing is answered looks healthy
/// otherwise.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How many bytes of names and versions a peer may list as held before it is known what differs.
const MOST_LISTED: usize = 64 << 20;
/// How much of a peer's words is told, in bytes: a stock NACK may be as long as a message.
const LONGEST_TOLD: usize = 1024;
/// How many chunks wait for the transport at a time; the others are not even encoded.
const CHUNKS_AHEAD: usize = 4;

/// What happens on a stream, for bookkeeping.
#[derive(Debug)]
pub(crate) enum Happened<'a> {
    /// The peer introduced itself.
    Opened(&'a NodeInfo),
    /// A response of a type was sent.
    Sent(Kind),
    /// The peer applied one.
    Acked(Kind),
    /// One is larger than the peer takes, and is not sent.
    TooLarge(Kind),
    /// The peer refused one, and why.
    Rejected(Kind, &'a str),
    /// What the peer lacks from now on; empty when it has everything again.
    Lacks(Vec<Lack>),
}

/// Asks where a version of a resource stands.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) kind: Kind,
    pub(crate) name: Name,
    pub(crate) version: Version,
    pub(crate) reply: oneshot::Sender<(Standing, Passage)>,
}

/// A stream on which this side sends.
pub(crate) struct Sending<'a> {
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
    pub(crate) projection: &'a (dyn Fn(&NodeInfo) -> Arc<Projection> + Send + Sync),
    /// The zone that is the peer; `None` where the global is.
    pub(crate) zone: Option<ZoneName>,
    /// Where responses go.
    pub(crate) outbox: mpsc::Sender<DeltaDiscoveryResponse>,
    /// Nothing is sent before this is true; the peer is heard before.
    pub(crate) may_send: watch::Receiver<bool>,
    /// The connection, where the peer may be one of ours.
    pub(crate) pulse: Option<Arc<Pulse>>,
    /// Asks where resources stand; nobody may.
    pub(crate) probes: Option<mpsc::Receiver<Probe>>,
    /// Told of everything that happens.
    pub(crate) on_event: &'a mut (dyn FnMut(Happened<'_>) + Send),
}

impl Sending<'_> {
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
        let mut may_send = self.may_send.clone();
        let outbox = self.outbox.clone();
        let mut peer = self.introduction(inbound).await?;
        may_send
            .wait_for(|may_send| *may_send)
            .await
            .map_err(|_closed| End::Shutdown)?;
        loop {
            let latest = snapshots.borrow_and_update().clone();
            peer.0.look(&latest);
            if peer.0.precheck.as_mut().is_some_and(Precheck::has_news) {
                self.tell_lacks(&mut peer.0);
            }
            if let Some(request) = peer.1.take() {
                self.take(&mut peer.0, request, start)?;
            }
            let peer = &mut peer.0;
            while let Some(response) = peer.sender.poll(start.elapsed()) {
                self.put(peer, response)?;
            }
            if let Some(pulse) = self.pulse.as_ref().filter(|_| peer.abilities.heartbeat) {
                pulse.sent(&peer.sender, latest.revision().0);
            }
            let deadline = peer.sender.next_deadline().map(|at| start + at);
            let (overdue, verdict) = peer.overdue_at().unzip();
            tokio::select! {
                message = inbound.next() => {
                    let request = message.ok_or(End::PeerGone)?.map_err(End::Failed)?;
                    if let Some(pulse) = &self.pulse {
                        pulse.is_alive();
                    }
                    self.take(peer, request, start)?;
                }
                changed = snapshots.changed() => {
                    changed.map_err(|_closed| End::Shutdown)?;
                }
                room = outbox.reserve_many(CHANNEL - CHUNKS_AHEAD), if !peer.backlog.is_empty() => {
                    let mut room = room.map_err(|_closed| End::PeerGone)?;
                    self.send_chunk(peer, |message| {
                        if let Some(permit) = room.next() {
                            permit.send(message);
                        }
                    });
                }
                Some(probe) = next(&mut self.probes) => {
                    let standing = peer.standing(&probe);
                    // Whoever asked may have left.
                    let passage = peer.passages.of(probe.kind, &probe.name, &probe.version);
                    let _ = probe.reply.send((standing, passage));
                }
                () = at(deadline) => {}
                () = at(overdue) => {
                    if let Some(verdict) = verdict {
                        return Err(verdict);
                    }
                }
            }
        }
    }

    /// The first request, with which the peer says who it is.
    async fn introduction(
        &mut self,
        inbound: &mut (impl Stream<Item = Result<DeltaDiscoveryRequest, Status>> + Unpin),
    ) -> Result<(Peer, Option<DeltaDiscoveryRequest>), End> {
        let message = inbound.next().await;
        let request = message.ok_or(End::PeerGone)?.map_err(End::Failed)?;
        let info = NodeInfo::from_node(self.checked_node(&request)?);
        (self.on_event)(Happened::Opened(&info));
        let abilities = info.abilities();
        let mut sender = Sender::new(self.policy(&info));
        if abilities.heartbeat {
            sender = sender.with_digests();
        }
        let peer = Peer {
            sender,
            projection: (self.projection)(&info),
            view: self.zone.clone().map(View::new),
            precheck: (!info.is_meridian()).then(|| {
                let is_strict = info.naming() == Naming::Plain;
                Precheck::new(largest_item(self.max_message), is_strict)
            }),
            has_lacks: false,
            abilities,
            matching: BTreeMap::new(),
            backlog: VecDeque::new(),
            moved: Instant::now(),
            sent: BTreeMap::new(),
            answered: None,
            passages: Passages::default(),
        };
        Ok((peer, Some(request)))
    }

    fn tell_lacks(&mut self, peer: &mut Peer) {
        let lacks = peer.lacks();
        peer.has_lacks = !lacks.is_empty();
        (self.on_event)(Happened::Lacks(lacks));
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
            max_bytes: NonZeroUsize::new(largest_item(self.max_message)),
            ..policy
        }
    }

    /// Sends the next chunk of what waits.
    fn send_chunk(&mut self, peer: &mut Peer, send: impl FnOnce(DeltaDiscoveryResponse)) {
        let Some((chunk, is_last)) = peer.backlog.pop_front() else {
            return;
        };
        let kind = chunk.ty;
        peer.moved = Instant::now();
        send(convert::response_to_wire(chunk, self.identifier, !is_last));
        if is_last {
            peer.sent.insert(kind, Instant::now());
            (self.on_event)(Happened::Sent(kind));
        }
    }

    fn put(&mut self, peer: &mut Peer, response: Response<Kind>) -> Result<(), End> {
        let kind = response.ty;
        let named = if self.probes.is_some() {
            Passages::latest(&response)
        } else {
            Vec::new()
        };
        if peer.abilities.chunks {
            peer.passages.left(named, clock::now());
            let chunks = convert::chunks(response, CHUNK);
            let last = chunks.len().saturating_sub(1);
            let chunks = chunks.into_iter().enumerate();
            if peer.backlog.is_empty() {
                peer.moved = Instant::now();
            }
            peer.backlog
                .extend(chunks.map(|(at, chunk)| (chunk, at == last)));
            return Ok(());
        }
        let message = convert::response_to_wire(response, self.identifier, false);
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
            (self.on_event)(Happened::TooLarge(kind));
            return Ok(());
        }
        (self.on_event)(Happened::Sent(kind));
        peer.sent.insert(kind, Instant::now());
        peer.passages.left(named, clock::now());
        self.outbox.put(message)
    }

    fn checked_node<'r>(&self, request: &'r DeltaDiscoveryRequest) -> Result<&'r Node, End> {
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
        Ok(node)
    }

    fn take(
        &mut self,
        peer: &mut Peer,
        mut request: DeltaDiscoveryRequest,
        start: Instant,
    ) -> Result<(), End> {
        self.checked_node(&request)?;
        // One of ours may say who it is before it knows what to ask for.
        if request.type_url.is_empty() {
            return Ok(());
        }
        // A type of another release: staying silent leaves what the peer holds of it alone.
        let Some(kind) = Kind::from_type_url(&request.type_url).filter(|k| self.kinds.contains(k))
        else {
            tracing::debug!(
                type_url = request.type_url,
                "the peer asks for a type that is not offered here"
            );
            return Ok(());
        };
        let resume = request.resume.take();
        let mut request = convert::request_from_wire(kind, &request);
        if let Some(resume) = resume {
            let Some(matcher) = self.compare(peer, kind, resume)? else {
                return Ok(());
            };
            request.initial_versions = matcher.held();
        }
        let event = peer
            .sender
            .on_request(start.elapsed(), request)
            .map_err(|error| End::Protocol(error.to_string()))?;
        if let Event::Acked { .. } | Event::Nacked { .. } = &event
            && let Some(pulse) = self.pulse.as_ref().filter(|_| peer.abilities.heartbeat)
        {
            pulse.read_answer(&peer.sender, self.kinds);
        }
        match event {
            Event::Acked { .. } => {
                peer.answered(kind);
                peer.passages.accepted(kind, clock::now());
                (self.on_event)(Happened::Acked(kind));
                if let Some(precheck) = &mut peer.precheck {
                    precheck.accepted(kind);
                }
                if peer.has_lacks {
                    self.tell_lacks(peer);
                }
            }
            Event::Nacked { text, .. } => {
                peer.answered(kind);
                let text = convert::shortened(text, LONGEST_TOLD);
                (self.on_event)(Happened::Rejected(kind, &text));
                self.tell_lacks(peer);
            }
            _ => {}
        }
        Ok(())
    }

    /// Compares what the peer says it holds of a type with what is offered, and asks for more
    /// where that differs. Gives the matcher once it knows everything.
    fn compare(
        &self,
        peer: &mut Peer,
        kind: Kind,
        resume: link::Resume,
    ) -> Result<Option<Matcher>, End> {
        let protocol = |text: String| End::Protocol(format!("{kind}: {text}"));
        let mut matcher = match peer.matching.remove(&kind) {
            Some(matcher) => matcher,
            None => {
                if peer.sender.status(kind).subscribed.is_some() {
                    return Err(protocol("the peer subscribed already".to_owned()));
                }
                let offered = peer.sender.offered().ok_or(End::Shutdown)?;
                Matcher::new(peer.projection.index(kind, offered.items(kind)))
            }
        };
        let mut asked = Vec::new();
        for part in resume.parts {
            let part = convert::part_from_wire(part).map_err(protocol)?;
            let differing = matcher
                .take(part)
                .map_err(|error| protocol(error.to_string()))?;
            let others = peer.matching.values().map(Matcher::listed_bytes);
            if others.sum::<usize>().saturating_add(matcher.listed_bytes()) > MOST_LISTED {
                return Err(protocol(format!(
                    "what the peer lists as held has more than {MOST_LISTED} bytes"
                )));
            }
            asked.extend(differing.iter().map(ToString::to_string));
        }
        if matcher.is_done() {
            peer.sent.remove(&kind);
            return Ok(Some(matcher));
        }
        peer.matching.insert(kind, matcher);
        // A question waits for its answer as a response does, and no longer.
        peer.sent.insert(kind, Instant::now());
        if !asked.is_empty() {
            self.outbox.put(DeltaDiscoveryResponse {
                type_url: kind.to_string(),
                resume: Some(link::Resume {
                    asked,
                    ..link::Resume::default()
                }),
                ..DeltaDiscoveryResponse::default()
            })?;
        }
        Ok(None)
    }
}

/// The next question where something stands; never without anybody who asks.
async fn next(probes: &mut Option<mpsc::Receiver<Probe>>) -> Option<Probe> {
    match probes {
        Some(probes) => probes.recv().await,
        None => std::future::pending().await,
    }
}

/// Resolves at `deadline`; never without one.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
