//! One registered stream: what its proxy is offered, and what it answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use mesh_delta::{Event, Policy, Rejected, Sender};
use mesh_model::{ResourceName, ResourceType, Timestamp};
use mesh_proto::mesh::Finding as ProtoFinding;
use mesh_runtime::clock;
use mesh_store::Change;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;
use uuid::Uuid;
use zone_translate::{Admin, EnvoyType, Finding, HeldBack, Proxy, Translator};

use super::dialect::{Dialect, Incoming};
use super::node::Introduction;
use super::sockets::Sockets;
use super::trials::{Standing, Trials};
use super::{Inner, Outbox, Requests, next, refusal, refuse};
use crate::dataplane::live;
use crate::dataplane::registration::Registration;
use crate::inventory::insight::Counted;
use crate::metrics::OpenStream as CountedStream;

/// How long the wall clock is left alone while a token is valid.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// A registered stream.
pub(super) struct OpenStream<'a> {
    inner: &'a Inner,
    registration: Registration,
    node_id: String,
    token: Option<String>,
    /// When the token has to be checked again; `None` for never.
    valid_until: Option<Timestamp>,
    /// The state of the store that was looked at last.
    seen: mesh_store::Snapshot,
    outbox: Outbox,
    dialect: Dialect,
    sender: Sender<EnvoyType>,
    translator: Translator,
    trials: Trials,
    sockets: Sockets,
    insight: Uuid,
    /// What translation found.
    findings: Vec<Finding>,
    /// What Envoy refused last, so that the log has it once.
    refused: Vec<ProtoFinding>,
    /// The routes that are held back, each with why.
    held: Vec<(String, String)>,
    /// Where is noted what the proxy has accepted.
    live: live::Place,
    start: Instant,
    _counted: CountedStream,
}

/// What is known of a proxy when it connects.
pub(super) struct About {
    pub(super) introduction: Introduction,
    pub(super) token: Option<String>,
    /// The listener before its admin interface.
    pub(super) admin: Option<Admin>,
}

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        self.inner.config.insights.closed(self.insight);
    }
}

impl<'a> OpenStream<'a> {
    pub(super) fn new(
        inner: &'a Inner,
        registration: Registration,
        about: About,
        dialect: Dialect,
        outbox: Outbox,
    ) -> Self {
        let About {
            introduction,
            token,
            admin,
        } = about;
        let config = &inner.config;
        let proxy = Proxy {
            dataplane: Arc::clone(registration.dataplane()),
            zone: Some(config.zone.clone()),
            envoy_version: introduction.envoy_version,
            admin: admin.map(Arc::new),
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
            dialect,
            translator: Translator::new(proxy),
            trials: Trials::default(),
            sockets: Sockets::default(),
            insight: config.insights.opened(
                registration.key().clone(),
                introduction.version,
                registration.has_brought(),
            ),
            live: config.live.connected(registration.key()),
            registration,
            findings: Vec::new(),
            held: Vec::new(),
            refused: Vec::new(),
            start: Instant::now(),
            _counted: config.metrics.stream(),
        }
    }

    pub(super) async fn drive(
        mut self,
        first: Incoming,
        mut inbound: impl Requests,
    ) -> Result<Infallible, Status> {
        let mut snapshots = self.inner.config.store.watch();
        let mut certificates = self.inner.config.certificates.news();
        let mut refused = self.inner.config.refused_routes.news();
        self.check_token()?;
        self.seen = snapshots.borrow_and_update().clone();
        self.offer(&self.seen.clone())?;
        self.take(&first)?;
        self.send()?;
        loop {
            let deadline = self.dialect.next_deadline(&self.sender);
            let deadline = deadline.map(|at| self.start + at);
            let sockets = self.sockets.due().map(|at| self.start + at);
            let expiry = self
                .valid_until
                .map(|until| recheck_at(until, clock::now()));
            tokio::select! {
                request = next(&mut inbound) => self.take(&request?)?,
                changed = snapshots.changed() => {
                    changed.map_err(|_closed| Status::unavailable("the store is closed"))?;
                    let latest = snapshots.borrow_and_update().clone();
                    self.look(latest)?;
                }
                // It never ends before the service does.
                Ok(()) = certificates.changed() => self.offer(&self.seen.clone())?,
                Ok(()) = refused.changed() => self.offer(&self.seen.clone())?,
                () = at(deadline) => {}
                () = at(sockets) => self.try_sockets(),
                () = at(expiry) => self.check_expiry()?,
            }
            self.send()?;
            self.note_accepted();
        }
    }

    /// Takes note of what Envoy goes without.
    fn note_refused(&self) {
        let refused = self.refused.iter().map(|finding| {
            let called = live::called(&finding.r#type, &finding.name);
            (called, finding.message.clone())
        });
        self.live
            .refused(refused.chain(self.held.iter().cloned()).collect());
    }

    /// Takes note if Envoy has accepted all that followed from the last look at the store.
    fn note_accepted(&self) {
        if self.sender.is_synced() {
            self.live.accepted(clock::now);
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

    fn check_expiry(&mut self) -> Result<(), Status> {
        match self.valid_until {
            Some(until) if until <= clock::now() => self.check_token(),
            _ => Ok(()),
        }
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
        self.offer(&latest)?;
        self.seen = latest;
        Ok(())
    }

    fn offer(&mut self, latest: &mesh_store::Snapshot) -> Result<(), Status> {
        if latest.get(self.registration.key()).is_none() {
            // One that said goodbye keeps what it has until it has drained.
            if self.registration.has_left() {
                return Ok(());
            }
            // Its agent still runs it, so it must not stay unseen: it comes back and registers.
            return Err(Status::unavailable(format!(
                "{} was removed; connect again to register it",
                self.registration.key()
            )));
        }
        if self.translate(latest) | self.settle(latest) {
            self.report();
        }
        self.live.looked(clock::now());
        Ok(())
    }

    /// Offers what `latest` means; whether that is anything new.
    fn translate(&mut self, latest: &mesh_store::Snapshot) -> bool {
        let begun = Instant::now();
        let view = self.inner.views.at(latest);
        self.trials.before(&view, &self.translator);
        let book = &self.inner.config.refused_routes;
        let held = self.trials.held(book, &self.translator, latest);
        let held_back: Vec<(String, String)> = held.iter().map(held_back).collect();
        if held_back != self.held {
            self.held = held_back;
            self.note_refused();
        }
        self.translator.hold_back(held);
        let Some(translation) = self.translator.update(&view) else {
            return false;
        };
        self.inner.config.metrics.translated(begun.elapsed());
        self.sender.offer(self.trials.offered(translation.snapshot));
        self.findings = translation.findings;
        true
    }

    /// Sees to it that a bad route holds up no other; whether it had to.
    fn settle(&mut self, latest: &mesh_store::Snapshot) -> bool {
        let mut has_changed = false;
        let book = &self.inner.config.refused_routes;
        while self
            .trials
            .look(|ty| standing(&self.sender, ty), &self.translator, book)
        {
            self.translate(latest);
            has_changed = true;
        }
        has_changed
    }

    /// Sends listeners again whose socket could not be opened.
    fn try_sockets(&mut self) {
        let now = self.start.elapsed();
        let refused: Vec<_> = self.sender.rejections().collect();
        for one in self.sockets.try_again(now, refused.into_iter()) {
            self.sender.try_again(one.ty, &one.name);
        }
    }

    fn count(&self, ty: EnvoyType, what: Counted) {
        self.inner.config.metrics.response(ty, what);
        self.inner.config.insights.counted(self.insight, ty, what);
    }

    /// Puts what may go out into the channel.
    fn send(&mut self) -> Result<(), Status> {
        while let Some(said) = self.dialect.poll(self.start.elapsed(), &mut self.sender) {
            let ty = said.ty();
            tracing::debug!(
                type_url = ty.type_url(),
                nonce = %said.nonce(),
                changes = said.changes(),
                "push"
            );
            self.count(ty, Counted::Sent);
            let is_all = self.sender.status(ty).outstanding == said.changes();
            self.trials.sent(ty, is_all, &self.translator);
            let message = said.to_wire(&self.inner.config.instance_id)?;
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
    fn take(&mut self, request: &Incoming) -> Result<(), Status> {
        if request.node().is_some_and(|node| node.id != self.node_id) {
            return Err(Status::invalid_argument(
                "the node id of a stream cannot change",
            ));
        }
        self.check_expiry()?;
        let Some(ty) = EnvoyType::from_type_url(request.type_url()) else {
            tracing::debug!(
                type_url = request.type_url(),
                "the proxy asks for a type that it is not offered"
            );
            return Ok(());
        };
        let event = self
            .dialect
            .on_request(self.start.elapsed(), &mut self.sender, ty, request)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        if ty == EnvoyType::Listener && !matches!(event, Event::Stale { .. }) {
            let now = self.start.elapsed();
            self.sockets.answered(now, self.sender.rejections());
        }
        match event {
            Event::Acked { .. } => {
                self.count(ty, Counted::Acked);
                self.trials.answered(ty, true);
                if self.settle(&self.seen.clone()) || !self.refused.is_empty() {
                    self.report();
                }
            }
            Event::Nacked { text, .. } => {
                self.count(ty, Counted::Rejected);
                tracing::debug!(
                    type_url = ty.type_url(),
                    "the proxy refused a response: {text}"
                );
                self.trials.answered(ty, false);
                if let Some(less) = self.trials.withdraw(&self.sender) {
                    self.sender.offer(less);
                }
                self.settle(&self.seen.clone());
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
            .chain(self.sockets.trying().iter().cloned())
            .chain(self.trials.withdrawn())
            .filter(|one| self.trials.searches() != Some(one.ty))
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
        self.note_refused();
    }
}

/// A route that is held back, and why.
fn held_back((name, held): (&ResourceName, &HeldBack)) -> (String, String) {
    let words = held.words.as_deref();
    let why =
        words.unwrap_or("Envoy refused a configuration with it, and it is being found out why");
    (
        live::called(ResourceType::MeshGatewayRoute.name(), name.as_str()),
        why.to_owned(),
    )
}

/// What became of the items of a type that are offered.
pub(super) fn standing(sender: &Sender<EnvoyType>, ty: EnvoyType) -> Standing {
    let of_type = sender.rejections().filter(|one| one.ty == ty);
    // Whatever the routes are, these are not taken.
    let (of_socket, refused): (Vec<_>, Vec<_>) =
        of_type.partition(|one| refusal::is_about_socket(&one.reason));
    if let Some(first) = refused.first() {
        let is_held = |one: &Rejected<EnvoyType>| sender.held_version(ty, &one.name).is_some();
        return Standing::Refused {
            words: Arc::clone(&first.reason),
            is_held: refused.iter().any(is_held),
        };
    }
    let status = sender.status(ty);
    if status.subscribed.is_some() && status.outstanding == of_socket.len() {
        Standing::Taken
    } else {
        Standing::Open
    }
}

/// When to look whether `until` is reached: when it is, and every hour before that, because the
/// wall clock may be set.
fn recheck_at(until: Timestamp, now: Timestamp) -> Instant {
    let left = until.unix_nanos().saturating_sub(now.unix_nanos());
    let left = Duration::from_nanos(u64::try_from(left).unwrap_or(0));
    Instant::now() + left.min(LONGEST_WAIT)
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
