//! Bookkeeping of zones: a `Zone` for each that ever connected, and a `ZoneInsight` with one
//! subscription per down stream.
//!
//! "Online" is read from open subscriptions, so this file is what makes that claim true: a
//! subscription is written the moment a stream opens, closed the moment it ends, and those left
//! open by a process that was killed are closed at the next start. Counters wait for
//! the flush interval, because nobody needs them sooner.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mesh_kds::peer::{NodeInfo, ZonePeer};
use mesh_kds::server::{Counted, ZoneBook as Book};
use mesh_model::{Key, Resource, ResourceName, ResourceType, Spec, Timestamp, ZoneName};
use mesh_proto::system::{
    HealthCheck, KdsServiceStats, KdsSubscription, KdsSubscriptionStatus, KumaCpVersion, Version,
    Zone, ZoneInsight,
};
use mesh_runtime::clock;
use mesh_runtime::shutdown::Shutdown;
use mesh_store::{Batch, CommitError, Expect, SharedStore};
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

/// What streams said and the store has not heard yet, by zone.
#[derive(Debug, Default)]
struct Pending {
    subscriptions: BTreeMap<Uuid, KdsSubscription>,
    health_check: Option<Timestamp>,
    /// Opened or closed: written at once.
    is_urgent: bool,
}

/// Keeps `Zone` and `ZoneInsight` in step with the streams.
#[derive(Debug)]
pub(crate) struct ZoneBook {
    store: SharedStore,
    instance_id: String,
    subscription_limit: usize,
    /// How long counters may wait.
    flush_interval: Duration,
    pending: Mutex<BTreeMap<ZoneName, Pending>>,
    /// Streams that are open now, with their counters.
    live: Mutex<BTreeMap<Uuid, KdsSubscription>>,
    urgent: Notify,
}

impl ZoneBook {
    /// A book over `store`. Keeps the newest `subscription_limit` subscriptions of a zone;
    /// counters may wait for `flush_interval`.
    pub(crate) fn new(
        store: SharedStore,
        instance_id: &str,
        subscription_limit: usize,
        flush_interval: Duration,
    ) -> Self {
        Self {
            store,
            instance_id: instance_id.to_owned(),
            subscription_limit: subscription_limit.max(1),
            flush_interval,
            pending: Mutex::default(),
            live: Mutex::default(),
            urgent: Notify::new(),
        }
    }

    /// Closes the subscriptions that an earlier run left open.
    ///
    /// # Errors
    /// When the store cannot write.
    pub(crate) async fn close_leftovers(&self) -> Result<(), CommitError> {
        let now = clock::now();
        let mut batch = Batch::new();
        for resource in self.store.snapshot().list(ResourceType::ZoneInsight) {
            let mut insight: ZoneInsight = resource.decode();
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

    /// Writes what streams say until shutdown, and a last time then.
    pub(crate) async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let mut tick = tokio::time::interval(self.flush_interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let everything = tokio::select! {
                () = shutdown.wait() => break,
                () = self.urgent.notified() => false,
                _ = tick.tick() => true,
            };
            self.flush(everything).await;
        }
        self.flush(true).await;
    }

    async fn flush(&self, everything: bool) {
        let due: Vec<(ZoneName, Pending)> = {
            let mut pending = self.pending.lock();
            let zones: Vec<ZoneName> = pending
                .iter()
                .filter(|(_, p)| everything || p.is_urgent)
                .map(|(zone, _)| zone.clone())
                .collect();
            zones
                .into_iter()
                .filter_map(|zone| pending.remove_entry(&zone))
                .collect()
        };
        for (zone, pending) in due {
            if let Err(error) = self.write(&zone, &pending).await {
                tracing::error!(zone.name = %zone, %error, "cannot write the insight of a zone");
            }
        }
    }

    async fn write(&self, zone: &ZoneName, pending: &Pending) -> Result<(), CommitError> {
        let key = insight_key(zone);
        loop {
            let now = clock::now();
            let snapshot = self.store.snapshot();
            // A zone that was deleted takes its insight with it.
            if snapshot.get(&zone_key(zone)).is_none() {
                return Ok(());
            }
            let current = snapshot.get(&key);
            let mut insight: ZoneInsight = current.map(|r| r.decode()).unwrap_or_default();
            self.merge(&mut insight, pending, now);
            let (resource, expect) = match current {
                Some(current) => (
                    rewrite(current, &insight, now),
                    Expect::Version(current.version()),
                ),
                None => {
                    let spec = Spec::encode(ResourceType::ZoneInsight, &insight);
                    (
                        Resource::new(key.clone(), BTreeMap::new(), spec, now, now),
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

    fn merge(&self, insight: &mut ZoneInsight, pending: &Pending, now: Timestamp) {
        for subscription in pending.subscriptions.values() {
            let known = insight
                .subscriptions
                .iter_mut()
                .find(|s| s.id == subscription.id);
            if let Some(known) = known {
                *known = subscription.clone();
                continue;
            }
            // A zone has one down stream: a new one ends what was still open.
            for older in insight
                .subscriptions
                .iter_mut()
                .filter(|s| s.disconnect_time.is_none())
            {
                older.disconnect_time = Some(now.to_proto());
            }
            insight.subscriptions.push(subscription.clone());
        }
        let surplus = insight
            .subscriptions
            .len()
            .saturating_sub(self.subscription_limit);
        insight.subscriptions.drain(..surplus);
        if let Some(time) = pending.health_check {
            insight.health_check = Some(HealthCheck {
                time: Some(time.to_proto()),
            });
        }
    }

    fn note(&self, zone: &ZoneName, subscription: &KdsSubscription, is_urgent: bool) {
        let Ok(id) = Uuid::parse_str(&subscription.id) else {
            return;
        };
        let mut pending = self.pending.lock();
        let zone = pending.entry(zone.clone()).or_default();
        zone.subscriptions.insert(id, subscription.clone());
        zone.is_urgent |= is_urgent;
        drop(pending);
        if is_urgent {
            self.urgent.notify_one();
        }
    }
}

#[async_trait]
impl Book for ZoneBook {
    async fn admit(&self, peer: &ZonePeer) -> Result<(), tonic::Status> {
        let key = zone_key(&peer.zone);
        if self.store.snapshot().get(&key).is_some() {
            return Ok(());
        }
        let now = clock::now();
        let spec = Spec::encode(
            ResourceType::Zone,
            &Zone {
                enabled: Some(true),
            },
        );
        let zone = Resource::new(key, BTreeMap::new(), spec, now, now);
        match self
            .store
            .commit(Batch::new().put_if(zone, Expect::Absent))
            .await
        {
            Ok(_) => {
                tracing::info!(zone.name = %peer.zone, "a zone connected for the first time");
                Ok(())
            }
            Err(CommitError::Conflict { .. }) => Ok(()),
            Err(error) => Err(tonic::Status::unavailable(format!(
                "cannot create the zone: {error}"
            ))),
        }
    }

    fn opened(&self, stream: Uuid, peer: &ZonePeer, node: &NodeInfo) {
        let version = KumaCpVersion {
            version: node.version.version.clone(),
            git_tag: node.version.git_tag.clone(),
            git_commit: node.version.git_commit.clone(),
            build_date: node.version.build_date.clone(),
            kuma_cp_global_compatible: true,
        };
        let subscription = KdsSubscription {
            id: stream.to_string(),
            global_instance_id: self.instance_id.clone(),
            zone_instance_id: node.instance_id.clone(),
            connect_time: Some(clock::now().to_proto()),
            status: Some(KdsSubscriptionStatus {
                total: Some(KdsServiceStats::default()),
                ..Default::default()
            }),
            version: Some(Version {
                kuma_cp: Some(version),
            }),
            config: node.config.clone(),
            auth_token_provided: peer.has_token,
            ..Default::default()
        };
        self.live.lock().insert(stream, subscription.clone());
        self.note(&peer.zone, &subscription, true);
    }

    fn counted(&self, stream: Uuid, zone: &ZoneName, type_name: &str, what: Counted) {
        let subscription = {
            let mut live = self.live.lock();
            let Some(subscription) = live.get_mut(&stream) else {
                return;
            };
            let status = subscription.status.get_or_insert_default();
            status.last_update_time = Some(clock::now().to_proto());
            count(status.total.get_or_insert_default(), what);
            count(status.stat.entry(type_name.to_owned()).or_default(), what);
            subscription.clone()
        };
        self.note(zone, &subscription, false);
    }

    fn closed(&self, stream: Uuid, zone: &ZoneName) {
        let Some(mut subscription) = self.live.lock().remove(&stream) else {
            return;
        };
        subscription.disconnect_time = Some(clock::now().to_proto());
        self.note(zone, &subscription, true);
    }

    fn pinged(&self, zone: &ZoneName) {
        self.pending
            .lock()
            .entry(zone.clone())
            .or_default()
            .health_check = Some(clock::now());
    }
}

fn count(stats: &mut KdsServiceStats, what: Counted) {
    match what {
        Counted::Sent => stats.responses_sent += 1,
        Counted::Acked => stats.responses_acknowledged += 1,
        Counted::Rejected => stats.responses_rejected += 1,
    }
}

fn rewrite(current: &Resource, insight: &ZoneInsight, now: Timestamp) -> Resource {
    let spec = Spec::encode(ResourceType::ZoneInsight, insight);
    Resource::new(
        current.key().clone(),
        BTreeMap::clone(current.labels()),
        spec,
        current.created(),
        now,
    )
}

fn zone_key(zone: &ZoneName) -> Key {
    Key::global(ResourceType::Zone, resource_name(zone))
}

fn insight_key(zone: &ZoneName) -> Key {
    Key::global(ResourceType::ZoneInsight, resource_name(zone))
}

fn resource_name(zone: &ZoneName) -> ResourceName {
    ResourceName::parse(zone.as_str()).expect("a zone name is stricter than a resource name")
}
