//! What KDS counts, on either side.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use mesh_proto::link;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::kind::Kind;

/// The streams of this process. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    streams: Family<Direction, Gauge>,
    sent: Family<Type, Counter>,
    answered: Family<Answer, Counter>,
    applied: Family<Type, Counter>,
    refused: Family<Type, Counter>,
    kept: Family<Type, Counter>,
    passed_over: Counter,
    of_no_concern: Family<Type, Counter>,
    too_large: Family<Type, Counter>,
    differences: Family<Difference, Counter>,
    refused_calls: Family<Reason, Counter>,
    lag_revisions: Family<Link, Gauge>,
    lag_seconds: Family<Link, Gauge<f64, AtomicU64>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Link {
    zone: String,
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Difference {
    zone: String,
    direction: &'static str,
    resource_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Type {
    resource_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    resource_type: &'static str,
    answer: &'static str,
}

impl Metrics {
    /// Makes them readable.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "kds_streams",
            "KDS streams that are open",
            self.streams.clone(),
        );
        registry.register(
            "kds_responses_sent",
            "Responses sent to peers",
            self.sent.clone(),
        );
        registry.register(
            "kds_responses_answered",
            "Answers of peers to responses: ack or nack",
            self.answered.clone(),
        );
        registry.register(
            "kds_resources_applied",
            "Resources from peers that were written or removed",
            self.applied.clone(),
        );
        registry.register(
            "kds_resources_refused",
            "Resources from peers that could not be taken",
            self.refused.clone(),
        );
        registry.register(
            "kds_removals_refused",
            "Resources that peers said are gone although they are not theirs",
            self.kept.clone(),
        );
        registry.register(
            "kds_responses_passed_over",
            "Responses of types that nobody had asked their sender for",
            self.passed_over.clone(),
        );
        registry.register(
            "kds_resources_passed_over",
            "Received resources that are not their sender's to write here, and were not taken",
            self.of_no_concern.clone(),
        );
        registry.register(
            "kds_responses_too_large",
            "Responses that were larger than a stock peer takes, and not sent",
            self.too_large.clone(),
        );
        registry.register(
            "kds_differences",
            "Types of which a receiver did not hold what it had answered for",
            self.differences.clone(),
        );
        registry.register(
            "kds_authentications_refused",
            "Calls refused and connections ended because the caller does not speak for the zone",
            self.refused_calls.clone(),
        );
        registry.register(
            "kds_lag_revisions",
            "How many revisions of its sender's store a receiver has not answered yet",
            self.lag_revisions.clone(),
        );
        registry.register(
            "kds_lag_seconds",
            "For how long a receiver has had something to answer",
            self.lag_seconds.clone(),
        );
    }

    /// A call was refused, or the streams of a zone were ended, because nothing proved that it is
    /// the zone's.
    pub(crate) fn refused_call(&self, reason: &'static str) {
        self.refused_calls.get_or_create(&Reason { reason }).inc();
    }

    /// How far the receiver of a direction is behind.
    pub(crate) fn lag(&self, zone: &str, direction: &'static str, lag: &link::Lag) {
        let labels = Link {
            zone: zone.to_owned(),
            direction,
        };
        let revisions = lag.revision.saturating_sub(lag.answered_revision);
        self.lag_revisions
            .get_or_create(&labels)
            .set(i64::try_from(revisions).unwrap_or(i64::MAX));
        self.lag_seconds
            .get_or_create(&labels)
            .set(Duration::from_millis(lag.milliseconds).as_secs_f64());
    }

    /// The connection of a zone ended.
    pub(crate) fn forget_lag(&self, zone: &str, direction: &'static str) {
        let labels = Link {
            zone: zone.to_owned(),
            direction,
        };
        self.lag_revisions.remove(&labels);
        self.lag_seconds.remove(&labels);
    }

    /// The receiver of a direction differs in these types or, if there are none, in an unknown
    /// way.
    pub(crate) fn differs(&self, zone: &str, direction: &'static str, kinds: &[Kind]) {
        let names = kinds.iter().map(|kind| kind.resource_type().name());
        let unknown = kinds.is_empty().then_some("");
        for resource_type in names.chain(unknown) {
            let labels = Difference {
                zone: zone.to_owned(),
                direction,
                resource_type,
            };
            self.differences.get_or_create(&labels).inc();
        }
    }

    /// Counts a stream as open until what is returned is dropped.
    pub(crate) fn stream(&self, direction: &'static str) -> OpenStream {
        let gauge = self.streams.get_or_create(&Direction { direction }).clone();
        gauge.inc();
        OpenStream(gauge)
    }

    /// A peer said that resources are gone which it does not own.
    pub(crate) fn kept_from_removal(&self, kind: Kind, count: usize) {
        if count > 0 {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            self.kept.get_or_create(&of(kind)).inc_by(count);
        }
    }

    /// A peer sent resources that are of no concern here.
    pub(crate) fn of_no_concern(&self, kind: Kind, count: usize) {
        if count > 0 {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            self.of_no_concern.get_or_create(&of(kind)).inc_by(count);
        }
    }

    /// A peer sent a type that it was not asked for.
    pub(crate) fn passed_over(&self) {
        self.passed_over.inc();
    }

    pub(crate) fn sent(&self, kind: Kind) {
        self.sent.get_or_create(&of(kind)).inc();
    }

    pub(crate) fn too_large(&self, kind: Kind) {
        self.too_large.get_or_create(&of(kind)).inc();
    }

    pub(crate) fn answered(&self, kind: Kind, is_ack: bool) {
        let resource_type = kind.resource_type().name();
        let answer = if is_ack { "ack" } else { "nack" };
        self.answered
            .get_or_create(&Answer {
                resource_type,
                answer,
            })
            .inc();
    }

    pub(crate) fn applied(&self, kind: Kind, changes: usize, refused: usize) {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        self.applied.get_or_create(&of(kind)).inc_by(count(changes));
        if refused > 0 {
            self.refused.get_or_create(&of(kind)).inc_by(count(refused));
        }
    }
}

fn of(kind: Kind) -> Type {
    Type {
        resource_type: kind.resource_type().name(),
    }
}

/// An open stream, for the gauge.
#[derive(Debug)]
pub(crate) struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}
