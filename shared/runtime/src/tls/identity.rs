//! A server's certificate chain and key: from two files, or made once into the work directory.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::{TlsError, generate, provider};
use crate::whole_file;

/// Name of the certificate file in the work directory; the name that Kuma uses.
const CERT_FILE: &str = "kuma-cp.crt";
/// Name of the key file in the work directory.
const KEY_FILE: &str = "kuma-cp.key";

/// A certificate chain with the key of its first certificate; cheap to clone.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    cert_pem: Arc<str>,
}

impl Identity {
    /// Reads a PEM chain (leaf first) and its PEM key (PKCS#8, PKCS#1 or SEC1).
    ///
    /// # Errors
    ///
    /// When a file is missing, is not such PEM, or the two do not belong together.
    pub fn load(cert_file: &Path, key_file: &Path) -> Result<Self, TlsError> {
        let cert_pem = read(cert_file)?;
        let key_pem = read(key_file)?;
        let chain = certificates(&cert_pem, &cert_file.display().to_string())?;
        let key = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|error| pem_error(&error, &key_file.display().to_string(), "PRIVATE KEY"))?;
        let certified =
            CertifiedKey::from_der(chain, key, &provider()).map_err(|source| TlsError::Pair {
                cert: cert_file.to_owned(),
                key: key_file.to_owned(),
                source,
            })?;
        Ok(Self {
            certified: Arc::new(certified),
            cert_pem: String::from_utf8_lossy(&cert_pem).into(),
        })
    }

    /// The pair `kuma-cp.crt` and `kuma-cp.key` of `work_dir`, made first if neither exists.
    ///
    /// An existing pair is used as it is, whoever made it. A new one is a leaf for this host's
    /// names and addresses, valid for ten years, followed in the same file by the CA that signed
    /// it, so the file serves others as their CA file; the CA's key is kept nowhere. Processes
    /// that share a work directory and start together agree on one pair.
    ///
    /// # Errors
    ///
    /// When one file of the pair is missing or unusable, or a new one cannot be written.
    pub fn load_or_create(work_dir: &Path) -> Result<Self, TlsError> {
        let cert_file = work_dir.join(CERT_FILE);
        let key_file = work_dir.join(KEY_FILE);
        if !(is_there(&cert_file)? && is_there(&key_file)?) {
            create(work_dir, &cert_file, &key_file)?;
        }
        Self::load(&cert_file, &key_file)
    }

    /// The chain as it was read, PEM; a file of this text is a usable CA file for our clients.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The chain, leaf first; never empty.
    pub fn cert_chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Answers every client hello with this identity.
    pub(super) fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.certified)))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificates", &self.certified.cert.len())
            .field("key", &"***")
            .finish()
    }
}

/// All certificates of a PEM text; other sections are skipped. `origin` names it in errors.
pub(super) fn certificates(
    pem: &[u8],
    origin: &str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| pem_error(&error, origin, "CERTIFICATE"))?;
    if certificates.is_empty() {
        return Err(pem_error(&PemError::NoItemsFound, origin, "CERTIFICATE"));
    }
    Ok(certificates)
}

fn pem_error(error: &PemError, origin: &str, wanted: &'static str) -> TlsError {
    let origin = origin.to_owned();
    match error {
        PemError::NoItemsFound => TlsError::NoSection { origin, wanted },
        other => TlsError::Malformed {
            origin,
            wanted,
            reason: other.to_string(),
        },
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

fn is_there(path: &Path) -> Result<bool, TlsError> {
    path.try_exists().map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Makes the pair unless another process did so while we waited for the directory's lock.
fn create(work_dir: &Path, cert_file: &Path, key_file: &Path) -> Result<(), TlsError> {
    fs::create_dir_all(work_dir).map_err(|source| write_error(work_dir, source))?;
    let dir = File::open(work_dir).map_err(|source| write_error(work_dir, source))?;
    // Held until `dir` is dropped: a second process must not see half of our pair, nor make its own.
    dir.lock().map_err(|source| write_error(work_dir, source))?;
    match (is_there(cert_file)?, is_there(key_file)?) {
        (true, true) => return Ok(()),
        (false, false) => {}
        (true, false) => return Err(half(cert_file, key_file)),
        (false, true) => return Err(half(key_file, cert_file)),
    }
    let pair = generate::pair(crate::clock::now())?;
    place(key_file, pair.key_pem.as_bytes(), 0o600)?;
    place(cert_file, pair.cert_pem.as_bytes(), 0o644)?;
    tracing::info!(
        names = %pair.names.join(","),
        "made a TLS certificate for this host: {}",
        cert_file.display()
    );
    Ok(())
}

fn half(present: &Path, missing: &Path) -> TlsError {
    TlsError::HalfPair {
        present: present.to_owned(),
        missing: missing.to_owned(),
    }
}

fn write_error(path: &Path, source: io::Error) -> TlsError {
    TlsError::Write {
        path: path.to_owned(),
        source,
    }
}

fn place(path: &Path, content: &[u8], mode: u32) -> Result<(), TlsError> {
    whole_file::replace(path, content, mode).map_err(|source| write_error(path, source))
}
