//! The receiver as a script.

use super::*;
use crate::testkit::{Plain, name};
use crate::{History, WILDCARD};

const MESH: Plain = Plain::Mesh;

fn versions(held: &[(&str, &str)]) -> OrdMap<Name, Version> {
    held.iter()
        .map(|(text, version)| (name(text), Version::from(*version)))
        .collect()
}

fn response(nonce: &str, resources: &[(&str, &str)], removed: &[&str]) -> Response<Plain> {
    Response {
        ty: MESH,
        nonce: Nonce::parse(nonce).unwrap(),
        resources: resources
            .iter()
            .map(|(text, version)| (name(text), Item::new(*version, Vec::new())))
            .collect(),
        removed: removed.iter().map(|text| name(text)).collect(),
        is_complete: false,
        position: None,
    }
}

fn rejection(text: &str) -> Rejection {
    Rejection {
        name: name(text),
        version: None,
        reason: "bad".to_owned(),
    }
}

fn started(held: &[(&str, &str)], resume: Resume) -> Receiver<Plain> {
    let mut receiver = Receiver::new();
    receiver.subscriptions([(MESH, versions(held))], resume);
    receiver
}

fn accept(receiver: &mut Receiver<Plain>, response: Response<Plain>) -> Apply<Plain> {
    let apply = receiver.on_response(response).unwrap();
    let nonce = apply.nonce.clone();
    let answer = receiver.answer(MESH, nonce, Verdict::Accepted).unwrap();
    assert_eq!(answer, Request::ack(MESH, apply.nonce.clone()));
    apply
}

#[test]
fn first_response_is_the_complete_state() {
    let mut receiver = started(&[("a", "1"), ("old", "1")], Resume::Nothing);
    let apply = accept(&mut receiver, response("1", &[("a", "1"), ("b", "1")], &[]));
    assert_eq!(apply.mode, Mode::Complete);
    assert!(apply.drops(&name("old")) && !apply.drops(&name("a")));
    assert_eq!(*receiver.held(MESH), versions(&[("a", "1"), ("b", "1")]));

    let apply = accept(&mut receiver, response("2", &[("b", "2")], &["a"]));
    assert_eq!(apply.mode, Mode::Increment);
    assert_eq!(apply.dropped([&name("a"), &name("b")]), [name("a")]);
    assert_eq!(*receiver.held(MESH), versions(&[("b", "2")]));
}

#[test]
fn offered_versions_make_the_first_response_an_increment() {
    let mut receiver = Receiver::new();
    let held = versions(&[("a", "1")]);
    let requests = receiver.subscriptions([(MESH, held)], Resume::Versions);
    assert_eq!(requests[0].subscribe, [name(WILDCARD)]);
    assert_eq!(requests[0].initial_versions.len(), 1);
    let apply = accept(&mut receiver, response("1", &[("b", "1")], &[]));
    assert_eq!(apply.mode, Mode::Increment);
    assert_eq!(*receiver.held(MESH), versions(&[("a", "1"), ("b", "1")]));
}

#[test]
fn offering_nothing_is_not_resuming() {
    let mut receiver = started(&[], Resume::Versions);
    let apply = accept(&mut receiver, response("1", &[], &[]));
    assert_eq!(apply.mode, Mode::Complete);
}

#[test]
fn empty_first_response_means_none() {
    let mut receiver = started(&[("a", "1")], Resume::Nothing);
    accept(&mut receiver, response("1", &[], &[]));
    assert!(receiver.held(MESH).is_empty());
}

#[test]
fn rejected_resource_keeps_its_last_accepted_version() {
    let mut receiver = started(&[("a", "1"), ("b", "1")], Resume::Nothing);
    let apply = receiver
        .on_response(response("1", &[("a", "2"), ("b", "2")], &[]))
        .unwrap();
    let verdict = Verdict::Rejected(vec![rejection("a")]);
    let answer = receiver.answer(MESH, apply.nonce, verdict).unwrap();
    assert_eq!(answer.error.as_deref(), Some("a: bad"));
    let refused = Rejection {
        version: Some("2".into()),
        ..rejection("a")
    };
    assert_eq!(answer.rejected, [refused]);
    assert_eq!(*receiver.held(MESH), versions(&[("a", "1"), ("b", "2")]));
    let held = receiver.held(MESH).iter().collect();
    assert_eq!(receiver.digest(MESH), held);
}

#[test]
fn refused_complete_state_still_says_what_is_gone() {
    let mut receiver = started(&[("a", "1"), ("old", "1")], Resume::Nothing);
    let refused = receiver
        .on_response(response("1", &[("a", "2"), ("b", "1")], &[]))
        .unwrap();
    let verdict = Verdict::Refused("no".to_owned());
    let answer = receiver.answer(MESH, refused.nonce, verdict).unwrap();
    assert_eq!(answer.error.as_deref(), Some("no"));
    assert_eq!(receiver.held(MESH).len(), 2, "nothing was applied");

    let apply = accept(&mut receiver, response("2", &[("b", "1")], &[]));
    assert!(apply.drops(&name("old")), "the sender does not have it");
    assert!(
        !apply.drops(&name("a")),
        "the sender does, in a version we refuse"
    );
    assert_eq!(*receiver.held(MESH), versions(&[("a", "1"), ("b", "1")]));

    let apply = accept(&mut receiver, response("3", &[], &["b"]));
    assert_eq!(apply.mode, Mode::Increment);
}

#[test]
fn name_that_is_sent_and_removed_is_an_update() {
    let mut receiver = started(&[("a", "1")], Resume::Versions);
    let twice = response("1", &[("a", "2"), ("a", "3")], &["a"]);
    let apply = accept(&mut receiver, twice);
    assert!(apply.removed.is_empty());
    assert_eq!(apply.upserts.len(), 1);
    assert_eq!(*receiver.held(MESH), versions(&[("a", "3")]));
}

#[test]
fn the_same_again_changes_nothing() {
    let mut receiver = started(&[], Resume::Nothing);
    accept(&mut receiver, response("1", &[("a", "1")], &[]));
    accept(&mut receiver, response("2", &[("a", "1")], &["gone"]));
    assert_eq!(*receiver.held(MESH), versions(&[("a", "1")]));
}

#[test]
fn response_that_nobody_asked_for_ends_the_stream() {
    let mut receiver = started(&[], Resume::Nothing);
    let mut foreign = response("1", &[], &[]);
    foreign.ty = Plain::Policy;
    assert_eq!(
        receiver.on_response(foreign),
        Err(ProtocolError::NeverAskedFor { ty: Plain::Policy })
    );
}

#[test]
fn response_is_answered_once() {
    let mut receiver = started(&[], Resume::Nothing);
    let apply = accept(&mut receiver, response("1", &[], &[]));
    let again = receiver.answer(MESH, apply.nonce.clone(), Verdict::Accepted);
    let nonce = apply.nonce;
    assert_eq!(
        again,
        Err(ProtocolError::NothingToAnswer { ty: MESH, nonce })
    );
}

#[test]
fn answer_of_an_earlier_stream_is_not_sent() {
    let mut receiver = started(&[], Resume::Nothing);
    let apply = receiver.on_response(response("1", &[], &[])).unwrap();
    receiver.subscriptions([(MESH, OrdMap::new())], Resume::Nothing);
    assert!(
        receiver
            .answer(MESH, apply.nonce, Verdict::Accepted)
            .is_err()
    );
}

#[test]
fn sender_that_does_not_wait_for_answers_is_stopped() {
    let mut receiver = started(&[], Resume::Nothing);
    let flood = (1..100).map(|nonce| response(&nonce.to_string(), &[], &[]));
    let error = flood
        .into_iter()
        .find_map(|next| receiver.on_response(next).err());
    assert!(matches!(
        error,
        Some(ProtocolError::TooManyUnanswered { .. })
    ));
}

#[test]
fn revisions_of_one_store_never_go_down() {
    let at = |history, revision| {
        let history = History(history);
        Some(Position { history, revision })
    };
    let mut receiver = Receiver::new().with_position(at(1, 7).unwrap());
    receiver.subscriptions([(MESH, OrdMap::new())], Resume::Nothing);
    let mut older = response("1", &[], &[]);
    older.position = at(1, 6);
    assert_eq!(
        receiver.on_response(older),
        Err(ProtocolError::RevisionWentBack {
            ty: MESH,
            revision: 6,
            seen: 7
        })
    );
    for (nonce, position) in [("2", at(1, 7)), ("3", at(1, 9)), ("4", at(2, 1))] {
        let mut next = response(nonce, &[], &[]);
        next.position = position;
        accept(&mut receiver, next);
    }
    assert_eq!(receiver.position(), at(2, 1));
}
