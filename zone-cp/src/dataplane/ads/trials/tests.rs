//! What Envoys made of code take and refuse, and what that says of routes.

mod envoys;

use std::time::Duration;

use mesh_delta::{Item, Policy, Request};

use super::*;

fn snapshot(revision: u64, cluster: &str) -> Translated {
    let needs = [EnvoyType::Cluster, EnvoyType::Endpoint].map(|ty| (ty, Name::from("cart")));
    let of = |name: &str, item: Item<EnvoyType>| [(Name::from(name), item)].into_iter().collect();
    Translated::empty().with(
        revision,
        [
            (EnvoyType::Cluster, of("cart", Item::new(cluster, "cart"))),
            (EnvoyType::Endpoint, of("cart", Item::new("1", "none"))),
            (
                EnvoyType::Route,
                of("routes", Item::new("1", "to cart").needing(needs)),
            ),
        ],
    )
}

#[test]
fn routes_do_not_wait_for_a_cluster_that_is_refused() {
    let now = Duration::ZERO;
    let mut trials = Trials::default();
    let mut sender = Sender::new(Policy::envoy());
    sender.offer(trials.offered(snapshot(1, "bad")));
    for ty in [EnvoyType::Cluster, EnvoyType::Route] {
        let request = Request::wildcard(ty);
        sender.on_request(now, request).unwrap();
    }
    let clusters = sender.poll(now).unwrap();
    assert_eq!(clusters.ty, EnvoyType::Cluster);
    assert!(sender.poll(now).is_none(), "the routes wait for the answer");
    let answer = Request::nack(EnvoyType::Cluster, clusters.nonce, "no such protocol");
    sender.on_request(now, answer).unwrap();
    let said = std::iter::from_fn(|| sender.poll(now)).map(|response| response.ty);
    let said: Vec<EnvoyType> = said.collect();
    assert!(
        !said.contains(&EnvoyType::Route),
        "without this they would wait for ever"
    );
    sender.offer(trials.withdraw(&sender).unwrap());
    let routes = sender.poll(now).unwrap();
    assert_eq!(routes.ty, EnvoyType::Route);
    let withdrawn: Vec<_> = trials.withdrawn().map(|one| one.reason).collect();
    assert_eq!(withdrawn, [Arc::from("no such protocol")]);

    // As long as it stays the same it stays away; changed, it is offered again.
    let same = trials.offered(snapshot(2, "bad"));
    assert!(same.items(EnvoyType::Cluster).is_empty());
    let mended = trials.offered(snapshot(3, "good"));
    assert_eq!(mended.items(EnvoyType::Cluster).len(), 1);
    assert_eq!(mended.items(EnvoyType::Endpoint).len(), 1);
    assert_eq!(trials.withdrawn().count(), 0);
}
