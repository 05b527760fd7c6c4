use mesh_model::{ResourceType, Spec, Timestamp};
use mesh_proto::mesh::{MeshGatewayRoute, Selector};
use mesh_runtime::shutdown;
use mesh_store::{Batch, SharedStore};

use super::*;
use crate::testing::Scripted;

fn route(tag: &str) -> Arc<Resource> {
    let key = Key::in_mesh(
        ResourceType::MeshGatewayRoute,
        MeshName::parse("default").unwrap(),
        ResourceName::parse("shop").unwrap(),
    );
    let selector = Selector {
        r#match: [("kuma.io/service".to_owned(), tag.to_owned())].into(),
    };
    let spec = MeshGatewayRoute {
        selectors: vec![selector],
        conf: None,
    };
    let spec = Spec::encode(key.ty(), &spec);
    let at = Timestamp::EPOCH;
    Arc::new(Resource::new(key, BTreeMap::new(), spec, at, at))
}

async fn with(store: &SharedStore, route: &Resource) -> Snapshot {
    store.commit(Batch::new().put(route.clone())).await.unwrap();
    store.snapshot()
}

fn refused(version: &str, instead: Option<&str>) -> Refused {
    Refused {
        route: route(version),
        words: "too large".into(),
        instead: instead.map(route),
    }
}

fn held(book: &RefusedRoutes, snapshot: &Snapshot) -> Vec<(String, Option<Arc<Resource>>)> {
    let mesh = MeshName::parse("default").unwrap();
    let held = book.held(Some(&mesh), snapshot).into_iter();
    held.map(|(name, held)| (name.to_string(), held.instead))
        .collect()
}

#[tokio::test]
async fn an_entry_is_about_one_version_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("refused-routes.json");
    let store = Scripted::with_mesh().await as SharedStore;
    let empty = store.snapshot();
    let snapshot = with(&store, &route("v2")).await;

    let book = Arc::new(RefusedRoutes::open(&file));
    let (trigger, shutdown) = shutdown::channel();
    let run = tokio::spawn(Arc::clone(&book).run(shutdown));
    book.put(refused("v2", Some("v1")), snapshot.revision());
    let expected = [("shop".to_owned(), Some(route("v1")))];
    assert_eq!(held(&book, &snapshot), expected);
    // It is on disk soon.
    while keep::load(&file).unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    trigger.trigger();
    run.await.unwrap();

    let book = RefusedRoutes::open(&file);
    assert_eq!(held(&book, &empty), [], "a store that is not filled yet");
    assert_eq!(held(&book, &snapshot), expected);
    let snapshot = with(&store, &route("v3")).await;
    assert_eq!(held(&book, &snapshot), [], "it has changed");
    let snapshot = with(&store, &route("v2")).await;
    assert_eq!(held(&book, &snapshot), [], "and was forgotten then");
}

#[tokio::test]
async fn an_older_state_forgets_nothing() {
    let store = Scripted::with_mesh().await as SharedStore;
    let older = with(&store, &route("v1")).await;
    let newer = with(&store, &route("v2")).await;
    let book = RefusedRoutes::unkept();
    book.put(refused("v2", None), newer.revision());
    // The view may be ahead of what a stream has seen of the store.
    assert_eq!(held(&book, &older), [("shop".to_owned(), None)]);
    assert_eq!(held(&book, &newer), [("shop".to_owned(), None)]);
    // Who knows what Envoy had before adds it.
    book.put(refused("v2", Some("v1")), newer.revision());
    book.put(refused("v2", None), newer.revision());
    assert_eq!(
        held(&book, &newer),
        [("shop".to_owned(), Some(route("v1")))]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_an_empty_book() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("refused-routes.json");
    std::fs::write(&file, "[{").unwrap();
    assert!(RefusedRoutes::open(&file).entries.lock().is_empty());
}
