//! sled, with its panics turned into errors and its writes made durable.
//!
//! Everything is in one tree, so that one sled batch is the unit of recovery: after a crash at
//! any instant the tree holds whole batches, up to some point after the last acknowledged one. A
//! step is one such batch, except that the bulk of many new resources goes ahead of it in batches
//! of its own, which opening removes again if the step itself is not there.

use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mesh_model::{Key, Resource};
use tokio::time::Instant;

use super::files::{self, Files, io_error};
use super::marker::{Marker, Stage};
use super::record::{self, DecodeError, Place};
use super::{OpenError, lock};
use crate::Revision;
use crate::snapshot::{Change, Snapshot};

/// Memory for pages of sled's tree. Reads are answered from the snapshot, so this only spares
/// the writer from reading back the pages that it is about to change.
const CACHE_BYTES: u64 = 4 << 20;

/// How many new resources, and how many bytes of them, go ahead in one batch.
///
/// sled keeps the pages that a batch replaces, and the log that it writes, in memory until the
/// batch ends: one of 40,000 resources would take 400 MB. And it may write over log segments that
/// nothing refers to any more; syncing at least once per segment of 512 kB of log makes sure that
/// what replaced them is on the disk by then.
const CHUNK: usize = 256;
const CHUNK_BYTES: usize = 128 << 10;

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
        let found = load(dir, &db)?;
        let snapshot = match (found.revision, marker.stage) {
            (Some(revision), _) => Snapshot::restore(marker.id, revision, found.resources),
            (None, Stage::Creating) => Snapshot::empty(marker.id),
            // The log is there and empty.
            (None, Stage::Ready) => {
                return Err(OpenError::Incomplete {
                    path: dir.join(files::LOG),
                });
            }
        };
        guard(|| remove_incomplete(&db, &found.incomplete)).map_err(sled_error(dir))?;
        let mut engine = Self {
            db: Some(db),
            files: Files::open(dir)?,
        };
        if marker.stage == Stage::Creating {
            engine
                .write(&snapshot, &snapshot)
                .map_err(sled_error(dir))?;
            marker.stage = Stage::Ready;
            marker.write(dir)?;
        }
        Ok(Loaded {
            engine,
            snapshot,
            unknown: found.unknown,
        })
    }

    /// Makes the step from `old` to `new` durable, all of it or nothing; returns how long the
    /// waiting for the disk took.
    pub(super) fn write(&mut self, old: &Snapshot, new: &Snapshot) -> sled::Result<Duration> {
        let db = self.db.as_ref().expect("it is taken only by drop");
        let files = &mut self.files;
        guard(|| {
            let last = apply_bulk(db, files, old, new)?;
            db.apply_batch(last)?;
            let start = Instant::now();
            db.flush()?;
            files.sync()?;
            Ok(start.elapsed())
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let db = self.db.take();
        // sled writes and syncs once more when it is dropped, and panics if it cannot.
        let closed = guard(|| {
            drop(db);
            Ok(())
        });
        if let Err(error) = closed {
            tracing::warn!(%error, "closing the store failed; nothing acknowledged is affected");
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
    // We hold the directory's lock, so sled's own can only be held by what is still closing: an
    // earlier store of this process, whose last reference sled drops on a thread of its pool, or
    // a child between fork and exec.
    lock::retry(|| match guard(|| config.open()) {
        Err(sled::Error::Io(error)) if error.to_string().contains("acquire lock") => None,
        result => Some(result.map_err(sled_error(dir))),
    })
    .unwrap_or_else(|| {
        Err(OpenError::Locked {
            path: dir.to_owned(),
        })
    })
}

/// Writes most of what is new between two snapshots, and returns the batch that completes the
/// step: the rest of it, and the revision.
fn apply_bulk(
    db: &sled::Db,
    files: &mut Files,
    old: &Snapshot,
    new: &Snapshot,
) -> sled::Result<sled::Batch> {
    let mut last = sled::Batch::default();
    let mut added = Vec::new();
    let mut bytes = 0;
    for change in new.changes_since(old) {
        let (before, after) = match change {
            Change::Put { old, new } => (old, Some(new)),
            Change::Deleted { old } => (Some(old), None),
        };
        if let Some(before) = &before {
            let key = record::encode_key(before.key());
            if record::may_have_pieces(before) {
                for piece in db.scan_prefix(record::pieces_prefix(&key)).keys() {
                    last.remove(piece?);
                }
            }
            last.remove(key);
        }
        let Some(after) = after else { continue };
        let records = record::encode(&after, new.revision());
        if before.is_some() {
            // Of two operations on one key in a batch, the later one counts.
            insert(&mut last, records);
            continue;
        }
        bytes += records.iter().map(|(_, value)| value.len()).sum::<usize>();
        added.extend(records);
        if added.len() >= CHUNK || bytes >= CHUNK_BYTES {
            let mut batch = sled::Batch::default();
            insert(&mut batch, added.drain(..));
            bytes = 0;
            db.apply_batch(batch)?;
            db.flush()?;
            files.sync()?;
        }
    }
    insert(&mut last, added);
    last.insert(record::STATE, record::encode_state(new.revision()));
    Ok(last)
}

fn insert(batch: &mut sled::Batch, records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) {
    for (key, value) in records {
        batch.insert(key, value);
    }
}

/// All that the records say.
#[derive(Default)]
struct Found {
    revision: Option<Revision>,
    resources: Vec<Arc<Resource>>,
    /// The keys of resources of a step that was never completed, and of parts too many.
    incomplete: Vec<sled::IVec>,
    unknown: u64,
}

/// A resource of which not all parts were read yet.
struct Partial {
    key: Key,
    records: Vec<sled::IVec>,
    value: Vec<u8>,
    len: usize,
}

impl Partial {
    fn start(key: Key, record: sled::IVec, value: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self {
            key,
            len: record::decode_len(value)?,
            records: vec![record],
            value: value.to_vec(),
        })
    }

    fn is_complete(&self) -> bool {
        self.value.len() >= self.len
    }
}

impl Found {
    fn add(
        &mut self,
        partial: &mut Option<Partial>,
        record: sled::IVec,
        value: &[u8],
    ) -> Result<(), DecodeError> {
        match record::decode_key(&record)? {
            Place::State => self.revision = Some(record::decode_state(value)?),
            Place::Resource(_) if partial.is_some() => return Err(MISSING.into()),
            Place::Resource(key) => *partial = Some(Partial::start(key, record, value)?),
            Place::Piece(number) => match partial {
                Some(partial) if partial.records.len() == number as usize => {
                    partial.records.push(record);
                    partial.value.extend_from_slice(value);
                }
                Some(_) => return Err(MISSING.into()),
                None => self.incomplete.push(record),
            },
            Place::Unknown => self.unknown += 1,
        }
        if let Some(complete) = partial.take_if(|partial| partial.is_complete()) {
            let (resource, revision) = record::decode(complete.key, &complete.value)?;
            // The store's own record has a smaller key than any resource, so it came first.
            if revision > self.revision.unwrap_or_default() {
                self.incomplete.extend(complete.records);
            } else {
                self.resources.push(Arc::new(resource));
            }
        }
        Ok(())
    }
}

const MISSING: &str = "a part is missing before it";

fn load(dir: &Path, db: &sled::Db) -> Result<Found, OpenError> {
    let mut found = Found::default();
    let mut partial = None;
    let mut records = db.iter();
    while let Some((key, value)) = guard(|| records.next().transpose()).map_err(sled_error(dir))? {
        found
            .add(&mut partial, key.clone(), &value)
            .map_err(record_error(dir, &key))?;
    }
    match partial {
        Some(partial) => Err(record_error(dir, &partial.records[0])(MISSING.into())),
        None => Ok(found),
    }
}

fn record_error(dir: &Path, key: &[u8]) -> impl FnOnce(DecodeError) -> OpenError {
    let record = String::from_utf8_lossy(key).into_owned();
    let path = dir.to_owned();
    move |source| OpenError::Record {
        path,
        record,
        source,
    }
}

/// Removes the bulk of a step that was never completed. Written before anything else, so that no
/// later revision can make it look complete.
fn remove_incomplete(db: &sled::Db, keys: &[sled::IVec]) -> sled::Result<()> {
    for chunk in keys.chunks(CHUNK) {
        let mut batch = sled::Batch::default();
        for key in chunk {
            batch.remove(key);
        }
        db.apply_batch(batch)?;
    }
    db.flush().map(drop)
}

fn sled_error(dir: &Path) -> impl FnOnce(sled::Error) -> OpenError {
    move |source| OpenError::Engine {
        path: dir.to_owned(),
        source,
    }
}

/// sled checks much of what it reads by assertions; a panic of its is an error of ours.
fn guard<T>(work: impl FnOnce() -> sled::Result<T>) -> sled::Result<T> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(sled::Error::ReportableBug(
            text.unwrap_or("it panicked").to_owned(),
        ))
    })
}
