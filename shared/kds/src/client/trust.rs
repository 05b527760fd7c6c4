//! Whom a zone trusts as its global, when that is said by a file.

use std::path::PathBuf;
use std::sync::Arc;

use mesh_runtime::tls::{self, Trust};
use parking_lot::Mutex;
use rustls::ClientConfig;

use super::file;

/// The file with the certificates of the CAs that may vouch for the global. It is read for every
/// connection; while it holds nothing of use, what it held before counts.
pub(super) struct RootCa {
    file: PathBuf,
    last: Mutex<Option<(Vec<u8>, Arc<ClientConfig>)>>,
}

impl RootCa {
    pub(super) fn new(file: PathBuf) -> Self {
        Self {
            file,
            last: Mutex::default(),
        }
    }

    /// The settings of the next connection; none if the file was never of use.
    pub(super) async fn settings(&self) -> Option<Arc<ClientConfig>> {
        let last = || {
            self.last
                .lock()
                .as_ref()
                .map(|(_, config)| Arc::clone(config))
        };
        let file = self.file.display();
        let pem = match file::read(&self.file).await {
            Ok(pem) => pem,
            Err(error) => {
                tracing::debug!(%error, "cannot read {file}; going on with what it held before");
                return last();
            }
        };
        if self
            .last
            .lock()
            .as_ref()
            .is_some_and(|(before, _)| *before == pem)
        {
            return last();
        }
        match tls::client_config(&Trust::Ca(pem.clone()), &[tls::ALPN_H2]) {
            Ok(config) => *self.last.lock() = Some((pem, config)),
            Err(error) => tracing::debug!(
                %error,
                "{file} holds no usable CA; going on with what it held before"
            ),
        }
        last()
    }
}

impl std::fmt::Debug for RootCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RootCa")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_file_held_counts_until_it_holds_something_better() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let ca = RootCa::new(file.clone());
        assert!(ca.settings().await.is_none());
        let pem = |name: &str| {
            let dir = folder.path().join(name);
            let identity = tls::Identity::load_or_create(&dir).unwrap();
            identity.cert_pem().to_string()
        };
        std::fs::write(&file, pem("a")).unwrap();
        let first = ca.settings().await.unwrap();
        assert!(Arc::ptr_eq(&first, &ca.settings().await.unwrap()));
        for bad in ["", "garbage"] {
            std::fs::write(&file, bad).unwrap();
            assert!(
                Arc::ptr_eq(&first, &ca.settings().await.unwrap()),
                "{bad:?}"
            );
        }
        std::fs::remove_file(&file).unwrap();
        assert!(Arc::ptr_eq(&first, &ca.settings().await.unwrap()));
        std::fs::write(&file, pem("b")).unwrap();
        assert!(!Arc::ptr_eq(&first, &ca.settings().await.unwrap()));
    }
}
