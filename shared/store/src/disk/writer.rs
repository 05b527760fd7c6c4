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
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::Stats;
use super::engine::Engine;
use crate::batch::{Batch, CommitError, Op};
use crate::snapshot::Snapshot;

/// The most batches, and bytes of specs, in one group: bounds how long a committer waits behind
/// others, and how much one flush writes.
const MAX_BATCHES: usize = 1024;
const MAX_BYTES: usize = 4 << 20;

/// How long a group waits at a time for batches that are about to come, and how often at most: as
/// long as some came.
const PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSES: u32 = 4;

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

/// Whether many write at once.
///
/// A commit costs much the same for one batch as for ten, and so does what everybody does who
/// follows the store. While several committers write at once and all the time, the group waits for
/// those that are about to come. One committer alone, however quick, never waits: it is not a crowd
/// that answers itself.
#[derive(Debug, Default)]
struct Crowd {
    /// For how many more groups it is taken to be there.
    groups: u32,
    last_commit: Option<Instant>,
}

impl Crowd {
    /// How many groups of one end it.
    const PATIENCE: u32 = 16;
    /// After this time without a commit nobody is in a hurry.
    const QUIET: Duration = Duration::from_millis(10);

    /// Takes note of a group as it is so far.
    fn gathered(&mut self, batches: usize) {
        if batches > 1 {
            self.groups = Self::PATIENCE;
        }
    }

    fn committed(&mut self, now: Instant) {
        self.groups = self.groups.saturating_sub(1);
        self.last_commit = Some(now);
    }

    fn is_there(&self, now: Instant) -> bool {
        let is_recent = |last| now.saturating_duration_since(last) < Self::QUIET;
        self.groups > 0 && self.last_commit.is_some_and(is_recent)
    }
}

impl Writer {
    /// Works until nobody can send requests any more and all are answered.
    pub(super) fn run(mut self) {
        let mut crowd = Crowd::default();
        while let Some(first) = self.requests.blocking_recv() {
            let group = self.gather(first, &mut crowd);
            if let Err(source) = self.commit(group) {
                tracing::error!(
                    path = %self.dir.display(),
                    error = %source,
                    "the store failed and takes no more writes; restart the process to recover it"
                );
                return self.refuse(source);
            }
            crowd.committed(Instant::now());
        }
    }

    /// What waits to be written. In a [`Crowd`], also what comes within a moment.
    fn gather(&mut self, first: Request, crowd: &mut Crowd) -> Vec<Request> {
        let mut bytes = size(first.batch.as_ref());
        let mut group = vec![first];
        let mut pauses = 0;
        loop {
            let before = group.len();
            while group.len() < MAX_BATCHES && bytes < MAX_BYTES {
                let Ok(next) = self.requests.try_recv() else {
                    break;
                };
                bytes += size(next.batch.as_ref());
                group.push(next);
            }
            let has_come = group.len() > before;
            crowd.gathered(group.len());
            let is_worth_it = if pauses == 0 {
                crowd.is_there(Instant::now())
            } else {
                has_come && pauses < MAX_PAUSES
            };
            if !is_worth_it || group.len() >= MAX_BATCHES || bytes >= MAX_BYTES {
                return group;
            }
            thread::sleep(PAUSE);
            pauses += 1;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_committer_is_no_crowd_and_a_crowd_ends() {
        let mut now = Instant::now();
        let mut crowd = Crowd::default();
        // However quick it is.
        for _ in 0..100 {
            crowd.gathered(1);
            assert!(!crowd.is_there(now));
            crowd.committed(now);
            now += Duration::from_micros(100);
        }
        crowd.gathered(2);
        crowd.committed(now);
        let mut groups = 0;
        while crowd.is_there(now) {
            crowd.gathered(1);
            crowd.committed(now);
            groups += 1;
            now += Duration::from_millis(2);
        }
        assert_eq!(groups, Crowd::PATIENCE - 1);
        // It is not there any more when all is quiet.
        crowd.gathered(2);
        crowd.committed(now);
        assert!(crowd.is_there(now + Crowd::QUIET / 2));
        assert!(!crowd.is_there(now + Crowd::QUIET));
    }
}
