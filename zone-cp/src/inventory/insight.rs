//! `DataplaneInsight`s: one subscription per ADS stream, its counters, and the findings of
//! translation and of Envoy.
//!
//! A subscription is written the moment a stream opens and the moment it ends, findings within
//! [`FINDINGS_DELAY`] of their change, counters at the interval of the configuration; what could
//! not be written is kept and tried again. Subscriptions that an earlier run left open are closed
//! at start, so that no proxy shows online that isn't.

mod merge;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mesh_model::{Key, Resource, ResourceType, Spec, Timestamp};
use mesh_proto::mesh::{
    DataplaneInsight, DiscoveryServiceStats, DiscoverySubscription, DiscoverySubscriptionStatus,
    Finding, Version,
};
use mesh_runtime::clock;
use mesh_runtime::shutdown::Shutdown;
use mesh_store::{Batch, CommitError, Expect, SharedStore};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;
use zone_translate::EnvoyType;

/// How long changed findings may wait; a burst of edits becomes one write.
const FINDINGS_DELAY: Duration = Duration::from_millis(250);
/// How long what could not be written waits for the next attempt.
const RETRY: Duration = Duration::from_secs(5);
/// The most streams that ended and wait to be written again.
const MAX_KEPT: usize = 10_000;
/// The generation of a subscription whose stream brought the Dataplane. A generation means
/// something to its own control plane alone, and is not sent to others.
const BROUGHT: u32 = 1;
/// The most findings that one insight carries.
pub const MAX_FINDINGS: usize = 64;

/// What happened to a response of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It was sent.
    Sent,
    /// Envoy applied it.
    Acked,
    /// Envoy refused it.
    Rejected,
}

#[derive(Debug, Clone)]
struct Live {
    dataplane: Key,
    subscription: DiscoverySubscription,
    findings: Vec<Finding>,
    /// When the next write is due; `None` when all is written.
    due: Option<Instant>,
}

/// Keeps insights in step with the streams.
#[derive(Debug)]
pub struct InsightBook {
    store: SharedStore,
    instance_id: String,
    subscription_limit: usize,
    /// How long counters may wait.
    counters_delay: Duration,
    live: Mutex<BTreeMap<Uuid, Live>>,
    /// Streams that ended and are not written yet.
    ended: Mutex<Vec<(Uuid, Live)>>,
    changed: Notify,
}

impl InsightBook {
    /// A book over `store`. Keeps the newest `subscription_limit` subscriptions of a proxy;
    /// counters may wait for `counters_delay`.
    pub fn new(
        store: SharedStore,
        instance_id: &str,
        subscription_limit: usize,
        counters_delay: Duration,
    ) -> Self {
        Self {
            store,
            instance_id: instance_id.to_owned(),
            subscription_limit: subscription_limit.max(1),
            counters_delay,
            live: Mutex::default(),
            ended: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Closes the subscriptions that an earlier run left open.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn close_leftovers(&self) -> Result<(), CommitError> {
        let now = clock::now();
        let mut batch = Batch::new();
        for resource in self.store.snapshot().list(ResourceType::DataplaneInsight) {
            let mut insight: DataplaneInsight = resource.decode();
            let open = insight
                .subscriptions
                .iter_mut()
                .filter(|s| s.disconnect_time.is_none());
            if open
                .map(|s| s.disconnect_time = Some(now.to_proto()))
                .count()
                > 0
            {
                batch = batch.put(rewrite(resource, &insight, now));
            }
        }
        if !batch.is_empty() {
            self.store.commit(batch).await?;
        }
        Ok(())
    }

    /// A stream of `dataplane` opened, which may have brought it; returns the stream's identity
    /// for the other calls.
    pub fn opened(&self, dataplane: Key, version: Version, has_brought: bool) -> Uuid {
        let id = Uuid::new_v4();
        let subscription = DiscoverySubscription {
            id: id.to_string(),
            control_plane_instance_id: self.instance_id.clone(),
            connect_time: Some(clock::now().to_proto()),
            status: Some(DiscoverySubscriptionStatus {
                total: Some(DiscoveryServiceStats::default()),
                cds: Some(DiscoveryServiceStats::default()),
                eds: Some(DiscoveryServiceStats::default()),
                lds: Some(DiscoveryServiceStats::default()),
                rds: Some(DiscoveryServiceStats::default()),
                ..Default::default()
            }),
            version: Some(version),
            generation: if has_brought { BROUGHT } else { 0 },
            ..Default::default()
        };
        let live = Live {
            dataplane,
            subscription,
            findings: Vec::new(),
            due: Some(Instant::now()),
        };
        self.live.lock().insert(id, live);
        self.changed.notify_one();
        id
    }

    /// Counts a response of the stream.
    pub fn counted(&self, stream: Uuid, ty: EnvoyType, what: Counted) {
        self.edit(stream, self.counters_delay, |live| {
            let status = live.subscription.status.get_or_insert_default();
            status.last_update_time = Some(clock::now().to_proto());
            count(status.total.get_or_insert_default(), what);
            let of_type = match ty {
                EnvoyType::Cluster => &mut status.cds,
                EnvoyType::Endpoint => &mut status.eds,
                EnvoyType::Listener => &mut status.lds,
                EnvoyType::Route => &mut status.rds,
                EnvoyType::Runtime | EnvoyType::Secret => return true,
            };
            count(of_type.get_or_insert_default(), what);
            true
        });
    }

    /// Replaces the findings of the stream's proxy. Those beyond [`MAX_FINDINGS`] are left out.
    pub fn found(&self, stream: Uuid, mut findings: Vec<Finding>) {
        findings.truncate(MAX_FINDINGS);
        self.edit(stream, FINDINGS_DELAY, |live| {
            let is_changed = live.findings != findings;
            live.findings = findings;
            is_changed
        });
    }

    /// The stream ended.
    pub fn closed(&self, stream: Uuid) {
        let Some(mut live) = self.live.lock().remove(&stream) else {
            return;
        };
        live.subscription.disconnect_time = Some(clock::now().to_proto());
        live.due = Some(Instant::now());
        self.ended.lock().push((stream, live));
        self.changed.notify_one();
    }

    /// Whether a stream of `dataplane` is open here.
    pub fn is_connected(&self, dataplane: &Key) -> bool {
        self.live
            .lock()
            .values()
            .any(|live| live.dataplane == *dataplane)
    }

    fn edit(&self, stream: Uuid, delay: Duration, edit: impl FnOnce(&mut Live) -> bool) {
        let mut streams = self.live.lock();
        let Some(live) = streams.get_mut(&stream) else {
            return;
        };
        if !edit(live) {
            return;
        }
        let due = Instant::now() + delay;
        if live.due.is_none_or(|earlier| due < earlier) {
            live.due = Some(due);
            self.changed.notify_one();
        }
    }

    /// Writes what is due until shutdown, and everything then.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        while !shutdown.is_triggered() {
            let due = async {
                match self.next_due() {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.wait() => {}
                () = self.changed.notified() => {}
                () = due => {}
            }
            self.flush(self.take_due(Instant::now())).await;
        }
        let streams: Vec<Uuid> = self.live.lock().keys().copied().collect();
        streams.into_iter().for_each(|stream| self.closed(stream));
        let rest = std::mem::take(&mut *self.ended.lock());
        self.flush(rest).await;
    }

    fn next_due(&self) -> Option<Instant> {
        let ended = self.ended.lock().iter().filter_map(|(_, l)| l.due).min();
        let live = self.live.lock().values().filter_map(|l| l.due).min();
        [ended, live].into_iter().flatten().min()
    }

    fn take_due(&self, now: Instant) -> Vec<(Uuid, Live)> {
        let is_due = |live: &Live| live.due.is_some_and(|at| at <= now);
        let mut ended = self.ended.lock();
        let mut due: Vec<_> = ended.extract_if(.., |(_, live)| is_due(live)).collect();
        drop(ended);
        for (stream, live) in self.live.lock().iter_mut().filter(|(_, l)| is_due(l)) {
            live.due = None;
            due.push((*stream, live.clone()));
        }
        due
    }

    /// Writes these streams, and keeps those that could not be written for the next attempt.
    async fn flush(&self, due: Vec<(Uuid, Live)>) {
        let mut failed = Vec::new();
        let mut reason = None;
        for (stream, live) in due {
            if let Err(error) = self.write(&live).await {
                reason = Some(error);
                failed.push((stream, live));
            }
        }
        if let Some(error) = reason {
            tracing::error!(%error, "cannot write {} insights", failed.len());
        }
        let next = Some(Instant::now() + RETRY);
        for (stream, mut live) in failed {
            if live.subscription.disconnect_time.is_some() {
                live.due = next;
                let mut ended = self.ended.lock();
                // The store has been failing for long, and the oldest matter least.
                if ended.len() >= MAX_KEPT {
                    ended.remove(0);
                }
                ended.push((stream, live));
            } else if let Some(live) = self.live.lock().get_mut(&stream)
                && live.due.is_none_or(|at| Some(at) > next)
            {
                live.due = next;
            }
        }
    }

    async fn write(&self, live: &Live) -> Result<(), CommitError> {
        let key = live.dataplane.with_type(ResourceType::DataplaneInsight);
        loop {
            let now = clock::now();
            let snapshot = self.store.snapshot();
            // A proxy that is gone takes its insight with it.
            let Some(dataplane) = snapshot.get(&live.dataplane) else {
                return Ok(());
            };
            let current = snapshot.get(&key);
            let mut insight: DataplaneInsight = current.map(|r| r.decode()).unwrap_or_default();
            merge::merge(
                &mut insight,
                &live.subscription,
                &live.findings,
                now,
                self.subscription_limit,
            );
            let (resource, expect) = match current {
                Some(current) => (
                    rewrite(current, &insight, now),
                    Expect::Version(current.version()),
                ),
                None => {
                    let spec = Spec::encode(ResourceType::DataplaneInsight, &insight);
                    let labels = BTreeMap::clone(dataplane.labels());
                    (
                        Resource::new(key.clone(), labels, spec, now, now),
                        Expect::Absent,
                    )
                }
            };
            match self
                .store
                .commit(Batch::new().put_if(resource, expect))
                .await
            {
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(()),
            }
        }
    }
}

/// Whether a stream brought the Dataplane that the insight is about.
pub fn has_brought(insight: &DataplaneInsight) -> bool {
    insight
        .subscriptions
        .iter()
        .any(|s| s.generation == BROUGHT)
}

fn count(stats: &mut DiscoveryServiceStats, what: Counted) {
    match what {
        Counted::Sent => stats.responses_sent += 1,
        Counted::Acked => stats.responses_acknowledged += 1,
        Counted::Rejected => stats.responses_rejected += 1,
    }
}

fn rewrite(current: &Resource, insight: &DataplaneInsight, now: Timestamp) -> Resource {
    let spec = Spec::encode(ResourceType::DataplaneInsight, insight);
    Resource::new(
        current.key().clone(),
        BTreeMap::clone(current.labels()),
        spec,
        current.created(),
        now,
    )
}
