//! A store on the disk, over sled 0.34.
//!
//! All resources are in memory, in the [`Snapshot`]; sled is where a step from one snapshot to the
//! next is made durable and from where everything is read once, at the start. A commit is
//! acknowledged when `fdatasync` of every file that sled wrote for it has returned.
//!
//! **Invariant:** nothing in a directory is touched before its marker file says that it is a
//! store of this role, in a format that this release knows.

mod engine;
mod error;
mod files;
mod lock;
mod marker;
mod record;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

pub use error::OpenError;

use self::engine::{Engine, Loaded};
use self::marker::Marker;
use self::writer::{Request, Writer};
use crate::batch::{Batch, CommitError};
use crate::{Snapshot, Store, StoreId};

/// How many batches may wait for the writer; more committers wait to be let in.
const QUEUE: usize = 1024;

/// Whose store it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The global control plane's.
    Global,
    /// A zone control plane's.
    Zone,
}

impl Role {
    /// `global` or `zone`: as in the marker file, and the directory's usual name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Zone => "zone",
        }
    }
}

/// What a store has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Batches made durable.
    pub commits: u64,
    /// Batches refused because an expectation did not hold.
    pub conflicts: u64,
    /// Groups of batches that shared one flush.
    pub groups: u64,
    /// How long the last group waited for the disk.
    pub last_sync: Duration,
    /// Records of a newer release that were found and left alone.
    pub unknown_records: u64,
}

/// A store in a directory of its own.
///
/// Dropping it commits what is still waiting, blocking until then, and closes the directory.
#[derive(Debug)]
pub struct Disk {
    id: StoreId,
    dir: PathBuf,
    state: Arc<watch::Sender<Snapshot>>,
    stats: Arc<Mutex<Stats>>,
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    /// Released after the writer has ended.
    _lock: File,
}

impl Disk {
    /// Opens the store in `dir`, or creates one there if the directory is missing or empty;
    /// blocks while it reads everything.
    ///
    /// # Errors
    /// When the directory is in use, is not a store of this role and format, or cannot be read.
    /// The text names the file and says what to do.
    pub fn open(dir: &Path, role: Role) -> Result<Self, OpenError> {
        files::create_dir(dir)?;
        let lock = lock::lock(dir)?;
        let marker = match Marker::read(dir, role)? {
            Some(marker) => marker,
            None => {
                let marker = Marker::new(role);
                marker.write(dir)?;
                marker
            }
        };
        let id = marker.id;
        let Loaded {
            engine,
            snapshot,
            unknown,
        } = Engine::open(dir, marker)?;
        if unknown > 0 {
            tracing::warn!(
                path = %dir.display(),
                records = unknown,
                "the store holds records of a newer release; they stay on the disk, unused"
            );
        }
        tracing::info!(
            path = %dir.display(),
            store.id = %id,
            revision = %snapshot.revision(),
            resources = snapshot.len(),
            "opened the store"
        );
        let state = Arc::new(watch::Sender::new(snapshot));
        let stats = Arc::new(Mutex::new(Stats {
            unknown_records: unknown,
            ..Stats::default()
        }));
        let (requests, receiver) = mpsc::channel(QUEUE);
        let writer = Writer {
            engine,
            dir: dir.to_owned(),
            requests: receiver,
            state: Arc::clone(&state),
            stats: Arc::clone(&stats),
        };
        let thread = thread::Builder::new()
            .name(format!("store-{}", role.as_str()))
            .spawn(move || writer.run())
            .map_err(files::io_error("start the writer thread of", dir))?;
        Ok(Self {
            id,
            dir: dir.to_owned(),
            state,
            stats,
            requests: Some(requests),
            writer: Some(thread),
            _lock: lock,
        })
    }

    /// What it has done since it was opened.
    pub fn stats(&self) -> Stats {
        *self.stats.lock()
    }

    /// Has the writer commit a batch, or say that it has done all that it was asked before.
    async fn ask(&self, batch: Option<Batch>) -> Result<Snapshot, CommitError> {
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().expect("it is taken only by drop");
        requests
            .send(Request { batch, reply })
            .await
            .map_err(|_closed| CommitError::Closed)?;
        answer.await.map_err(|_closed| CommitError::Closed)?
    }

    /// How many bytes its log and large records occupy.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn bytes_on_disk(&self) -> std::io::Result<u64> {
        files::size(&self.dir)
    }
}

#[async_trait]
impl Store for Disk {
    fn id(&self) -> StoreId {
        self.id
    }

    fn snapshot(&self) -> Snapshot {
        self.state.borrow().clone()
    }

    fn watch(&self) -> watch::Receiver<Snapshot> {
        self.state.subscribe()
    }

    async fn commit(&self, batch: Batch) -> Result<Snapshot, CommitError> {
        self.ask(Some(batch)).await
    }

    async fn settle(&self) -> Result<(), CommitError> {
        self.ask(None).await.map(drop)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!(path = %self.dir.display(), "the store's writer panicked");
        }
    }
}
