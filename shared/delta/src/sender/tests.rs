//! The sender as a script: feed, drain, compare.

use std::time::Duration;

use super::*;
use crate::testkit::{Offer, Plain, Script, name, seconds};

mod ordering;
mod refusal;
mod subscription;

const MESH: Plain = Plain::Mesh;
const NOTHING: [&str; 0] = [];

/// A sender whose receiver has accepted what is offered.
fn synced(policy: Policy, offer: &Offer<Plain>) -> Script<Plain> {
    let mut script = Script::new(policy);
    script.offer(offer);
    script.request(Request::wildcard(MESH));
    script.drain();
    script.ack(MESH);
    assert!(script.sender.is_synced());
    script
}

#[test]
fn first_response_is_complete_and_later_ones_are_differences() {
    let mut script = Script::new(Policy::own());
    script.request(Request::wildcard(MESH));
    let offer = Offer::new().plain(MESH, &["a@1", "b@1"]);
    script.offer(&offer);
    assert_eq!(script.drain(), ["Mesh complete: +a@1 +b@1"]);

    let offer = offer.plain(MESH, &["a@2", "c@1"]);
    script.offer(&offer);
    assert_eq!(script.drain(), NOTHING, "one response is open at a time");
    assert_eq!(script.ack(MESH), ["Mesh delta: +a@2 +c@1 -b"]);
    assert!(!script.sender.is_synced());
    assert_eq!(script.ack(MESH), NOTHING);
    assert!(script.sender.is_synced());
}

#[test]
fn nothing_is_said_before_the_first_offer() {
    let mut script = Script::new(Policy::own());
    script.request(Request::wildcard(MESH));
    assert_eq!(script.drain(), NOTHING);
    assert!(!script.sender.is_synced());
    script.offer(&Offer::new());
    assert_eq!(script.drain(), ["Mesh complete:"], "having none is news");
    assert_eq!(script.ack(MESH), NOTHING);
}

#[test]
fn no_names_at_all_mean_everything() {
    let mut script = Script::new(Policy::own());
    script.offer(&Offer::new().plain(MESH, &["a@1"]));
    script.request(Request::new(MESH));
    assert_eq!(script.drain(), ["Mesh complete: +a@1"]);
    assert_eq!(
        script.sender.status(MESH).subscribed,
        Some(Subscribed::Everything)
    );
}

#[test]
fn types_have_their_own_turns_and_share_the_nonces() {
    let mut script = Script::new(Policy::own());
    let offer = Offer::new().plain(Plain::Policy, &["p@1"]);
    script.offer(&offer.plain(MESH, &["a@1"]));
    script.request(Request::wildcard(Plain::Policy));
    script.request(Request::wildcard(MESH));
    assert_eq!(
        script.drain(),
        ["Mesh complete: +a@1", "Policy complete: +p@1"]
    );
    let nonces: Vec<_> = script
        .open
        .iter()
        .map(|response| response.nonce.as_str())
        .collect();
    assert_eq!(nonces, ["1", "2"]);
}

#[test]
fn removals_alone_go_in_the_opposite_order() {
    let offer = Offer::new()
        .plain(MESH, &["a@1"])
        .plain(Plain::Policy, &["p@1"]);
    let mut script = synced(Policy::own(), &offer);
    script.request(Request::wildcard(Plain::Policy));
    script.drain();
    script.ack(Plain::Policy);
    script.offer(&offer.plain(MESH, &[]).plain(Plain::Policy, &[]));
    assert_eq!(script.drain(), ["Policy delta: -p", "Mesh delta: -a"]);
}

#[test]
fn add_remove_add_between_two_polls_says_nothing() {
    let offer = Offer::new().plain(MESH, &["a@1"]);
    let mut script = synced(Policy::own(), &offer);
    let gone = offer.plain(MESH, &[]);
    script.offer(&gone);
    script.offer(&gone.plain(MESH, &["a@1"]));
    assert_eq!(script.drain(), NOTHING);
    assert!(script.sender.is_synced());
}

#[test]
fn add_remove_add_across_open_responses_ends_with_the_last() {
    let offer = Offer::new();
    let mut script = synced(Policy::own(), &offer);
    let offer = offer.plain(MESH, &["a@1"]);
    script.offer(&offer);
    assert_eq!(script.drain(), ["Mesh delta: +a@1"]);
    let offer = offer.plain(MESH, &[]);
    script.offer(&offer);
    assert_eq!(script.ack(MESH), ["Mesh delta: -a"]);
    script.offer(&offer.plain(MESH, &["a@1"]));
    assert_eq!(script.ack(MESH), ["Mesh delta: +a@1"]);
    assert_eq!(script.ack(MESH), NOTHING);
    assert!(script.sender.is_synced());
}

#[test]
fn older_snapshot_is_ignored() {
    let old = Offer::new().plain(MESH, &["a@1"]);
    let new = old.plain(MESH, &["a@2"]);
    let mut script = synced(Policy::own(), &new);
    assert!(!script.sender.offer(old.0));
    assert_eq!(script.drain(), NOTHING);
}

#[test]
fn stale_and_repeated_answers_are_ignored() {
    let offer = Offer::new().plain(MESH, &["a@1"]);
    let mut script = synced(Policy::own(), &offer);
    script.offer(&offer.plain(MESH, &["a@2"]));
    assert_eq!(script.drain(), ["Mesh delta: +a@2"]);

    let first = Nonce::parse("1").unwrap();
    let event = script.request(Request::nack(MESH, first.clone(), "late"));
    assert_eq!(
        event,
        Event::Stale {
            ty: MESH,
            nonce: first
        }
    );
    assert_eq!(script.ack(MESH), NOTHING);
    let second = Nonce::parse("2").unwrap();
    let event = script.request(Request::ack(MESH, second.clone()));
    assert_eq!(
        event,
        Event::Stale {
            ty: MESH,
            nonce: second
        }
    );
    assert_eq!(script.sender.status(MESH).counters.acked, 2);
    assert_eq!(script.sender.status(MESH).counters.nacked, 0);
}

#[test]
fn answer_without_subscription_ends_the_stream() {
    let mut sender = Sender::new(Policy::own());
    let nonce = Nonce::parse("1").unwrap();
    assert_eq!(
        sender.on_request(seconds(0), Request::ack(MESH, nonce.clone())),
        Err(ProtocolError::AnswerBeforeSubscription { ty: MESH, nonce })
    );
}

#[test]
fn held_versions_are_not_sent_again() {
    let mut script = Script::new(Policy::own());
    script.offer(&Offer::new().plain(MESH, &["a@1", "b@2", "c@1"]));
    let mut request = Request::wildcard(MESH);
    for (held, version) in [("a", "1"), ("b", "1"), ("z", "1")] {
        request.initial_versions.insert(held.into(), version.into());
    }
    script.request(request);
    assert_eq!(script.drain(), ["Mesh delta: +b@2 +c@1 -z"]);
    assert_eq!(
        script.sender.held_version(MESH, &name("b")).as_deref(),
        Some("1")
    );
    script.ack(MESH);
    assert_eq!(
        script.sender.held_version(MESH, &name("b")).as_deref(),
        Some("2")
    );
}

#[test]
fn resumed_stream_is_answered_even_if_nothing_differs() {
    let mut script = Script::new(Policy::own());
    script.offer(&Offer::new().plain(MESH, &["a@1"]));
    let mut request = Request::wildcard(MESH);
    request.initial_versions.insert("a".into(), "1".into());
    script.request(request);
    assert_eq!(script.drain(), ["Mesh delta:"]);
}

#[test]
fn chunks_hold_no_more_than_the_peer_can_take() {
    let policy = Policy {
        max_chunk: std::num::NonZeroUsize::new(2),
        ..Policy::own()
    };
    let offer = Offer::new();
    let mut script = synced(policy, &offer);
    script.offer(&offer.plain(MESH, &["a@1", "b@1", "c@1"]));
    assert_eq!(script.drain(), ["Mesh delta: +a@1 +b@1"]);
    assert_eq!(script.ack(MESH), ["Mesh delta: +c@1"]);
}

#[test]
fn position_of_the_store_goes_with_each_response() {
    let mut sender = Sender::new(Policy::own()).with_history(History(7));
    sender.offer(Offer::new().plain(MESH, &["a@1"]).0);
    sender
        .on_request(Duration::ZERO, Request::wildcard(MESH))
        .unwrap();
    let response = sender.poll(Duration::ZERO).unwrap();
    let position = response.position.unwrap();
    assert_eq!((position.history, position.revision), (History(7), 1));
}
