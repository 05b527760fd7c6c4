//! The backends and certificates that all cases share.
//!
//! `a`, `b`, `c` and `d` are services of one HTTP backend each, `twins` is a service of two, with
//! the tags `version: v1` and `v2`; `h2` speaks HTTP/2, as its tag says. `tcp-a` and `tcp-b`
//! answer `NAME:` and what they got, `greeter` speaks first, `tls-a` does as `tcp-a` behind a
//! certificate of its own (`tls-a`). `x` (HTTP) and `xs` (HTTPS) are outside of the mesh, and
//! `down` is in it, but nothing listens there. `nobody` has no endpoints.
//!
//! The certificates `edge`, `edge-rsa` and `other` are Secrets of the mesh and files.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use mesh_harness::{Backend, Certificate};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Backends, certificates and the files of these.
pub(crate) struct World {
    pub(crate) http: BTreeMap<&'static str, Backend>,
    servers: BTreeMap<&'static str, Server>,
    certificates: BTreeMap<&'static str, Certificate>,
    files: tempfile::TempDir,
}

/// A server of something else than HTTP. Dropping it stops it.
struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a [`Server`] does with a connection.
#[derive(Clone, Copy)]
enum Manner {
    /// It answers its name and what it got.
    Echo,
    /// It says its name first.
    Greeter,
}

impl World {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let mut http = BTreeMap::new();
        for name in ["a", "b", "c", "d", "twin-1", "twin-2", "h2", "x"] {
            http.insert(name, Backend::start(name).await);
        }
        let edge = ["secure.example.com", "*.example.com"];
        let certificates = BTreeMap::from([
            ("edge", Certificate::ecdsa(&edge)),
            ("edge-rsa", Certificate::rsa(&edge)),
            (
                "other",
                Certificate::ecdsa(&["other.example.com", "*.example.com"]),
            ),
            (
                "tls-a",
                Certificate::ecdsa(&["tls-a.example.com", "localhost"]),
            ),
        ]);
        let acceptor = acceptor(&certificates["tls-a"])?;
        let to_x = Some(http["x"].address());
        let servers = BTreeMap::from([
            ("tcp-a", Server::start("tcp-a", Manner::Echo, None).await?),
            ("tcp-b", Server::start("tcp-b", Manner::Echo, None).await?),
            (
                "greeter",
                Server::start("greeter", Manner::Greeter, None).await?,
            ),
            (
                "tls-a",
                Server::start("tls-a", Manner::Echo, Some(acceptor.clone())).await?,
            ),
            ("xs", Server::forward(to_x.context("x")?, acceptor).await?),
        ]);
        let files = tempfile::tempdir()?;
        for (name, certificate) in &certificates {
            std::fs::write(files.path().join(format!("{name}.pem")), &certificate.pem)?;
        }
        Ok(Self {
            http,
            servers,
            certificates,
            files,
        })
    }

    /// The Dataplanes of what is in the mesh.
    pub(crate) fn dataplanes(&self) -> Vec<Value> {
        let at = |name: &str, address: SocketAddr, tags: Value| {
            json!({
                "type": "Dataplane", "mesh": "default", "name": name,
                "networking": {
                    "address": address.ip().to_string(),
                    "inbound": [{"port": address.port(), "tags": tags}],
                },
            })
        };
        let mut all = Vec::new();
        for (name, backend) in self.http.iter().filter(|(name, _)| **name != "x") {
            let tags = match *name {
                "twin-1" => {
                    json!({"kuma.io/service": "twins", "kuma.io/protocol": "http", "version": "v1"})
                }
                "twin-2" => {
                    json!({"kuma.io/service": "twins", "kuma.io/protocol": "http", "version": "v2"})
                }
                "h2" => json!({"kuma.io/service": "h2", "kuma.io/protocol": "http2"}),
                name => json!({"kuma.io/service": name, "kuma.io/protocol": "http"}),
            };
            all.push(at(name, backend.address(), tags));
        }
        for (name, server) in self.servers.iter().filter(|(name, _)| **name != "xs") {
            let tags = json!({"kuma.io/service": name, "kuma.io/protocol": "tcp"});
            all.push(at(name, server.address, tags));
        }
        // The discard port: below those that anybody here listens on.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let tags = json!({"kuma.io/service": "down", "kuma.io/protocol": "http"});
        all.push(at("down", nowhere, tags));
        all
    }

    /// The certificates as Secrets.
    pub(crate) fn secrets(&self) -> Vec<Value> {
        let all = self.certificates.iter();
        all.map(|(name, certificate)| certificate.secret(name))
            .collect()
    }

    /// The name of a certificate that a server showed.
    pub(crate) fn name_of(&self, shown: &[u8]) -> Option<&'static str> {
        let is_it = |(_, one): &(&&str, &Certificate)| one.der == shown;
        self.certificates.iter().find(is_it).map(|(name, _)| *name)
    }

    /// Puts addresses and paths in the place of `${…}`.
    pub(crate) fn fill(&self, value: &Value) -> anyhow::Result<Value> {
        Ok(match value {
            Value::String(text) => self.fill_text(text)?.into(),
            Value::Array(values) => {
                let filled = values.iter().map(|value| self.fill(value));
                filled.collect::<anyhow::Result<Vec<_>>>()?.into()
            }
            Value::Object(fields) => {
                let filled = fields
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), self.fill(value)?)));
                Value::Object(filled.collect::<anyhow::Result<_>>()?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }

    fn fill_text(&self, text: &str) -> anyhow::Result<String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (what, after) = after.split_once('}').context("${ without }")?;
            out.push_str(before);
            out.push_str(
                &self
                    .named(what)
                    .with_context(|| format!("there is no {what}"))?,
            );
            rest = after;
        }
        Ok(out + rest)
    }

    fn named(&self, what: &str) -> Option<String> {
        if let Some(name) = what.strip_suffix(".port") {
            return Some(self.address(name)?.port().to_string());
        }
        if let Some(name) = what.strip_suffix(".base64") {
            let text = std::fs::read(self.file(name)?).ok()?;
            return Some(base64::prelude::BASE64_STANDARD.encode(text));
        }
        match self.file(what) {
            Some(file) => Some(file.display().to_string()),
            None => Some(self.address(what)?.to_string()),
        }
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.files.path().join(name)).filter(|file| file.is_file())
    }

    fn address(&self, name: &str) -> Option<SocketAddr> {
        let http = self.http.get(name).map(Backend::address);
        http.or_else(|| self.servers.get(name).map(|server| server.address))
    }
}

fn acceptor(certificate: &Certificate) -> anyhow::Result<TlsAcceptor> {
    mesh_runtime::tls::install_crypto_provider();
    let key = PrivateKeyDer::from_pem_slice(certificate.pem.as_bytes())?;
    let chain = vec![CertificateDer::from(certificate.der.clone())];
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    Ok(TlsAcceptor::from(Arc::new(
        config.with_single_cert(chain, key)?,
    )))
}

impl Server {
    async fn start(
        name: &'static str,
        manner: Manner,
        tls: Option<TlsAcceptor>,
    ) -> anyhow::Result<Self> {
        Self::serve(move |stream| {
            let tls = tls.clone();
            async move {
                // A client that goes away is its own business.
                let _ = match tls {
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => converse(name, manner, stream).await,
                        Err(error) => Err(error),
                    },
                    None => converse(name, manner, stream).await,
                };
            }
        })
        .await
    }

    /// Ends TLS and passes on what is in it.
    async fn forward(to: SocketAddr, tls: TlsAcceptor) -> anyhow::Result<Self> {
        Self::serve(move |stream| {
            let tls = tls.clone();
            async move {
                let (Ok(mut from), Ok(mut to)) = (
                    tls.accept(stream).await,
                    tokio::net::TcpStream::connect(to).await,
                ) else {
                    return;
                };
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            }
        })
        .await
    }

    async fn serve<F>(
        each: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
    ) -> anyhow::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(each(stream));
            }
        });
        Ok(Self { address, task })
    }
}

async fn converse(
    name: &str,
    manner: Manner,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
) -> std::io::Result<()> {
    let said = match manner {
        Manner::Echo => {
            let mut got = [0; 1024];
            let length = stream.read(&mut got).await?;
            String::from_utf8_lossy(&got[..length]).into_owned()
        }
        Manner::Greeter => "hello".to_owned(),
    };
    stream
        .write_all(format!("{name}:{said}").as_bytes())
        .await?;
    stream.shutdown().await
}
