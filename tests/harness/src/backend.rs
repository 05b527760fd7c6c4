//! HTTP backends that say who they are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The header whose values a [`Backend`] counts.
pub const COUNTED_HEADER: &str = "x-counted";

/// A server that answers every request with JSON: its name, the version of HTTP, the method, the
/// path, and the headers it saw. The header `x-backend` has its name too. The query says how:
/// `delay=MS` waits first, `status=CODE` is the answer's status, and `etag=TEXT` its entity tag. It
/// speaks HTTP/1.1, and HTTP/2 to those who begin with it. Dropping it stops it.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    state: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    requests: AtomicU64,
    counted: Mutex<BTreeMap<String, u64>>,
}

impl Backend {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(name: &str) -> Self {
        Self::start_at(name, ([127, 0, 0, 1], 0).into()).await
    }

    /// Starts one at an address; port 0 is any free one.
    ///
    /// # Panics
    /// When it is taken.
    pub async fn start_at(name: &str, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("it was just bound");
        let state = Arc::new(Shared {
            name: name.to_owned(),
            requests: AtomicU64::new(0),
            counted: Mutex::default(),
        });
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&state));
        let task = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("axum serves until it is dropped");
        });
        Self {
            address,
            state,
            task,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it has answered.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// How many of them had this value of the header [`COUNTED_HEADER`].
    pub fn counted(&self, value: &str) -> u64 {
        let counted = self.state.counted.lock();
        counted.get(value).copied().unwrap_or_default()
    }

    /// The Dataplane, without a proxy beside it, that makes it an endpoint of `service`.
    pub fn dataplane(&self, service: &str) -> Value {
        json!({
            "type": "Dataplane", "mesh": "default", "name": self.state.name,
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

async fn answer(State(state): State<Arc<Shared>>, request: Request) -> impl IntoResponse {
    state.requests.fetch_add(1, Ordering::Relaxed);
    if let Some(value) = request.headers().get(COUNTED_HEADER) {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        *state.counted.lock().entry(value).or_default() += 1;
    }
    let mut seen = serde_json::Map::new();
    for (header, value) in request.headers() {
        let values = seen.entry(header.as_str()).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(json!(String::from_utf8_lossy(value.as_bytes())));
        }
    }
    // HTTP/2 says it beside the path.
    if let Some(host) = request.uri().authority() {
        seen.insert("host".to_owned(), json!([host.as_str()]));
    }
    let query = request.uri().query().unwrap_or_default();
    let (delay, status) = (number(query, "delay="), number(query, "status="));
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    let etag = value(query, "etag=").and_then(|tag| format!("\"{tag}\"").parse().ok());
    let etag = etag.map(|tag: HeaderValue| (header::ETAG, tag));
    let body = json!({
        "instance": &state.name, "http": format!("{:?}", request.version()),
        "method": request.method().as_str(), "path": path, "seen": seen,
    });
    if let Some(delay) = delay {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let status = status.and_then(|code| u16::try_from(code).ok());
    let status = status.and_then(|code| StatusCode::from_u16(code).ok());
    (
        status.unwrap_or(StatusCode::OK),
        [("x-backend", state.name.clone())],
        HeaderMap::from_iter(etag),
        axum::Json(body),
    )
}

/// What a query has after `name`.
fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name))
}

fn number(query: &str, name: &str) -> Option<u64> {
    value(query, name)?.parse().ok()
}
