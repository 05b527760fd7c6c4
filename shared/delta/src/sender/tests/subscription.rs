//! Subscriptions by name, as a script.

use super::*;

#[test]
fn only_subscribed_names_are_sent_and_missing_ones_are_answered_once() {
    let mut script = Script::new(Policy::own());
    let offer = Offer::new().plain(MESH, &["a@1", "b@1"]);
    script.offer(&offer);
    script.request(Request::new(MESH).subscribe(["a", "x"]));
    assert_eq!(script.drain(), ["Mesh delta: +a@1 -x"]);
    assert_eq!(script.ack(MESH), NOTHING);
    let status = script.sender.status(MESH);
    assert_eq!(status.subscribed, Some(Subscribed::Names(2)));

    script.offer(&offer.plain(MESH, &["a@1", "b@2", "x@1"]));
    assert_eq!(script.drain(), ["Mesh delta: +x@1"], "b was not asked for");
}

#[test]
fn name_subscribed_again_is_sent_again() {
    let mut script = Script::new(Policy::own());
    script.offer(&Offer::new().plain(MESH, &["a@1", "b@1"]));
    script.request(Request::new(MESH).subscribe(["a"]));
    script.drain();
    script.ack(MESH);
    script.request(Request::new(MESH).subscribe(["a"]));
    assert_eq!(script.drain(), ["Mesh delta: +a@1"]);
    // In the answer itself, and while a response is open.
    let nonce = script.take_open(MESH).nonce;
    script.request(Request::ack(MESH, nonce).subscribe(["a"]));
    assert_eq!(script.drain(), ["Mesh delta: +a@1"]);
    script.request(Request::new(MESH).subscribe(["b", "a"]));
    assert_eq!(script.ack(MESH), ["Mesh delta: +a@1 +b@1"]);
    assert_eq!(script.ack(MESH), NOTHING);
}

#[test]
fn unsubscribed_name_is_forgotten() {
    let mut script = Script::new(Policy::own());
    let offer = Offer::new().plain(MESH, &["a@1", "b@1"]);
    script.offer(&offer);
    script.request(Request::new(MESH).subscribe(["a", "b"]));
    script.drain();
    script.request(Request::new(MESH).unsubscribe(["a"]));
    script.ack(MESH);
    assert_eq!(script.sender.held_version(MESH, &name("a")), None);
    script.offer(&offer.plain(MESH, &["a@2", "b@2"]));
    assert_eq!(script.drain(), ["Mesh delta: +b@2"]);
    script.ack(MESH);
    script.request(Request::new(MESH).subscribe(["a"]));
    assert_eq!(script.drain(), ["Mesh delta: +a@2"]);
}

#[test]
fn wildcard_and_names_are_independent() {
    let mut script = Script::new(Policy::own());
    let offer = Offer::new().plain(MESH, &["a@1", "b@1"]);
    script.offer(&offer);
    script.request(Request::new(MESH).subscribe(["*", "a", "x"]));
    assert_eq!(script.drain(), ["Mesh complete: +a@1 +b@1 -x"]);
    script.ack(MESH);
    // The receiver cannot tell whether the wildcard covers a name that it gives up.
    script.request(Request::new(MESH).unsubscribe(["a", "x"]));
    assert_eq!(script.drain(), ["Mesh delta: +a@1 -x"]);
    script.ack(MESH);
    script.request(Request::new(MESH).subscribe(["b"]).unsubscribe(["*"]));
    assert_eq!(script.drain(), ["Mesh delta: +b@1"]);
    script.ack(MESH);
    script.offer(&offer.plain(MESH, &["a@2", "b@2"]));
    assert_eq!(script.drain(), ["Mesh delta: +b@2"]);
}

#[test]
fn names_become_a_wildcard() {
    let mut script = Script::new(Policy::own());
    script.offer(&Offer::new().plain(MESH, &["a@1", "b@1"]));
    script.request(Request::new(MESH).subscribe(["a"]));
    script.drain();
    script.ack(MESH);
    script.request(Request::wildcard(MESH));
    assert_eq!(script.drain(), ["Mesh delta: +b@1"]);
}

#[test]
fn names_are_remembered_up_to_a_limit() {
    let policy = Policy {
        max_names: 3,
        ..Policy::own()
    };
    let too_many = Err(ProtocolError::TooManyNames { ty: MESH, limit: 3 });
    let first = |names: &[&'static str]| {
        let mut sender = Sender::new(policy);
        let request = Request::new(MESH).subscribe(names.iter().copied());
        let answer = sender.on_request(seconds(0), request);
        (sender, answer)
    };
    let (_, answer) = first(&["a", "b", "c", "d"]);
    assert_eq!(answer, too_many);

    // `*` is no name, and one that is repeated is one.
    let (mut sender, answer) = first(&["*", "a", "b", "b"]);
    assert_eq!(answer, Ok(Event::Subscribed { ty: MESH }));
    let mut next = |request: Request<Plain>| sender.on_request(seconds(0), request);
    assert!(next(Request::new(MESH).subscribe(["a", "b", "c", "*"])).is_ok());
    // A name that is given back makes room.
    assert!(next(Request::new(MESH).unsubscribe(["a"]).subscribe(["d"])).is_ok());
    assert_eq!(next(Request::new(MESH).subscribe(["e"])), too_many);
}

#[test]
fn names_are_remembered_up_to_a_length() {
    let mut sender: Sender<Plain> = Sender::new(Policy::own());
    let mut ask = |length: usize| {
        let request = Request::new(MESH).subscribe(["x".repeat(length)]);
        sender.on_request(seconds(0), request)
    };
    assert_eq!(ask(1024), Ok(Event::Subscribed { ty: MESH }));
    let error = ask(1025).unwrap_err().to_string();
    assert!(error.contains("a name of 1025 bytes"), "{error}");
    assert!(error.contains("1024"), "{error}");
}
