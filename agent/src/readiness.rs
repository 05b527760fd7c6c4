//! `/ready` on 127.0.0.1: whether this proxy should get traffic.
//!
//! Ready means that Envoy's admin interface says so at that moment; from SIGTERM on the answer
//! is `TERMINATING`. Headers and words are what probes written for `kuma-dp` see.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::admin::Admin;

/// Whether the proxy is on its way out; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terminating(Arc<AtomicBool>);

impl Terminating {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The readiness port cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on 127.0.0.1:{port} for readiness; give each agent of this machine its own \
     KUMA_READINESS_PORT, or 0 for none"
)]
pub(crate) struct BindError {
    port: u16,
    #[source]
    source: std::io::Error,
}

/// Takes the port.
pub(crate) async fn bind(port: u16) -> Result<TcpListener, BindError> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .await
        .map_err(|source| BindError { port, source })
}

/// Answers until it is dropped.
pub(crate) async fn serve(listener: TcpListener, admin: Admin, terminating: Terminating) {
    let router = Router::new()
        .route("/ready", get(ready))
        .with_state((admin, terminating));
    // axum goes on after failed accepts, so this does not end.
    let _ = axum::serve(listener, router).await;
}

async fn ready(State((admin, terminating)): State<(Admin, Terminating)>) -> impl IntoResponse {
    let (status, text) = if terminating.is_set() {
        (StatusCode::SERVICE_UNAVAILABLE, "TERMINATING")
    } else if admin.is_ready().await {
        (StatusCode::OK, "READY")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "NOT_READY")
    };
    let headers = [
        (header::CONTENT_TYPE.as_str(), "text/plain"),
        (header::CACHE_CONTROL.as_str(), "no-cache, max-age=0"),
        ("x-powered-by", "kuma-dp"),
    ];
    (status, headers, text)
}
