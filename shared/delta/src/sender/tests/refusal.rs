//! What becomes of a response that was refused, as a script.

use super::*;
use crate::{OnNack, Rejection};

#[test]
fn rejected_version_is_not_resent_until_it_changes() {
    let offer = Offer::new().plain(MESH, &["a@1"]);
    let mut script = synced(Policy::own(), &offer);
    let offer = offer.plain(MESH, &["a@2"]);
    script.offer(&offer);
    script.drain();
    assert_eq!(script.nack(MESH, "no"), NOTHING);
    assert!(script.sender.is_synced(), "a rejection is a result");
    let rejections: Vec<_> = script.sender.rejections().collect();
    assert_eq!(rejections.len(), 1);
    assert_eq!(rejections[0].version.as_deref(), Some("2"));
    assert_eq!(&*rejections[0].reason, "no");
    assert_eq!(
        script.sender.held_version(MESH, &name("a")).as_deref(),
        Some("1")
    );

    let offer = offer.plain(MESH, &["a@2", "b@1"]);
    script.offer(&offer);
    assert_eq!(script.drain(), ["Mesh delta: +b@1"]);
    script.ack(MESH);
    script.offer(&offer.plain(MESH, &["a@3", "b@1"]));
    assert_eq!(script.drain(), ["Mesh delta: +a@3"]);
    script.ack(MESH);
    assert_eq!(script.sender.rejections().count(), 0);
}

#[test]
fn rejected_version_is_resent_when_it_is_to_be_tried_again() {
    let mut script = synced(Policy::own(), &Offer::new().plain(MESH, &["a@1"]));
    script.sender.try_again(MESH, &name("a"));
    assert_eq!(script.drain(), NOTHING, "it is held");
    let offer = Offer::new().plain(MESH, &["a@1"]);
    script.offer(&offer.plain(MESH, &["a@2"]));
    script.drain();
    assert_eq!(script.nack(MESH, "busy"), NOTHING);
    script.sender.try_again(MESH, &name("a"));
    assert_eq!(script.drain(), ["Mesh delta: +a@2"]);
    assert_eq!(script.nack(MESH, "still busy"), NOTHING);
    script.sender.try_again(MESH, &name("a"));
    script.drain();
    assert_eq!(script.ack(MESH), NOTHING);
    assert!(script.sender.is_synced());
    assert_eq!(script.sender.rejections().count(), 0);
}

#[test]
fn return_to_the_accepted_version_ends_the_rejection_without_a_word() {
    let offer = Offer::new().plain(MESH, &["a@1"]);
    let mut script = synced(Policy::own(), &offer);
    let offer = offer.plain(MESH, &["a@2"]);
    script.offer(&offer);
    script.drain();
    script.nack(MESH, "no");
    script.offer(&offer.plain(MESH, &["a@1"]));
    assert_eq!(script.drain(), NOTHING);
    assert_eq!(script.sender.rejections().count(), 0);
    assert!(script.sender.is_synced());
}

#[test]
fn listed_rejection_leaves_the_others_held() {
    let mut script = Script::new(Policy::own());
    script.offer(&Offer::new().plain(MESH, &["a@1", "b@1"]));
    script.request(Request::wildcard(MESH));
    script.drain();
    let nonce = script.take_open(MESH).nonce;
    let mut request = Request::ack(MESH, nonce);
    request.rejected.push(Rejection {
        name: "b".into(),
        version: Some("1".into()),
        reason: "bad".to_owned(),
    });
    let event = script.request(request);
    assert!(matches!(event, Event::Nacked { text, names, .. }
        if text == "b: bad" && names == [name("b")]));
    assert_eq!(script.drain(), NOTHING);
    assert_eq!(
        script.sender.held_version(MESH, &name("a")).as_deref(),
        Some("1")
    );
    assert_eq!(script.sender.held_version(MESH, &name("b")), None);
    assert!(script.sender.is_synced());
}

#[test]
fn refused_removal_is_not_repeated() {
    let offer = Offer::new().plain(MESH, &["a@1"]);
    let mut script = synced(Policy::own(), &offer);
    script.offer(&offer.plain(MESH, &[]));
    assert_eq!(script.drain(), ["Mesh delta: -a"]);
    assert_eq!(script.nack(MESH, "in use"), NOTHING);
    let rejected = script.sender.rejections().next().unwrap();
    assert_eq!((&*rejected.name, rejected.version), ("a", None));
}

#[test]
fn name_that_was_only_ever_refused_is_removed_all_the_same() {
    let offer = Offer::new().plain(MESH, &["a@1"]);
    let mut script = Script::new(Policy::own());
    script.offer(&offer);
    script.request(Request::wildcard(MESH));
    script.drain();
    script.nack(MESH, "no");
    script.drain();
    script.ack(MESH);
    script.offer(&offer.plain(MESH, &[]));
    assert_eq!(
        script.drain(),
        ["Mesh delta: -a"],
        "the receiver may have an older one from before this stream"
    );
}

#[test]
fn refused_response_is_split_until_the_bad_item_stands_alone() {
    let offer = Offer::new();
    let mut script = synced(Policy::own(), &offer);
    script.offer(&offer.plain(MESH, &["a@1", "b@1", "c@1", "d@1"]));
    assert_eq!(script.drain(), ["Mesh delta: +a@1 +b@1 +c@1 +d@1"]);
    assert_eq!(script.nack(MESH, "no"), ["Mesh delta: +a@1 +b@1"]);
    assert_eq!(script.ack(MESH), ["Mesh delta: +c@1 +d@1"]);
    assert_eq!(script.nack(MESH, "no"), ["Mesh delta: +c@1"]);
    assert_eq!(script.ack(MESH), ["Mesh delta: +d@1"]);
    assert_eq!(script.nack(MESH, "no"), NOTHING);
    let rejected: Vec<_> = script.sender.rejections().map(|r| r.name).collect();
    assert_eq!(rejected, [name("d")]);
}

#[test]
fn names_in_the_text_of_a_refusal_are_tried_last() {
    let offer = Offer::new();
    let mut script = synced(Policy::own(), &offer);
    script.offer(&offer.plain(MESH, &["ant@1", "bee@1", "cat@1"]));
    script.drain();
    assert_eq!(
        script.nack(MESH, "cannot add bee: no such thing"),
        ["Mesh delta: +ant@1 +cat@1"]
    );
    assert_eq!(script.ack(MESH), ["Mesh delta: +bee@1"]);
}

#[test]
fn change_is_not_mixed_with_suspects() {
    let offer = Offer::new();
    let mut script = synced(Policy::own(), &offer);
    let offer = offer.plain(MESH, &["a@1", "b@1"]);
    script.offer(&offer);
    script.drain();
    script.offer(&offer.plain(MESH, &["a@1", "b@2", "c@1"]));
    assert_eq!(script.nack(MESH, "no"), ["Mesh delta: +b@2 +c@1"]);
    assert_eq!(script.ack(MESH), ["Mesh delta: +a@1"]);
}

#[test]
fn receiver_that_refuses_everything_is_not_asked_as_fast_as_it_answers() {
    let offer = Offer::new();
    let mut script = synced(Policy::own(), &offer);
    let items: Vec<_> = (0..64).map(|at| format!("{at}@1")).collect();
    let items: Vec<_> = items.iter().map(String::as_str).collect();
    script.offer(&offer.plain(MESH, &items));
    script.drain();
    let mut at_once = 0;
    while script.nack(MESH, "").len() == 1 {
        at_once += 1;
    }
    assert!(at_once < 20, "{at_once} responses at once");
    assert_eq!(script.wait().len(), 1);
}

#[test]
fn refused_complete_response_is_followed_by_another_even_if_empty() {
    let mut script = Script::new(Policy::own());
    script.offer(&Offer::new().plain(MESH, &["a@1"]));
    script.request(Request::wildcard(MESH));
    script.drain();
    assert_eq!(script.nack(MESH, "no"), ["Mesh delta:"]);
    assert_eq!(script.nack(MESH, "still no"), NOTHING);
}

#[test]
fn rejecting_all_of_a_response_is_a_policy() {
    let policy = Policy {
        on_nack: OnNack::KeepUntilChanged,
        ..Policy::own()
    };
    let offer = Offer::new();
    let mut script = synced(policy, &offer);
    let offer = offer.plain(MESH, &["a@1", "b@1"]);
    script.offer(&offer);
    script.drain();
    assert_eq!(script.nack(MESH, "no"), NOTHING);
    assert_eq!(script.sender.rejections().count(), 2);
    script.offer(&offer.plain(MESH, &["a@2", "b@1"]));
    assert_eq!(script.drain(), ["Mesh delta: +a@2"]);
}

#[test]
fn responses_are_complete_until_the_first_ack_where_the_peer_needs_it() {
    let mut script = Script::new(Policy::stock_resending());
    let offer = Offer::new().plain(MESH, &["a@1", "b@1"]);
    script.offer(&offer);
    script.request(Request::wildcard(MESH));
    assert_eq!(script.drain(), ["Mesh complete: +a@1 +b@1"]);
    assert_eq!(script.nack(MESH, "not yet"), NOTHING);
    assert_eq!(script.wait(), ["Mesh complete: +a@1 +b@1"]);
    assert_eq!(script.now, seconds(5));
    assert_eq!(script.nack(MESH, "not yet"), NOTHING);
    assert_eq!(script.wait(), ["Mesh complete: +a@1 +b@1"]);
    assert_eq!(script.now, seconds(15), "the wait grows");
    script.nack(MESH, "not yet");

    let offer = offer.plain(MESH, &["a@2", "b@1"]);
    script.offer(&offer);
    assert_eq!(script.wait(), ["Mesh complete: +a@2 +b@1"]);
    assert_eq!(
        script.now,
        seconds(20),
        "a change waits no longer than the first time"
    );
    assert_eq!(script.ack(MESH), NOTHING);
    script.offer(&offer.plain(MESH, &["a@3", "b@1"]));
    assert_eq!(script.drain(), ["Mesh delta: +a@3"]);
    script.nack(MESH, "again");
    assert_eq!(
        script.wait(),
        ["Mesh complete: +a@3 +b@1"],
        "such a peer counts on the whole type"
    );
}

#[test]
fn resending_ends_when_the_same_was_refused_often_enough() {
    let policy = Policy {
        on_nack: OnNack::ResendWholeType {
            after: seconds(5),
            max: seconds(60),
            attempts: 2,
        },
        ..Policy::stock_resending()
    };
    let mut script = Script::new(policy);
    let offer = Offer::new().plain(MESH, &["a@1"]);
    script.offer(&offer);
    script.request(Request::wildcard(MESH));
    script.drain();
    script.nack(MESH, "no");
    script.wait();
    assert_eq!(script.nack(MESH, "no"), NOTHING);
    assert_eq!(script.sender.next_deadline(), None);
    script.offer(&offer.plain(MESH, &["a@2"]));
    assert_eq!(script.wait(), ["Mesh complete: +a@2"]);
}

#[test]
fn stock_nack_repeats_the_wildcard_and_means_nothing_by_it() {
    let offer = Offer::new().plain(MESH, &["a@1"]);
    let mut script = synced(Policy::stock(), &offer);
    script.offer(&offer.plain(MESH, &["a@2"]));
    script.drain();
    let nonce = script.take_open(MESH).nonce;
    let request = Request::nack(MESH, nonce, "no").subscribe([crate::WILDCARD]);
    script.request(request);
    assert_eq!(script.drain(), NOTHING);
}

#[test]
fn suspects_are_not_lost_when_another_type_goes_first() {
    let offer = Offer::new().plain(MESH, &["a@1", "b@1"]);
    let mut script = synced(Policy::own(), &offer);
    script.request(Request::wildcard(Plain::Policy));
    script.drain();
    script.ack(Plain::Policy);
    let offer = offer.plain(MESH, &[]);
    script.offer(&offer);
    assert_eq!(script.drain(), ["Mesh delta: -a -b"]);
    script.offer(&offer.plain(Plain::Policy, &["p@1"]));
    assert_eq!(
        script.nack(MESH, ""),
        ["Policy delta: +p@1", "Mesh delta: -a"]
    );
    assert_eq!(script.ack(MESH), ["Mesh delta: -b"]);
}
