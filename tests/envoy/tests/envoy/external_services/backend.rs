//! An HTTPS server outside of the mesh that says whom it was taken for.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// A certificate and its key, PEM.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
    ders: (CertificateDer<'static>, PrivateKeyDer<'static>),
}

/// Who vouches for certificates.
#[derive(Debug)]
pub(super) struct Authority {
    /// Its own certificate, PEM.
    pub(super) pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        // Otherwise all names are alike, and its certificates look signed by themselves.
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for hostnames and IP addresses.
    pub(super) fn issue(&self, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let params = CertificateParams::new(names).expect("names");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let der = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            ders: (certificate.der().clone(), der),
        }
    }
}

/// Answers every request with JSON: its name, the version of HTTP, the server name that was asked
/// for, whether the client had a certificate, and the host header. Dropping it stops it.
#[derive(Debug)]
pub(super) struct TlsBackend {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl TlsBackend {
    /// Starts one on a free port of 127.0.0.1. With `clients` it takes only those whom that
    /// authority vouches for.
    pub(super) async fn start(pair: &Pair, clients: Option<&Authority>) -> anyhow::Result<Self> {
        let builder = match clients {
            None => ServerConfig::builder().with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der.clone())?;
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
                ServerConfig::builder().with_client_cert_verifier(verifier)
            }
        };
        let (certificate, key) = &pair.ders;
        let mut config = builder.with_single_cert(vec![certificate.clone()], key.clone_key())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(acceptor.clone(), stream));
            }
        });
        Ok(Self { address, task })
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for TlsBackend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream) {
    // Clients that don't trust us end here, as they should.
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let (_, session) = stream.get_ref();
    let server_name = session.server_name().map(str::to_owned);
    let has_certificate = session.peer_certificates().is_some();
    let answer = service_fn(move |request: Request<Incoming>| {
        let host = request.headers().get("host");
        let host = host.and_then(|host| host.to_str().ok());
        let body = json!({
            "instance": "outside",
            "http": format!("{:?}", request.version()),
            "server_name": server_name,
            "client_certificate": has_certificate,
            "host": host.or(request.uri().authority().map(|host| host.as_str())),
        });
        let response = Response::builder()
            .header("x-backend", "outside")
            .body(Full::new(Bytes::from(body.to_string())));
        async move { Ok::<_, Infallible>(response.expect("a response")) }
    });
    let connections = auto::Builder::new(TokioExecutor::new());
    // How a connection ends is the client's affair.
    drop(
        connections
            .serve_connection(TokioIo::new(stream), answer)
            .await,
    );
}
