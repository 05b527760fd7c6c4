//! The dialect as a script: feed, drain, compare.

use super::*;
use crate::Policy;
use crate::testkit::{Kind, Offer, name, seconds};

/// A stream with its clock.
struct Script {
    sender: Sender<Kind>,
    world: World<Kind>,
    now: Time,
    last: Vec<WorldResponse<Kind>>,
}

impl Script {
    fn new(offer: &Offer<Kind>) -> Self {
        let mut sender = Sender::new(Policy::envoy());
        sender.offer(offer.0.clone());
        Self {
            sender,
            world: World::new(|_| Payload::default()),
            now: Time::ZERO,
            last: Vec::new(),
        }
    }

    fn offer(&mut self, offer: &Offer<Kind>) -> Vec<String> {
        assert!(self.sender.offer(offer.0.clone()));
        self.drain()
    }

    fn drain(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(response) = self.world.poll(self.now, &mut self.sender) {
            let items = response.resources.iter();
            let items = items.map(|(name, item)| format!(" {name}@{}", item.version));
            texts.push(format!("{:?}:{}", response.ty, items.collect::<String>()));
            self.last.retain(|last| last.ty != response.ty);
            self.last.push(response);
        }
        texts
    }

    /// A request that repeats the last nonce and version, as Envoy's do.
    fn say(&mut self, ty: Kind, names: &[&str], error: Option<&str>) -> Vec<String> {
        let last = self.last.iter().find(|last| last.ty == ty);
        let request = WorldRequest {
            ty,
            names: names.iter().map(|text| name(text)).collect(),
            version: last.map(|last| last.version.clone()),
            nonce: last.map(|last| last.nonce.clone()),
            error: error.map(str::to_owned),
        };
        let said = self.world.on_request(self.now, &mut self.sender, request);
        said.expect("the request belongs to the stream");
        self.drain()
    }

    fn resume(&mut self, ty: Kind, names: &[&str], version: &Version) -> Vec<String> {
        let request = WorldRequest {
            ty,
            names: names.iter().map(|text| name(text)).collect(),
            version: Some(version.clone()),
            nonce: None,
            error: None,
        };
        let said = self.world.on_request(self.now, &mut self.sender, request);
        said.expect("the request belongs to the stream");
        self.drain()
    }

    fn version(&self, ty: Kind) -> Version {
        let last = self.last.iter().find(|last| last.ty == ty);
        last.expect("it was sent").version.clone()
    }
}

const NOTHING: [&str; 0] = [];

fn routes(version: &str, clusters: &[&str]) -> Vec<(&'static str, Item<Kind>)> {
    let needs = clusters
        .iter()
        .map(|cluster| (Kind::Cluster, name(cluster)));
    vec![("edge", Item::new(version, "").needing(needs))]
}

fn shop() -> Offer<Kind> {
    Offer::new()
        .plain(Kind::Cluster, &["cart@1", "shop@1"])
        .plain(Kind::Endpoint, &["cart@1", "shop@1"])
        .plain(Kind::Listener, &["edge@1"])
        .items(Kind::Route, &routes("1", &["cart", "shop"]))
}

/// An Envoy that has started and holds all of it.
fn started(offer: &Offer<Kind>) -> Script {
    let mut script = Script::new(offer);
    assert_eq!(
        script.say(Kind::Cluster, &[], None),
        ["Cluster: cart@1 shop@1"]
    );
    let both = ["cart", "shop"];
    // Who asks for some of what there is gets it at once, and need not ask for all.
    assert_eq!(
        script.say(Kind::Endpoint, &["shop"], None),
        ["Endpoint: shop@1"]
    );
    assert_eq!(
        script.say(Kind::Endpoint, &both, None),
        ["Endpoint: cart@1"]
    );
    assert_eq!(script.say(Kind::Endpoint, &both, None), NOTHING);
    assert_eq!(script.say(Kind::Cluster, &[], None), NOTHING);
    assert_eq!(script.say(Kind::Listener, &[], None), ["Listener: edge@1"]);
    assert_eq!(script.say(Kind::Route, &["edge"], None), ["Route: edge@1"]);
    assert_eq!(script.say(Kind::Listener, &[], None), NOTHING);
    assert_eq!(script.say(Kind::Route, &["edge"], None), NOTHING);
    assert!(script.sender.is_synced());
    script
}

#[test]
fn a_cluster_that_left_is_said_again_until_its_routes_are_gone_for_a_while() {
    let offer = shop();
    let mut script = started(&offer);
    let offer = offer
        .plain(Kind::Cluster, &["cart@1", "wine@1"])
        .plain(Kind::Endpoint, &["cart@1", "wine@1"])
        .items(Kind::Route, &routes("2", &["cart", "wine"]));
    assert_eq!(script.offer(&offer), ["Cluster: cart@1 shop@1 wine@1"]);
    let all = ["cart", "shop", "wine"];
    assert_eq!(script.say(Kind::Endpoint, &all, None), ["Endpoint: wine@1"]);
    assert_eq!(script.say(Kind::Endpoint, &all, None), NOTHING);
    assert_eq!(script.say(Kind::Cluster, &[], None), ["Route: edge@2"]);
    assert_eq!(script.say(Kind::Route, &["edge"], None), NOTHING);
    script.now = script.world.next_deadline(&script.sender).unwrap();
    assert_eq!(script.now, seconds(5));
    assert_eq!(script.drain(), ["Cluster: cart@1 wine@1"]);
}

#[test]
fn a_receiver_that_comes_back_to_what_it_holds_is_told_nothing_but_endpoints() {
    let offer = shop();
    let before = started(&offer);
    let version = |ty| before.version(ty);
    let mut script = Script::new(&offer);
    assert_eq!(
        script.resume(Kind::Cluster, &[], &version(Kind::Cluster)),
        NOTHING
    );
    let endpoints = version(Kind::Endpoint);
    let said = script.resume(Kind::Endpoint, &["cart", "shop"], &endpoints);
    assert_eq!(said, ["Endpoint: cart@1 shop@1"]);
    assert_eq!(script.version(Kind::Endpoint), endpoints);
    assert_eq!(
        script.resume(Kind::Listener, &[], &version(Kind::Listener)),
        NOTHING
    );
    assert_eq!(
        script.resume(Kind::Route, &["edge"], &version(Kind::Route)),
        NOTHING
    );
    // And it goes on from there.
    let offer = offer.items(Kind::Route, &routes("2", &["cart"]));
    assert_eq!(script.offer(&offer), ["Route: edge@2"]);
}

#[test]
fn clusters_of_another_control_plane_stay_until_routes_have_changed() {
    let mut script = Script::new(&shop());
    let foreign: Version = "7d4b8c1e-0f5e-4a57-9a2c-2f1f7a7f3b11".into();
    assert_eq!(script.resume(Kind::Cluster, &[], &foreign), NOTHING);
    let held = ["cart", "old"];
    let said = script.resume(Kind::Endpoint, &held, &foreign);
    let clusters = "Cluster: cart@1 old@stand-in shop@1";
    assert_eq!(said, [clusters, "Endpoint: cart@1"]);
    let said = script.resume(Kind::Listener, &[], &foreign);
    assert_eq!(said, ["Listener: edge@1"]);
    assert_eq!(script.resume(Kind::Route, &["edge"], &foreign), NOTHING);
    assert_eq!(script.say(Kind::Listener, &[], None), NOTHING);
    // Envoy says nothing about clusters while `old` warms. That it wants the new one's endpoints,
    // and has them, is enough.
    let all = ["cart", "old", "shop"];
    assert_eq!(script.say(Kind::Endpoint, &held, None), NOTHING);
    assert_eq!(script.say(Kind::Endpoint, &all, None), ["Endpoint: shop@1"]);
    assert_eq!(script.say(Kind::Endpoint, &all, None), ["Route: edge@1"]);
    assert_eq!(script.say(Kind::Route, &["edge"], None), NOTHING);
    script.now = script.world.next_deadline(&script.sender).unwrap();
    assert_eq!(script.drain(), ["Cluster: cart@1 shop@1"]);
    assert_eq!(script.say(Kind::Cluster, &[], None), NOTHING);
    assert!(script.sender.is_synced());
}

#[test]
fn a_refused_cluster_is_left_out_and_the_good_ones_arrive() {
    let offer = shop();
    let mut script = started(&offer);
    let offer = offer.plain(Kind::Cluster, &["cart@2", "shop@bad"]);
    let said = script.offer(&offer);
    assert_eq!(said[0], "Cluster: cart@2 shop@bad");
    let said = script.say(Kind::Cluster, &[], Some("shop: no"));
    assert_eq!(said, ["Cluster: cart@2 shop@1"]);
    let said = script.say(Kind::Cluster, &[], None);
    assert_eq!(said, ["Cluster: cart@2 shop@bad"]);
    assert_eq!(
        script.say(Kind::Cluster, &[], Some("shop: no")),
        NOTHING,
        "it is not sent again"
    );
    let rejected: Vec<_> = script.sender.rejections().map(|r| r.name).collect();
    assert_eq!(rejected, [name("shop")]);
    // A change goes out at once.
    let offer = offer.plain(Kind::Cluster, &["cart@2", "shop@3"]);
    assert_eq!(script.offer(&offer), ["Cluster: cart@2 shop@3"]);
}

#[test]
fn an_answer_to_an_older_response_and_its_names_are_ignored() {
    let offer = shop();
    let mut script = started(&offer);
    let before = script.last.clone();
    let offer = offer.plain(Kind::Endpoint, &["cart@2", "shop@1"]);
    assert_eq!(script.offer(&offer), ["Endpoint: cart@2"]);
    let latest = std::mem::replace(&mut script.last, before);
    assert_eq!(script.say(Kind::Endpoint, &["cart"], None), NOTHING);
    script.last = latest;
    assert_eq!(script.say(Kind::Endpoint, &["cart", "shop"], None), NOTHING);
    assert!(script.sender.is_synced());
}
