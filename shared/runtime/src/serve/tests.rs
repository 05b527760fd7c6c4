use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Extension;
use axum::routing::{get, post};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::shutdown::{self, Trigger};
use crate::tls::{ALPN_H2, ALPN_HTTP11, Identity, Trust, client_config, server_config};

/// A running server.
struct Running {
    address: SocketAddr,
    trigger: Trigger,
    task: JoinHandle<()>,
    identity: Option<Identity>,
    /// Notified when a request to `/slow` has come, and when it may be answered.
    slow: Arc<(Notify, Notify)>,
}

impl Running {
    fn plain() -> Self {
        Self::start(Options::default(), None)
    }

    fn tls() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create(dir.path()).unwrap();
        Self::start(Options::default(), Some(identity))
    }

    fn start(options: Options, identity: Option<Identity>) -> Self {
        let slow = Arc::new((Notify::new(), Notify::new()));
        let in_handler = Arc::clone(&slow);
        let router =
            Router::new()
                .route(
                    "/who",
                    get(
                        |Extension(peer): Extension<PeerAddr>,
                         Extension(scheme): Extension<Scheme>| async move {
                            format!("{} {} {}", scheme.as_str(), peer.0, peer.is_loopback())
                        },
                    ),
                )
                .route("/echo", post(|body: String| async move { body }))
                .route(
                    "/slow",
                    get(move || async move {
                        in_handler.0.notify_one();
                        in_handler.1.notified().await;
                        "done"
                    }),
                )
                .route("/endless", get(|| async { Body::new(Pending) }));
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let (trigger, shutdown) = shutdown::channel();
        let tls = identity.as_ref().map(server_config);
        let task = tokio::spawn(serve(listener, tls, router, options, shutdown));
        Self {
            address,
            trigger,
            task,
            identity,
            slow,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn connect_tls(&self, alpn: &[&[u8]]) -> tokio_rustls::client::TlsStream<TcpStream> {
        let pem = self
            .identity
            .as_ref()
            .unwrap()
            .cert_pem()
            .as_bytes()
            .to_vec();
        let config = client_config(&Trust::Ca(pem), alpn).unwrap();
        tokio_rustls::TlsConnector::from(config)
            .connect(
                ServerName::try_from("localhost").unwrap(),
                self.connect().await,
            )
            .await
            .unwrap()
    }

    /// Sends bytes and returns all that comes back until the server closes.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut tcp = self.connect().await;
        tcp.write_all(bytes).await.unwrap();
        read_all(&mut tcp).await
    }

    async fn assert_alive(&self) {
        let answer = self
            .raw(b"GET /who HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    async fn end(self) {
        self.trigger.trigger();
        self.task.await.unwrap();
        let error = TcpStream::connect(self.address).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}

/// A body without an end.
struct Pending;

impl hyper::body::Body for Pending {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

async fn read_all(io: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    // A reset is an end like another.
    let _ = io.read_to_end(&mut all).await;
    String::from_utf8_lossy(&all).into_owned()
}

type Client = hyper::client::conn::http2::SendRequest<Empty<bytes::Bytes>>;

/// An HTTP/2 client with prior knowledge.
async fn http2<T>(io: T) -> (Client, JoinHandle<hyper::Result<()>>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io))
            .await
            .unwrap();
    (client, tokio::spawn(connection))
}

fn request(path: &str) -> hyper::Request<Empty<bytes::Bytes>> {
    hyper::Request::get(format!("http://localhost{path}"))
        .body(Empty::new())
        .unwrap()
}

async fn text(response: hyper::Response<hyper::body::Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn http1_and_http2_share_a_plain_port() {
    let server = Running::plain();
    let answer = server
        .raw(b"GET /who HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.contains("http 127.0.0.1:"), "{answer}");
    assert!(answer.ends_with(" true"), "{answer}");
    let (mut client, connection) = http2(server.connect().await).await;
    let answer = text(client.send_request(request("/who")).await.unwrap()).await;
    assert!(answer.starts_with("http 127.0.0.1:"), "{answer}");
    drop(client);
    connection.await.unwrap().unwrap();
    server.end().await;
}

#[tokio::test]
async fn http1_and_http2_share_a_tls_port() {
    let server = Running::tls();
    // With ALPN h2, and with none at all: then the first bytes tell.
    for alpn in [&[ALPN_H2][..], &[]] {
        let (mut client, _connection) = http2(server.connect_tls(alpn).await).await;
        let answer = text(client.send_request(request("/who")).await.unwrap()).await;
        assert!(answer.starts_with("https 127.0.0.1:"), "{answer}");
    }
    for alpn in [&[ALPN_HTTP11][..], &[]] {
        let mut tls = server.connect_tls(alpn).await;
        tls.write_all(
            b"POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
        )
        .await
        .unwrap();
        assert!(read_all(&mut tls).await.ends_with("hi"));
    }
    server.end().await;
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let plain = Running::plain();
    let encrypted = Running::tls();
    let zeros = [0; 4096];
    let huge_line = [b'a'; 200_000];
    let garbage: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\xff\xfe\xfd",
        &zeros,
        &huge_line,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage instead of frames",
        b"GET / HTTP/9.9\r\n\r\n",
    ];
    for server in [&plain, &encrypted] {
        for bytes in garbage {
            let mut tcp = server.connect().await;
            // The server may close before it has taken everything.
            let _ = tcp.write_all(bytes).await;
            let _ = tcp.shutdown().await;
            read_all(&mut tcp).await;
        }
        // A port scan: connect, say nothing, go.
        drop(server.connect().await);
    }
    plain.assert_alive().await;
    let (mut client, _connection) = http2(encrypted.connect_tls(&[ALPN_H2]).await).await;
    client.send_request(request("/who")).await.unwrap();
    plain.end().await;
    drop(client);
    encrypted.end().await;
}

#[tokio::test]
async fn stalled_connections_are_closed_by_the_server() {
    let options = Options {
        handshake_timeout: Duration::from_millis(50),
        header_read_timeout: Duration::from_millis(50),
        ..Options::default()
    };
    let plain = Running::start(options.clone(), None);
    let encrypted = Running::start(options, Running::tls().identity);
    // Each returns once the server has closed; none closes by itself.
    for bytes in [&b""[..], b"PRI * HT", b"GET / HTTP/1.1\r\nhost: a\r\n"] {
        plain.raw(bytes).await;
    }
    encrypted.raw(b"\x16\x03\x01\x02").await;
    let mut after_handshake = encrypted.connect_tls(&[]).await;
    read_all(&mut after_handshake).await;
}

#[tokio::test]
async fn long_heads_are_accepted_and_endless_ones_refused() {
    let server = Running::plain();
    let long = format!(
        "GET /who?q={} HTTP/1.1\r\nhost: a\r\nx-long: {}\r\nconnection: close\r\n\r\n",
        "q".repeat(40_000),
        "x".repeat(60_000),
    );
    assert!(
        server
            .raw(long.as_bytes())
            .await
            .starts_with("HTTP/1.1 200")
    );
    let (mut client, _connection) = http2(server.connect().await).await;
    let mut large = request(&format!("/who?q={}", "q".repeat(40_000)));
    large
        .headers_mut()
        .insert("x-long", "x".repeat(60_000).parse().unwrap());
    assert_eq!(client.send_request(large).await.unwrap().status(), 200);
    let mut larger = request("/who");
    larger
        .headers_mut()
        .insert("x-long", "x".repeat(200_000).parse().unwrap());
    // Refused by status, or by our own client, which knows the limit from SETTINGS.
    let refused = client
        .send_request(larger)
        .await
        .map(|r| r.status().as_u16());
    assert!(matches!(refused, Ok(431) | Err(_)), "{refused:?}");

    let endless = format!("GET / HTTP/1.1\r\nx-long: {}", "x".repeat(140_000));
    let mut tcp = server.connect().await;
    let _ = tcp.write_all(endless.as_bytes()).await;
    let mut first = [0; 12];
    if tcp.read_exact(&mut first).await.is_ok() {
        assert_eq!(&first, b"HTTP/1.1 431");
    }
    server.assert_alive().await;
}

#[tokio::test]
async fn requests_in_flight_finish_after_the_shutdown_began() {
    let server = Running::plain();
    let mut first = server.connect().await;
    first
        .write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    server.slow.0.notified().await;
    let (mut client, connection) = http2(server.connect().await).await;
    let second = tokio::spawn(client.send_request(request("/slow")));
    server.slow.0.notified().await;
    let idle = server.connect().await;

    server.trigger.trigger();
    // GOAWAY: this connection takes no more requests, and ends with the last one.
    server.slow.1.notify_one();
    server.slow.1.notify_one();
    let slow = Arc::clone(&server.slow);
    let answer = read_all(&mut first);
    let (answer, second) = tokio::join!(answer, second);
    assert!(answer.ends_with("done"), "{answer}");
    assert_eq!(text(second.unwrap().unwrap()).await, "done");
    connection.await.unwrap().unwrap();
    drop((slow, idle));
    server.end().await;
}

#[tokio::test]
async fn endless_responses_are_dropped_at_the_deadline() {
    let deadline = Duration::from_millis(100);
    let options = Options {
        drain_deadline: deadline,
        ..Options::default()
    };
    let server = Running::start(options, None);
    let (mut client, connection) = http2(server.connect().await).await;
    let response = client.send_request(request("/endless")).await.unwrap();
    let begun = tokio::time::Instant::now();
    server.end().await;
    assert!(begun.elapsed() >= deadline);
    assert!(response.into_body().collect().await.is_err());
    let _ = connection.await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let options = Options {
        max_connections: Some(1),
        ..Options::default()
    };
    let server = Running::start(options, None);
    let (mut client, connection) = http2(server.connect().await).await;
    client.send_request(request("/who")).await.unwrap();
    let (mut late, _late_connection) = http2(server.connect().await).await;
    let answer = late.send_request(request("/who"));
    let mut answer = std::pin::pin!(answer);
    // The first connection still answers, and the late one still waits.
    client.send_request(request("/who")).await.unwrap();
    assert!(futures_poll(answer.as_mut()).await.is_none());
    drop(client);
    connection.await.unwrap().unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
}

/// The output of a future if it is there already.
async fn futures_poll<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = &mut future => Some(output),
        () = std::future::ready(()) => None,
    }
}

#[tokio::test]
async fn taken_port_is_named_with_what_to_do() {
    let first = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = first.local_addr().unwrap();
    let error = bind_for(address, "KUMA_DP_SERVER_PORT").unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&format!("cannot listen on {address}")),
        "{text}"
    );
    assert!(
        text.contains("choose another port with KUMA_DP_SERVER_PORT"),
        "{text}"
    );
    assert!(
        text.contains(&format!("sport = :{}", address.port())),
        "{text}"
    );
    drop(first);
    bind(address).unwrap();

    let elsewhere = bind(SocketAddr::from(([192, 0, 2, 1], 0))).unwrap_err();
    assert!(
        matches!(elsewhere, ServeError::NotLocal { .. }),
        "{elsewhere}"
    );
}

#[tokio::test]
async fn one_socket_serves_ipv4_and_ipv6_and_shows_ipv4_peers_as_such() {
    let address = socket_address("", 0).unwrap();
    let listener = bind(address).unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (_server, peer) = listener.accept().await.unwrap();
    assert_eq!(PeerAddr::of(peer).0, client.local_addr().unwrap());
    assert!(PeerAddr::of(peer).is_loopback());
    assert_eq!(socket_address("[::1]", 7).unwrap().to_string(), "[::1]:7");
    assert!(socket_address("no such host", 7).is_err());
}
