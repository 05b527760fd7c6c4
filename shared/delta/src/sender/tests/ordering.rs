//! Make before break, as a script.

use super::*;
use crate::Item;
use crate::testkit::Kind;
use Kind::{Cluster, Endpoint, Listener, Route};

fn route(version: &str, clusters: &[&str]) -> Item<Kind> {
    let needs = clusters
        .iter()
        .flat_map(|text| [(Cluster, name(text)), (Endpoint, name(text))]);
    Item::new(version, version.to_owned()).needing(needs)
}

/// An Envoy that has cluster `a` with endpoints, listener `l` and a route to `a`.
fn running() -> (Script<Kind>, Offer<Kind>) {
    let offer = Offer::new()
        .plain(Cluster, &["a@1"])
        .plain(Endpoint, &["a@1"])
        .plain(Listener, &["l@1"])
        .items(Route, &[("l", route("1", &["a"]))]);
    let mut script = Script::new(Policy::envoy());
    script.offer(&offer);
    script.request(Request::wildcard(Cluster));
    assert_eq!(script.drain(), ["Cluster complete: +a@1"]);
    assert_eq!(script.ack(Cluster), NOTHING);
    script.request(Request::new(Endpoint).subscribe(["a"]));
    assert_eq!(script.drain(), ["Endpoint delta: +a@1"]);
    assert_eq!(script.ack(Endpoint), NOTHING);
    script.request(Request::wildcard(Listener));
    assert_eq!(script.drain(), ["Listener complete: +l@1"]);
    assert_eq!(script.ack(Listener), NOTHING);
    script.request(Request::new(Route).subscribe(["l"]));
    assert_eq!(script.drain(), ["Route delta: +l@1"]);
    assert_eq!(script.ack(Route), NOTHING);
    assert!(script.sender.is_synced());
    (script, offer)
}

/// The same with a second cluster, to which the route moves.
fn moved(offer: &Offer<Kind>) -> Offer<Kind> {
    offer
        .plain(Cluster, &["a@1", "b@1"])
        .plain(Endpoint, &["a@1", "b@1"])
        .items(Route, &[("l", route("2", &["b"]))])
}

#[test]
fn route_waits_for_cluster_and_endpoints() {
    let (mut script, offer) = running();
    script.offer(&moved(&offer));
    assert_eq!(script.drain(), ["Cluster delta: +b@1"]);
    assert_eq!(script.ack(Cluster), NOTHING);
    script.request(Request::new(Endpoint).subscribe(["b"]));
    assert_eq!(script.drain(), ["Endpoint delta: +b@1"]);
    assert_eq!(script.ack(Endpoint), ["Route delta: +l@2"]);
}

#[test]
fn other_routes_need_not_wait() {
    let (mut script, offer) = running();
    script.request(Request::new(Route).subscribe(["m"]));
    assert_eq!(script.drain(), ["Route delta: -m"]);
    script.ack(Route);
    let routes = [("l", route("2", &["b"])), ("m", route("1", &["a"]))];
    script.offer(&moved(&offer).items(Route, &routes));
    assert_eq!(script.drain(), ["Cluster delta: +b@1", "Route delta: +m@1"]);
}

#[test]
fn missing_endpoints_hold_a_route_up_only_for_a_while() {
    let (mut script, offer) = running();
    script.offer(&moved(&offer));
    script.drain();
    assert_eq!(script.ack(Cluster), NOTHING);
    assert_eq!(script.wait(), ["Route delta: +l@2"]);
    assert_eq!(script.now, Policy::envoy().need_timeout);
}

#[test]
fn route_to_a_rejected_cluster_is_never_sent() {
    let (mut script, offer) = running();
    script.offer(&moved(&offer));
    script.drain();
    assert_eq!(script.nack(Cluster, "bad"), NOTHING);
    assert_eq!(script.sender.next_deadline(), None);
    assert!(!script.sender.is_synced());
    assert_eq!(
        script.sender.blocked().collect::<Vec<_>>(),
        [(Route, name("l"))]
    );
}

#[test]
fn need_that_is_not_offered_counts_as_held() {
    let (mut script, offer) = running();
    script.offer(&offer.items(Route, &[("l", route("2", &["static"]))]));
    assert_eq!(script.drain(), ["Route delta: +l@2"]);
}

#[test]
fn first_response_does_not_claim_that_there_is_nothing() {
    let offer = Offer::new()
        .plain(Cluster, &["a@1"])
        .items(Route, &[("l", route("1", &["a"]))]);
    let mut script = Script::new(Policy::envoy());
    script.offer(&offer);
    script.request(Request::wildcard(Route));
    script.request(Request::wildcard(Cluster));
    assert_eq!(script.drain(), ["Cluster complete: +a@1"]);
    assert_eq!(script.ack(Cluster), ["Route complete: +l@1"]);
}

#[test]
fn cluster_goes_after_its_last_user_and_lingers() {
    let (mut script, offer) = running();
    let offer = moved(&offer);
    script.offer(&offer);
    script.drain();
    script.ack(Cluster);
    script.request(Request::new(Endpoint).subscribe(["b"]));
    script.drain();
    // Now the old cluster goes as well, before the route was even sent.
    let offer = offer.plain(Cluster, &["b@1"]).plain(Endpoint, &["b@1"]);
    script.offer(&offer);
    assert_eq!(script.ack(Endpoint), ["Route delta: +l@2"]);
    assert_eq!(
        script.sender.next_deadline(),
        None,
        "the old route is in use"
    );
    script.now = seconds(100);
    assert_eq!(script.ack(Route), NOTHING);
    assert!(script.sender.is_synced(), "what lingers is in nobody's way");
    assert_eq!(script.wait(), ["Cluster delta: -a"]);
    assert_eq!(script.now, seconds(100) + Policy::envoy().linger);
    assert_eq!(script.ack(Cluster), NOTHING);
    // Endpoints outlive their cluster; an Envoy gives them up by itself then.
    script.request(Request::new(Endpoint).unsubscribe(["a"]));
    assert_eq!(script.drain(), NOTHING);
    assert_eq!(script.sender.status(Endpoint).outstanding, 0);
}

#[test]
fn cluster_that_comes_back_while_it_lingers_is_kept() {
    let (mut script, offer) = running();
    let gone = offer
        .plain(Cluster, &[])
        .plain(Endpoint, &[])
        .items(Route, &[("l", route("2", &[]))]);
    script.offer(&gone);
    assert_eq!(script.drain(), ["Route delta: +l@2"]);
    assert_eq!(script.ack(Route), NOTHING);
    assert!(script.sender.next_deadline().is_some());
    let back = gone.plain(Cluster, &["a@1"]).plain(Endpoint, &["a@1"]);
    script.offer(&back.items(Route, &[("l", route("1", &["a"]))]));
    assert_eq!(script.drain(), ["Route delta: +l@1"]);
    assert_eq!(script.ack(Route), NOTHING);
    assert_eq!(script.sender.next_deadline(), None);
}

#[test]
fn refused_route_keeps_the_cluster_of_the_old_one() {
    let (mut script, offer) = running();
    let offer = moved(&offer);
    script.offer(&offer);
    script.drain();
    script.ack(Cluster);
    script.request(Request::new(Endpoint).subscribe(["b"]));
    script.drain();
    script.ack(Endpoint);
    assert_eq!(script.nack(Route, "bad"), NOTHING);
    script.offer(&offer.plain(Cluster, &["b@1"]).plain(Endpoint, &["b@1"]));
    assert_eq!(script.drain(), NOTHING);
    assert_eq!(script.sender.next_deadline(), None);
}

#[test]
fn changed_cluster_brings_its_endpoints_again() {
    let (mut script, offer) = running();
    script.offer(&offer.plain(Cluster, &["a@2"]));
    assert_eq!(
        script.drain(),
        ["Cluster delta: +a@2", "Endpoint delta: +a@1"]
    );
    script.ack(Cluster);
    assert_eq!(script.ack(Endpoint), NOTHING);
    assert!(script.sender.is_synced());
}

#[test]
fn endpoints_of_a_resumed_envoy_come_again() {
    let offer = Offer::new()
        .plain(Cluster, &["a@1"])
        .plain(Endpoint, &["a@1"]);
    let mut script = Script::new(Policy::envoy());
    script.offer(&offer);
    for ty in [Cluster, Endpoint] {
        let names: &[&str] = if ty == Cluster { &["*"] } else { &["a"] };
        let mut request = Request::new(ty).subscribe(names.iter().copied());
        request.initial_versions.insert("a".into(), "1".into());
        script.request(request);
    }
    assert_eq!(
        script.drain(),
        ["Cluster delta:", "Endpoint delta: +a@1"],
        "the last stream may have ended while the cluster was warming"
    );
}

#[test]
fn resumed_item_of_which_nobody_knows_the_needs_keeps_clusters() {
    let offer = Offer::new()
        .plain(Listener, &["l@1"])
        .items(Route, &[("l", route("2", &[]))]);
    let mut script = Script::new(Policy::envoy());
    script.offer(&offer);
    let mut clusters = Request::wildcard(Cluster);
    clusters.initial_versions.insert("a".into(), "1".into());
    script.request(clusters);
    let mut routes = Request::new(Route).subscribe(["l"]);
    routes.initial_versions.insert("l".into(), "1".into());
    script.request(routes);
    assert_eq!(script.drain(), ["Cluster delta:", "Route delta: +l@2"]);
    script.ack(Cluster);
    assert_eq!(script.sender.next_deadline(), None);
    assert_eq!(script.ack(Route), NOTHING);
    assert_eq!(script.wait(), ["Cluster delta: -a"]);
}

#[test]
fn items_sent_in_spite_of_their_needs_are_split_without_waiting_again() {
    let (mut script, offer) = running();
    script.request(Request::new(Route).subscribe(["m"]));
    script.drain();
    script.ack(Route);
    let routes = [("l", route("2", &["b"])), ("m", route("1", &["b"]))];
    script.offer(&moved(&offer).items(Route, &routes));
    script.drain();
    script.ack(Cluster);
    assert_eq!(script.wait(), ["Route delta: +l@2 +m@1"]);
    assert_eq!(script.nack(Route, ""), ["Route delta: +l@2"]);
    assert_eq!(script.nack(Route, ""), ["Route delta: +m@1"]);
    assert_eq!(script.ack(Route), NOTHING);
    assert_eq!(script.sender.rejections().count(), 1);
}

#[test]
fn what_a_refused_response_may_have_applied_keeps_its_clusters_until_that_is_known() {
    let (mut script, offer) = running();
    script.request(Request::new(Route).subscribe(["m"]));
    script.drain();
    script.ack(Route);
    // Both routes move to b, are refused together, and b goes.
    let offer = moved(&offer);
    let routes = [("l", route("2", &["b"])), ("m", route("1", &["b"]))];
    let both = offer.items(Route, &routes);
    script.offer(&both);
    script.drain();
    script.ack(Cluster);
    script.wait();
    let back = both
        .plain(Cluster, &["a@1"])
        .plain(Endpoint, &["a@1"])
        .items(Route, &[("l", route("1", &["a"]))]);
    script.offer(&back);
    assert_eq!(
        script.nack(Route, ""),
        ["Route delta: +l@1"],
        "the receiver may have either version"
    );
    assert_eq!(script.sender.next_deadline(), None, "and so may need b");
    assert_eq!(script.ack(Route), NOTHING);
    assert_eq!(script.sender.next_deadline(), None, "m may still need it");
    script.request(Request::new(Route).unsubscribe(["m"]));
    assert_eq!(script.wait(), ["Cluster delta: -b"]);
}

#[test]
fn routes_of_a_listener_that_is_gone_keep_their_clusters_until_they_are_given_up() {
    let (mut script, offer) = running();
    let gone = offer
        .plain(Cluster, &[])
        .plain(Endpoint, &[])
        .plain(Listener, &[])
        .items(Route, &[]);
    script.offer(&gone);
    assert_eq!(script.drain(), ["Listener delta: -l"]);
    assert_eq!(script.ack(Listener), NOTHING);
    // Its connections are answered from them until they end.
    assert_eq!(script.sender.next_deadline(), None);
    assert!(script.sender.is_synced(), "that is in nobody's way");
    assert_eq!(script.sender.status(Route).outstanding, 0);
    script.request(Request::new(Route).unsubscribe(["l"]));
    assert_eq!(script.drain(), NOTHING);
    assert_eq!(script.wait(), ["Cluster delta: -a"]);
}

#[test]
fn endpoints_that_come_back_after_a_cluster_changed_are_sent_as_they_were() {
    let (mut script, offer) = running();
    let gone = offer.plain(Cluster, &["a@2"]).plain(Endpoint, &[]);
    script.offer(&gone);
    assert_eq!(script.drain(), ["Cluster delta: +a@2"]);
    script.offer(&gone.plain(Endpoint, &["a@1"]));
    assert_eq!(script.drain(), ["Endpoint delta: +a@1"]);
}
