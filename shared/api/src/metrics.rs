//! What the API counts, under Kuma's names.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The requests of the API.
#[derive(Debug, Clone)]
pub struct Metrics {
    duration: Family<Answer, Histogram>,
    size: Family<Answer, Histogram>,
    in_flight: Family<Service, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    code: u16,
    handler: String,
    method: String,
    service: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Service {
    service: &'static str,
}

const SERVICE: Service = Service { service: "api" };

impl Metrics {
    /// Metrics that nobody reads yet.
    pub fn new() -> Self {
        Self {
            // 0.5 ms to about 16 s.
            duration: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.0005, 2.0, 16))
            }),
            // 128 B to about 128 MiB.
            size: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(128.0, 4.0, 11))
            }),
            in_flight: Family::default(),
        }
    }

    /// Makes them readable.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "api_server_http_request_duration_seconds",
            "Time from a request's head to its answer",
            self.duration.clone(),
        );
        registry.register(
            "api_server_http_response_size_bytes",
            "Size of the answers' bodies",
            self.size.clone(),
        );
        registry.register(
            "api_server_http_requests_inflight",
            "Requests being answered",
            self.in_flight.clone(),
        );
    }

    pub(crate) fn begin(&self) -> InFlight {
        let gauge = self.in_flight.get_or_create_owned(&SERVICE);
        gauge.inc();
        InFlight(gauge)
    }

    pub(crate) fn answered(
        &self,
        template: &str,
        method: &http::Method,
        status: http::StatusCode,
        size: u64,
        took: Duration,
    ) {
        let labels = Answer {
            code: status.as_u16(),
            handler: template.to_owned(),
            method: known_method(method).to_owned(),
            service: SERVICE.service,
        };
        self.duration
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "buckets are coarser than that")]
        self.size.get_or_create(&labels).observe(size as f64);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A request being answered, for as long as this lives.
#[derive(Debug)]
pub(crate) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A caller may send any word as the method; as a label it must not grow without bound.
fn known_method(method: &http::Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "PUT" | "DELETE" | "POST" | "HEAD" | "OPTIONS" | "PATCH") => known,
        _ => "other",
    }
}
