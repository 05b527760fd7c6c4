//! What streams of one zone said and the store has not heard yet, and how it enters the
//! zone's insight.
//!
//! Subscriptions keep the order in which they were first heard of. A zone has one down stream,
//! so an open one that comes later ends what is open; one that is closed already ends nothing.

use std::collections::BTreeMap;

use mesh_kds::server::StreamKind;
use mesh_model::Timestamp;
use mesh_proto::system::{
    EnvoyAdminStreams, HealthCheck, KdsStream, KdsStreams, KdsSubscription, ZoneInsight,
};

/// What is to be written of one zone.
#[derive(Debug, Default)]
pub(super) struct Pending {
    subscriptions: Vec<KdsSubscription>,
    health_check: Option<Timestamp>,
    /// Streams that began, as they did last.
    streams: BTreeMap<StreamKind, KdsStream>,
    is_urgent: bool,
}

/// What of a subscription is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    /// The newest of them.
    pub(super) limit: usize,
    /// Of those that have ended, but the last, nothing that takes much room.
    pub(super) is_compact: bool,
}

impl Pending {
    /// Whether it was opened or closed: that is written at once.
    pub(super) fn is_urgent(&self) -> bool {
        self.is_urgent
    }

    /// Takes the latest state of a subscription; at most `limit` are kept.
    pub(super) fn note(&mut self, latest: KdsSubscription, is_urgent: bool, limit: usize) {
        match self.subscriptions.iter_mut().find(|s| s.id == latest.id) {
            Some(known) => *known = latest,
            None => self.subscriptions.push(latest),
        }
        trim(&mut self.subscriptions, limit);
        self.is_urgent |= is_urgent;
    }

    /// The zone said that it is there.
    pub(super) fn pinged(&mut self, at: Timestamp) {
        self.health_check = Some(at);
    }

    /// A stream of a kind began.
    pub(super) fn sat(&mut self, kind: StreamKind, stream: KdsStream) {
        self.streams.insert(kind, stream);
    }

    /// Puts what was said since behind what could not be written.
    pub(super) fn followed_by(mut self, since: Self, limit: usize) -> Self {
        for latest in since.subscriptions {
            self.note(latest, since.is_urgent, limit);
        }
        self.is_urgent |= since.is_urgent;
        self.health_check = since.health_check.or(self.health_check);
        self.streams.extend(since.streams);
        self
    }

    /// Enters everything into the insight.
    pub(super) fn merge_into(&self, insight: &mut ZoneInsight, keep: Keep, now: Timestamp) {
        for subscription in &self.subscriptions {
            enter(&mut insight.subscriptions, subscription, now);
        }
        trim(&mut insight.subscriptions, keep.limit);
        if keep.is_compact
            && let Some((_last, older)) = insight.subscriptions.split_last_mut()
        {
            let ended = older.iter_mut().filter(|s| s.disconnect_time.is_some());
            ended.for_each(compact);
        }
        for (kind, stream) in &self.streams {
            begin(insight, *kind, stream);
        }
        if let Some(time) = self.health_check {
            insight.health_check = Some(HealthCheck {
                time: Some(time.to_proto()),
            });
        }
    }
}

fn compact(subscription: &mut KdsSubscription) {
    subscription.config.clear();
    if let Some(status) = &mut subscription.status {
        status.stat.clear();
    }
}

/// Enters a stream where Kuma keeps it, if it does: questions about proxies twice, for releases
/// before and after 2.11.
fn begin(insight: &mut ZoneInsight, kind: StreamKind, stream: &KdsStream) {
    let instance = || stream.global_instance_id.clone();
    let admin = insight
        .envoy_admin_streams
        .get_or_insert_with(EnvoyAdminStreams::default);
    let streams = insight.kds_streams.get_or_insert_with(KdsStreams::default);
    let place = match kind {
        StreamKind::Down => &mut streams.global_to_zone,
        StreamKind::Up => &mut streams.zone_to_global,
        StreamKind::ConfigDumps => {
            admin.config_dump_global_instance_id = instance();
            &mut streams.config_dump
        }
        StreamKind::Stats => {
            admin.stats_global_instance_id = instance();
            &mut streams.stats
        }
        StreamKind::Clusters => {
            admin.clusters_global_instance_id = instance();
            &mut streams.clusters
        }
        StreamKind::Link | StreamKind::Receipts => return,
    };
    *place = Some(stream.clone());
}

fn enter(kept: &mut Vec<KdsSubscription>, latest: &KdsSubscription, now: Timestamp) {
    if let Some(known) = kept.iter_mut().find(|s| s.id == latest.id) {
        known.clone_from(latest);
        return;
    }
    if latest.disconnect_time.is_some() {
        let begun = |s: &KdsSubscription| s.connect_time.map(|time| (time.seconds, time.nanos));
        let place = kept.iter().position(|s| begun(s) > begun(latest));
        kept.insert(place.unwrap_or(kept.len()), latest.clone());
        return;
    }
    for older in kept.iter_mut().filter(|s| s.disconnect_time.is_none()) {
        older.disconnect_time = Some(now.to_proto());
    }
    kept.push(latest.clone());
}

/// Drops the oldest, what is open last of all.
fn trim(subscriptions: &mut Vec<KdsSubscription>, limit: usize) {
    while subscriptions.len() > limit {
        let closed = subscriptions
            .iter()
            .position(|s| s.disconnect_time.is_some());
        subscriptions.remove(closed.unwrap_or(0));
    }
}
