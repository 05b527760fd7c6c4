//! ADS for Envoys: one delta `Sender` per stream, fed by the translator of its proxy.
//!
//! A stream wakes with each newer snapshot of the store, brings the shared view up to date (or
//! finds it so), and looks whether anything changed for its own proxy. What Envoy refuses is
//! logged once and becomes a finding on the proxy's insight; what it held stays.

mod node;
mod refusal;
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
use mesh_delta::{Event, Policy, Sender};
use mesh_model::{ResourceType, Timestamp, ZoneName};
use mesh_proto::discovery::DeltaDiscoveryRequest;
use mesh_proto::mesh::Finding as ProtoFinding;
use mesh_runtime::clock;
use mesh_runtime::shutdown::Shutdown;
use mesh_store::{Change, SharedStore};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Status, Streaming};
use tonic_prost::ProstDecoder;
use tracing::Instrument as _;
use uuid::Uuid;
use zone_translate::{EnvoyType, Finding, Proxy, Settings, Translator};

use self::node::Introduction;
use super::registration::{RegisterError, Registrar, Registration};
use super::views::Views;
use crate::inventory::insight::{Counted, InsightBook};
use crate::metrics::{Metrics, OpenStream as CountedStream};

/// Room for an unanswered response of every type.
const CHANNEL: usize = 32;
/// The service's only method that is served.
const METHOD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// Envoys send their node, some 50 kB, with every request.
const MAX_REQUEST: usize = 10 << 20;

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
    fn refused(&self, node_id: &str, status: Status) -> Status {
        const MOST: usize = 1000;
        let mut refusals = self.refusals.lock();
        let text = status.message();
        if refusals.get(node_id).is_some_and(|known| known == text) {
            return status;
        }
        tracing::warn!(node = node_id, "refused a proxy: {text}");
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
        let views = Views::new(mesh_store::Snapshot::empty(config.store.id()));
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
            .route(METHOD, post(open))
            .fallback(async || Status::unimplemented("").into_http::<Body>())
            .with_state(self.clone())
    }

    /// Waits until the last stream has ended, which shutdown makes them do.
    pub async fn drained(&self) {
        self.inner.streams.close();
        self.inner.streams.wait().await;
    }
}

/// Opens a stream.
async fn open(State(ads): State<Ads>, request: Request) -> Response {
    let token = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .map(|value| value.strip_prefix("Bearer ").unwrap_or(value).to_owned());
    let decoder = ProstDecoder::<DeltaDiscoveryRequest>::default();
    let inbound = Streaming::new_request(decoder, request.into_body(), None, Some(MAX_REQUEST));
    let (tx, rx) = mpsc::channel(CHANNEL);
    let inner = Arc::clone(&ads.inner);
    ads.inner.streams.spawn(async move {
        let shutdown = inner.shutdown.clone();
        let run = serve(&inner, inbound, token, tx.clone());
        let end = tokio::select! {
            end = Box::pin(run) => end.expect_err("a stream only ends with a status"),
            () = shutdown.wait() => Status::unavailable("the control plane is shutting down"),
        };
        let _ = tx.try_send(Err(end));
    });
    wire::respond(ReceiverStream::new(rx))
}

type Outbox = mpsc::Sender<Result<wire::Pieces, Status>>;

/// Runs one stream to its end.
async fn serve(
    inner: &Inner,
    mut inbound: Streaming<DeltaDiscoveryRequest>,
    token: Option<String>,
    outbox: Outbox,
) -> Result<Infallible, Status> {
    let first = next(&mut inbound).await?;
    let introduction = Introduction::read(first.node.as_ref())?;
    let registration = inner
        .config
        .registrar
        .register(
            &introduction.node_id,
            introduction.resource.as_deref(),
            token.as_deref(),
        )
        .await
        .map_err(|error| inner.refused(&introduction.node_id, refuse(&error)))?;
    inner.refusals.lock().remove(&introduction.node_id);
    let span = tracing::info_span!("ads", dataplane = %registration.key());
    let stream = OpenStream::new(inner, registration, introduction, token, outbox);
    stream.drive(first, inbound).instrument(span).await
}

async fn next(
    inbound: &mut Streaming<DeltaDiscoveryRequest>,
) -> Result<DeltaDiscoveryRequest, Status> {
    match inbound.message().await? {
        Some(request) => Ok(request),
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
    match error {
        RegisterError::Refused(_) => Status::unauthenticated(text),
        RegisterError::NotFound { .. } | RegisterError::NoMesh { .. } => Status::not_found(text),
        RegisterError::Store(_) => Status::unavailable(text),
        _ => Status::invalid_argument(text),
    }
}

/// A registered stream.
struct OpenStream<'a> {
    inner: &'a Inner,
    registration: Registration,
    node_id: String,
    token: Option<String>,
    /// When the token has to be checked again; `None` for never.
    valid_until: Option<Timestamp>,
    /// The state of the store that was looked at last.
    seen: mesh_store::Snapshot,
    outbox: Outbox,
    sender: Sender<EnvoyType>,
    translator: Translator,
    insight: Uuid,
    /// What translation found.
    findings: Vec<Finding>,
    /// What Envoy refused last, so that the log has it once.
    refused: Vec<ProtoFinding>,
    start: Instant,
    _counted: CountedStream,
}

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        self.inner.config.insights.closed(self.insight);
    }
}

impl<'a> OpenStream<'a> {
    fn new(
        inner: &'a Inner,
        registration: Registration,
        introduction: Introduction,
        token: Option<String>,
        outbox: Outbox,
    ) -> Self {
        let config = &inner.config;
        let proxy = Proxy {
            dataplane: Arc::clone(registration.dataplane()),
            zone: Some(config.zone.clone()),
            settings: config.settings.clone(),
        };
        tracing::info!(dataplane = %registration.key(), "a proxy connected");
        Self {
            inner,
            node_id: introduction.node_id,
            token,
            valid_until: None,
            seen: mesh_store::Snapshot::empty(config.store.id()),
            outbox,
            sender: Sender::new(Policy::envoy()),
            translator: Translator::new(proxy),
            insight: config
                .insights
                .opened(registration.key().clone(), introduction.version),
            registration,
            findings: Vec::new(),
            refused: Vec::new(),
            start: Instant::now(),
            _counted: config.metrics.stream(),
        }
    }

    async fn drive(
        mut self,
        first: DeltaDiscoveryRequest,
        mut inbound: Streaming<DeltaDiscoveryRequest>,
    ) -> Result<Infallible, Status> {
        let mut snapshots = self.inner.config.store.watch();
        self.check_token()?;
        self.take(&first)?;
        self.seen = snapshots.borrow_and_update().clone();
        self.offer(&self.seen.clone());
        self.send()?;
        loop {
            let deadline = self.sender.next_deadline().map(|at| self.start + at);
            tokio::select! {
                request = next(&mut inbound) => self.take(&request?)?,
                changed = snapshots.changed() => {
                    changed.map_err(|_closed| Status::unavailable("the store is closed"))?;
                    let latest = snapshots.borrow_and_update().clone();
                    self.look(latest)?;
                }
                () = at(deadline) => {}
            }
            self.send()?;
        }
    }

    /// Checks the token again: its time is over, or what it is checked with has changed.
    fn check_token(&mut self) -> Result<(), Status> {
        let registrar = &self.inner.config.registrar;
        let checked = registrar.recheck(self.registration.key(), self.token.as_deref());
        self.valid_until = checked.map_err(|error| {
            let status = refuse(&error);
            tracing::warn!("a proxy may not go on: {}", status.message());
            status
        })?;
        Ok(())
    }

    /// Looks at a newer state of the store.
    fn look(&mut self, latest: mesh_store::Snapshot) -> Result<(), Status> {
        let of_token = |change: Change| {
            change.key().ty() == ResourceType::Secret
                && change.key().mesh() == self.registration.key().mesh()
        };
        if latest.changes_since(&self.seen).any(of_token) {
            self.check_token()?;
        }
        self.offer(&latest);
        self.seen = latest;
        Ok(())
    }

    fn offer(&mut self, latest: &mesh_store::Snapshot) {
        // A proxy that said goodbye, or whose Dataplane was deleted, keeps what it has.
        if latest.get(self.registration.key()).is_none() {
            return;
        }
        let begun = Instant::now();
        let view = self.inner.views.at(latest);
        if let Some(translation) = self.translator.update(&view) {
            self.inner.config.metrics.translated(begun.elapsed());
            self.sender.offer(translation.snapshot);
            self.findings = translation.findings;
            self.report();
        }
    }

    fn count(&self, ty: EnvoyType, what: Counted) {
        self.inner.config.metrics.response(ty, what);
        self.inner.config.insights.counted(self.insight, ty, what);
    }

    /// Puts what may go out into the channel.
    fn send(&mut self) -> Result<(), Status> {
        while let Some(response) = self.sender.poll(self.start.elapsed()) {
            tracing::debug!(
                type_url = response.ty.type_url(),
                nonce = %response.nonce,
                added = response.resources.len(),
                removed = response.removed.len(),
                "push"
            );
            self.count(response.ty, Counted::Sent);
            let message = wire::to_wire(&response, &self.inner.config.instance_id)?;
            self.outbox
                .try_send(Ok(message))
                .map_err(|error| match error {
                    mpsc::error::TrySendError::Full(_) => {
                        Status::resource_exhausted("the proxy does not read what it is sent")
                    }
                    mpsc::error::TrySendError::Closed(_) => Status::cancelled("the proxy is gone"),
                })?;
        }
        Ok(())
    }

    /// Takes a request: a subscription, an ACK or a NACK.
    fn take(&mut self, request: &DeltaDiscoveryRequest) -> Result<(), Status> {
        if request
            .node
            .as_ref()
            .is_some_and(|node| node.id != self.node_id)
        {
            return Err(Status::invalid_argument(
                "the node id of a stream cannot change",
            ));
        }
        if self.valid_until.is_some_and(|until| until <= clock::now()) {
            self.check_token()?;
        }
        let Some(ty) = EnvoyType::from_type_url(&request.type_url) else {
            tracing::debug!(
                type_url = request.type_url,
                "the proxy asks for a type that it is not offered"
            );
            return Ok(());
        };
        let event = self
            .sender
            .on_request(self.start.elapsed(), wire::from_wire(ty, request))
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        match event {
            Event::Acked { .. } => {
                self.count(ty, Counted::Acked);
                if !self.refused.is_empty() {
                    self.report();
                }
            }
            Event::Nacked { text, .. } => {
                self.count(ty, Counted::Rejected);
                tracing::debug!(
                    type_url = ty.type_url(),
                    "the proxy refused a response: {text}"
                );
                self.report();
            }
            Event::Subscribed { .. } | Event::Stale { .. } => {}
        }
        Ok(())
    }

    /// Brings the insight's findings up to date: Envoy's words first, then translation's.
    fn report(&mut self) {
        let snapshot = self.inner.config.store.snapshot();
        let refused: Vec<ProtoFinding> = self
            .sender
            .rejections()
            .map(|one| {
                refusal::finding(
                    &snapshot,
                    self.registration.key(),
                    one.ty,
                    &one.name,
                    &one.reason,
                )
            })
            .collect();
        for finding in refused.iter().filter(|f| !self.refused.contains(f)) {
            tracing::warn!(
                resource = %format!("{} {}", finding.r#type, finding.name),
                "Envoy refuses a configuration and keeps the last one it accepted: {}",
                finding.message
            );
        }
        let findings = refused
            .iter()
            .cloned()
            .chain(self.findings.iter().map(to_proto))
            .collect();
        self.inner.config.insights.found(self.insight, findings);
        self.refused = refused;
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn to_proto(finding: &Finding) -> ProtoFinding {
    ProtoFinding {
        r#type: finding.ty.name().to_owned(),
        name: finding.name.clone(),
        field: finding.path.clone(),
        message: finding.message.clone(),
    }
}
