//! A server's certificate chain and key: from two files, or made once into the work directory.
//!
//! [`Identity::follow`] looks at the files now and then; what is there instead is shown to the
//! next client. A pair that cannot be used changes nothing, so it does not matter in which order
//! the two files are replaced.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::{oneshot, watch};

use super::{TlsError, generate, provider};
use crate::seen::Seen;
use crate::shutdown::Shutdown;
use crate::whole_file;

/// Name of the certificate file in the work directory; the name that Kuma uses.
const CERT_FILE: &str = "kuma-cp.crt";
/// Name of the key file in the work directory.
const KEY_FILE: &str = "kuma-cp.key";

/// How often the files are looked at. A look sees what notifications of a file system miss: mounts
/// over the network, and links that are exchanged further up the path.
const LOOK: Duration = Duration::from_secs(2);

/// A certificate chain with the key of its first certificate; cheap to clone. All clones change
/// together.
#[derive(Clone)]
pub struct Identity {
    files: Pair,
    current: Arc<watch::Sender<Loaded>>,
}

#[derive(Debug, Clone)]
struct Pair {
    cert: PathBuf,
    key: PathBuf,
}

#[derive(Clone)]
struct Loaded {
    certified: Arc<CertifiedKey>,
    cert_pem: Arc<str>,
    /// The files as they were before they were read.
    seen: [Seen; 2],
}

impl Pair {
    fn seen(&self) -> [Seen; 2] {
        [Seen::at(&self.cert), Seen::at(&self.key)]
    }

    fn load(&self) -> Result<Loaded, TlsError> {
        let seen = self.seen();
        let cert_pem = read(&self.cert)?;
        let key_pem = read(&self.key)?;
        let chain = certificates(&cert_pem, &self.cert.display().to_string())?;
        let key = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|error| pem_error(&error, &self.key.display().to_string(), "PRIVATE KEY"))?;
        let certified =
            CertifiedKey::from_der(chain, key, &provider()).map_err(|source| TlsError::Pair {
                cert: self.cert.clone(),
                key: self.key.clone(),
                source,
            })?;
        Ok(Loaded {
            certified: Arc::new(certified),
            cert_pem: String::from_utf8_lossy(&cert_pem).into(),
            seen,
        })
    }

    /// Loads if the files are others than before, on a thread of its own: it may take forever.
    async fn load_if_changed(&self, before: [Seen; 2]) -> Option<([Seen; 2], Loading)> {
        let (done, result) = oneshot::channel();
        let pair = self.clone();
        let look = move || {
            let seen = pair.seen();
            let news = (seen != before).then(|| (seen, pair.load()));
            // Nobody may be left to hear it.
            let _ = done.send(news);
        };
        let thread = std::thread::Builder::new().name("certificate".to_owned());
        if let Err(error) = thread.spawn(look) {
            tracing::debug!(%error, "cannot look at a certificate");
            return None;
        }
        result.await.ok().flatten()
    }
}

/// What became of reading the files.
type Loading = Result<Loaded, TlsError>;

impl Identity {
    /// Reads a PEM chain (leaf first) and its PEM key (PKCS#8, PKCS#1 or SEC1).
    ///
    /// # Errors
    ///
    /// When a file is missing, is not such PEM, or the two do not belong together.
    pub fn load(cert_file: &Path, key_file: &Path) -> Result<Self, TlsError> {
        let files = Pair {
            cert: cert_file.to_owned(),
            key: key_file.to_owned(),
        };
        let current = Arc::new(watch::Sender::new(files.load()?));
        Ok(Self { files, current })
    }

    /// Shows what is in the files whenever that changes, until shutdown, and tells `on_change` the
    /// new chain. What cannot be used is said once and changes nothing.
    pub async fn follow(self, shutdown: Shutdown, mut on_change: impl FnMut(&str) + Send) {
        let mut seen = self.current.borrow().seen.clone();
        loop {
            tokio::select! {
                () = shutdown.wait() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let news = tokio::select! {
                () = shutdown.wait() => return,
                news = self.files.load_if_changed(seen.clone()) => news,
            };
            let Some((now, loading)) = news else {
                continue;
            };
            seen = now;
            let file = self.files.cert.display();
            match loading {
                Ok(loaded) => {
                    if loaded.certified.cert == self.current.borrow().certified.cert {
                        continue;
                    }
                    tracing::info!("showing the new certificate of {file} from now on");
                    on_change(&loaded.cert_pem);
                    self.current.send_replace(loaded);
                }
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "going on with the certificate that was read from {file} before: {error}"
                ),
            }
        }
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
    pub fn cert_pem(&self) -> Arc<str> {
        Arc::clone(&self.current.borrow().cert_pem)
    }

    /// The chain, leaf first; never empty.
    pub fn cert_chain(&self) -> Vec<CertificateDer<'static>> {
        self.current.borrow().certified.cert.clone()
    }

    /// Answers every client hello with what this identity is then.
    pub(super) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::new(Latest(Arc::clone(&self.current)))
    }
}

/// The pair that was loaded last.
struct Latest(Arc<watch::Sender<Loaded>>);

impl ResolvesServerCert for Latest {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.borrow().certified))
    }
}

impl fmt::Debug for Latest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Latest(..)")
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificates", &self.cert_chain().len())
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
