//! The global's half of KDS: the gRPC services that zones call.

mod admin;
mod auth;
mod door;
mod link;
mod registry;
mod standing;
mod unheard;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{Stream, StreamExt as _, stream};
use mesh_delta::Resume;
use mesh_model::ZoneName;
use mesh_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_proto::link::link_server::LinkServer;
use mesh_proto::mesh::global_kds_service_server::GlobalKdsServiceServer;
use mesh_proto::mesh::kds_sync_service_server::{KdsSyncService, KdsSyncServiceServer};
use mesh_runtime::clock;
use mesh_runtime::shutdown::Shutdown;
use mesh_store::SharedStore;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::codec::CompressionEncoding;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;
use uuid::Uuid;

pub use self::auth::{Exempt, Refusal, ZoneAuth};
use self::door::{Door, Entered, Gate, Pass};
pub use self::registry::StreamKind;
use self::registry::{Registry, Taker};
use self::standing::Followers;
pub use self::unheard::Stale;
use self::unheard::Unheard;
use crate::intake::Intake;
use crate::kind::Kind;
use crate::lack::{Lack, Lacks};
use crate::mapping::Mapping;
use crate::metrics::Metrics;
use crate::peer::{Naming, NodeInfo, ZoneClass, ZonePeer};
use crate::projection::{Projection, largest_item};
use crate::pulse::{self, LinkStatus, Pulse, Repairs};
use crate::stream::receive::{Applied, Memory, Open, Receiving};
use crate::stream::send::{self, Sending};
use crate::stream::{CHANNEL, End};

/// What happened to a response on a down stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It was sent.
    Sent,
    /// The zone applied it.
    Acked,
    /// The zone refused it.
    Rejected,
}

/// The global's bookkeeping of zones and their streams. No method may block.
#[async_trait]
pub trait ZoneBook: Send + Sync + fmt::Debug + 'static {
    /// A zone opens a sync stream: there is a `Zone` for it when this returns.
    ///
    /// # Errors
    /// The status with which the stream is refused.
    async fn admit(&self, peer: &ZonePeer) -> Result<(), Status>;

    /// A zone opened a stream of a kind, which takes the place of an older one.
    fn sat(&self, peer: &ZonePeer, kind: StreamKind);

    /// A zone introduced itself on a new down stream.
    fn opened(&self, stream: Uuid, peer: &ZonePeer, node: &NodeInfo);

    /// Something happened to a response of a type on a down stream.
    fn counted(&self, stream: Uuid, zone: &ZoneName, type_name: &str, what: Counted);

    /// A down stream ended.
    fn closed(&self, stream: Uuid, zone: &ZoneName);

    /// A zone said that it is there.
    fn pinged(&self, zone: &ZoneName);
}

/// What a server is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// The global's resources.
    pub store: SharedStore,
    /// The bookkeeping.
    pub book: Arc<dyn ZoneBook>,
    /// How often zones are asked to say that they are there; zero leaves it to them.
    pub health_interval: Duration,
    /// What this global says of itself; `id` is filled with each zone's name.
    pub node: NodeInfo,
    /// The largest message to send or take, in bytes.
    pub max_message: usize,
    /// What is counted.
    pub metrics: Metrics,
    /// Who may speak for a zone.
    pub auth: ZoneAuth,
}

/// The services, before they are given a port.
#[derive(Debug, Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    /// What zones get, by what they announced: at most one for each combination.
    projections: Mutex<BTreeMap<ZoneClass, Arc<Projection>>>,
    registry: Arc<Registry>,
    door: Arc<Door>,
    /// The connections of our zones, while any call of theirs is open.
    pulses: Mutex<BTreeMap<(ZoneName, Uuid), Weak<Pulse>>>,
    /// What became of differences, by zone.
    repairs: Mutex<BTreeMap<ZoneName, Arc<Mutex<Repairs>>>>,
    /// Where zones are asked about their proxies.
    halls: admin::Halls,
    /// The streams on which zones follow.
    followers: Followers,
    /// What zones lack of what they are offered.
    lacks: Lacks,
    /// What zones have not reported.
    unheard: Unheard,
    streams: TaskTracker,
    shutdown: Shutdown,
}

impl Inner {
    /// What zones of a class get.
    fn projection(&self, class: ZoneClass) -> Arc<Projection> {
        let mut projections = self.projections.lock();
        let projection = projections.entry(class).or_insert_with(|| {
            let max_item = largest_item(self.config.max_message);
            Arc::new(Projection::new(Mapping::Down(class), max_item))
        });
        Arc::clone(projection)
    }
}

/// The largest message of a link: where some thousand proxies stand.
const LARGEST_LINK: usize = 2 << 20;
/// How many questions where resources stand may wait for a stream.
const PROBES_AHEAD: usize = 16;

/// A call that became a stream.
struct Call<'a> {
    peer: &'a ZonePeer,
    direction: &'static str,
    seat: registry::Seat,
    pass: Arc<Pass>,
    /// The connection, if it is one of ours.
    pulse: Option<Arc<Pulse>>,
}

impl Server {
    /// Services that end their streams at shutdown.
    pub fn new(config: Config, shutdown: Shutdown) -> Self {
        let door = Arc::new(Door::new(
            config.auth.clone(),
            Arc::clone(&config.store),
            clock::now,
            config.metrics.clone(),
        ));
        let inner = Inner {
            config,
            door,
            projections: Mutex::default(),
            registry: Arc::default(),
            pulses: Mutex::default(),
            repairs: Mutex::default(),
            halls: admin::Halls::default(),
            followers: Followers::default(),
            lacks: Lacks::default(),
            unheard: Unheard::default(),
            streams: TaskTracker::new(),
            shutdown,
        };
        if inner.config.auth != ZoneAuth::Off {
            let watch = door::watch(Arc::downgrade(&inner.door), inner.shutdown.clone());
            inner.streams.spawn(watch);
        }
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The services as routes for an HTTP/2 server.
    pub fn routes(&self) -> tonic::service::Routes {
        let max = self.inner.config.max_message;
        // gzip is taken, because stock zones from 2.10 on compress every message and break off when
        // that is refused. They take plain messages.
        let sync = KdsSyncServiceServer::new(self.clone())
            .max_decoding_message_size(max)
            .max_encoding_message_size(usize::MAX)
            .accept_compressed(CompressionEncoding::Gzip);
        let global = GlobalKdsServiceServer::new(self.clone())
            .max_decoding_message_size(max)
            .max_encoding_message_size(max)
            .accept_compressed(CompressionEncoding::Gzip);
        let link = LinkServer::new(self.clone()).max_decoding_message_size(LARGEST_LINK);
        let gate = Gate(Arc::clone(&self.inner.door));
        tonic::service::Routes::new(InterceptedService::new(sync, gate.clone()))
            .add_service(InterceptedService::new(global, gate.clone()))
            .add_service(InterceptedService::new(link, gate))
    }

    /// Ends all streams of a zone; it may connect again.
    pub fn evict(&self, zone: &ZoneName) {
        self.inner.registry.evict(zone);
    }

    /// Where the connections of zones of ours stand. A zone has one, or two for the moment in
    /// which the newer takes over.
    pub fn links(&self) -> Vec<LinkStatus> {
        let pulses = self.inner.pulses.lock();
        let live: Vec<Arc<Pulse>> = pulses.values().filter_map(Weak::upgrade).collect();
        drop(pulses);
        live.iter().map(|pulse| pulse.status()).collect()
    }

    /// What connected zones lack of what they are offered, and why.
    pub fn lacks(&self) -> Vec<(ZoneName, Lack)> {
        self.inner.lacks.all()
    }

    /// What is stored of connected zones and may be stale.
    pub fn stale(&self) -> Vec<Stale> {
        self.inner
            .unheard
            .stale(&self.inner.config.store.snapshot())
    }

    /// Waits until the last stream has ended, which shutdown makes them do.
    pub async fn drained(&self) {
        self.inner.streams.close();
        self.inner.streams.wait().await;
    }

    /// The connection of a zone that says heartbeats.
    fn pulse(&self, peer: &ZonePeer) -> Option<Arc<Pulse>> {
        let session = peer.session.filter(|_| peer.abilities.heartbeat)?;
        let mut pulses = self.inner.pulses.lock();
        let place = (peer.zone.clone(), session);
        if let Some(pulse) = pulses.get(&place).and_then(Weak::upgrade) {
            return Some(pulse);
        }
        pulses.retain(|_, pulse| pulse.strong_count() > 0);
        let mut repairs = self.inner.repairs.lock();
        repairs.retain(|_, of_zone| {
            Arc::strong_count(of_zone) > 1 || of_zone.lock().is_worth_keeping()
        });
        let repairs = repairs.entry(peer.zone.clone()).or_default();
        let pulse = Arc::new(Pulse::new(
            pulse::End::Global,
            peer.zone.to_string(),
            Arc::clone(repairs),
            self.inner.config.metrics.clone(),
        ));
        pulses.insert(place, Arc::downgrade(&pulse));
        Some(pulse)
    }

    /// Who calls, and a place for the stream.
    async fn enter<M>(
        &self,
        request: &Request<M>,
        kind: StreamKind,
    ) -> Result<(ZonePeer, Arc<Pass>, registry::Seat), Status> {
        if self.inner.shutdown.is_triggered() {
            return Err(End::Shutdown.to_status());
        }
        let Entered { peer, pass } = Entered::of(request)?;
        let taker = Taker {
            zone: &peer.zone,
            store_id: peer.store_id,
            is_exempt: pass.is_exempt(),
        };
        let seat = self.inner.registry.take(taker, kind).map_err(|error| {
            if error.is_news {
                tracing::error!(zone.name = %peer.zone, "refused a connection: {error}");
            }
            Status::already_exists(error.to_string())
        })?;
        self.inner.config.book.admit(&peer).await?;
        self.inner.config.book.sat(&peer, kind);
        if pass.is_exempt() && kind == StreamKind::Down {
            tracing::warn!(
                "zone {} is let in without a token: nothing proves that it is that zone \
                 (multizone.global.kds.allowUnauthenticatedZones)",
                peer.zone
            );
        }
        Ok((peer, pass, seat))
    }

    /// Runs a stream in a task of its own until it ends, it is superseded or the process stops,
    /// and gives what it says. The status comes last: a stream never ends with OK, which stock
    /// zones take for a quiet end that is no reason to come back.
    fn spawn<M: Send + 'static>(
        &self,
        call: Call<'_>,
        said: mpsc::Receiver<M>,
        run: impl Future<Output = End> + Send + 'static,
        closed: impl FnOnce() + Send + 'static,
    ) -> ServerStream<M> {
        let Call {
            peer,
            direction,
            seat,
            pass,
            pulse,
        } = call;
        let span = tracing::info_span!("kds", zone.name = %peer.zone, direction);
        let zone = peer.zone.clone();
        let shutdown = self.inner.shutdown.clone();
        let open = self.inner.config.metrics.stream(direction);
        let (ended, status) = oneshot::channel();
        let is_free = seat.is_free();
        // What an older stream of the zone has yet to do would come after this one's first look.
        let run = async move {
            is_free.await;
            run.await
        };
        let task = async move {
            let end = tokio::select! {
                end = run => end,
                end = fault(pulse.as_deref()) => end,
                refusal = pass.ended() => End::Unauthenticated(refusal),
                () = seat.superseded.cancelled() => End::Superseded,
                () = shutdown.wait() => End::Shutdown,
            };
            closed();
            drop((seat, open));
            match &end {
                End::PeerGone | End::Shutdown | End::Unauthenticated(_) => {
                    tracing::info!("zone {zone}: {direction} stream ended: {end}");
                }
                _ => tracing::warn!("zone {zone}: {direction} stream ended: {end}"),
            }
            // Nobody may be left to hear it.
            let _ = ended.send(end.to_status());
        };
        self.inner.streams.spawn(task.instrument(span));
        let last = async {
            Err(status
                .await
                .unwrap_or_else(|_gone| Status::unavailable("the stream ended")))
        };
        ReceiverStream::new(said)
            .map(Ok)
            .chain(stream::once(last))
            .boxed()
    }
}

/// Resolves when the connection of a zone of ours is seen to be dead, or the zone to differ.
async fn fault(pulse: Option<&Pulse>) -> End {
    let Some(pulse) = pulse else {
        return std::future::pending().await;
    };
    tokio::select! {
        () = pulse.silence() => End::Silent,
        what = pulse.divergence() => End::Diverged(what),
    }
}

type ServerStream<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

#[async_trait]
impl KdsSyncService for Server {
    type GlobalToZoneSyncStream = ServerStream<DeltaDiscoveryResponse>;

    async fn global_to_zone_sync(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::GlobalToZoneSyncStream>, Status> {
        let (peer, pass, seat) = self.enter(&request, StreamKind::Down).await?;
        let inbound = request.into_inner();
        let (tx, rx) = mpsc::channel(CHANNEL);
        let pulse = self.pulse(&peer);
        let id = Uuid::new_v4();
        let inner = Arc::clone(&self.inner);
        let book = Arc::clone(&inner.config.book);
        let run = {
            let (peer, book, pulse) = (peer.clone(), Arc::clone(&book), pulse.clone());
            async move {
                let kinds: Vec<Kind> = Kind::down().collect();
                let (asks, probes) = mpsc::channel(PROBES_AHEAD);
                let projection = |zone: &NodeInfo| {
                    let projection = inner.projection(ZoneClass::of(zone));
                    let followers = &inner.followers;
                    followers.began(&peer.zone, id, &projection, &asks);
                    projection
                };
                let metrics = &inner.config.metrics;
                let mut on_event = |happened: send::Happened<'_>| {
                    let count = |kind: Kind, what| {
                        book.counted(id, &peer.zone, kind.resource_type().name(), what);
                    };
                    match happened {
                        send::Happened::Opened(node) => {
                            tracing::info!(
                                version = node.version.version,
                                instance = node.instance_id,
                                "zone {} follows this global",
                                peer.zone
                            );
                            book.opened(id, &peer, node);
                        }
                        send::Happened::Sent(kind) => {
                            metrics.sent(kind);
                            count(kind, Counted::Sent);
                        }
                        send::Happened::Acked(kind) => {
                            metrics.answered(kind, true);
                            count(kind, Counted::Acked);
                        }
                        send::Happened::TooLarge(kind) => metrics.too_large(kind),
                        send::Happened::Lacks(lacks) => inner.lacks.replace(&peer.zone, id, lacks),
                        send::Happened::Rejected(kind, text) => {
                            tracing::warn!(type_url = %kind, "zone {} rejected resources: {text}", peer.zone);
                            metrics.answered(kind, false);
                            count(kind, Counted::Rejected);
                        }
                    }
                };
                let sending = Sending {
                    node_id: peer.zone.as_str(),
                    identifier: "global",
                    kinds: &kinds,
                    store: Arc::clone(&inner.config.store),
                    max_message: peer.max_message.unwrap_or(inner.config.max_message),
                    says_version: peer.version.is_some(),
                    projection: &projection,
                    zone: Some(peer.zone.clone()),
                    outbox: tx,
                    may_send: watch::Sender::new(true).subscribe(),
                    pulse,
                    probes: Some(probes),
                    on_event: &mut on_event,
                };
                sending.run(inbound).await
            }
        };
        let zone = peer.zone.clone();
        let call = Call {
            peer: &peer,
            direction: "down",
            seat,
            pass,
            pulse,
        };
        let inner = Arc::clone(&self.inner);
        let said = self.spawn(call, rx, run, move || {
            inner.followers.ended(&zone, id);
            inner.lacks.forget(&zone, id);
            book.closed(id, &zone);
        });
        Ok(Response::new(said))
    }

    type ZoneToGlobalSyncStream = ServerStream<DeltaDiscoveryRequest>;

    async fn zone_to_global_sync(
        &self,
        request: Request<Streaming<DeltaDiscoveryResponse>>,
    ) -> Result<Response<Self::ZoneToGlobalSyncStream>, Status> {
        let (peer, pass, seat) = self.enter(&request, StreamKind::Up).await?;
        let inbound = request.into_inner();
        let (tx, rx) = mpsc::channel(CHANNEL);
        let pulse = self.pulse(&peer);
        let inner = Arc::clone(&self.inner);
        let id = Uuid::new_v4();
        let run = {
            let (peer, pulse, inner) = (peer.clone(), pulse.clone(), Arc::clone(&inner));
            async move {
                inner.unheard.began(&peer, id, clock::now());
                let node = NodeInfo {
                    id: peer.zone.to_string(),
                    // A stock zone hears what a stock global says, and nothing else.
                    store_id: inner.config.node.store_id.filter(|_| peer.abilities.resume),
                    ..inner.config.node.clone()
                };
                let mut on_applied = |applied: Applied<'_>| {
                    let Applied {
                        kind,
                        changes,
                        refused,
                    } = applied;
                    inner.unheard.heard(&peer.zone, id, kind);
                    inner.config.metrics.applied(kind, changes, refused.len());
                    tracing::debug!(type_url = %kind, changes, "took what zone {} reports", peer.zone);
                    for one in refused {
                        tracing::warn!(
                            type_url = %kind, name = %one.name, "refused what zone {} reports: {}",
                            peer.zone, one.reason
                        );
                    }
                };
                let receiving = Receiving {
                    node: &node,
                    kinds: Kind::up().collect(),
                    intake: Intake::FromZone {
                        zone: peer.zone.clone(),
                        naming: peer.up_naming,
                    },
                    gate: Open,
                    is_stock_peer: &AtomicBool::new(false),
                    memory: Memory::default(),
                    metrics: inner.config.metrics.clone(),
                    store: Arc::clone(&inner.config.store),
                    outbox: tx,
                    pulse,
                    lists_rejections: &AtomicBool::new(peer.abilities.rejections),
                    resume: if peer.abilities.resume && peer.up_naming == Naming::Hashed {
                        Resume::Versions
                    } else {
                        Resume::Nothing
                    },
                    on_applied: &mut on_applied,
                };
                receiving.run(inbound).await
            }
        };
        let call = Call {
            peer: &peer,
            direction: "up",
            seat,
            pass,
            pulse,
        };
        let zone = peer.zone.clone();
        let said = self.spawn(call, rx, run, move || inner.unheard.ended(&zone, id));
        Ok(Response::new(said))
    }
}
