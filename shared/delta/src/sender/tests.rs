//! The sender as a script: feed, drain, compare.

use super::*;
use crate::testkit::{Offer, Plain, Script};

#[test]
fn first_response_is_complete_and_later_ones_are_differences() {
    let mut script = Script::new(Policy::own());
    script.request(Request::wildcard(Plain::Mesh));
    assert!(script.drain().is_empty(), "nothing before the first offer");

    let offer = Offer::new().plain(Plain::Mesh, &["a@1", "b@1"]);
    script.offer(&offer);
    assert_eq!(script.drain(), ["Mesh complete: +a@1 +b@1"]);

    let offer = offer.plain(Plain::Mesh, &["a@2", "c@1"]);
    script.offer(&offer);
    assert!(script.drain().is_empty(), "one response is open at a time");
    assert_eq!(script.ack(Plain::Mesh), ["Mesh delta: +a@2 +c@1 -b"]);
    assert!(!script.sender.is_synced());
    assert!(script.ack(Plain::Mesh).is_empty());
    assert!(script.sender.is_synced());
}
