//! What the zone counts about its proxies.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use zone_translate::EnvoyType;

use crate::inventory::insight::Counted;

/// The streams of proxies. Clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    streams: Gauge,
    responses: Family<Response, Counter>,
    translation: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Response {
    resource_type: &'static str,
    /// `sent`, `ack` or `nack`.
    what: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            streams: Gauge::default(),
            responses: Family::default(),
            // 50 µs to about 1.6 s.
            translation: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
        }
    }
}

impl Metrics {
    /// Makes them readable.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "xds_streams",
            "ADS streams of proxies that are open",
            self.streams.clone(),
        );
        registry.register(
            "xds_responses",
            "Responses on ADS streams: sent, ack and nack, by type",
            self.responses.clone(),
        );
        registry.register_with_unit(
            "xds_translation",
            "How long it took to bring the configuration of one proxy up to date",
            Unit::Seconds,
            self.translation.clone(),
        );
    }

    /// Counts a stream as open until what is returned is dropped.
    pub(crate) fn stream(&self) -> OpenStream {
        self.streams.inc();
        OpenStream(self.streams.clone())
    }

    pub(crate) fn response(&self, ty: EnvoyType, what: Counted) {
        let what = match what {
            Counted::Sent => "sent",
            Counted::Acked => "ack",
            Counted::Rejected => "nack",
        };
        let resource_type = match ty {
            EnvoyType::Runtime => "rtds",
            EnvoyType::Cluster => "cds",
            EnvoyType::Endpoint => "eds",
            EnvoyType::Secret => "sds",
            EnvoyType::Listener => "lds",
            EnvoyType::Route => "rds",
        };
        self.responses
            .get_or_create(&Response {
                resource_type,
                what,
            })
            .inc();
    }

    pub(crate) fn translated(&self, took: Duration) {
        self.translation.observe(took.as_secs_f64());
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
