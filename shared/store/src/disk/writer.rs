//! The one thread that writes: group commit.
//!
//! It takes every batch that is waiting, applies each to the newest state (a batch whose
//! expectations fail changes nothing), makes the whole step durable with one flush, publishes the
//! new snapshot and only then answers. While it waits for the disk the next group gathers.
//!
//! **Invariant:** a snapshot is published, and a committer answered, only when all that the
//! snapshot holds is on the disk.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::Stats;
use super::engine::Engine;
use crate::batch::{Batch, CommitError, Op};
use crate::snapshot::Snapshot;

/// The most batches, and bytes of specs, in one group: bounds how long a committer waits behind
/// others, and how much one flush writes.
const MAX_BATCHES: usize = 1024;
const MAX_BYTES: usize = 4 << 20;

/// A batch and who waits for it.
#[derive(Debug)]
pub(super) struct Request {
    /// `None` from one that waits for those before.
    pub(super) batch: Option<Batch>,
    pub(super) reply: oneshot::Sender<Result<Snapshot, CommitError>>,
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) engine: Engine,
    pub(super) dir: PathBuf,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) state: Arc<watch::Sender<Snapshot>>,
    pub(super) stats: Arc<Mutex<Stats>>,
}

impl Writer {
    /// Works until nobody can send requests any more and all are answered.
    pub(super) fn run(mut self) {
        while let Some(first) = self.requests.blocking_recv() {
            let group = self.gather(first);
            if let Err(source) = self.commit(group) {
                tracing::error!(
                    path = %self.dir.display(),
                    error = %source,
                    "the store failed and takes no more writes; restart the process to recover it"
                );
                return self.refuse(source);
            }
        }
    }

    fn gather(&mut self, first: Request) -> Vec<Request> {
        let mut bytes = size(first.batch.as_ref());
        let mut group = vec![first];
        while group.len() < MAX_BATCHES && bytes < MAX_BYTES {
            let Ok(next) = self.requests.try_recv() else {
                break;
            };
            bytes += size(next.batch.as_ref());
            group.push(next);
        }
        group
    }

    /// Commits what can be committed of a group and answers all of it.
    fn commit(&mut self, group: Vec<Request>) -> Result<(), Arc<dyn Error + Send + Sync>> {
        let old = self.state.borrow().clone();
        let mut new = old.clone();
        let mut answers = Vec::with_capacity(group.len());
        let mut commits = 0;
        for Request { batch, reply } in group {
            let Some(batch) = batch else {
                answers.push((reply, Ok(new.clone())));
                continue;
            };
            let result = new.apply(&batch);
            if let Ok(next) = &result {
                new = next.clone();
                commits += 1;
            }
            answers.push((reply, result));
        }
        if commits > 0 {
            match self.engine.write(&old, &new) {
                Ok(waited) => {
                    let mut stats = self.stats.lock();
                    stats.commits += commits;
                    stats.groups += 1;
                    stats.last_sync = waited;
                }
                Err(error) => {
                    let source: Arc<dyn Error + Send + Sync> = Arc::new(error);
                    for (reply, _) in answers {
                        // Whoever gave up waiting needs no answer, here and below.
                        let _ = reply.send(Err(self.failed(&source)));
                    }
                    return Err(source);
                }
            }
            self.state.send_replace(new);
        }
        // Conflicts wait too: who is told of one must find its cause in the snapshot.
        for (reply, result) in answers {
            if result.is_err() {
                self.stats.lock().conflicts += 1;
            }
            let _ = reply.send(result);
        }
        Ok(())
    }

    /// Answers everybody that the store has failed.
    fn refuse(mut self, source: Arc<dyn Error + Send + Sync>) {
        while let Some(request) = self.requests.blocking_recv() {
            let _ = request.reply.send(Err(self.failed(&source)));
        }
    }

    fn failed(&self, source: &Arc<dyn Error + Send + Sync>) -> CommitError {
        CommitError::Failed {
            path: self.dir.clone(),
            source: Arc::clone(source),
        }
    }
}

fn size(batch: Option<&Batch>) -> usize {
    let ops = batch.into_iter().flat_map(Batch::ops);
    ops.map(|op| match op {
        Op::Put { resource, .. } => resource.spec().bytes().len(),
        Op::Delete { .. } => 0,
    })
    .sum()
}
