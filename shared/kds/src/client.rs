//! The zone's half of KDS: one connection to the global, kept up for ever.
//!
//! The zone serves from its own store whatever happens here: a global that is down, wrong or
//! another one changes nothing but the state that is reported.

mod admin;
mod beat;
mod connect;
mod file;
mod gate;
mod token;
mod trust;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use mesh_delta::Resume;
use mesh_model::ZoneName;
use mesh_proto::mesh::ZoneHealthCheckRequest;
use mesh_proto::mesh::global_kds_service_client::GlobalKdsServiceClient;
use mesh_proto::mesh::kds_sync_service_client::KdsSyncServiceClient;
use mesh_runtime::backoff::Backoff;
use mesh_runtime::proxy_admin::AskProxy;
use mesh_runtime::shutdown::Shutdown;
use mesh_store::{Batch, SharedStore};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request};
use uuid::Uuid;

pub use self::connect::{ConnectError, Dial, Io, Target, Tcp};
pub use self::gate::known_cluster_id;
use self::gate::{ClusterGate, followed, followed_store};
pub use self::token::{Token, TokenError};
use self::trust::RootCa;
use crate::admin::Sources;
use crate::intake::Intake;
use crate::kind::Kind;
use crate::lack::Lack;
use crate::mapping::Mapping;
use crate::metrics::Metrics;
use crate::peer::{self, Abilities, Introduction, Naming, NodeInfo};
use crate::projection::{Projection, largest_item};
use crate::pulse::{self, LinkStatus, Pulse, Repairs};
use crate::receipt::{Book, Proxies};
use crate::stream::receive::{Applied, Memory, Receiving};
use crate::stream::send::{self, Sending};
use crate::stream::{CHANNEL, End};

/// The largest message that is taken from a global. The limit of stock control planes would cut
/// off a zone for ever once one type of resources outgrows it; ours are told this one.
const MAX_DOWN: usize = 256 << 20;
/// How often a zone says that it is there, unless the global asks for another interval.
const HEALTH_INTERVAL: Duration = Duration::from_secs(300);
/// A connection that held this long was a good one: the next attempt starts anew.
const GOOD_CONNECTION: Duration = Duration::from_secs(5);

/// How long a global has to say who it is before it is taken for a stock one.
const RECOGNITION: Duration = Duration::from_secs(1);

/// How many different troubles in a row are worth a line.
const MOST_TOLD: usize = 32;

/// What a client is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// The zone's name.
    pub zone: ZoneName,
    /// Where the global is.
    pub target: Target,
    /// The zone's resources.
    pub store: SharedStore,
    /// What this zone says of itself.
    pub node: NodeInfo,
    /// The identity of the zone's store.
    pub store_id: Uuid,
    /// What is counted.
    pub metrics: Metrics,
}

/// Where the connection to the global stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// No attempt has ended yet.
    Connecting,
    /// Resources flow.
    Following,
    /// The last attempt failed; the zone serves what it has.
    Cut {
        /// Why, with all causes.
        reason: String,
    },
    /// The global there is another one than this zone follows; the zone serves what it has.
    Held {
        /// The id that this zone follows.
        known: String,
        /// The id that the global there has.
        offered: String,
    },
}

/// What the calls of one connection know of each other.
#[derive(Debug)]
struct Session {
    /// The global is the one that this zone follows.
    opened: watch::Sender<bool>,
    /// The global is a stock one.
    is_stock_peer: AtomicBool,
    /// The global reads rejections by name.
    lists_rejections: AtomicBool,
    /// The global, once it said who it is.
    global: watch::Sender<Option<Global>>,
    /// Names the connection.
    id: Uuid,
    /// The zone's token, which every call brings.
    authorization: Option<AsciiMetadataValue>,
    pulse: Arc<Pulse>,
}

/// What a global says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Global {
    /// How it names what it sends; one that said nothing may be of any release.
    naming: Naming,
    abilities: Abilities,
    store_id: Option<Uuid>,
}

/// The client. [`Client::run`] does the work; [`Client::state`] tells how it goes.
#[derive(Debug)]
pub struct Client {
    config: Config,
    token: Option<Token>,
    root_ca: Option<RootCa>,
    /// Where the global's questions find answers.
    sources: Sources,
    dial: Arc<dyn Dial>,
    state: watch::Sender<State>,
    /// What was said since the last good connection.
    told: Mutex<Vec<State>>,
    plain: Arc<Projection>,
    hashed: Arc<Projection>,
    /// What became of differences.
    repairs: Arc<Mutex<Repairs>>,
    /// What the global lacks of what this zone reports.
    lacks: Mutex<Vec<Lack>>,
    /// The connection that there is now, once the global was seen to be one of ours.
    pulse: Mutex<Weak<Pulse>>,
}

impl Client {
    /// A client that has not dialled yet.
    pub fn new(config: Config) -> Self {
        let max_item = largest_item(config.target.max_message);
        let projection = |naming| {
            Arc::new(Projection::new(
                Mapping::Up(config.zone.clone(), naming),
                max_item,
            ))
        };
        Self {
            plain: projection(Naming::Plain),
            hashed: projection(Naming::Hashed),
            state: watch::Sender::new(State::Connecting),
            told: Mutex::default(),
            repairs: Arc::default(),
            lacks: Mutex::default(),
            pulse: Mutex::default(),
            token: None,
            root_ca: None,
            sources: Sources::default(),
            dial: Arc::new(Tcp),
            config,
        }
    }

    /// The same client, over something else than the network of this machine.
    #[must_use]
    pub fn dialling(self, dial: Arc<dyn Dial>) -> Self {
        Self { dial, ..self }
    }

    /// The same client, which shows the global a token.
    #[must_use]
    pub fn with_token(self, token: Token) -> Self {
        let token = Some(token);
        Self { token, ..self }
    }

    /// The same client, which trusts whom the CAs in a file vouch for. The file is read for each
    /// connection; the settings of the target count until it could be read.
    #[must_use]
    pub fn with_root_ca(self, file: PathBuf) -> Self {
        let root_ca = Some(RootCa::new(file));
        Self { root_ca, ..self }
    }

    /// The same client, which answers the global's questions about proxies.
    #[must_use]
    pub fn with_proxies(mut self, proxies: Arc<dyn AskProxy>) -> Self {
        self.sources.proxies = Some(proxies);
        self
    }

    /// The same client, which tells the global what became of its resources here.
    #[must_use]
    pub fn with_receipts(mut self, proxies: Arc<dyn Proxies>) -> Self {
        self.sources.receipts = Some(Arc::new(Book {
            zone: self.config.zone.clone(),
            store: Arc::clone(&self.config.store),
            proxies,
        }));
        self
    }

    /// Where the connection stands, now and later.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// What the global lacks of what this zone reports, and why.
    pub fn lacks(&self) -> Vec<Lack> {
        self.lacks.lock().clone()
    }

    /// Where the connection to a global of ours stands; `None` without one.
    pub fn link(&self) -> Option<LinkStatus> {
        let pulse = self.pulse.lock().upgrade()?;
        Some(pulse.status())
    }

    /// Keeps a connection up until shutdown.
    pub async fn run(&self, mut backoff: Backoff, shutdown: Shutdown) {
        loop {
            let started = Instant::now();
            let reason = tokio::select! {
                reason = self.session() => reason,
                () = shutdown.wait() => return,
            };
            self.enter(reason);
            if started.elapsed() >= GOOD_CONNECTION {
                backoff.reset();
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_delay()) => {}
                () = shutdown.wait() => return,
            }
        }
    }

    /// Takes note of a state, and says so once: a trouble that shows two faces by turns (a reset
    /// here, an end of file there) is told with each of them, and not again before it is over.
    fn enter(&self, next: State) {
        let Target { host, port, .. } = &self.config.target;
        self.state.send_if_modified(|state| {
            if *state == next {
                return false;
            }
            let mut told = self.told.lock();
            if next == State::Following {
                told.clear();
            }
            let is_news = told.len() < MOST_TOLD && !told.contains(&next);
            if is_news {
                told.push(next.clone());
            }
            match &next {
                _ if !is_news => {}
                State::Connecting => {}
                State::Following => tracing::info!("following the global at {host}:{port}"),
                State::Cut { reason } => tracing::warn!(
                    "no connection to the global at {host}:{port}, serving what is known: {reason}"
                ),
                State::Held { known, offered } => tracing::error!(
                    "the global at {host}:{port} has kuma-cluster-id {offered}, but this zone follows \
                     {known}. Nothing is changed. If that global replaces the old one, accept it with: \
                     meridian accept-cluster {offered}"
                ),
            }
            *state = next;
            true
        });
    }

    /// One connection, from dialling to its end.
    async fn session(&self) -> State {
        let authorization = match &self.token {
            None => None,
            Some(token) => match token.to_metadata().await {
                Ok(value) => Some(value),
                Err(error) => {
                    return State::Cut {
                        reason: chain(&error),
                    };
                }
            },
        };
        let mut target = self.config.target.clone();
        if let Some(root_ca) = &self.root_ca
            && let Some(settings) = root_ca.settings().await
        {
            target.tls = Some(settings);
        }
        let channel = match connect::connect(&target, &self.dial).await {
            Ok(channel) => channel,
            Err(error) => {
                return State::Cut {
                    reason: chain(&error),
                };
            }
        };
        let session = Session {
            opened: watch::Sender::default(),
            is_stock_peer: AtomicBool::new(false),
            lists_rejections: AtomicBool::new(false),
            global: watch::Sender::default(),
            id: Uuid::new_v4(),
            authorization,
            pulse: Arc::new(Pulse::new(
                pulse::End::Zone,
                self.config.zone.to_string(),
                Arc::clone(&self.repairs),
                self.config.metrics.clone(),
            )),
        };
        let end = tokio::select! {
            end = self.down(channel.clone(), &session) => end,
            end = self.up(channel.clone(), &session) => end,
            end = self.beat(channel.clone(), &session) => end,
            never = self.answer_questions(channel.clone(), &session) => match never {},
            end = self.health(channel, &session) => end,
        };
        match end {
            Err(End::OtherCluster { known, offered }) => State::Held { known, offered },
            Err(end) => State::Cut {
                reason: chain(&end),
            },
            Ok(never) => match never {},
        }
    }

    fn sync_client(&self, channel: Channel) -> KdsSyncServiceClient<Channel> {
        KdsSyncServiceClient::new(channel)
            .max_decoding_message_size(MAX_DOWN)
            .max_encoding_message_size(usize::MAX)
            .accept_compressed(CompressionEncoding::Gzip)
    }

    fn call<M>(&self, session: &Session, message: M) -> Request<M> {
        let introduction = Introduction {
            zone: &self.config.zone,
            version: &self.config.node.version.version,
            store_id: self.config.store_id,
            session: session.id,
            max_message: MAX_DOWN,
        };
        let mut request = Request::new(message);
        introduction.write(request.metadata_mut());
        if let Some(authorization) = &session.authorization {
            let metadata = request.metadata_mut();
            metadata.insert(peer::AUTHORIZATION, authorization.clone());
        }
        request
    }

    /// GlobalToZoneSync: this zone subscribes to what the global owns.
    async fn down(&self, channel: Channel, session: &Session) -> Result<Infallible, End> {
        let _open = self.config.metrics.stream("down");
        let (tx, rx) = mpsc::channel(CHANNEL);
        let mut client = self.sync_client(channel);
        let mut missing: BTreeSet<Kind> = Kind::down().collect();
        let whole = watch::Sender::new(false);
        let is_whole = whole.subscribe();
        let mut on_applied = |applied: Applied<'_>| {
            let Applied {
                kind,
                changes,
                refused,
            } = applied;
            self.config.metrics.applied(kind, changes, refused.len());
            self.enter(State::Following);
            if missing.remove(&kind) && missing.is_empty() {
                whole.send_replace(true);
            }
            tracing::debug!(type_url = %kind, changes, "took what the global sent");
            for one in refused {
                tracing::warn!(type_url = %kind, name = %one.name, "rejected a resource: {}", one.reason);
            }
        };
        let global = recognized(session).await;
        let snapshot = self.config.store.snapshot();
        // Another store may hold anything under a version's name: it is asked for everything.
        let is_known = global
            .store_id
            .is_some_and(|id| followed_store(&snapshot) == Some(id));
        // The subscriptions are in the channel before the call: a global may answer with headers
        // only once it has something to say.
        let receiving = Receiving {
            pulse: Some(Arc::clone(&session.pulse)),
            lists_rejections: &session.lists_rejections,
            resume: if global.abilities.resume && is_known {
                Resume::Versions
            } else {
                Resume::Nothing
            },
            node: &self.config.node,
            kinds: Kind::down().collect(),
            intake: Intake::FromGlobal {
                zone: self.config.zone.clone(),
                naming: global.naming,
            },
            gate: ClusterGate::new(&snapshot, session.opened.clone()),
            is_stock_peer: &session.is_stock_peer,
            memory: Memory::default(),
            metrics: self.config.metrics.clone(),
            store: Arc::clone(&self.config.store),
            outbox: tx,
            on_applied: &mut on_applied,
        };
        let call = client.global_to_zone_sync(self.call(session, ReceiverStream::new(rx)));
        let following = receiving.run(Box::pin(responses(call)));
        let news = global.store_id.filter(|_known| !is_known);
        let remembering = async {
            self.remember_store(is_whole, news).await;
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            end = following => Err(end),
            never = remembering => match never {},
        }
    }

    /// Once each type was taken from the global: remembers its store, of which less is held before.
    async fn remember_store(&self, mut is_whole: watch::Receiver<bool>, store_id: Option<Uuid>) {
        let Some(store_id) = store_id else {
            return;
        };
        if is_whole.wait_for(|is_whole| *is_whole).await.is_err() {
            return;
        }
        let resource = followed(store_id, mesh_runtime::clock::now());
        if let Err(error) = self.config.store.commit(Batch::new().put(resource)).await {
            // The next connection asks for everything again, and nothing else.
            tracing::warn!(%error, "cannot remember the store of the global");
        }
    }

    /// ZoneToGlobalSync: the global says who it is; this zone reports what it owns, once it knows
    /// that it is to the right global.
    async fn up(&self, channel: Channel, session: &Session) -> Result<Infallible, End> {
        let end = self.report(channel, session).await;
        // A global that does not take reports is followed all the same, as far as that goes.
        let mut opened = session.opened.subscribe();
        if opened.wait_for(|is_open| *is_open).await.is_err() {
            return std::future::pending().await;
        }
        Err(end)
    }

    async fn report(&self, channel: Channel, session: &Session) -> End {
        let _open = self.config.metrics.stream("up");
        let (tx, rx) = mpsc::channel(CHANNEL);
        let mut client = self.sync_client(channel);
        let metrics = &self.config.metrics;
        let mut on_event = |happened: send::Happened<'_>| match happened {
            send::Happened::Opened(global) => {
                session
                    .is_stock_peer
                    .store(!global.is_meridian(), Ordering::Relaxed);
                session
                    .lists_rejections
                    .store(global.abilities().rejections, Ordering::Relaxed);
                session.global.send_replace(Some(Global {
                    naming: global.naming(),
                    abilities: global.abilities(),
                    store_id: global.store_id,
                }));
            }
            send::Happened::Sent(kind) => metrics.sent(kind),
            send::Happened::Acked(kind) => metrics.answered(kind, true),
            send::Happened::TooLarge(kind) => metrics.too_large(kind),
            send::Happened::Lacks(lacks) => *self.lacks.lock() = lacks,
            send::Happened::Rejected(kind, text) => {
                metrics.answered(kind, false);
                tracing::warn!(type_url = %kind, "the global rejected resources: {text}");
            }
        };
        let kinds: Vec<Kind> = Kind::up().collect();
        let projection = |global: &NodeInfo| match global.naming() {
            Naming::Plain => Arc::clone(&self.plain),
            Naming::Hashed => Arc::clone(&self.hashed),
        };
        let zone = self.config.zone.as_str();
        let sending = Sending {
            node_id: zone,
            identifier: zone,
            kinds: &kinds,
            store: Arc::clone(&self.config.store),
            max_message: self.config.target.max_message,
            // A global of 2.6 cannot be told from one of 2.7 or 2.8.
            says_version: false,
            projection: &projection,
            zone: None,
            outbox: tx,
            may_send: session.opened.subscribe(),
            pulse: Some(Arc::clone(&session.pulse)),
            probes: None,
            on_event: &mut on_event,
        };
        let call = client.zone_to_global_sync(self.call(session, ReceiverStream::new(rx)));
        sending.run(Box::pin(responses(call))).await
    }

    /// `HealthCheck`: once at the start, then at the interval that the global asks for.
    async fn health(&self, channel: Channel, session: &Session) -> Result<Infallible, End> {
        let mut client =
            GlobalKdsServiceClient::new(channel).accept_compressed(CompressionEncoding::Gzip);
        loop {
            let wait = match client
                .health_check(self.call(session, ZoneHealthCheckRequest {}))
                .await
            {
                Ok(response) => response
                    .into_inner()
                    .interval
                    .and_then(|interval| Duration::try_from(interval).ok())
                    .filter(|interval| !interval.is_zero())
                    .unwrap_or(HEALTH_INTERVAL),
                Err(status) if status.code() == Code::Unimplemented => {
                    return std::future::pending().await;
                }
                Err(status) => return Err(End::Failed(status)),
            };
            tokio::time::sleep(wait).await;
        }
    }
}

/// What the global said of itself, or that it is a stock one if it says nothing for a while.
async fn recognized(session: &Session) -> Global {
    let mut global = session.global.subscribe();
    let said = global.wait_for(Option::is_some);
    let said = tokio::time::timeout(RECOGNITION, said).await;
    let said = said.ok().and_then(Result::ok).and_then(|said| *said);
    said.unwrap_or(Global {
        naming: Naming::Plain,
        abilities: Abilities::default(),
        store_id: None,
    })
}

/// The messages of a call that may not have answered yet, as one stream.
fn responses<M: Send + 'static>(
    call: impl Future<Output = Result<tonic::Response<tonic::Streaming<M>>, tonic::Status>>,
) -> impl futures_util::Stream<Item = Result<M, tonic::Status>> {
    use futures_util::TryStreamExt as _;
    futures_util::stream::once(call)
        .map_ok(tonic::Response::into_inner)
        .try_flatten()
}

/// An error with its causes, as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // hyper and tonic repeat their cause in their own text.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
