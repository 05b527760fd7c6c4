//! The software of the simulated hosts: the real server and client, over simulated disks and a
//! simulated network.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use mesh_kds::client::{self, Client, State, Target};
use mesh_kds::peer::{NodeInfo, ZonePeer, own_features};
use mesh_kds::server::{self, Counted, Server, StreamKind, ZoneAuth, ZoneBook};
use mesh_kds::{LinkStatus, Metrics};
use mesh_model::{ZoneName, labels};
use mesh_runtime::backoff::Backoff;
use mesh_runtime::shutdown;
use mesh_store::{Batch, CommitError, Expect, Op, Store as _};
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use super::disk::Disk;
use super::ledger::{GLOBAL, Ledger};
use super::wire::{self, Dialler, Trace, Watched};

/// Where the global listens for zones.
pub(super) const PORT: u16 = 5685;
/// The largest message of stock control planes, and so of ours.
const MAX_MESSAGE: usize = 10 << 20;
/// How often a host looks whether somebody wants it to do something.
const LOOK: Duration = Duration::from_millis(20);

/// One host, as its operator and its adversary see it.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) disk: Mutex<Disk>,
    /// The disk of somebody else that is there by mistake.
    pub(super) other_disk: Mutex<Option<Disk>>,
    /// What is to be written by the host's own users.
    pub(super) writes: Mutex<VecDeque<Batch>>,
    /// A zone runs a second client until then.
    pub(super) is_doubled_until: Mutex<Duration>,
    /// Where a zone finds its global.
    pub(super) target: String,
    /// What a zone says of its connection; empty while it is down.
    pub(super) state: Mutex<Option<watch::Receiver<State>>>,
    /// The client of a zone that runs now.
    pub(super) client: Mutex<Option<Arc<Client>>>,
    /// For how long the other end of each link has been silent; empty while the host is down.
    pub(super) silent_for: Mutex<BTreeMap<String, Duration>>,
    /// How many differences its links have shown.
    pub(super) differences: Mutex<u64>,
    pub(super) seed: u64,
}

impl Host {
    /// The disk that it runs on now.
    pub(super) fn disk(&self) -> Disk {
        let other = self.other_disk.lock().clone();
        other.unwrap_or_else(|| self.disk.lock().clone())
    }

    /// Shows where its links stand.
    fn show(&self, links: &[LinkStatus]) {
        let silent_for = links
            .iter()
            .map(|link| (link.zone.clone(), link.silent_for));
        *self.silent_for.lock() = silent_for.collect();
        let differences = links.iter().map(|link| link.differences).sum();
        let mut most = self.differences.lock();
        *most = (*most).max(differences);
    }
}

/// What all hosts share, and no real hosts would.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) trace: Arc<Trace>,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) book: Arc<Online>,
}

/// Which zones the global shows online.
#[derive(Debug, Default)]
pub(super) struct Online {
    streams: Mutex<BTreeMap<Uuid, (String, Duration)>>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Online {
    /// A book that tells what is written in it.
    pub(super) fn new(ledger: Arc<Mutex<Ledger>>) -> Self {
        Self {
            streams: Mutex::default(),
            ledger,
        }
    }

    /// Since when the zone has been shown online, if it is.
    pub(super) fn since(&self, zone: &str) -> Option<Duration> {
        let streams = self.streams.lock();
        let of_zone = streams.values().filter(|(name, _)| name == zone);
        of_zone.map(|(_, since)| *since).min()
    }

    /// The global has gone, and what it kept in memory.
    pub(super) fn forget(&self) {
        self.streams.lock().clear();
    }

    fn tell(&self, text: &str) {
        self.ledger.lock().tell(wire::now(), text);
    }
}

#[async_trait]
impl ZoneBook for Online {
    async fn admit(&self, _peer: &ZonePeer) -> Result<(), tonic::Status> {
        Ok(())
    }

    fn sat(&self, _peer: &ZonePeer, _kind: StreamKind) {}

    fn opened(&self, stream: Uuid, peer: &ZonePeer, _node: &NodeInfo) {
        let place = (peer.zone.to_string(), wire::now());
        self.streams.lock().insert(stream, place);
        self.tell(&format!("{GLOBAL} shows {} online", peer.zone));
    }

    fn counted(&self, _stream: Uuid, zone: &ZoneName, type_name: &str, what: Counted) {
        if what == Counted::Rejected {
            self.tell(&format!("{zone} rejects a {type_name}"));
        }
    }

    fn closed(&self, stream: Uuid, zone: &ZoneName) {
        if self.streams.lock().remove(&stream).is_some() {
            self.tell(&format!("a stream of {zone} has ended at {GLOBAL}"));
        }
    }

    fn pinged(&self, _zone: &ZoneName) {}
}

fn node(id: &str) -> NodeInfo {
    NodeInfo {
        id: id.to_owned(),
        features: own_features(),
        instance_id: format!("{id}-1"),
        config: "{}".to_owned(),
        ..NodeInfo::default()
    }
}

/// Runs a global until its host crashes.
pub(super) async fn run_global(host: Arc<Host>, shared: Arc<Shared>) -> turmoil::Result {
    let disk = host.disk();
    let config = server::Config {
        store: Arc::new(disk.clone()),
        book: Arc::clone(&shared.book) as Arc<dyn ZoneBook>,
        node: NodeInfo {
            store_id: Some(disk.id().0),
            ..node("")
        },
        max_message: MAX_MESSAGE,
        health_interval: Duration::ZERO,
        metrics: Metrics::default(),
        auth: ZoneAuth::Off,
    };
    // Nobody triggers it: hosts only crash.
    let (_trigger, shutdown) = shutdown::channel();
    let server = Server::new(config, shutdown);
    let router = server.routes().prepare().into_axum_router();
    let links = server;
    tokio::select! {
        never = listen(GLOBAL, &shared.trace, router) => never,
        never = obey(&host, || links.links()) => never,
    }
}

/// What a server says to one of its clients, in the trace.
pub(super) fn said_by(server: &str, client: &str) -> Arc<str> {
    format!("{server} to {client}").into()
}

/// Accepts connections for ever.
pub(super) async fn listen(who: &str, trace: &Arc<Trace>, router: axum::Router) -> turmoil::Result {
    let listener = turmoil::net::TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            continue;
        };
        let peer = turmoil::reverse_lookup(peer.ip()).unwrap_or_default();
        let watched = Watched {
            stream,
            trace: Arc::clone(trace),
            who: said_by(who, &peer),
        };
        tokio::spawn(serve(watched, router.clone()));
    }
}

/// One connection, as the global's listener serves it.
async fn serve(stream: Watched, router: axum::Router) {
    let service = TowerToHyperService::new(router);
    let ended = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(15))
        .keep_alive_timeout(Duration::from_secs(15))
        .max_concurrent_streams(1000)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        // It would be that of the machine.
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // How connections end is the clients' affair.
    drop(ended);
}

/// Runs a zone until its host crashes.
pub(super) async fn run_zone(host: Arc<Host>, shared: Arc<Shared>) -> turmoil::Result {
    let first = dial(&host, &shared, 0);
    let second = async {
        let mut others = 0;
        loop {
            if is_doubled(&host) {
                others += 1;
                let single = async {
                    while is_doubled(&host) {
                        tokio::time::sleep(LOOK).await;
                    }
                };
                tokio::select! {
                    () = dial(&host, &shared, others) => {}
                    () = single => {}
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = first => Ok(()),
        never = second => never,
        never = obey(&host, || link(&host)) => never,
    }
}

fn link(host: &Host) -> Vec<LinkStatus> {
    let client = host.client.lock();
    client
        .as_ref()
        .and_then(|client| client.link())
        .into_iter()
        .collect()
}

fn is_doubled(host: &Host) -> bool {
    wire::now() < *host.is_doubled_until.lock()
}

/// Keeps a client up for ever.
async fn dial(host: &Arc<Host>, shared: &Arc<Shared>, number: u64) {
    let Ok(zone) = ZoneName::parse(&host.name) else {
        return;
    };
    let config = client::Config {
        zone,
        target: Target {
            host: host.target.clone(),
            port: PORT,
            tls: None,
            max_message: MAX_MESSAGE,
        },
        store: Arc::new(host.disk()),
        node: node(&host.name),
        store_id: host.disk().id().0,
        metrics: Metrics::default(),
    };
    let dialler = Dialler {
        trace: Arc::clone(&shared.trace),
        who: host.name.as_str().into(),
    };
    let client = Arc::new(Client::new(config).dialling(Arc::new(dialler)));
    let mut states = client.state();
    if number == 0 {
        *host.state.lock() = Some(client.state());
        *host.client.lock() = Some(Arc::clone(&client));
    }
    let (_trigger, shutdown) = shutdown::channel();
    let (first, longest) = (Duration::from_millis(100), Duration::from_secs(1));
    let seed = host.seed ^ number ^ u64::try_from(wire::now().as_nanos()).unwrap_or_default();
    let Ok(backoff) = Backoff::with_seed(first, longest, seed) else {
        return;
    };
    let telling = async {
        while states.changed().await.is_ok() {
            let text = format!("{}: {:?}", host.name, *states.borrow_and_update());
            shared.ledger.lock().tell(wire::now(), &text);
        }
    };
    tokio::join!(client.run(backoff, shutdown), telling);
}

/// Writes what the host's users want written, and shows them where its links stand.
async fn obey(host: &Host, links: impl Fn() -> Vec<LinkStatus>) -> turmoil::Result {
    loop {
        host.show(&links());
        let is_other = host.other_disk.lock().is_some();
        let next = host.writes.lock().pop_front_if(|_| !is_other);
        match next {
            Some(batch) => while write(&host.disk(), &batch).await.is_err() {},
            None => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Writes a batch as an admin API does: what the global owns is read-only elsewhere, and what
/// somebody else has changed meanwhile is looked at again.
async fn write(disk: &Disk, batch: &Batch) -> Result<(), CommitError> {
    let snapshot = disk.snapshot();
    let mut planned = Batch::new();
    for op in batch.ops() {
        let current = snapshot.get(op.key());
        if current.is_some_and(|c| c.label(labels::ORIGIN) == Some(labels::ORIGIN_GLOBAL)) {
            continue;
        }
        let is_again = planned
            .ops()
            .iter()
            .any(|earlier| earlier.key() == op.key());
        let expect = match current {
            _ if is_again => Expect::Anything,
            Some(current) => Expect::Version(current.version()),
            None => Expect::Absent,
        };
        planned.push(match op.clone() {
            Op::Put { resource, .. } => Op::Put { resource, expect },
            Op::Delete { key, .. } => Op::Delete { key, expect },
        });
    }
    match disk.commit(planned).await {
        Err(conflict @ CommitError::Conflict { .. }) => Err(conflict),
        _ => Ok(()),
    }
}
