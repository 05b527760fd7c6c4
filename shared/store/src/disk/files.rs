//! Making files and directory entries durable.
//!
//! sled's own flush ends in `sync_file_range(2)`, which starts and awaits the writing of pages but
//! neither commits the file's metadata nor empties the device's write cache ("None of these
//! operations writes out the file's metadata … There are no guarantees that the data will be
//! available after a crash", says its manual page). It also never syncs blob files, in which sled
//! puts every record larger than a quarter of a segment, nor directories. [`Files::sync`] does
//! all three, through descriptors that stay open: an error of earlier write-back is reported to a
//! descriptor that was open when it happened.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::OpenError;

/// sled's log.
pub(super) const LOG: &str = "db";
/// sled's settings, written once.
pub(super) const SETTINGS: &str = "conf";
/// sled's directory of large records.
pub(super) const BLOBS: &str = "blobs";
/// What the names of sled's recovery summaries begin with; written while opening.
pub(super) const SUMMARY: &str = "snap.";
/// What the name of a summary that is still being written ends with.
pub(super) const UNFINISHED: &str = ".generating";

/// The files of an open store that change while it runs.
#[derive(Debug)]
pub(super) struct Files {
    log: File,
    blobs: File,
    blobs_path: PathBuf,
    /// Blobs are named by log position, so a new one is always above all earlier ones.
    newest_blob: Option<i64>,
}

impl Files {
    /// Opens what sled has just opened or created in `dir`, and makes all of it durable: what a
    /// killed process left in the page cache must not be shown before it is on the disk.
    pub(super) fn open(dir: &Path) -> Result<Self, OpenError> {
        for name in names(dir).map_err(io_error("list", dir))? {
            if name == SETTINGS || name.to_string_lossy().starts_with(SUMMARY) {
                let path = dir.join(name);
                sync_path(&path).map_err(io_error("sync", &path))?;
            }
        }
        let log_path = dir.join(LOG);
        let blobs_path = dir.join(BLOBS);
        let mut files = Self {
            log: File::open(&log_path).map_err(io_error("open", &log_path))?,
            blobs: File::open(&blobs_path).map_err(io_error("open", &blobs_path))?,
            blobs_path,
            newest_blob: None,
        };
        files.sync().map_err(io_error("sync", dir))?;
        sync_path(dir).map_err(io_error("sync", dir))?;
        Ok(files)
    }

    /// Makes everything durable that sled has written since the last call.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let mut newest = self.newest_blob;
        let mut has_new = false;
        // Without large records this directory is empty; with some, listing it costs far less
        // than the syncs.
        for name in names(&self.blobs_path)? {
            let Some(id) = name.to_str().and_then(|n| n.parse::<i64>().ok()) else {
                continue;
            };
            if self.newest_blob.is_some_and(|newest| id <= newest) {
                continue;
            }
            match File::open(self.blobs_path.join(&name)).and_then(|f| f.sync_data()) {
                // sled removes blobs that nothing refers to any more.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
            has_new = true;
            newest = newest.max(Some(id));
        }
        if has_new {
            self.blobs.sync_all()?;
        }
        self.log.sync_data()?;
        self.newest_blob = newest;
        Ok(())
    }
}

/// How many bytes the store in `dir` occupies in its log and blobs.
pub(super) fn size(dir: &Path) -> io::Result<u64> {
    let mut size = fs::metadata(dir.join(LOG))?.len();
    for entry in fs::read_dir(dir.join(BLOBS))? {
        size += entry?.metadata().map_or(0, |m| m.len());
    }
    Ok(size)
}

/// The names in a directory.
pub(super) fn names(dir: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(dir)?.map(|e| Ok(e?.file_name())).collect()
}

/// Syncs a file or a directory.
pub(super) fn sync_path(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Creates a directory that only this user may read (stores hold secrets), and missing parents,
/// all durably; an existing one is left as it is.
pub(super) fn create_dir(dir: &Path) -> Result<(), OpenError> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    create_dir(parent)?;
    match DirBuilder::new().mode(0o700).create(dir) {
        // Somebody may have made it meanwhile; if that is a file, opening it says so.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        result => result.map_err(io_error("create directory", dir))?,
    }
    sync_path(parent).map_err(io_error("sync", parent))
}

/// Names the attempt and the file of an IO error.
pub(super) fn io_error(
    attempt: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.into();
    move |source| OpenError::Io {
        attempt,
        path,
        source,
    }
}
