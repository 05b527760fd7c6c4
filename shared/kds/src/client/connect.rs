//! One HTTP/2 connection to a global, with our own verification of its certificate.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// How long a connection may take to open, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Stock globals count pings closer than 15 s as strikes.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// With many resources the first exchange is large; small windows would pace it by round trips.
const WINDOW: u32 = 1 << 20;

/// Where a global is and how to speak to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS settings; `None` for plaintext (`grpc://`).
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The largest message to send or take, in bytes.
    pub max_message: usize,
}

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host is no name that TLS could verify.
    #[error("{host:?} is neither a host name nor an address")]
    ServerName {
        /// The host.
        host: String,
    },
    /// TCP or TLS failed.
    #[error("cannot connect to {host}:{port}")]
    Connect {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A byte stream, encrypted or not.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Opens byte streams to hosts.
#[async_trait]
pub trait Dial: Send + Sync + fmt::Debug {
    /// Opens one, in the clear.
    ///
    /// # Errors
    /// When the host is not known, or nothing answers there.
    async fn dial(&self, host: &str, port: u16) -> io::Result<Box<dyn Io>>;
}

/// The network of this machine.
#[derive(Debug, Clone, Copy)]
pub struct Tcp;

#[async_trait]
impl Dial for Tcp {
    async fn dial(&self, host: &str, port: u16) -> io::Result<Box<dyn Io>> {
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        Ok(Box::new(tcp))
    }
}

/// Opens a connection.
///
/// # Errors
/// When the host is none, or TCP or TLS fail; the whole chain of causes is kept.
pub(crate) async fn connect(
    target: &Target,
    dial: &Arc<dyn Dial>,
) -> Result<Channel, ConnectError> {
    let Target {
        host, port, tls, ..
    } = target.clone();
    let server_name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .map_err(|_invalid| ConnectError::ServerName { host: host.clone() })?;
    let address: Arc<str> = host.trim_matches(['[', ']']).into();
    let dial = Arc::clone(dial);
    let connector = service_fn(move |_: Uri| {
        let (dial, address) = (Arc::clone(&dial), Arc::clone(&address));
        let (server_name, tls) = (server_name.clone(), tls.clone());
        async move {
            let tcp = dial.dial(&address, port).await?;
            let io: Box<dyn Io> = match tls {
                Some(config) => Box::new(
                    tokio_rustls::TlsConnector::from(config)
                        .connect(server_name, tcp)
                        .await?,
                ),
                None => tcp,
            };
            Ok::<_, std::io::Error>(TokioIo::new(io))
        }
    });
    let scheme = if target.tls.is_some() {
        "https"
    } else {
        "http"
    };
    // The connector dials; this address only fills `:authority`.
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| ConnectError::Connect {
        host: target.host.clone(),
        port,
        source,
    };
    Endpoint::from_shared(format!("{scheme}://{}:{port}", target.host))
        .map_err(|e| failed(Box::new(e)))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW * 2)
        .connect_with_connector(connector)
        .await
        .map_err(|e| failed(Box::new(e)))
}
