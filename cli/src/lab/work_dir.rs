//! The folder in which the lab keeps stores, logs and examples.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

/// A folder that is kept if the user named it or the lab failed, and removed otherwise.
#[derive(Debug)]
pub(super) struct WorkDir {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl WorkDir {
    pub(super) fn prepare(named: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(path) = named {
            let path = fs::create_dir_all(path)
                .and_then(|()| fs::canonicalize(path))
                .with_context(|| format!("cannot make the folder {}", path.display()))?;
            return Ok(Self {
                path,
                temporary: None,
            });
        }
        let temporary = tempfile::Builder::new()
            .prefix("meridian-lab-")
            .tempdir()
            .context("cannot make a temporary folder; name one with --work-dir")?;
        Ok(Self {
            path: temporary.path().to_owned(),
            temporary: Some(temporary),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it there for somebody to look at.
    pub(super) fn keep(self) -> PathBuf {
        if let Some(temporary) = self.temporary {
            return temporary.keep();
        }
        self.path
    }
}
