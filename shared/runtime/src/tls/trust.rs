//! Whom a client trusts, and the verifier behind it.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};

use super::{Issued, TlsError, identity, provider};

/// Which servers a client accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those with a certificate from a CA that the operating system trusts.
    System,
    /// Those with a certificate from a CA in this PEM bundle, or with one that is in it.
    Ca(Vec<u8>),
    /// Every server that completes a handshake.
    ///
    /// **Warning:** whoever can reach the connection can read and change what passes over it,
    /// tokens included. Only for an operator who asked for it by name (`tlsSkipVerify`).
    SkipVerify,
}

/// How a client connects: TLS 1.2 or 1.3, no certificate of its own, `alpn` in order of preference.
///
/// With [`Trust::Ca`] a server whose certificate is byte for byte one of the bundle is accepted
/// if its name and dates fit; otherwise the usual path validation decides. Kuma's self-made
/// certificate is a self-signed leaf that says it is a CA, which path validation refuses as an
/// end entity although its users configure exactly that file as CA.
///
/// # Errors
///
/// When the bundle or the system's store holds no usable certificate.
pub fn client_config(trust: &Trust, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = verifying(trust)?.with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The same for a client that shows a certificate.
///
/// # Errors
///
/// As [`client_config`], and when the certificate or its key cannot be used.
pub fn client_config_as(trust: &Trust, own: &Issued) -> Result<Arc<ClientConfig>, TlsError> {
    let chain = identity::certificates(own.cert_pem.as_bytes(), "the client's certificate")?;
    let key = PrivateKeyDer::from_pem_slice(own.key_pem.as_bytes());
    let key = key.map_err(|_bad| TlsError::Generate(rcgen::Error::CouldNotParseKeyPair))?;
    let config = verifying(trust)?.with_client_auth_cert(chain, key);
    let config = config.map_err(|_bad| TlsError::Generate(rcgen::Error::CouldNotParseKeyPair))?;
    Ok(Arc::new(config))
}

fn verifying(trust: &Trust) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::System => Arc::new(Verifier {
            pinned: Vec::new(),
            paths: path_verifier(system_certificates()?)?,
            algorithms,
        }),
        Trust::Ca(pem) => {
            let pinned = identity::certificates(pem, "the CA file")?;
            Arc::new(Verifier {
                paths: path_verifier(pinned.clone())?,
                pinned,
                algorithms,
            })
        }
        Trust::SkipVerify => Arc::new(AcceptAll { algorithms }),
    };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs supports TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier))
}

fn system_certificates() -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let reason = match found.errors.first() {
            Some(error) => error.to_string(),
            None => "there are none".to_owned(),
        };
        return Err(TlsError::SystemRoots { reason });
    }
    Ok(found.certs)
}

fn path_verifier(
    anchors: Vec<CertificateDer<'static>>,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    // A system's store may hold certificates too odd to parse; the others count.
    roots.add_parsable_certificates(anchors);
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(TlsError::Bundle)
}

/// Accepts a pinned certificate, or a valid path to an anchor; always checks name and dates.
#[derive(Debug)]
struct Verifier {
    pinned: Vec<CertificateDer<'static>>,
    paths: Arc<WebPkiServerVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.pinned.iter().any(|pinned| pinned == end_entity) {
            check_dates(end_entity, now)?;
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.paths
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The validity period of RFC 5280 §4.1.2.5, both ends included.
fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|error| other(format!("the certificate's dates cannot be read: {error}")))?;
    let validity = parsed.validity();
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if seconds < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before: unix_time(validity.not_before.timestamp()),
        });
    }
    if seconds > validity.not_after.timestamp() {
        return Err(CertificateError::ExpiredContext {
            time: now,
            not_after: unix_time(validity.not_after.timestamp()),
        });
    }
    Ok(())
}

/// Dates before 1970 become 1970; only messages show them.
fn unix_time(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

fn other(message: String) -> CertificateError {
    CertificateError::Other(rustls::OtherError(Arc::new(std::io::Error::other(message))))
}

/// [`Trust::SkipVerify`]: any certificate will do, but the peer must hold its key.
#[derive(Debug)]
struct AcceptAll {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
