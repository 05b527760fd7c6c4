//! Bookkeeping of zones: a `Zone` for each that ever connected, and a `ZoneInsight` with one
//! subscription per down stream.
//!
//! "Online" is read from open subscriptions, so this file is what makes that claim true: a
//! subscription is written the moment a stream opens, closed the moment it ends, and those left
//! open by a process that was killed are closed at the next start, or once the instances that run
//! see that nobody holds them. Counters wait for the flush interval, because nobody needs them
//! sooner.

mod health;
mod node;
mod pending;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mesh_kds::peer::{NodeInfo, ZonePeer};
use mesh_kds::server::{Counted, StreamKind, ZoneBook as Book};
use mesh_model::{Key, Resource, ResourceName, ResourceType, Spec, Timestamp, ZoneName};
use mesh_proto::system::{KdsServiceStats, KdsStream, KdsSubscription, Zone, ZoneInsight};
use mesh_runtime::backoff::Backoff;
use mesh_runtime::clock;
use mesh_runtime::shutdown::Shutdown;
use mesh_store::{Batch, CommitError, Expect, SharedStore};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use uuid::Uuid;

use self::health::Health;
use self::pending::{Keep, Pending};

/// The generations of open subscriptions, by their ids.
type Generations = BTreeMap<String, u32>;

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

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
    settings: Settings,
    /// What the store has not heard yet.
    pending: Mutex<BTreeMap<ZoneName, Pending>>,
    live: Mutex<BTreeMap<Uuid, Live>>,
    /// When zones last said that they are there.
    health: Health,
    urgent: Notify,
}

/// How insights are kept.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// This process.
    pub(crate) instance_id: String,
    /// How many subscriptions of a zone are kept; at least one.
    pub(crate) subscription_limit: usize,
    /// Whether those that have ended, but the last, lose configuration and counters by type.
    pub(crate) compacts: bool,
    /// How long counters may wait.
    pub(crate) flush_interval: Duration,
    /// An open subscription that no instance has said to be alive for as long is closed.
    pub(crate) idle_timeout: Duration,
}

impl ZoneBook {
    /// A book over `store`.
    pub(crate) fn new(store: SharedStore, settings: Settings) -> Self {
        Self {
            store,
            settings,
            health: Health::default(),
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
        self.close(|_| true).await
    }

    /// Closes open subscriptions that are to be closed.
    async fn close(&self, is_due: impl Fn(&KdsSubscription) -> bool) -> Result<(), CommitError> {
        let now = clock::now();
        let mut batch = Batch::new();
        for resource in self.store.snapshot().list(ResourceType::ZoneInsight) {
            let mut insight: ZoneInsight = resource.decode();
            let open = insight.subscriptions.iter_mut();
            let open = open.filter(|s| s.disconnect_time.is_none() && is_due(s));
            let closed = open.map(|s| s.disconnect_time = Some(now.to_proto()));
            if closed.count() > 0 {
                let closed = rewrite(resource, &insight, now);
                batch = batch.put_if(closed, Expect::Version(resource.version()));
            }
        }
        if !batch.is_empty() {
            self.store.commit(batch).await?;
        }
        Ok(())
    }

    /// Says of each open stream that it still is: whoever looks at two generations of its
    /// subscription sees them differ.
    fn say_alive(&self) {
        let mut live = self.live.lock();
        let said: Vec<(ZoneName, KdsSubscription)> = live
            .values_mut()
            .map(|live| {
                let generation = &mut live.subscription.generation;
                *generation = generation.wrapping_add(1);
                (live.zone.clone(), live.subscription.clone())
            })
            .collect();
        drop(live);
        for (zone, subscription) in said {
            self.note(&zone, subscription, false);
        }
    }

    /// Closes what nobody has said to be alive since `seen`; what there is now.
    async fn close_idle(&self, seen: &Generations) -> Generations {
        let is_ours = |s: &KdsSubscription| {
            let id = Uuid::parse_str(&s.id);
            id.is_ok_and(|id| self.live.lock().contains_key(&id))
        };
        let is_idle = |s: &KdsSubscription| seen.get(&s.id) == Some(&s.generation) && !is_ours(s);
        if let Err(error) = self.close(is_idle).await {
            tracing::warn!(%error, "cannot close subscriptions that nobody holds; trying again");
            return seen.clone();
        }
        let snapshot = self.store.snapshot();
        let insights = snapshot.list(ResourceType::ZoneInsight);
        let subscriptions = insights.flat_map(|r| r.decode::<ZoneInsight>().subscriptions);
        let open = subscriptions.filter(|s| s.disconnect_time.is_none());
        open.map(|s| (s.id, s.generation)).collect()
    }

    /// The zones that hold a stream and have not said for `timeout` that they are there, though
    /// they said that they would.
    pub(crate) fn silent(&self, timeout: Duration) -> Vec<ZoneName> {
        self.health.silent(timeout)
    }

    /// Writes what streams say until shutdown, and a last time then.
    pub(crate) async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let mut tick = every(self.settings.flush_interval);
        let mut alive = every(self.settings.idle_timeout / 2);
        let mut idle = every(self.settings.idle_timeout);
        let mut seen = Generations::new();
        let mut pauses = Backoff::new(Duration::from_secs(1), Duration::from_secs(10))
            .expect("a second is above zero and below ten");
        loop {
            let everything = tokio::select! {
                () = shutdown.wait() => break,
                () = self.urgent.notified() => false,
                _ = tick.tick() => true,
                _ = alive.tick() => {
                    self.say_alive();
                    continue;
                }
                _ = idle.tick() => {
                    seen = self.close_idle(&seen).await;
                    continue;
                }
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
                let all = unwritten.followed_by(since, self.settings.subscription_limit);
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
            pending.merge_into(
                &mut insight,
                Keep {
                    limit: self.settings.subscription_limit,
                    is_compact: self.settings.compacts,
                },
                now,
            );
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
            self.settings.subscription_limit,
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
            global_instance_id: self.settings.instance_id.clone(),
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

    fn sat(&self, peer: &ZonePeer, kind: StreamKind) {
        if peer.pings_health {
            self.health.sat(&peer.zone);
        }
        let stream = KdsStream {
            global_instance_id: self.settings.instance_id.clone(),
            connect_time: Some(clock::now().to_proto()),
        };
        let mut pending = self.pending.lock();
        let pending = pending.entry(peer.zone.clone()).or_default();
        pending.sat(kind, stream);
    }

    fn pinged(&self, zone: &ZoneName) {
        self.health.pinged(zone);
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
