use mesh_runtime::shutdown;
use mesh_runtime::tokens::{self, ZoneClaims};
use mesh_store::{Batch, Memory};

use super::super::auth::Exempt;
use super::super::auth::tests::{id_of, key, secret, zone};
use super::*;

const NOON: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// How long something may take to come about.
const DEADLINE: Duration = Duration::from_secs(5);

fn noon() -> Timestamp {
    NOON
}

async fn store() -> SharedStore {
    let store: SharedStore = Arc::new(Memory::new());
    let key = secret("zone-token-signing-key-1", &key(0).to_pem());
    store.commit(Batch::new().put(key)).await.unwrap();
    store
}

fn door(store: &SharedStore, now: fn() -> Timestamp) -> Arc<Door> {
    door_with(Exempt::Named(BTreeSet::new()), store, now)
}

fn door_with(exempt: Exempt, store: &SharedStore, now: fn() -> Timestamp) -> Arc<Door> {
    let auth = ZoneAuth::Token { exempt };
    Arc::new(Door::new(auth, Arc::clone(store), now, Metrics::default()))
}

fn token(key_id: &str, now: Timestamp, seconds: u64) -> String {
    let claims = ZoneClaims {
        zone: "east".to_owned(),
        scope: vec!["cp".to_owned()],
    };
    let validity = Duration::from_secs(seconds);
    tokens::issue(key(0), key_id, &claims, now, validity).unwrap()
}

async fn put(store: &SharedStore, name: &str, content: &str) {
    let batch = Batch::new().put(secret(name, content));
    store.commit(batch).await.unwrap();
}

async fn end(pass: &Pass) -> &'static str {
    let ended = tokio::time::timeout(DEADLINE, pass.ended()).await;
    ended.expect("the pass ends in time").reason()
}

#[tokio::test]
async fn calls_with_one_token_share_a_pass_and_nothing_is_kept_when_they_have_ended() {
    let store = store().await;
    let door = door(&store, noon);
    let token = token("1", NOON, 3600);
    let admit = || door.admit(&zone("east"), Presented::Token(&token)).unwrap();
    let (first, second) = (admit(), admit());
    assert!(Arc::ptr_eq(&first, &second));
    assert!(!format!("{first:?}").contains(&token));
    drop((first, second));
    assert!(door.live().is_empty());
    // The same token for another zone is another matter.
    let west = door.admit(&zone("west"), Presented::Token(&token));
    assert_eq!(west.unwrap_err().reason(), "other_zone");
}

#[tokio::test]
async fn a_pass_ends_when_its_token_is_revoked_or_its_key_removed_or_replaced() {
    let store = store().await;
    let door = door(&store, noon);
    let (_trigger, shutdown) = shutdown::channel();
    let watching = tokio::spawn(watch(Arc::downgrade(&door), shutdown));
    let good = token("1", NOON, 3600);
    let admit = |token: &str| door.admit(&zone("east"), Presented::Token(token));

    let pass = admit(&good).unwrap();
    let other_token = token("1", NOON, 3600);
    let other = admit(&other_token).unwrap();
    put(&store, "zone-token-revocations", &id_of(&good)).await;
    assert_eq!(end(&pass).await, "revoked");
    assert_eq!(admit(&good).unwrap_err().reason(), "revoked");
    assert!(other.ended.borrow().is_none());
    // What was revoked can be given back.
    put(&store, "zone-token-revocations", "").await;
    let pass = admit(&good).unwrap();

    // A second key for new tokens concerns no older token.
    put(&store, "zone-token-signing-key-2", &key(1).to_pem()).await;
    put(&store, "unrelated", "x").await;
    assert!(admit(&good).is_ok());
    put(&store, "zone-token-signing-key-1", &key(1).to_pem()).await;
    assert_eq!(end(&pass).await, "signature");
    put(&store, "zone-token-signing-key-1", &key(0).to_pem()).await;
    let pass = admit(&good).unwrap();
    let gone = secret("zone-token-signing-key-1", "").key().clone();
    store.commit(Batch::new().delete(gone)).await.unwrap();
    assert_eq!(end(&pass).await, "unknown_key");
    assert!(!watching.is_finished());
    drop((pass, other));
}

#[tokio::test]
async fn what_is_taken_back_before_the_watch_looks_lets_nobody_in() {
    let store = store().await;
    let door = door(&store, noon);
    let good = token("1", NOON, 3600);
    let admit = || door.admit(&zone("east"), Presented::Token(&good));
    let open = admit().unwrap();
    // Nobody watches here, so it is the call that finds out.
    put(&store, "zone-token-revocations", &id_of(&good)).await;
    assert_eq!(admit().unwrap_err().reason(), "revoked");
    assert_eq!(end(&open).await, "revoked");
}

#[tokio::test]
async fn a_pass_ends_when_its_token_expires() {
    let store = store().await;
    let door = door(&store, mesh_runtime::clock::now);
    let (_trigger, shutdown) = shutdown::channel();
    let watching = tokio::spawn(watch(Arc::downgrade(&door), shutdown));
    let short = token("1", mesh_runtime::clock::now(), 2);
    let pass = door.admit(&zone("east"), Presented::Token(&short)).unwrap();
    assert_eq!(end(&pass).await, "expired");
    drop(door);
    drop(store);
    // It does not keep what it watches.
    tokio::time::timeout(DEADLINE, watching)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn who_has_shown_a_token_does_not_give_way_to_who_needs_none() {
    let store = store().await;
    let door = door_with(Exempt::All, &store, noon);
    let good = token("1", NOON, 3600);
    let without = |name: &str| door.admit(&zone(name), Presented::Nothing);
    assert!(without("east").unwrap().is_exempt());
    let east = door.admit(&zone("east"), Presented::Token(&good)).unwrap();
    let refusal = without("east").unwrap_err();
    assert!(
        refusal
            .to_string()
            .contains("is connected with a zone token")
    );
    assert!(without("west").is_ok());
    drop(east);
    assert!(without("east").is_ok());
}
