//! TLS for every port and every call: who we are, whom we trust.
//!
//! [`Identity`] is a server's certificate chain and key, read from files or made once into the
//! work directory. [`Trust`] is what a client accepts. Both use rustls with aws-lc-rs, named
//! explicitly, so nothing depends on a process-wide default; TLS 1.2 and 1.3 only.
//!
//! **Invariant:** a peer is accepted only if its name and validity dates are checked, unless
//! [`Trust::SkipVerify`] was asked for by name.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, ServerConfig};

mod authority;
mod generate;
mod identity;
mod issue;
#[cfg(test)]
mod tests;
mod trust;

pub use authority::{Authority, AuthorityError, RsaBits, Wanted as WantedAuthority, authority};
pub use identity::Identity;
pub use issue::{Issued, Usage};
pub use trust::{Trust, client_config, client_config_as};

/// ALPN name of HTTP/2 over TLS (RFC 9113 §3.2).
pub const ALPN_H2: &[u8] = b"h2";
/// ALPN name of HTTP/1.1 over TLS (RFC 7301 §6).
pub const ALPN_HTTP11: &[u8] = b"http/1.1";

/// Why a certificate, key or CA file cannot be used; each text names the file and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file of a configured pair or CA bundle is missing or unreadable.
    #[error(
        "cannot read {}; check that the file exists and that this user may read it",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The work directory holds one file of the pair without the other.
    #[error(
        "{} is missing although {} exists; restore it, or remove {} to have a new pair made",
        missing.display(), present.display(), present.display()
    )]
    HalfPair {
        /// The file that is there.
        present: PathBuf,
        /// The file that is not.
        missing: PathBuf,
    },
    /// A file has no PEM section of the wanted kind.
    #[error("{origin} holds no PEM {wanted}; expected a section '-----BEGIN {wanted}-----'")]
    NoSection {
        /// The file, or what the bytes were given for.
        origin: String,
        /// The kind of section.
        wanted: &'static str,
    },
    /// A file is damaged PEM, or its content is not what its heading says.
    #[error("{origin} is not valid PEM with a {wanted} in it: {reason}")]
    Malformed {
        /// The file, or what the bytes were given for.
        origin: String,
        /// The kind of section.
        wanted: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key are each readable but do not belong together, or are unusable.
    #[error(
        "the certificate {} and the key {} cannot be used together; \
         give the key that the certificate was issued for",
        cert.display(), key.display()
    )]
    Pair {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What rustls said.
        #[source]
        source: rustls::Error,
    },
    /// Making a new pair failed.
    #[error("cannot make a certificate")]
    Generate(#[source] rcgen::Error),
    /// A new pair could not be written.
    #[error(
        "cannot write {}; check that the work directory is writable, or configure a certificate",
        path.display()
    )]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The system has no usable CA certificates.
    #[error(
        "the system's CA certificates cannot be used ({reason}); \
         install them (package ca-certificates) or configure a CA file"
    )]
    SystemRoots {
        /// What is wrong.
        reason: String,
    },
    /// The CA bundle cannot serve as one.
    #[error("the CA certificates cannot be used")]
    Bundle(#[source] rustls::client::VerifierBuilderError),
}

/// The cryptography of this process.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Makes aws-lc-rs the process-wide default, for libraries that ask for one (reqwest).
///
/// May be called any number of times and from tests; an earlier choice stays.
pub fn install_crypto_provider() {
    // An error says that a default exists already, which is all we want.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// How a server presents `identity`: TLS 1.2 or 1.3, HTTP/2 preferred over HTTP/1.1.
///
/// Client certificates are not asked for. ALPN offers `h2` because gRPC clients refuse a
/// server that does not select it.
pub fn server_config(identity: &Identity) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs supports TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(identity.resolver());
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP11.to_vec()];
    Arc::new(config)
}

/// What an operator can do about a failed handshake, if `error` or a cause of it is one.
///
/// Looks through `std::io::Error`, so the error of any client that runs over rustls will do.
pub fn explain(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return explain_tls(tls);
        }
        next = match error.downcast_ref::<std::io::Error>() {
            // An io::Error's source skips the error it wraps and goes on with that one's.
            Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

fn explain_tls(error: &rustls::Error) -> Option<&'static str> {
    let rustls::Error::InvalidCertificate(reason) = error else {
        return match error {
            rustls::Error::InvalidMessage(_) => {
                Some("the peer does not speak TLS: check the port, or use the plaintext scheme")
            }
            _ => None,
        };
    };
    match reason {
        // A bad signature is another issuer of the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Some(
            "the server's certificate is not signed by the CA we were given: \
             check the address and the CA file (the server's own certificate file will do)",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Some(
                "the server's certificate is for other names: \
                 use a name that it lists, or give the server a certificate for this one",
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Some(
            "the server's certificate has expired: renew it, \
             or remove kuma-cp.crt and kuma-cp.key from its work directory and restart it",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Some("the server's certificate is not valid yet: check both machines' clocks")
        }
        // Mostly Kuma's self-made kind of certificate, which only its own file vouches for.
        CertificateError::Other(_) => Some(
            "the server's certificate is not in the CA file and no CA can vouch for it: \
             check the address and the CA file (the server's own certificate file will do)",
        ),
        _ => None,
    }
}
