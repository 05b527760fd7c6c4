//! What a look at a file from outside tells.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What tells whether a file is another one than before, or was written to; links followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// There is one.
    File {
        /// Where it is.
        device: u64,
        /// Which one it is there.
        inode: u64,
        /// How long it is.
        length: u64,
        /// When its content changed, in seconds and nanoseconds.
        modified: (i64, i64),
        /// When anything about it changed.
        changed: (i64, i64),
    },
    /// It cannot be seen.
    Nothing(io::ErrorKind),
}

impl Seen {
    /// What is at a path now. May take as long as the file system does.
    pub fn at(path: impl AsRef<Path>) -> Self {
        match fs::metadata(path) {
            Ok(metadata) => Self::of(&metadata),
            Err(error) => Self::Nothing(error.kind()),
        }
    }

    /// What there is to see in metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self::File {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
