//! A TLS client for gateways, which says exactly what it can and sees what it was shown.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The kind of key that a client can verify signatures of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signatures {
    /// Only RSA.
    Rsa,
    /// Only ECDSA.
    Ecdsa,
    /// Both, ECDSA preferred, as browsers do.
    All,
}

/// Connects to one address under one name. It trusts every certificate: tests look which it was.
#[derive(Debug, Clone)]
pub struct TlsClient {
    at: SocketAddr,
    server_name: String,
    signatures: Signatures,
    alpn: Vec<Vec<u8>>,
}

impl TlsClient {
    /// A client that offers HTTP/1.1 and verifies every kind of signature.
    ///
    /// An empty `server_name` sends no SNI.
    pub fn new(at: SocketAddr, server_name: &str) -> Self {
        Self {
            at,
            server_name: server_name.to_owned(),
            signatures: Signatures::All,
            alpn: vec![b"http/1.1".to_vec()],
        }
    }

    /// The same client with other signatures.
    #[must_use]
    pub fn verifying(self, signatures: Signatures) -> Self {
        Self { signatures, ..self }
    }

    /// The same client with other protocols (ALPN), none for no such extension.
    #[must_use]
    pub fn offering(self, protocols: &[&str]) -> Self {
        let alpn = protocols.iter().map(|name| name.as_bytes().to_vec());
        Self {
            alpn: alpn.collect(),
            ..self
        }
    }

    /// A TLS connection, for any protocol.
    ///
    /// # Errors
    /// When nobody answers there, or the handshake fails.
    pub async fn handshake(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(Trusting {
            signatures: self.signatures,
            algorithms: provider.signature_verification_algorithms,
        });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols.clone_from(&self.alpn);
        config.enable_sni = !self.server_name.is_empty();
        let name = if self.server_name.is_empty() {
            ServerName::from(self.at.ip())
        } else {
            ServerName::try_from(self.server_name.clone())?
        };
        let stream = TcpStream::connect(self.at).await?;
        stream.set_nodelay(true)?;
        Ok(TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?)
    }

    /// A connection for HTTP, in the version that the server chose by ALPN.
    ///
    /// # Errors
    /// When nobody answers there, or the handshake fails.
    pub async fn connect(&self) -> anyhow::Result<TlsConnection> {
        let stream = self.handshake().await?;
        let (_, tls) = stream.get_ref();
        let shown = tls.peer_certificates().and_then(<[_]>::first);
        let certificate = shown.context("the server shows a certificate")?.to_vec();
        let protocol = tls.alpn_protocol().map(<[u8]>::to_vec);
        let protocol = protocol.map(|name| String::from_utf8_lossy(&name).into_owned());
        let io = TokioIo::new(stream);
        let sender = if protocol.as_deref() == Some("h2") {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::spawn(connection);
            Sender::Http1(sender)
        };
        Ok(TlsConnection {
            certificate,
            protocol,
            sender,
        })
    }
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

/// A connection that is kept for several requests.
#[derive(Debug)]
pub struct TlsConnection {
    certificate: Vec<u8>,
    protocol: Option<String>,
    sender: Sender,
}

impl TlsConnection {
    /// The certificate that the server showed, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The protocol that was agreed on, if any.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Asks for a path under a Host.
    ///
    /// # Errors
    /// When there is no answer: the connection is closed.
    pub async fn get(&mut self, host: &str, path: &str) -> anyhow::Result<Response<Bytes>> {
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                let request = Request::get(path).header("host", host);
                sender.send_request(request.body(Empty::new())?).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                let request = Request::get(format!("https://{host}{path}"));
                sender.send_request(request.body(Empty::new())?).await?
            }
        };
        let (head, body) = response.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}

/// Takes any certificate whose key made the signature.
#[derive(Debug)]
struct Trusting {
    signatures: Signatures,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let is_rsa = |scheme: &SignatureScheme| {
            matches!(
                scheme,
                SignatureScheme::RSA_PKCS1_SHA256
                    | SignatureScheme::RSA_PKCS1_SHA384
                    | SignatureScheme::RSA_PKCS1_SHA512
                    | SignatureScheme::RSA_PSS_SHA256
                    | SignatureScheme::RSA_PSS_SHA384
                    | SignatureScheme::RSA_PSS_SHA512
            )
        };
        let all = self.algorithms.supported_schemes().into_iter();
        all.filter(|scheme| match self.signatures {
            Signatures::Rsa => is_rsa(scheme),
            Signatures::Ecdsa => !is_rsa(scheme),
            Signatures::All => true,
        })
        .collect()
    }
}
