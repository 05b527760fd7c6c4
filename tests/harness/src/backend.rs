//! HTTP backends that say who they are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A server that answers every request with JSON: its name, the path, and the headers it saw.
/// The header `x-backend` has its name too. The query says how: `delay=MS` waits first and
/// `status=CODE` is the answer's status. Dropping it stops it.
#[derive(Debug)]
pub struct Backend {
    name: String,
    address: SocketAddr,
    requests: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Backend {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it was just bound");
        let requests = Arc::new(AtomicU64::new(0));
        let state = (Arc::<str>::from(name), Arc::clone(&requests));
        let router = Router::new().fallback(answer).with_state(state);
        let task = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("axum serves until it is dropped");
        });
        Self {
            name: name.to_owned(),
            address,
            requests,
            task,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it has answered.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The Dataplane, without a proxy beside it, that makes it an endpoint of `service`.
    pub fn dataplane(&self, service: &str) -> Value {
        json!({
            "type": "Dataplane", "mesh": "default", "name": self.name,
            "networking": {
                "address": self.address.ip().to_string(),
                "inbound": [{
                    "port": self.address.port(),
                    "tags": {"kuma.io/service": service, "kuma.io/protocol": "http"},
                }],
            },
        })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State((name, requests)): State<(Arc<str>, Arc<AtomicU64>)>,
    request: Request,
) -> impl IntoResponse {
    requests.fetch_add(1, Ordering::Relaxed);
    let mut seen = serde_json::Map::new();
    for (header, value) in request.headers() {
        let values = seen.entry(header.as_str()).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(json!(String::from_utf8_lossy(value.as_bytes())));
        }
    }
    let query = request.uri().query().unwrap_or_default();
    let (delay, status) = (number(query, "delay="), number(query, "status="));
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    let body = json!({"instance": &*name, "method": request.method().as_str(), "path": path, "seen": seen});
    if let Some(delay) = delay {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let status = status.and_then(|code| u16::try_from(code).ok());
    let status = status.and_then(|code| StatusCode::from_u16(code).ok());
    (
        status.unwrap_or(StatusCode::OK),
        [("x-backend", name.to_string())],
        axum::Json(body),
    )
}

/// The number that a query has after `name`.
fn number(query: &str, name: &str) -> Option<u64> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name));
    value.and_then(|value| value.parse().ok())
}
