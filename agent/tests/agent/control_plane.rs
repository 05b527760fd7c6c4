//! A control plane that answers what it is told to.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mesh_runtime::serve::{self, Options};
use mesh_runtime::shutdown::{self, Trigger};
use mesh_runtime::tls::{self, Identity};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::process::eventually;

/// The answer to one bootstrap request.
pub(crate) enum Reply {
    Text(StatusCode, &'static str),
    Bootstrap(Value),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub authorization: Option<String>,
    pub accept: Option<String>,
    pub body: Value,
}

#[derive(Default)]
struct Book {
    replies: VecDeque<Reply>,
    bootstraps: Vec<Received>,
    goodbyes: Vec<Received>,
}

/// A server with TLS on a port of its own.
pub(crate) struct ControlPlane {
    book: Arc<Mutex<Book>>,
    ca: String,
    port: u16,
    server: JoinHandle<()>,
    _trigger: Trigger,
    _directory: tempfile::TempDir,
}

impl ControlPlane {
    /// Gives the replies in order, and then 503.
    pub(crate) async fn start(replies: Vec<Reply>) -> Self {
        tls::install_crypto_provider();
        let book = Arc::new(Mutex::new(Book {
            replies: replies.into(),
            ..Book::default()
        }));
        let router = Router::new()
            .route("/bootstrap", post(bootstrap))
            .route("/deregister", post(deregister))
            .with_state(Arc::clone(&book));
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create(directory.path()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (trigger, shutdown) = shutdown::channel();
        let config = tls::server_config(&identity);
        let server = tokio::spawn(async move {
            serve::serve(listener, Some(config), router, Options::default(), shutdown).await;
        });
        Self {
            book,
            ca: identity.cert_pem().to_string(),
            port,
            server,
            _trigger: trigger,
            _directory: directory,
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub(crate) fn ca(&self) -> String {
        self.ca.clone()
    }

    pub(crate) fn bootstraps(&self) -> Vec<Received> {
        self.book.lock().bootstraps.clone()
    }

    /// Waits for a bootstrap request.
    pub(crate) async fn asked(&self) {
        eventually("the agent asks", async || !self.bootstraps().is_empty()).await;
    }

    /// Waits for a goodbye.
    pub(crate) async fn goodbye(&self) -> Received {
        let first = || self.book.lock().goodbyes.first().cloned();
        eventually("the agent says goodbye", async || first().is_some()).await;
        first().unwrap()
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn received(headers: &HeaderMap, body: &[u8]) -> Received {
    let get = |name| Some(headers.get(name)?.to_str().unwrap().to_owned());
    Received {
        authorization: get(header::AUTHORIZATION),
        accept: get(header::ACCEPT),
        body: serde_json::from_slice(body).unwrap(),
    }
}

async fn bootstrap(
    State(book): State<Arc<Mutex<Book>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut book = book.lock();
    book.bootstraps.push(received(&headers, &body));
    match book.replies.pop_front() {
        Some(Reply::Text(status, text)) => (status, text).into_response(),
        Some(Reply::Bootstrap(bootstrap)) => {
            let text = BASE64.encode(bootstrap.to_string());
            axum::Json(json!({"bootstrap": text, "kumaSidecarConfiguration": {}})).into_response()
        }
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn deregister(State(book): State<Arc<Mutex<Book>>>, headers: HeaderMap, body: Bytes) {
    book.lock().goodbyes.push(received(&headers, &body));
}
