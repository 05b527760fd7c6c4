//! A store whose durable part outlives its host.
//!
//! A write is seen, and acknowledged, once it is durable, which takes a while. When the host
//! crashes before that, it may be durable all the same, or gone; what was acknowledged stays.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use mesh_store::{Batch, CommitError, Memory, Snapshot, Store, StoreId};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::dice::Dice;

/// Told of every write that becomes durable: the states before and after it.
pub(super) type Watcher = Box<dyn Fn(&Snapshot, &Snapshot) + Send + Sync>;

/// The disk of one host.
#[derive(Clone)]
pub(super) struct Disk(Arc<Inner>);

struct Inner {
    durable: Memory,
    state: Mutex<State>,
    /// Writes take their turns.
    turn: tokio::sync::Mutex<()>,
    watcher: Watcher,
}

struct State {
    dice: Dice,
    /// How long a write takes at most.
    slowness: Duration,
    /// What is being written, by number.
    pending: VecDeque<(u64, Batch)>,
    next: u64,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Disk").field(&self.0.durable).finish()
    }
}

/// How long a write takes at most while nothing is wrong with the disk.
const USUAL: Duration = Duration::from_millis(3);

impl Disk {
    /// An empty disk.
    pub(super) fn new(id: StoreId, dice: Dice, watcher: Watcher) -> Self {
        Self(Arc::new(Inner {
            durable: Memory::with_id(id),
            state: Mutex::new(State {
                dice,
                slowness: USUAL,
                pending: VecDeque::new(),
                next: 0,
            }),
            turn: tokio::sync::Mutex::new(()),
            watcher,
        }))
    }

    /// From now on a write takes up to so long; `None` for as long as it should.
    pub(super) fn set_slowness(&self, slowness: Option<Duration>) {
        self.0.state.lock().slowness = slowness.unwrap_or(USUAL);
    }

    /// Whether writes may take longer than they should.
    pub(super) fn is_slow(&self) -> bool {
        self.0.state.lock().slowness > USUAL
    }

    /// Whether nothing is being written.
    pub(super) fn is_idle(&self) -> bool {
        self.0.state.lock().pending.is_empty()
    }

    /// The host has gone. Of what was being written, the first part may have become durable.
    pub(super) fn crash(&self) {
        loop {
            let mut state = self.0.state.lock();
            let survives = state.dice.percent(50);
            let first = state.pending.pop_front();
            drop(state);
            match first {
                Some((_, batch)) if survives => _ = self.0.land(batch),
                _ => break,
            }
        }
        self.0.state.lock().pending.clear();
    }

    /// Another disk with all that this one has, under another identity.
    pub(super) fn copied(&self, id: StoreId, dice: Dice, watcher: Watcher) -> Self {
        let copy = Self::new(id, dice, watcher);
        let snapshot = self.0.durable.snapshot();
        let all = snapshot.iter().cloned();
        copy.fill(all.fold(Batch::new(), Batch::put));
        copy
    }

    /// Writes at once, before there is a host.
    pub(super) fn fill(&self, batch: Batch) {
        let _ = self.0.land(batch);
    }
}

impl Inner {
    /// Takes a batch, and gives its number.
    fn begin(&self, batch: Batch) -> u64 {
        let mut state = self.state.lock();
        state.next += 1;
        let number = state.next;
        state.pending.push_back((number, batch));
        number
    }

    async fn write(&self, number: u64) -> Result<Snapshot, CommitError> {
        let turn = self.turn.lock().await;
        let (before, after) = {
            let mut state = self.state.lock();
            let most = usize::try_from(state.slowness.as_millis()).unwrap_or(usize::MAX);
            (state.dice.millis(0, most), state.dice.millis(0, 2))
        };
        tokio::time::sleep(before).await;
        let batch = {
            let mut state = self.state.lock();
            let at = state.pending.iter().position(|(n, _)| *n == number);
            at.and_then(|at| state.pending.remove(at))
        };
        let (_, batch) = batch.ok_or(CommitError::Closed)?;
        let landed = self.land(batch);
        drop(turn);
        tokio::time::sleep(after).await;
        landed
    }

    fn land(&self, batch: Batch) -> Result<Snapshot, CommitError> {
        let before = self.durable.snapshot();
        let landed = self.durable.commit(batch).now_or_never();
        let after = landed.unwrap_or(Err(CommitError::Closed))?;
        (self.watcher)(&before, &after);
        Ok(after)
    }
}

#[async_trait]
impl Store for Disk {
    fn id(&self) -> StoreId {
        self.0.durable.id()
    }

    fn snapshot(&self) -> Snapshot {
        self.0.durable.snapshot()
    }

    fn watch(&self) -> watch::Receiver<Snapshot> {
        self.0.durable.watch()
    }

    async fn settle(&self) -> Result<(), CommitError> {
        let last = self.0.state.lock().next;
        while (self.0.state.lock().pending.iter()).any(|(number, _)| *number <= last) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    async fn commit(&self, batch: Batch) -> Result<Snapshot, CommitError> {
        // The writer goes on when nobody waits for it any more.
        let (done, landed) = oneshot::channel();
        let inner = Arc::clone(&self.0);
        let number = inner.begin(batch);
        tokio::spawn(async move { drop(done.send(inner.write(number).await)) });
        landed.await.unwrap_or(Err(CommitError::Closed))
    }
}
