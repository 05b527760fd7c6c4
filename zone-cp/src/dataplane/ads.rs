//! ADS for Envoys, in both dialects: one delta `Sender` per stream, fed by the translator of its
//! proxy. Health discovery, which comes from the same Envoys, is accepted.
//!
//! A stream wakes with each newer snapshot of the store, brings the shared view up to date (or
//! finds it so), and looks whether anything changed for its own proxy. What Envoy refuses is
//! logged once and becomes a finding on the proxy's insight; what it held stays.

mod bisect;
mod dialect;
mod health;
mod node;
mod refusal;
mod sockets;
mod stream;
mod trials;
mod wire;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::Response;
use axum::routing::post;
use futures_util::{Stream, StreamExt as _};
use mesh_model::ZoneName;
use mesh_proto::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
use mesh_runtime::shutdown::Shutdown;
use mesh_store::SharedStore;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Status, Streaming};
use tonic_prost::ProstDecoder;
use tracing::Instrument as _;
use zone_translate::Settings;

use self::dialect::{Dialect, Incoming};
use self::node::Introduction;
use self::stream::{About, OpenStream};
use super::admin::{AdminAuthority, Places};
use super::auth::Refusal;
use super::certificates::Certificates;
use super::live::Live;
use super::refused::RefusedRoutes;
use super::registration::{RegisterError, Registrar};
use super::views::Views;
use crate::inventory::insight::InsightBook;
use crate::metrics::Metrics;

/// Room for an unanswered response of every type.
const CHANNEL: usize = 32;
/// The method for increments.
const DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// The method for state of the world.
const WORLD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
/// Envoys send their node, some 50 kB, with every request.
const MAX_REQUEST: usize = 10 << 20;

/// What proxies are told of why they are not served, and what is kept of it, in bytes.
const MAX_REFUSAL: usize = 1024;

/// What the service is made of.
#[derive(Debug)]
pub struct Config {
    /// The zone's resources.
    pub store: SharedStore,
    /// The zone's name.
    pub zone: ZoneName,
    /// This process, as responses name it.
    pub instance_id: String,
    /// Who may connect, and what connecting does to the store.
    pub registrar: Arc<Registrar>,
    /// What streams say about their proxies.
    pub insights: Arc<InsightBook>,
    /// The certificates of gateways.
    pub certificates: Arc<Certificates>,
    /// The routes that Envoys refused.
    pub refused_routes: Arc<RefusedRoutes>,
    /// Where the admin interfaces of proxies are.
    pub places: Arc<Places>,
    /// What each proxy has accepted.
    pub live: Arc<Live>,
    /// The authority for the listeners before them.
    pub authority: Option<Arc<AdminAuthority>>,
    /// Settings of every gateway.
    pub settings: Settings,
    /// What is counted.
    pub metrics: Metrics,
}

/// The ADS service.
#[derive(Debug, Clone)]
pub struct Ads {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    views: Views,
    streams: TaskTracker,
    /// Why proxies were refused last, by node id: an Envoy comes back within a second, and the
    /// log has each reason once.
    refusals: Mutex<BTreeMap<String, String>>,
    shutdown: Shutdown,
}

impl Inner {
    /// Takes note of a proxy that is not served.
    fn refused(&self, node_id: &str, error: &RegisterError) -> Status {
        const MOST: usize = 1000;
        let status = refuse(error);
        let mut refusals = self.refusals.lock();
        let text = status.message();
        if refusals.get(node_id).is_some_and(|known| known == text) {
            return status;
        }
        if matches!(error, RegisterError::Leaving { .. }) {
            tracing::info!(node = node_id, "not registered again: {text}");
        } else {
            tracing::warn!(node = node_id, "refused a proxy: {text}");
        }
        if refusals.len() >= MOST {
            refusals.clear();
        }
        refusals.insert(node_id.to_owned(), text.to_owned());
        status
    }
}

impl Ads {
    /// A service whose streams end at shutdown.
    pub fn new(config: Config, shutdown: Shutdown) -> Self {
        let views = Views::new(
            mesh_store::Snapshot::empty(config.store.id()),
            Arc::clone(&config.certificates),
        );
        Self {
            inner: Arc::new(Inner {
                config,
                views,
                streams: TaskTracker::new(),
                refusals: Mutex::default(),
                shutdown,
            }),
        }
    }

    /// The service as routes for an HTTP/2 server.
    pub(crate) fn routes(&self) -> Router {
        Router::new()
            .route(DELTA, post(open_delta))
            .route(WORLD, post(open_world))
            .route(health::METHOD, post(health::open))
            .fallback(async || Status::unimplemented("").into_http::<Body>())
            .with_state(self.clone())
    }

    /// Waits until the last stream has ended, which shutdown makes them do.
    pub async fn drained(&self) {
        self.inner.streams.close();
        self.inner.streams.wait().await;
    }
}

/// Opens a stream of increments.
async fn open_delta(State(ads): State<Ads>, request: Request) -> Response {
    open::<DeltaDiscoveryRequest>(&ads, request, Incoming::Delta)
}

/// Opens a state-of-the-world stream.
async fn open_world(State(ads): State<Ads>, request: Request) -> Response {
    open::<DiscoveryRequest>(&ads, request, Incoming::World)
}

fn open<M>(ads: &Ads, request: Request, incoming: fn(M) -> Incoming) -> Response
where
    M: prost::Message + Default + 'static,
{
    let token = token_of(&request);
    let decoder = ProstDecoder::<M>::default();
    let inbound = Streaming::new_request(decoder, request.into_body(), None, Some(MAX_REQUEST));
    let inbound = inbound.map(move |request| request.map(incoming));
    wire::respond(ReceiverStream::new(ads.start(inbound, token)))
}

/// The token in a request's metadata.
fn token_of(request: &Request) -> Option<String> {
    let value = request
        .headers()
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?;
    Some(value.strip_prefix("Bearer ").unwrap_or(value).to_owned())
}

impl Ads {
    /// Starts a stream. What is received is for the proxy; a status is the last of it.
    fn start(&self, inbound: impl Requests, token: Option<String>) -> mpsc::Receiver<Answer> {
        let inner = Arc::clone(&self.inner);
        self.run(async move |outbox| serve(&inner, inbound, token, outbox).await)
    }

    /// Runs a stream until it ends or the service does.
    fn run<F>(&self, stream: impl FnOnce(Outbox) -> F + Send + 'static) -> mpsc::Receiver<Answer>
    where
        F: Future<Output = Result<Infallible, Status>> + Send,
    {
        let (tx, rx) = mpsc::channel(CHANNEL);
        let shutdown = self.inner.shutdown.clone();
        self.inner.streams.spawn(async move {
            let run = stream(tx.clone());
            let end = tokio::select! {
                end = Box::pin(run) => end.expect_err("a stream only ends with a status"),
                () = shutdown.wait() => Status::unavailable("the control plane is shutting down"),
            };
            let _ = tx.try_send(Err(end));
        });
        rx
    }
}

type Answer = Result<wire::Pieces, Status>;
type Outbox = mpsc::Sender<Answer>;

/// What a proxy sends on its stream.
trait Requests: Stream<Item = Result<Incoming, Status>> + Send + Unpin + 'static {}

impl<S> Requests for S where S: Stream<Item = Result<Incoming, Status>> + Send + Unpin + 'static {}

/// Runs one stream to its end.
async fn serve(
    inner: &Inner,
    mut inbound: impl Requests,
    token: Option<String>,
    outbox: Outbox,
) -> Result<Infallible, Status> {
    let first = next(&mut inbound).await?;
    let introduction = Introduction::read(first.node())?;
    let registration = inner
        .config
        .registrar
        .register(
            &introduction.node_id,
            introduction.resource.as_deref(),
            token.as_deref(),
        )
        .await
        .map_err(|error| inner.refused(&introduction.node_id, &error))?;
    inner.refusals.lock().remove(&introduction.node_id);
    let mut admin = None;
    if let Some(place) = introduction.admin.clone() {
        if let Some(authority) = &inner.config.authority {
            admin = authority.listener(registration.dataplane(), &place).await;
        }
        inner.config.places.note(registration.key(), place);
    }
    let span = tracing::info_span!("ads", dataplane = %registration.key());
    let dialect = Dialect::of(&first);
    let latest = inner.config.store.watch().borrow().clone();
    inner.views.at(&latest);
    inner.config.certificates.settled().await;
    let about = About {
        introduction,
        token,
        admin,
    };
    let stream = OpenStream::new(inner, registration, about, dialect, outbox);
    stream.drive(first, inbound).instrument(span).await
}

async fn next(inbound: &mut impl Requests) -> Result<Incoming, Status> {
    match inbound.next().await {
        Some(request) => request,
        None => Err(Status::cancelled("the proxy ended the stream")),
    }
}

/// The status for a proxy that is not served.
fn refuse(error: &RegisterError) -> Status {
    use std::error::Error as _;
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    let text = shortened(&text, MAX_REFUSAL);
    match error {
        RegisterError::Refused(Refusal::NoKey { .. })
        | RegisterError::Leaving { .. }
        | RegisterError::Store(_) => Status::unavailable(text),
        RegisterError::Refused(_) => Status::unauthenticated(text),
        RegisterError::NotFound { .. } | RegisterError::NoMesh { .. } => Status::not_found(text),
        _ => Status::invalid_argument(text),
    }
}

/// The beginning of a text that a peer may have made long.
fn shortened(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests;
