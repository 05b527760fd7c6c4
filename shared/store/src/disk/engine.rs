//! sled, with its panics turned into errors and its writes made durable.
//!
//! Everything is in one tree, so that one sled batch is the unit of recovery: after a crash at
//! any instant the tree holds whole batches, up to some point after the last acknowledged one.

use std::error::Error;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mesh_model::Resource;
use tokio::time::Instant;

use super::files::{self, Files, io_error};
use super::marker::{Marker, Stage};
use super::record::{self, Record};
use super::{OpenError, lock};
use crate::snapshot::{Change, Snapshot};
use crate::{Revision, StoreId};

/// Memory for pages of sled's tree. Reads are answered from the snapshot, so this only spares
/// the writer from reading back the pages that it is about to change.
const CACHE_BYTES: u64 = 4 << 20;

/// An open sled database. Dropping it closes it.
pub(super) struct Engine {
    db: Option<sled::Db>,
    files: Files,
}

/// What opening found.
pub(super) struct Loaded {
    pub(super) engine: Engine,
    pub(super) snapshot: Snapshot,
    /// How many records of a newer release were left aside.
    pub(super) unknown: u64,
}

impl Engine {
    /// Opens or creates the database in a directory that is known to be ours, and reads it.
    pub(super) fn open(dir: &Path, mut marker: Marker) -> Result<Loaded, OpenError> {
        match marker.stage {
            Stage::Creating => remove_remains(dir)?,
            Stage::Ready => check_complete(dir)?,
        }
        let db = open_sled(dir)?;
        let (snapshot, unknown) = load(dir, &db, marker.id)?;
        let snapshot = match (snapshot, marker.stage) {
            (Some(snapshot), _) => snapshot,
            (None, Stage::Creating) => Snapshot::empty(marker.id),
            // The log is there and empty.
            (None, Stage::Ready) => {
                return Err(OpenError::Incomplete {
                    path: dir.join(files::LOG),
                });
            }
        };
        let mut engine = Self {
            db: Some(db),
            files: Files::open(dir)?,
        };
        if marker.stage == Stage::Creating {
            engine
                .write(&snapshot, &snapshot)
                .map_err(|source| OpenError::Record {
                    path: dir.to_owned(),
                    record: String::from_utf8_lossy(record::STATE).into_owned(),
                    source: source.to_string().into(),
                })?;
            marker.stage = Stage::Ready;
            marker.write(dir)?;
        }
        Ok(Loaded {
            engine,
            snapshot,
            unknown,
        })
    }

    /// Makes the step from `old` to `new` durable, all of it or nothing; returns how long the
    /// waiting for the disk took.
    pub(super) fn write(
        &mut self,
        old: &Snapshot,
        new: &Snapshot,
    ) -> Result<Duration, Arc<dyn Error + Send + Sync>> {
        let mut batch = sled::Batch::default();
        batch.insert(record::STATE, record::encode_state(new.revision()));
        for change in new.changes_since(old) {
            let key = record::encode_key(change.key());
            match change {
                Change::Put { new, .. } => batch.insert(key, record::encode_resource(&new)),
                Change::Deleted { .. } => batch.remove(key),
            }
        }
        let db = self.db.as_ref().expect("it is taken only by drop");
        let files = &mut self.files;
        let result = panic::catch_unwind(AssertUnwindSafe(|| {
            db.apply_batch(batch)?;
            let start = Instant::now();
            db.flush()?;
            files.sync()?;
            Ok::<_, sled::Error>(start.elapsed())
        }));
        match result {
            Ok(Ok(waited)) => Ok(waited),
            Ok(Err(error)) => Err(Arc::new(error)),
            Err(panic) => Err(Arc::new(sled::Error::ReportableBug(panic_text(&*panic)))),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let db = self.db.take();
        // sled writes and syncs once more when it is dropped, and panics if it cannot.
        if panic::catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::warn!("closing the storage engine failed; nothing acknowledged is affected");
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// Removes what an interrupted first start left: nothing in it was ever acknowledged.
fn remove_remains(dir: &Path) -> Result<(), OpenError> {
    for name in files::names(dir).map_err(io_error("list", dir))? {
        let path = dir.join(&name);
        let removed = match name.to_string_lossy().as_ref() {
            files::BLOBS => std::fs::remove_dir_all(&path),
            files::LOG | files::SETTINGS => std::fs::remove_file(&path),
            name if name.starts_with(files::SUMMARY) => std::fs::remove_file(&path),
            _ => Ok(()),
        };
        removed.map_err(io_error("remove", path))?;
    }
    Ok(())
}

/// Checks that sled will not mistake a damaged store for a new or a different one.
fn check_complete(dir: &Path) -> Result<(), OpenError> {
    for name in [files::LOG, files::SETTINGS, files::BLOBS] {
        let path: PathBuf = dir.join(name);
        if !path.try_exists().map_err(io_error("look for", &path))? {
            return Err(OpenError::Incomplete { path });
        }
    }
    // sled writes a summary of the log while it recovers. If the process is killed during that,
    // sled 0.34.7 takes the half-written file for the newest summary and refuses to open. The
    // log still holds everything that it would have said.
    for name in files::names(dir).map_err(io_error("list", dir))? {
        let text = name.to_string_lossy();
        if text.starts_with(files::SUMMARY) && text.ends_with(files::UNFINISHED) {
            let path = dir.join(&name);
            std::fs::remove_file(&path).map_err(io_error("remove", path))?;
        }
    }
    Ok(())
}

fn open_sled(dir: &Path) -> Result<sled::Db, OpenError> {
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE_BYTES)
        // 0.34 accepts and ignores the mode; this is what it does in either.
        .mode(sled::Mode::LowSpace)
        // Our commits are the only flusher: no thread wakes up when nothing happens.
        .flush_every_ms(None);
    let engine = |source| OpenError::Engine {
        path: dir.to_owned(),
        source,
    };
    // We hold the directory's lock, so sled's own can only be held by what is still closing: an
    // earlier store of this process, whose last reference sled drops on a thread of its pool, or
    // a child between fork and exec.
    lock::retry(
        || match panic::catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => Some(Ok(db)),
            Ok(Err(sled::Error::Io(error))) if error.to_string().contains("acquire lock") => None,
            Ok(Err(source)) => Some(Err(engine(source))),
            Err(panic) => Some(Err(engine(sled::Error::ReportableBug(panic_text(&*panic))))),
        },
    )
    .unwrap_or_else(|| {
        Err(OpenError::Locked {
            path: dir.to_owned(),
        })
    })
}

/// Reads all records; no snapshot when there is no record of the store itself.
fn load(dir: &Path, db: &sled::Db, id: StoreId) -> Result<(Option<Snapshot>, u64), OpenError> {
    let mut revision: Option<Revision> = None;
    let mut resources: Vec<Arc<Resource>> = Vec::new();
    let mut unknown = 0;
    for item in db.iter() {
        let (key, value) = item.map_err(|source| OpenError::Engine {
            path: dir.to_owned(),
            source,
        })?;
        let record = record::decode(&key, &value).map_err(|source| OpenError::Record {
            path: dir.to_owned(),
            record: String::from_utf8_lossy(&key).into_owned(),
            source,
        })?;
        match record {
            Record::Revision(found) => revision = Some(found),
            Record::Resource(resource) => resources.push(Arc::new(resource)),
            Record::Unknown => unknown += 1,
        }
    }
    Ok((
        revision.map(|revision| Snapshot::restore(id, revision, resources)),
        unknown,
    ))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it panicked")
        .to_owned()
}
