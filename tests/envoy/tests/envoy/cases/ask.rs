//! A client that sends exactly what a case says.
//!
//! Neither paths nor names of headers are tidied up, each request has a connection of its own,
//! and any certificate will do: the case says which one it has to be.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_harness::{COUNTED_HEADER, Signatures, TlsClient};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::case::Case;

/// Longer than any gateway waits for a backend.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is sent.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Ask {
    /// `PATH` or `METHOD PATH`, as it stands in the first line of the request. For listeners of
    /// TCP and TLS: the bytes to send.
    pub(crate) ask: String,
    /// The port as written at the listener; without it that of the first one.
    pub(crate) port: Option<u16>,
    /// The Host header; without it `gateway.example`.
    pub(crate) host: Option<String>,
    /// The name in TLS; without it that of `host`. Empty: none.
    pub(crate) sni: Option<String>,
    /// More headers.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// 1 or 2; without it 1.
    pub(crate) http: Option<u8>,
    /// The kind of certificate that the client can check: `rsa`, `ecdsa`; without it both.
    pub(crate) keys: Option<Keys>,
    /// Whether the head of the request never ends.
    #[serde(default)]
    pub(crate) unfinished: bool,
    /// So often, one after the other.
    pub(crate) times: Option<u32>,
    /// So many at once.
    pub(crate) parallel: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Keys {
    Rsa,
    Ecdsa,
}

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// The server's (DER), if the client asked over TLS.
    pub(crate) certificate: Option<Vec<u8>>,
    /// By this value of [`COUNTED_HEADER`] backends know the request.
    pub(crate) id: String,
}

impl Answer {
    /// The values of a header, joined.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let of_name = self
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let values: Vec<&str> = of_name.map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(","))
    }
}

impl Ask {
    /// Sends it once.
    ///
    /// # Errors
    /// When the connection is refused or closed without an answer.
    pub(crate) async fn send(&self, case: &Case, gateway: IpAddr) -> anyhow::Result<Answer> {
        let at = SocketAddr::new(gateway, case.port(self.port)?);
        tokio::time::timeout(PATIENCE, self.send_to(case, at)).await?
    }

    async fn send_to(&self, case: &Case, at: SocketAddr) -> anyhow::Result<Answer> {
        let protocol = case.protocol(self.port);
        if !matches!(protocol, "HTTPS" | "TLS") {
            return self
                .converse(case, protocol, TcpStream::connect(at).await?)
                .await;
        }
        let stream = self.tls(at).handshake().await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let certificate = certificates.and_then(|all| Some(all.first()?.to_vec()));
        let answer = self.converse(case, protocol, stream).await?;
        Ok(Answer {
            certificate,
            ..answer
        })
    }

    fn tls(&self, at: SocketAddr) -> TlsClient {
        let host = self.host().split(':').next().unwrap_or_default();
        let client = TlsClient::new(at, self.sni.as_deref().unwrap_or(host));
        let client = match self.keys {
            Some(Keys::Rsa) => client.verifying(Signatures::Rsa),
            Some(Keys::Ecdsa) => client.verifying(Signatures::Ecdsa),
            None => client,
        };
        match self.http {
            Some(2) => client.offering(&["h2"]),
            _ => client,
        }
    }

    async fn converse(
        &self,
        case: &Case,
        protocol: &str,
        mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> anyhow::Result<Answer> {
        if self.unfinished {
            let (method, path) = self.method_and_path();
            let head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nx-end", self.host());
            stream.write_all(head.as_bytes()).await?;
            let mut got = Vec::new();
            stream.read_to_end(&mut got).await?;
            let got = String::from_utf8(got)?;
            let status = got.split(' ').nth(1).context("no status")?.parse()?;
            return Ok(Answer {
                status,
                ..Answer::default()
            });
        }
        if matches!(protocol, "HTTP" | "HTTPS") {
            return self.request(case, stream).await;
        }
        stream.write_all(self.ask.as_bytes()).await?;
        stream.flush().await?;
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await?;
        anyhow::ensure!(!got.is_empty(), "closed without a byte");
        Ok(Answer {
            body: String::from_utf8(got)?,
            ..Answer::default()
        })
    }

    async fn request(
        &self,
        case: &Case,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> anyhow::Result<Answer> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
        let (method, path) = self.method_and_path();
        let host = case.with_ports(self.host());
        let is_http2 = self.http == Some(2);
        let uri = if is_http2 {
            format!("http://{host}{path}")
        } else {
            path.to_owned()
        };
        let mut request = http::Request::builder().method(method).uri(uri);
        if !is_http2 {
            request = request.header("host", host);
        }
        request = request.header(COUNTED_HEADER, &id);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Empty::<Bytes>::new())?;
        let io = TokioIo::new(stream);
        let response = if is_http2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        let text =
            |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: headers
                .map(|(name, value)| (name.to_string(), text(value)))
                .collect(),
            body: String::from_utf8_lossy(&body).into_owned(),
            certificate: None,
            id,
        })
    }

    /// What the first line of the request says.
    pub(crate) fn method_and_path(&self) -> (&str, &str) {
        self.ask.split_once(' ').unwrap_or(("GET", &self.ask))
    }

    /// As it is written.
    pub(crate) fn host(&self) -> &str {
        self.host.as_deref().unwrap_or("gateway.example")
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.ask)?;
        if let Some(host) = &self.host {
            write!(f, " at {host}")?;
        }
        if let Some(port) = self.port {
            write!(f, " on port {port}")?;
        }
        if let Some(sni) = &self.sni {
            write!(f, " with SNI {sni:?}")?;
        }
        if let Some(keys) = self.keys {
            write!(f, " by a client of {keys:?}")?;
        }
        Ok(())
    }
}
