use mesh_model::json;
use mesh_runtime::shutdown::{self, Trigger};
use mesh_store::Store as _;

use super::*;
use crate::testing::{Scripted, dataplane_key, gateway, soon};

struct Zone {
    store: Arc<Scripted>,
    book: Arc<InsightBook>,
    end: Trigger,
    running: tokio::task::JoinHandle<()>,
}

/// A zone with one Dataplane and a book that runs.
async fn zone() -> Zone {
    let store = Scripted::with_mesh().await;
    let value = serde_json::from_str(&gateway("edge")).unwrap();
    let document = json::parse_document(&value).unwrap();
    let now = Timestamp::EPOCH;
    let dataplane = Resource::new(
        dataplane_key("edge"),
        document.labels,
        document.spec,
        now,
        now,
    );
    store.commit(Batch::new().put(dataplane)).await.unwrap();
    let book = Arc::new(InsightBook::new(
        Arc::clone(&store) as SharedStore,
        "instance",
        2,
        Duration::from_secs(1),
    ));
    let (end, shutdown) = shutdown::channel();
    let running = tokio::spawn(Arc::clone(&book).run(shutdown));
    Zone {
        store,
        book,
        end,
        running,
    }
}

impl Zone {
    fn open(&self) -> Uuid {
        self.book
            .opened(dataplane_key("edge"), Version::default(), true)
    }

    /// Waits until the insight is so.
    async fn insight(&self, is_so: impl Fn(&DataplaneInsight) -> bool) {
        let key = dataplane_key("edge").with_type(ResourceType::DataplaneInsight);
        let is_so = |snapshot: &mesh_store::Snapshot| {
            snapshot.get(&key).is_some_and(|i| is_so(&i.decode()))
        };
        let mut watch = self.store.watch();
        soon(watch.wait_for(is_so)).await.unwrap();
    }
}

fn open_streams(insight: &DataplaneInsight) -> usize {
    let subscriptions = insight.subscriptions.iter();
    subscriptions
        .filter(|s| s.disconnect_time.is_none())
        .count()
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_written_is_written_later() {
    let zone = zone().await;
    zone.store.fail(2);
    let stream = zone.open();
    zone.insight(|i| open_streams(i) == 1).await;
    zone.store.fail(2);
    zone.book.found(stream, vec![Finding::default()]);
    zone.insight(|i| i.findings.len() == 1).await;
    zone.store.fail(2);
    zone.book.closed(stream);
    zone.insight(|i| open_streams(i) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn the_last_word_at_the_end_has_what_could_not_be_written_before() {
    let zone = zone().await;
    let stream = zone.open();
    let still_open = zone.open();
    zone.insight(|i| open_streams(i) > 0).await;
    zone.store.fail(1);
    zone.book.closed(stream);
    tokio::task::yield_now().await;
    zone.end.trigger();
    zone.running.await.unwrap();
    let key = dataplane_key("edge").with_type(ResourceType::DataplaneInsight);
    let insight: DataplaneInsight = zone.store.get(&key).unwrap().decode();
    assert_eq!(insight.subscriptions.len(), 2);
    assert_eq!(open_streams(&insight), 0);
    assert!(!zone.book.live.lock().contains_key(&still_open));
}
