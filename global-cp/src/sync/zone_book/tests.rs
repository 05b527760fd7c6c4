//! What the store says of a zone, whatever order its streams came and went in.

use async_trait::async_trait;
use mesh_runtime::shutdown;
use mesh_store::{Memory, Snapshot, Store, StoreId};
use tokio::sync::watch;

use super::*;

/// A store that fails as long as it is told to.
#[derive(Debug)]
struct Flaky {
    inner: Memory,
    is_failing: watch::Sender<bool>,
    failures: watch::Sender<usize>,
}

impl Flaky {
    fn new() -> Self {
        Self {
            inner: Memory::new(),
            is_failing: watch::Sender::new(false),
            failures: watch::Sender::new(0),
        }
    }
}

#[async_trait]
impl Store for Flaky {
    fn id(&self) -> StoreId {
        self.inner.id()
    }

    fn snapshot(&self) -> Snapshot {
        self.inner.snapshot()
    }

    fn watch(&self) -> watch::Receiver<Snapshot> {
        self.inner.watch()
    }

    async fn commit(&self, batch: Batch) -> Result<Snapshot, CommitError> {
        if *self.is_failing.borrow() {
            self.failures.send_modify(|n| *n += 1);
            return Err(CommitError::Closed);
        }
        self.inner.commit(batch).await
    }
}

fn book(store: &Arc<Flaky>, limit: usize) -> Arc<ZoneBook> {
    let store: SharedStore = Arc::clone(store) as _;
    // Only what is urgent gets written meanwhile.
    let hour = Duration::from_secs(3600);
    Arc::new(ZoneBook::new(store, "global-1", limit, hour))
}

fn peer() -> ZonePeer {
    let mut metadata = tonic::metadata::MetadataMap::new();
    metadata.insert("client-id", "east".parse().unwrap());
    ZonePeer::from_metadata(&metadata).unwrap()
}

fn zone() -> ZoneName {
    ZoneName::parse("east").unwrap()
}

/// Ids in an order that is not the one in which they are used.
fn stream(n: u8) -> Uuid {
    Uuid::from_u128(u128::from(u8::MAX - n))
}

fn open(book: &ZoneBook, n: u8) {
    book.opened(stream(n), &peer(), &NodeInfo::default());
}

/// Which of the zone's subscriptions are kept, and whether they are open.
fn kept(store: &Flaky) -> Vec<(u8, bool)> {
    let Some(insight) = store.get(&insight_key(&zone())) else {
        return Vec::new();
    };
    let insight: ZoneInsight = insight.decode();
    insight
        .subscriptions
        .iter()
        .map(|s| {
            let n = Uuid::parse_str(&s.id).unwrap().as_u128();
            let n = u8::MAX - u8::try_from(n).unwrap();
            (n, s.disconnect_time.is_none())
        })
        .collect()
}

#[tokio::test]
async fn a_stream_that_came_and_went_does_not_end_the_next_one() {
    let store = Arc::new(Flaky::new());
    let book = book(&store, 10);
    book.admit(&peer()).await.unwrap();
    open(&book, 1);
    book.closed(stream(1), &zone());
    open(&book, 2);
    assert!(book.flush(false).await);
    assert_eq!(kept(&store), [(1, false), (2, true)]);
}

#[tokio::test]
async fn a_stream_that_is_superseded_does_not_end_its_successor() {
    for limit in [1, 10] {
        let store = Arc::new(Flaky::new());
        let book = book(&store, limit);
        book.admit(&peer()).await.unwrap();
        open(&book, 1);
        assert!(book.flush(false).await);
        open(&book, 2);
        assert!(book.flush(false).await);
        // The last words of the first one come late.
        book.counted(stream(1), &zone(), "Mesh", Counted::Sent);
        assert!(book.flush(true).await);
        book.closed(stream(1), &zone());
        assert!(book.flush(false).await);
        let all = [(1, false), (2, true)];
        assert_eq!(kept(&store), all[2_usize.saturating_sub(limit)..]);
    }
}

#[tokio::test]
async fn the_newest_subscriptions_are_kept() {
    let store = Arc::new(Flaky::new());
    let book = book(&store, 2);
    book.admit(&peer()).await.unwrap();
    open(&book, 1);
    book.closed(stream(1), &zone());
    open(&book, 2);
    open(&book, 3);
    assert!(book.flush(false).await);
    assert_eq!(kept(&store), [(2, false), (3, true)]);
    open(&book, 4);
    book.closed(stream(4), &zone());
    assert!(book.flush(false).await);
    assert_eq!(kept(&store), [(3, true), (4, false)]);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_refused_is_written_when_it_can() {
    let store = Arc::new(Flaky::new());
    let book = book(&store, 10);
    book.admit(&peer()).await.unwrap();
    let (trigger, shutdown) = shutdown::channel();
    let running = tokio::spawn(Arc::clone(&book).run(shutdown));
    let mut states = store.watch();
    let mut failures = store.failures.subscribe();

    open(&book, 1);
    states
        .wait_for(|_| kept(&store) == [(1, true)])
        .await
        .unwrap();
    store.is_failing.send_replace(true);
    book.closed(stream(1), &zone());
    failures.wait_for(|n| *n >= 1).await.unwrap();
    // What is said meanwhile comes after what waits.
    open(&book, 2);
    let minute = Duration::from_secs(60);
    let again = failures.wait_for(|n| *n >= 3);
    tokio::time::timeout(minute, again)
        .await
        .expect("it is tried again")
        .unwrap();
    assert_eq!(kept(&store), [(1, true)]);
    store.is_failing.send_replace(false);
    let written = states.wait_for(|_| kept(&store) == [(1, false), (2, true)]);
    tokio::time::timeout(minute, written)
        .await
        .expect("it is tried again")
        .unwrap();
    trigger.trigger();
    running.await.unwrap();
}
