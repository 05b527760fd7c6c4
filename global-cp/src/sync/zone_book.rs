//! Bookkeeping of zones: a `Zone` for each that ever connected, and a `ZoneInsight` with one
//! subscription per down stream.
//!
//! "Online" is read from open subscriptions, so this file is what makes that claim true: a
//! subscription is written the moment a stream opens, closed the moment it ends, and those left
//! open by a process that was killed are closed at the next start. Counters wait for
//! the flush interval, because nobody needs them sooner.

mod node;
mod pending;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mesh_kds::peer::{NodeInfo, ZonePeer};
use mesh_kds::server::{Counted, ZoneBook as Book};
use mesh_model::{Key, Resource, ResourceName, ResourceType, Spec, Timestamp, ZoneName};
use mesh_proto::system::{KdsServiceStats, KdsSubscription, Zone, ZoneInsight};
use mesh_runtime::backoff::Backoff;
use mesh_runtime::clock;
use mesh_runtime::shutdown::Shutdown;
use mesh_store::{Batch, CommitError, Expect, SharedStore};
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use self::pending::Pending;

/// A stream that is open now.
#[derive(Debug)]
struct Live {
    zone: ZoneName,
    /// Later streams have higher numbers.
    number: u64,
    subscription: KdsSubscription,
}

/// Keeps `Zone` and `ZoneInsight` in step with the streams.
#[derive(Debug)]
pub(crate) struct ZoneBook {
    store: SharedStore,
    instance_id: String,
    subscription_limit: usize,
    /// How long counters may wait.
    flush_interval: Duration,
    /// What the store has not heard yet.
    pending: Mutex<BTreeMap<ZoneName, Pending>>,
    live: Mutex<BTreeMap<Uuid, Live>>,
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
        let mut pauses = Backoff::new(Duration::from_secs(1), Duration::from_secs(10))
            .expect("a second is above zero and below ten");
        loop {
            let everything = tokio::select! {
                () = shutdown.wait() => break,
                () = self.urgent.notified() => false,
                _ = tick.tick() => true,
            };
            if self.flush(everything).await {
                pauses.reset();
                continue;
            }
            tokio::select! {
                () = shutdown.wait() => break,
                () = tokio::time::sleep(pauses.next_delay()) => self.urgent.notify_one(),
            }
        }
        self.flush(true).await;
    }

    /// Writes what is due. What cannot be written stays due; `false` then.
    async fn flush(&self, everything: bool) -> bool {
        let due: Vec<(ZoneName, Pending)> = {
            let mut pending = self.pending.lock();
            let zones: Vec<ZoneName> = pending
                .iter()
                .filter(|(_, p)| everything || p.is_urgent())
                .map(|(zone, _)| zone.clone())
                .collect();
            zones
                .into_iter()
                .filter_map(|zone| pending.remove_entry(&zone))
                .collect()
        };
        let mut is_written = true;
        for (zone, unwritten) in due {
            if let Err(error) = self.write(&zone, &unwritten).await {
                tracing::error!(
                    zone.name = %zone,
                    %error,
                    "cannot write the insight of a zone; trying again"
                );
                is_written = false;
                let mut pending = self.pending.lock();
                let since = pending.remove(&zone).unwrap_or_default();
                let all = unwritten.followed_by(since, self.subscription_limit);
                pending.insert(zone, all);
            }
        }
        is_written
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
            pending.merge_into(&mut insight, self.subscription_limit, now);
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

    fn note(&self, zone: &ZoneName, subscription: KdsSubscription, is_urgent: bool) {
        self.pending.lock().entry(zone.clone()).or_default().note(
            subscription,
            is_urgent,
            self.subscription_limit,
        );
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
        let subscription = KdsSubscription {
            id: stream.to_string(),
            global_instance_id: self.instance_id.clone(),
            connect_time: Some(clock::now().to_proto()),
            auth_token_provided: peer.has_token,
            ..node::introduced(node)
        };
        let mut live = self.live.lock();
        let newest = live.values().map(|l| l.number).max();
        let entry = Live {
            zone: peer.zone.clone(),
            number: newest.map_or(0, |number| number + 1),
            subscription: subscription.clone(),
        };
        live.insert(stream, entry);
        drop(live);
        self.note(&peer.zone, subscription, true);
    }

    fn counted(&self, stream: Uuid, zone: &ZoneName, type_name: &str, what: Counted) {
        let subscription = {
            let mut live = self.live.lock();
            let Some(Live { subscription, .. }) = live.get_mut(&stream) else {
                return;
            };
            let status = subscription.status.get_or_insert_default();
            status.last_update_time = Some(clock::now().to_proto());
            count(status.total.get_or_insert_default(), what);
            count(status.stat.entry(type_name.to_owned()).or_default(), what);
            subscription.clone()
        };
        self.note(zone, subscription, false);
    }

    fn closed(&self, stream: Uuid, zone: &ZoneName) {
        let mut live = self.live.lock();
        let Some(Live {
            mut subscription, ..
        }) = live.remove(&stream)
        else {
            return;
        };
        let successor = live
            .values()
            .filter(|l| l.zone == *zone)
            .max_by_key(|l| l.number)
            .map(|l| l.subscription.clone());
        drop(live);
        subscription.disconnect_time = Some(clock::now().to_proto());
        self.note(zone, subscription, true);
        // Whatever the two of them said in between, the one that goes on is the one that counts.
        if let Some(successor) = successor {
            self.note(zone, successor, true);
        }
    }

    fn pinged(&self, zone: &ZoneName) {
        self.pending
            .lock()
            .entry(zone.clone())
            .or_default()
            .pinged(clock::now());
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

#[cfg(test)]
mod tests;
