//! Listening sockets and the HTTP server on them: HTTP/1.1 and HTTP/2, plain or over TLS, on one
//! port, for admin APIs and gRPC alike.
//!
//! Every task belongs to the server that spawned it: [`serve`] returns when all have ended. A
//! peer that sends garbage, stalls or vanishes costs its own connection and a line at `debug`.
//! Whole requests are the router's affair: limits of body size and time belong there.
//!
//! **Invariant:** a connection that has not brought a complete request head holds its place for
//! no longer than `handshake_timeout` plus `header_read_timeout`; an HTTP/2 peer that answers no
//! pings is dropped.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::shutdown::Shutdown;

mod bind;
mod connection;
mod guest;
mod sniff;
#[cfg(test)]
mod tests;

use guest::Lobby;

pub use bind::{ServeError, Setting, all_interfaces, bind, bind_for, socket_address};
pub use guest::{Guest, Strangers};

/// Pause after an `accept` that failed because the process or the system is out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits and timeouts of one server.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a TLS handshake may take. Default 10 s.
    pub handshake_timeout: Duration,
    /// How long the head of a request may take, from the end of the one before: it also ends idle
    /// HTTP/1.1 connections. Default 10 s.
    pub header_read_timeout: Duration,
    /// Largest request head in bytes, request line included. Default 128 KiB.
    pub max_header_bytes: u32,
    /// An HTTP/2 peer silent for so long is sent a ping. Default 15 s.
    pub keepalive_interval: Duration,
    /// It has so long to answer. Default 15 s.
    pub keepalive_timeout: Duration,
    /// Streams that one HTTP/2 connection may have open. Default 1000.
    pub max_concurrent_streams: u32,
    /// HTTP/2 receive window of a stream in bytes. Default 1 MiB.
    pub stream_window: u32,
    /// HTTP/2 receive window of a connection in bytes. Default 4 MiB.
    pub connection_window: u32,
    /// How long requests may go on after the shutdown began. Default 5 s.
    pub drain_deadline: Duration,
    /// Connections served at once; more wait in the system's queue. Default no limit.
    pub max_connections: Option<usize>,
    /// Limits for peers that have not said who they are. Default none.
    pub strangers: Option<Strangers>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            header_read_timeout: Duration::from_secs(10),
            max_header_bytes: 128 * 1024,
            keepalive_interval: Duration::from_secs(15),
            keepalive_timeout: Duration::from_secs(15),
            max_concurrent_streams: 1000,
            stream_window: 1024 * 1024,
            connection_window: 4 * 1024 * 1024,
            drain_deadline: Duration::from_secs(5),
            max_connections: None,
            strangers: None,
        }
    }
}

/// Who sent a request: an extension of every request.
///
/// An IPv4 peer has its IPv4 address also where the socket is an IPv6 one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

impl PeerAddr {
    /// Whether the peer is on this host (or in its network namespace).
    pub fn is_loopback(self) -> bool {
        self.0.ip().is_loopback()
    }

    fn of(address: SocketAddr) -> Self {
        let ip: IpAddr = address.ip().to_canonical();
        Self(SocketAddr::new(ip, address.port()))
    }
}

/// How a request came: an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS that ended here.
    Https,
}

impl Scheme {
    /// As in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What all connections of one server share.
struct Server {
    tls: Option<TlsAcceptor>,
    router: Router,
    options: Options,
    lobby: Option<Lobby>,
    /// Requests in flight may finish, new ones are turned away.
    drain: Shutdown,
    /// Everything ends now.
    abort: CancellationToken,
    tasks: TaskTracker,
}

/// Serves `router` on `listener` until `shutdown`; returns when the last connection has ended.
///
/// Requests carry [`PeerAddr`] and [`Scheme`] as extensions, and [`Guest`] where there are limits
/// for strangers. With `tls` only TLS is spoken.
/// On shutdown the listener closes, HTTP/2 peers get GOAWAY, HTTP/1.1 connections close after
/// their response; what still runs after `options.drain_deadline` is dropped. Handlers with
/// endless responses must watch the shutdown themselves and end with a status of their own.
///
/// Dropping the future ends every connection at once.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    options: Options,
    shutdown: Shutdown,
) {
    let abort = CancellationToken::new();
    let _abort_if_dropped = abort.clone().drop_guard();
    let tasks = TaskTracker::new();
    let deadline = options.drain_deadline;
    let server = Arc::new(Server {
        tls: tls.map(TlsAcceptor::from),
        router,
        lobby: options.strangers.clone().map(Lobby::new),
        options,
        drain: shutdown.clone(),
        abort: abort.clone(),
        tasks: tasks.clone(),
    });
    tokio::select! {
        () = shutdown.wait() => {}
        () = accept_all(&listener, &server) => {}
    }
    drop(listener);
    drop(server);
    tasks.close();
    if tokio::time::timeout(deadline, tasks.wait()).await.is_err() {
        tracing::info!(
            tasks = tasks.len(),
            "dropping requests that did not end within {deadline:?} of the shutdown"
        );
        abort.cancel();
        tasks.wait().await;
    }
}

/// Accepts connections for ever.
async fn accept_all(listener: &TcpListener, server: &Arc<Server>) {
    let places = server
        .options
        .max_connections
        .map(|n| Arc::new(Semaphore::new(n)));
    let mut starved = false;
    loop {
        let place = match &places {
            Some(places) => Some(
                Arc::clone(places)
                    .acquire_owned()
                    .await
                    .expect("the semaphore is never closed"),
            ),
            None => None,
        };
        match listener.accept().await {
            Ok((tcp, peer)) => {
                if std::mem::take(&mut starved) {
                    tracing::info!("accepting connections again");
                }
                spawn(server, tcp, peer, place);
            }
            Err(error) if is_of_the_peer(&error) => tracing::debug!(%error, "accept failed"),
            Err(error) => {
                if !std::mem::replace(&mut starved, true) {
                    tracing::warn!(
                        %error,
                        "cannot accept connections, trying on; is the limit of open files too low?"
                    );
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Errors of the connection that was to be accepted, not of the listener.
fn is_of_the_peer(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

fn spawn(
    server: &Arc<Server>,
    tcp: tokio::net::TcpStream,
    peer: SocketAddr,
    place: Option<OwnedSemaphorePermit>,
) {
    let peer = PeerAddr::of(peer);
    let guest = match &server.lobby {
        None => None,
        Some(lobby) => match lobby.enter(peer.0.ip()) {
            Some(guest) => Some(guest),
            None => {
                lobby.limits.turned_away.inc();
                tracing::debug!(peer = %peer.0, "turned away: too many strangers from its address");
                return;
            }
        },
    };
    let task_server = Arc::clone(server);
    server.tasks.spawn(async move {
        let _place = place;
        let abort = task_server.abort.clone();
        tokio::select! {
            biased;
            () = abort.cancelled() => {}
            ended = connection::run(task_server, tcp, peer, guest) => if let Err(error) = ended {
                tracing::debug!(
                    peer = %peer.0,
                    error = &error as &dyn std::error::Error,
                    "connection ended: {error}"
                );
            }
        }
    });
}
