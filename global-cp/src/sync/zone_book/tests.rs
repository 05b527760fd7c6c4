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

/// A book that writes by itself only what is urgent.
fn book(store: &Arc<Flaky>, limit: usize) -> Arc<ZoneBook> {
    book_of(store, limit, Duration::from_secs(3600))
}

fn book_of(
    store: &Arc<Flaky>,
    subscription_limit: usize,
    flush_interval: Duration,
) -> Arc<ZoneBook> {
    let store: SharedStore = Arc::clone(store) as _;
    let settings = Settings {
        instance_id: "global-1".to_owned(),
        subscription_limit,
        compacts: true,
        flush_interval,
        idle_timeout: Duration::from_secs(300),
    };
    Arc::new(ZoneBook::new(store, settings))
}

fn peer() -> ZonePeer {
    let mut metadata = tonic::metadata::MetadataMap::new();
    metadata.insert("client-id", "east".parse().unwrap());
    metadata.insert("features", "zone-ping-health".parse().unwrap());
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

fn insight(store: &Flaky) -> ZoneInsight {
    store.get(&insight_key(&zone())).unwrap().decode()
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

#[tokio::test]
async fn what_streams_a_zone_holds_is_kept_where_kuma_looks_for_it() {
    let store = Arc::new(Flaky::new());
    let book = book(&store, 10);
    book.admit(&peer()).await.unwrap();
    for kind in StreamKind::ALL {
        book.sat(&peer(), kind);
    }
    open(&book, 1);
    assert!(book.flush(false).await);
    let insight = insight(&store);
    let streams = insight.kds_streams.unwrap();
    for stream in [
        streams.global_to_zone,
        streams.zone_to_global,
        streams.config_dump,
        streams.stats,
        streams.clusters,
    ] {
        let stream = stream.unwrap();
        assert_eq!(stream.global_instance_id, "global-1");
        assert!(stream.connect_time.is_some());
    }
    let admin = insight.envoy_admin_streams.unwrap();
    assert_eq!(admin.config_dump_global_instance_id, "global-1");
    assert_eq!(admin.stats_global_instance_id, "global-1");
    assert_eq!(admin.clusters_global_instance_id, "global-1");
}

#[tokio::test]
async fn of_subscriptions_that_have_ended_only_the_last_keeps_what_is_large() {
    let store = Arc::new(Flaky::new());
    let book = book(&store, 10);
    book.admit(&peer()).await.unwrap();
    let node = NodeInfo {
        config: "{}".to_owned(),
        ..NodeInfo::default()
    };
    for n in 1..=3 {
        book.opened(stream(n), &peer(), &node);
        book.counted(stream(n), &zone(), "Mesh", Counted::Sent);
        if n < 3 {
            book.closed(stream(n), &zone());
        }
        assert!(book.flush(true).await);
    }
    let all = insight(&store).subscriptions;
    let large = |s: &KdsSubscription| {
        let stat = s.status.as_ref().map_or(0, |status| status.stat.len());
        (s.config.len(), stat)
    };
    assert_eq!(
        all.iter().map(large).collect::<Vec<_>>(),
        [(0, 0), (0, 0), (2, 1)]
    );
    let sent = |s: &KdsSubscription| s.status.as_ref().unwrap().total.unwrap().responses_sent;
    assert_eq!(all.iter().map(sent).collect::<Vec<_>>(), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_another_instance_left_open_is_closed_once_it_says_nothing_more() {
    let store = Arc::new(Flaky::new());
    let second = Duration::from_secs(1);
    // One that is killed later: what it holds is alive until then.
    let other = book_of(&store, 10, second);
    other.admit(&peer()).await.unwrap();
    let (killed, other_shutdown) = shutdown::channel();
    let running = tokio::spawn(Arc::clone(&other).run(other_shutdown));
    open(&other, 1);

    let west = {
        let mut west = peer();
        west.zone = ZoneName::parse("west").unwrap();
        west
    };
    let book = book_of(&store, 10, second);
    book.admit(&west).await.unwrap();
    book.opened(stream(2), &west, &NodeInfo::default());
    let (trigger, shutdown) = shutdown::channel();
    let own = tokio::spawn(Arc::clone(&book).run(shutdown));
    tokio::time::sleep(Duration::from_secs(1500)).await;
    assert_eq!(kept(&store), [(1, true)]);
    assert!(insight(&store).subscriptions[0].generation >= 9);

    running.abort();
    tokio::time::sleep(Duration::from_secs(700)).await;
    assert_eq!(kept(&store), [(1, false)]);
    let of_west: ZoneInsight = store.get(&insight_key(&west.zone)).unwrap().decode();
    assert!(
        of_west.subscriptions[0].disconnect_time.is_none(),
        "it is alive"
    );
    trigger.trigger();
    own.await.unwrap();
    drop(killed);
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_promised_health_checks_and_makes_none_is_named_once() {
    let book = book(&Arc::new(Flaky::new()), 10);
    let (east, timeout) = (zone(), Duration::from_secs(10));
    let none: [ZoneName; 0] = [];
    let silent = ZonePeer {
        pings_health: false,
        zone: ZoneName::parse("old").unwrap(),
        ..peer()
    };
    book.sat(&silent, StreamKind::Up);
    book.sat(&peer(), StreamKind::Up);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert_eq!(book.silent(timeout), none);
        book.pinged(&east);
    }
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(book.silent(timeout), std::slice::from_ref(&east));
    // A check that comes after its streams were ended is about none.
    book.pinged(&east);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(book.silent(timeout), none);
    book.sat(&peer(), StreamKind::Up);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(book.silent(timeout), [east]);
}
