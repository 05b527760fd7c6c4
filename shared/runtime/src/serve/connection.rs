//! One connection: TLS if asked for, then HTTP/1.1 or HTTP/2, until it or the server ends.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::sniff::{Rewound, Version, sniff};
use super::{Guest, PeerAddr, Scheme, Server};
use crate::tls::ALPN_H2;

/// Why a connection ended other than by agreement; of interest to a debugger only.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("no {what} within {limit:?}")]
    TooSlow { what: &'static str, limit: Duration },
    #[error("TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("cannot read: {0}")]
    Read(io::Error),
    #[error("HTTP failed: {0}")]
    Http(hyper::Error),
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
struct Peer {
    address: PeerAddr,
    guest: Option<Guest>,
}

/// Serves one connection to its end, or until its peer has been a stranger for too long.
pub(super) async fn run(
    server: Arc<Server>,
    tcp: TcpStream,
    address: PeerAddr,
    guest: Option<Guest>,
) -> Result<(), ConnectionError> {
    let peer = Peer {
        address,
        guest: guest.clone(),
    };
    let limits = server.lobby.as_ref().map(|lobby| lobby.limits.clone());
    let served = serve_any(server, tcp, peer);
    let (Some(guest), Some(limits)) = (guest, limits) else {
        return served.await;
    };
    let limit = limits.deadline;
    tokio::select! {
        ended = served => ended,
        () = guest.overstays(limit) => {
            limits.turned_away.inc();
            Err(ConnectionError::TooSlow { what: "request that could be let in", limit })
        }
    }
}

async fn serve_any(server: Arc<Server>, tcp: TcpStream, peer: Peer) -> Result<(), ConnectionError> {
    // Fails only on a socket that is gone already, as the first read will find out.
    let _ = tcp.set_nodelay(true);
    let Some(acceptor) = server.tls.clone() else {
        return tell_apart(server, tcp, peer, Scheme::Http).await;
    };
    let limit = server.options.handshake_timeout;
    let tls = tokio::select! {
        () = server.drain.wait() => return Ok(()),
        done = tokio::time::timeout(limit, acceptor.accept(tcp)) => done
            .map_err(|_elapsed| ConnectionError::TooSlow { what: "TLS handshake", limit })?
            .map_err(ConnectionError::Handshake)?,
    };
    if tls.get_ref().1.alpn_protocol() == Some(ALPN_H2) {
        serve_http2(server, Rewound::untouched(tls), peer, Scheme::Https).await
    } else {
        tell_apart(server, tls, peer, Scheme::Https).await
    }
}

async fn tell_apart<T>(
    server: Arc<Server>,
    io: T,
    peer: Peer,
    scheme: Scheme,
) -> Result<(), ConnectionError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limit = server.options.header_read_timeout;
    let sniffed = tokio::select! {
        () = server.drain.wait() => return Ok(()),
        done = tokio::time::timeout(limit, sniff(io)) => done
            .map_err(|_elapsed| ConnectionError::TooSlow { what: "first bytes", limit })?
            .map_err(ConnectionError::Read)?,
    };
    match sniffed {
        None => Ok(()),
        Some((Version::Http1, io)) => serve_http1(server, io, peer, scheme).await,
        Some((Version::Http2, io)) => serve_http2(server, io, peer, scheme).await,
    }
}

/// Runs a hyper connection; when the server drains, asks it to end after its requests.
macro_rules! until_drained {
    ($connection:expr, $server:expr) => {{
        let mut connection = pin!($connection);
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(ConnectionError::Http),
            () = $server.drain.wait() => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await.map_err(ConnectionError::Http)
    }};
}

async fn serve_http1<T>(
    server: Arc<Server>,
    io: Rewound<T>,
    peer: Peer,
    scheme: Scheme,
) -> Result<(), ConnectionError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let options = &server.options;
    let service = service_fn(|request| call(&server, request, peer.clone(), scheme));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_read_timeout)
        .max_header_size(usize::try_from(options.max_header_bytes).unwrap_or(usize::MAX))
        .serve_connection(TokioIo::new(io), service);
    until_drained!(connection, server)
}

async fn serve_http2<T>(
    server: Arc<Server>,
    io: Rewound<T>,
    peer: Peer,
    scheme: Scheme,
) -> Result<(), ConnectionError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let options = &server.options;
    let streams = Streams {
        tasks: server.tasks.clone(),
        abort: server.abort.clone(),
    };
    let service = service_fn(|request| call(&server, request, peer.clone(), scheme));
    let connection = http2::Builder::new(streams)
        .timer(TokioTimer::new())
        .keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .max_concurrent_streams(options.max_concurrent_streams)
        .initial_stream_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window)
        .max_header_list_size(options.max_header_bytes)
        .serve_connection(TokioIo::new(io), service);
    until_drained!(connection, server)
}

fn call(
    server: &Server,
    mut request: hyper::Request<Incoming>,
    peer: Peer,
    scheme: Scheme,
) -> impl Future<Output = Result<axum::response::Response, Infallible>> + use<> {
    request.extensions_mut().insert(peer.address);
    if let Some(guest) = peer.guest {
        request.extensions_mut().insert(guest);
    }
    request.extensions_mut().insert(scheme);
    // A router is always ready, and cloning one is a reference count.
    server.router.clone().call(request)
}

/// Runs the HTTP/2 streams of a connection as tasks of the server.
#[derive(Clone)]
struct Streams {
    tasks: TaskTracker,
    abort: CancellationToken,
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let abort = self.abort.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = abort.cancelled() => {}
                _ = stream => {}
            }
        });
    }
}
