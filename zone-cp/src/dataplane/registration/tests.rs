use mesh_model::json;
use mesh_proto::mesh::Version;
use mesh_runtime::shutdown;
use mesh_store::Store as _;

use super::*;
use crate::inventory::insight::InsightBook;
use crate::testing::{Scripted, dataplane_key, gateway, soon};

const ID: &str = "default.edge";

struct Zone {
    store: Arc<Scripted>,
    registrar: Arc<Registrar>,
    key: Key,
}

async fn zone() -> Zone {
    let store = Scripted::with_mesh().await;
    Zone {
        registrar: registrar(&store, Shutdown::never()),
        store,
        key: dataplane_key("edge"),
    }
}

fn registrar(store: &Arc<Scripted>, shutdown: Shutdown) -> Arc<Registrar> {
    let zone = ZoneName::parse("zone-1").unwrap();
    let store: SharedStore = Arc::clone(store) as SharedStore;
    Arc::new(Registrar::new(store, zone, ProxyAuth::Off, shutdown))
}

impl Zone {
    async fn register(&self) -> Result<Registration, RegisterError> {
        let resource = gateway("edge");
        self.registrar.register(ID, Some(&resource), None).await
    }

    async fn goodbye(&self) -> Result<(), RegisterError> {
        self.registrar.deregister(&self.key, None).await
    }

    fn is_stored(&self) -> bool {
        self.store.get(&self.key).is_some()
    }

    /// Lets time pass, and what is due then happen.
    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
        // Whoever has the turn is done.
        drop(self.registrar.turns.take(&self.key).await);
    }

    /// Waits for the removal of the Dataplane, however long it takes.
    async fn removed(&self) {
        let mut watch = self.store.watch();
        let is_gone = |snapshot: &mesh_store::Snapshot| snapshot.get(&self.key).is_none();
        soon(watch.wait_for(is_gone)).await.unwrap();
    }

    /// Stores the Dataplane as the API does.
    async fn store_by_api(&self) {
        let value = serde_json::from_str(&gateway("edge")).unwrap();
        let document = json::parse_document(&value).unwrap();
        let now = Timestamp::EPOCH;
        let resource = Resource::new(self.key.clone(), document.labels, document.spec, now, now);
        self.store.commit(Batch::new().put(resource)).await.unwrap();
    }

    /// Writes what the end of a stream leaves in the insight.
    async fn report(&self, has_brought: bool) {
        let book = Arc::new(InsightBook::new(
            Arc::clone(&self.store) as SharedStore,
            "instance",
            2,
            Duration::from_secs(1),
        ));
        let id = book.opened(self.key.clone(), Version::default(), has_brought);
        book.closed(id);
        let (trigger, shutdown) = shutdown::channel();
        trigger.trigger();
        book.run(shutdown).await;
    }
}

const SHORT: Duration = Duration::from_millis(100);

#[tokio::test(start_paused = true)]
async fn a_dataplane_goes_after_the_delay_and_not_before() {
    let zone = zone().await;
    drop(zone.register().await.unwrap());
    zone.pass(DEREGISTRATION_DELAY - SHORT).await;
    assert!(zone.is_stored());
    zone.pass(2 * SHORT).await;
    assert!(!zone.is_stored());
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_starts_the_delay_anew() {
    let zone = zone().await;
    drop(zone.register().await.unwrap());
    zone.pass(DEREGISTRATION_DELAY - SHORT).await;
    drop(zone.register().await.unwrap());
    zone.pass(DEREGISTRATION_DELAY - SHORT).await;
    assert!(zone.is_stored());
    zone.pass(2 * SHORT).await;
    assert!(!zone.is_stored());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_opens_while_its_dataplane_is_removed_is_registered_afterwards() {
    let zone = zone().await;
    drop(zone.register().await.unwrap());
    let gate = zone.store.hold();
    gate.arrived().await;
    let open = async {
        tokio::join!(zone.register(), async {
            tokio::task::yield_now().await;
            gate.open();
        })
        .0
    };
    let _registration = open.await.unwrap();
    zone.pass(2 * DEREGISTRATION_DELAY).await;
    assert!(zone.is_stored());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_opens_while_a_goodbye_is_written_finds_it_written() {
    let zone = zone().await;
    let _draining = zone.register().await.unwrap();
    let gate = zone.store.hold();
    let (goodbye, reconnect, ()) = tokio::join!(zone.goodbye(), zone.register(), async {
        gate.arrived().await;
        gate.open();
    });
    goodbye.unwrap();
    assert!(matches!(reconnect, Err(RegisterError::Leaving { .. })));
    assert!(!zone.is_stored());
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_fails_is_tried_again() {
    let zone = zone().await;
    drop(zone.register().await.unwrap());
    zone.store.fail(3);
    zone.removed().await;
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_removes_at_once_and_a_mere_reconnect_does_not_undo_it() {
    let zone = zone().await;
    let draining = zone.register().await.unwrap();
    zone.goodbye().await.unwrap();
    assert!(!zone.is_stored());
    assert!(draining.has_left());

    let again = zone.register().await;
    assert!(matches!(again, Err(RegisterError::Leaving { .. })));
    drop(draining);
    zone.pass(Duration::from_secs(60)).await;
    let again = zone.register().await;
    assert!(matches!(again, Err(RegisterError::Leaving { .. })));
    assert!(!zone.is_stored());

    // Until nobody can be draining any more.
    zone.pass(Duration::from_secs(10 * 60)).await;
    zone.register().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_agent_undoes_the_goodbye_of_its_predecessor() {
    let zone = zone().await;
    let draining = zone.register().await.unwrap();
    zone.goodbye().await.unwrap();
    zone.registrar.expect(&zone.key);
    let new = zone.register().await.unwrap();
    assert!(draining.has_left() && !new.has_left());
    drop(draining);
    zone.pass(2 * DEREGISTRATION_DELAY).await;
    assert!(zone.is_stored());
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_after_the_successor_connected_removes_nothing() {
    let zone = zone().await;
    let old = zone.register().await.unwrap();
    let _new = zone.register().await.unwrap();
    zone.goodbye().await.unwrap();
    drop(old);
    zone.pass(2 * DEREGISTRATION_DELAY).await;
    assert!(zone.is_stored());
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_between_bootstrap_and_stream_of_the_successor_removes_nothing() {
    let zone = zone().await;
    let old = zone.register().await.unwrap();
    zone.registrar.expect(&zone.key);
    zone.goodbye().await.unwrap();
    drop(old);
    let _new = zone.register().await.unwrap();
    zone.pass(2 * DEREGISTRATION_DELAY).await;
    assert!(zone.is_stored());
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_that_could_not_be_written_changes_nothing() {
    let zone = zone().await;
    let stream = zone.register().await.unwrap();
    zone.store.fail(1);
    assert!(matches!(zone.goodbye().await, Err(RegisterError::Store(_))));
    assert!(!stream.has_left());
    let again = zone.register().await.unwrap();
    drop((stream, again));
    zone.removed().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_hangs_up_during_its_goodbye_is_gone_all_the_same() {
    let zone = zone().await;
    let draining = zone.register().await.unwrap();
    let gate = zone.store.hold();
    tokio::select! {
        _ = zone.goodbye() => panic!("it is held"),
        () = gate.arrived() => {}
    }
    gate.open();
    zone.removed().await;
    assert!(draining.has_left());
    assert!(matches!(
        zone.register().await,
        Err(RegisterError::Leaving { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_dataplane_that_is_made_again_after_a_goodbye_is_served() {
    let zone = zone().await;
    drop(zone.register().await.unwrap());
    zone.goodbye().await.unwrap();
    zone.store_by_api().await;
    let _stream = zone.registrar.register(ID, None, None).await.unwrap();
    zone.pass(2 * DEREGISTRATION_DELAY).await;
    assert!(zone.is_stored());
}

#[tokio::test(start_paused = true)]
async fn what_a_stream_brought_in_an_earlier_run_goes_unless_it_comes_back() {
    for comes_back in [false, true] {
        let zone = zone().await;
        let (trigger, shutdown) = shutdown::channel();
        let earlier = registrar(&zone.store, shutdown);
        let stream = earlier.register(ID, Some(&gateway("edge")), None).await;
        zone.report(true).await;
        trigger.trigger();
        drop(stream);
        earlier.drained().await;
        assert!(zone.is_stored());

        zone.registrar.await_leftovers();
        zone.pass(SHORT).await;
        let _stream = if comes_back {
            Some(zone.register().await.unwrap())
        } else {
            None
        };
        zone.pass(DEREGISTRATION_DELAY).await;
        assert_eq!(zone.is_stored(), comes_back);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_api_made_outlives_restarts() {
    let zone = zone().await;
    zone.store_by_api().await;
    // Once without a proxy, once with one that was there and went.
    zone.registrar.await_leftovers();
    zone.pass(2 * DEREGISTRATION_DELAY).await;
    assert!(zone.is_stored());
    zone.report(false).await;
    zone.registrar.await_leftovers();
    zone.pass(2 * DEREGISTRATION_DELAY).await;
    assert!(zone.is_stored());
}

#[tokio::test(start_paused = true)]
async fn the_text_for_a_mesh_that_is_not_there_says_what_to_do() {
    let zone = zone().await;
    let error = zone
        .registrar
        .register("other.edge", Some(&gateway("edge")), None)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "mesh \"other\" does not exist in this zone: create it on the global control plane, or \
         wait until the zone has received it"
    );
}
