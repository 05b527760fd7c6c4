//! Why a directory could not be opened as a store, and what to do about it.

use std::io;
use std::path::PathBuf;

use super::Role;

/// A directory could not be opened as a store. Nothing in it was changed, unless the variant says
/// otherwise.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file operation failed.
    #[error("could not {attempt} {path}")]
    Io {
        /// What was being attempted.
        attempt: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else has it open.
    #[error(
        "{path} is in use by another process: stop that process, or give this one a work \
         directory of its own"
    )]
    Locked {
        /// The store's directory.
        path: PathBuf,
    },
    /// There are files, but not ours.
    #[error(
        "{path} is missing, but its directory is not empty (it has {found:?}), so it is not a \
         store of this program: choose another work directory, or move those files away"
    )]
    Foreign {
        /// The marker file that would have to be there.
        path: PathBuf,
        /// A file that was found instead.
        found: String,
    },
    /// The store belongs to the other kind of control plane.
    #[error(
        "{path} says that this is the store of a {found} control plane, and this is a {expected} \
         control plane: check the work directory in the configuration"
    )]
    OtherRole {
        /// The marker file.
        path: PathBuf,
        /// Whose store it is.
        found: String,
        /// Who tried to open it.
        expected: Role,
    },
    /// A newer release wrote the store.
    #[error(
        "{path} says format {found}, and this release reads up to {known}: start the release that \
         wrote it, or a newer one"
    )]
    Newer {
        /// The marker file.
        path: PathBuf,
        /// The format of the store.
        found: u64,
        /// The newest format that this release reads.
        known: u64,
    },
    /// The marker file cannot be read as one.
    #[error(
        "{path} is damaged: restore the directory from a backup, or choose another work directory"
    )]
    Marker {
        /// The marker file.
        path: PathBuf,
        /// What is wrong with its text.
        #[source]
        source: serde_json::Error,
    },
    /// A file without which the store would look empty is not there.
    #[error(
        "{path} is missing: restore the whole directory from a backup, or remove all of it to \
         start with an empty store"
    )]
    Incomplete {
        /// What is missing.
        path: PathBuf,
    },
    /// The storage engine could not recover the store. It may have repaired parts already.
    #[error("the store in {path} could not be recovered: restore the directory from a backup")]
    Engine {
        /// The store's directory.
        path: PathBuf,
        /// What the engine said.
        #[source]
        source: sled::Error,
    },
    /// A stored record does not decode.
    #[error(
        "the store in {path} has a damaged record {record:?}: restore the directory from a backup, \
         or start the release that wrote it"
    )]
    Record {
        /// The store's directory.
        path: PathBuf,
        /// The record's key, as far as it can be printed.
        record: String,
        /// Why it does not decode.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
