//! What streams of one zone said and the store has not heard yet, and how it enters the
//! zone's insight.
//!
//! Subscriptions keep the order in which they were first heard of. A zone has one down stream,
//! so an open one that comes later ends what is open; one that is closed already ends nothing.

use mesh_model::Timestamp;
use mesh_proto::system::{HealthCheck, KdsSubscription, ZoneInsight};

/// What is to be written of one zone.
#[derive(Debug, Default)]
pub(super) struct Pending {
    subscriptions: Vec<KdsSubscription>,
    health_check: Option<Timestamp>,
    is_urgent: bool,
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

    /// Puts what was said since behind what could not be written.
    pub(super) fn followed_by(mut self, since: Self, limit: usize) -> Self {
        for latest in since.subscriptions {
            self.note(latest, since.is_urgent, limit);
        }
        self.is_urgent |= since.is_urgent;
        self.health_check = since.health_check.or(self.health_check);
        self
    }

    /// Enters everything into the insight, which keeps at most `limit` subscriptions.
    pub(super) fn merge_into(&self, insight: &mut ZoneInsight, limit: usize, now: Timestamp) {
        for subscription in &self.subscriptions {
            enter(&mut insight.subscriptions, subscription, now);
        }
        trim(&mut insight.subscriptions, limit);
        if let Some(time) = self.health_check {
            insight.health_check = Some(HealthCheck {
                time: Some(time.to_proto()),
            });
        }
    }
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
