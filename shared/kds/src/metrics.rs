//! What KDS counts, on either side.

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
    }

    /// Counts a stream as open until what is returned is dropped.
    pub(crate) fn stream(&self, direction: &'static str) -> OpenStream {
        let gauge = self.streams.get_or_create(&Direction { direction }).clone();
        gauge.inc();
        OpenStream(gauge)
    }

    pub(crate) fn sent(&self, kind: Kind) {
        self.sent.get_or_create(&of(kind)).inc();
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
