//! What an orchestrator and a Prometheus ask of every process: `/healthy`, `/ready`, `/metrics`.
//!
//! Holds no state of its own: readiness is a question to the caller, metrics are the caller's
//! registry.

use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

/// <https://prometheus.io/docs/specs/om/open_metrics_spec/#overall-structure>
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The diagnostics API.
///
/// - `GET /healthy`: 200, empty, as long as the process answers at all.
/// - `GET /ready`: 200 if `ready()`, else 503; empty.
/// - `GET /metrics`: all of `registry`, as OpenMetrics if the client accepts that, else in
///   Prometheus' text format 0.0.4.
pub fn router<F>(registry: Arc<Registry>, ready: F) -> Router
where
    F: Fn() -> bool + Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/healthy", get(|| async { StatusCode::OK }))
        .route(
            "/ready",
            get(move || {
                let ready = ready();
                async move {
                    if ready {
                        StatusCode::OK
                    } else {
                        StatusCode::SERVICE_UNAVAILABLE
                    }
                }
            }),
        )
        .route(
            "/metrics",
            get(move |headers: HeaderMap| {
                let response = metrics(&registry, &headers);
                async move { response }
            }),
        )
}

fn metrics(registry: &Registry, headers: &HeaderMap) -> Response {
    let mut body = String::new();
    if let Err(error) = text::encode(&mut body, registry) {
        tracing::error!(%error, "cannot write the metrics");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let openmetrics = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("application/openmetrics-text"));
    if openmetrics {
        ([(CONTENT_TYPE, OPENMETRICS)], body).into_response()
    } else {
        ([(CONTENT_TYPE, PROMETHEUS)], to_prometheus(&body)).into_response()
    }
}

/// The older format of the same metrics.
///
/// Samples are written alike. What differs is how a family is announced: a counter by the name
/// its sample has, with `_total`; types that the older format lacks as `untyped`; no `UNIT`, no
/// `EOF`.
fn to_prometheus(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    // HELP comes before TYPE, which decides the name in both.
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "unknown"));
            let suffix = if kind == "counter" { "_total" } else { "" };
            let kind = match kind {
                "counter" | "gauge" | "histogram" | "summary" => kind,
                _ => "untyped",
            };
            if let Some((_, text)) = help.take().filter(|(of, _)| *of == name) {
                // Writing to a String cannot fail, here and below.
                let _ = writeln!(out, "# HELP {name}{suffix} {text}");
            }
            let _ = writeln!(out, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::body::Body;
    use http_body_util::BodyExt;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use tower::ServiceExt;

    use super::*;

    async fn get(router: &Router, path: &str, accept: &str) -> (StatusCode, String, String) {
        let request = http::Request::get(path).header(ACCEPT, accept);
        let request = request.body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.map_or_else(String::new, |k| k.to_str().unwrap().to_owned());
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    fn registry() -> Arc<Registry> {
        let mut registry = Registry::default();
        let pushes = Counter::<u64>::default();
        pushes.inc_by(3);
        registry.register("pushes", "Pushes sent", pushes);
        registry.register("streams", "Streams open", Gauge::<i64>::default());
        Arc::new(registry)
    }

    #[tokio::test]
    async fn ready_follows_its_question_and_healthy_does_not() {
        let is_ready = Arc::new(AtomicBool::new(false));
        let question = Arc::clone(&is_ready);
        let router = router(registry(), move || question.load(Ordering::Relaxed));
        assert_eq!(
            get(&router, "/ready", "*/*").await.0,
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert_eq!(get(&router, "/healthy", "*/*").await.0, StatusCode::OK);
        is_ready.store(true, Ordering::Relaxed);
        let (status, _, body) = get(&router, "/ready", "*/*").await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, ""));
    }

    #[tokio::test]
    async fn metrics_come_in_the_format_that_the_client_accepts() {
        let router = router(registry(), || true);
        let (_, kind, body) = get(&router, "/metrics", "*/*").await;
        assert_eq!(kind, PROMETHEUS);
        assert_eq!(
            body,
            "# HELP pushes_total Pushes sent.\n# TYPE pushes_total counter\npushes_total 3\n\
             # HELP streams Streams open.\n# TYPE streams gauge\nstreams 0\n"
        );
        let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
        let (_, kind, body) = get(&router, "/metrics", accept).await;
        assert_eq!(kind, OPENMETRICS);
        assert!(body.ends_with("# EOF\n"));
    }
}
