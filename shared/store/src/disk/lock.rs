//! One process per directory.
//!
//! The directory itself is locked (`flock(2)`), so that a store is protected before its first
//! file exists. The system releases the lock when the process ends, however it ends.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::OpenError;
use super::files::io_error;

const PAUSE: Duration = Duration::from_millis(5);
const ATTEMPTS: u32 = 200;

/// Locks a directory until the returned file is dropped.
pub(super) fn lock(dir: &Path) -> Result<File, OpenError> {
    let file = File::open(dir).map_err(io_error("open", dir))?;
    retry(|| match file.try_lock() {
        Ok(()) => Some(Ok(())),
        // A process that was just killed, or forked while the lock was held, needs a moment.
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(source)) => Some(Err(io_error("lock", dir)(source))),
    })
    .unwrap_or_else(|| {
        Err(OpenError::Locked {
            path: dir.to_owned(),
        })
    })?;
    Ok(file)
}

/// Repeats `attempt` until it gives something, for about a second.
pub(super) fn retry<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..ATTEMPTS {
        if let Some(result) = attempt() {
            return Some(result);
        }
        thread::sleep(PAUSE);
    }
    attempt()
}
