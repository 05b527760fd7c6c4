//! A comparison of what is offered with what a peer says it holds, true or not.

#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mesh_delta::{Content, Digest, Holder, Index, Matcher, Part};
use mesh_fuzz::{name, version};

#[derive(Debug, Arbitrary)]
struct Input {
    offered: Vec<(u8, u8)>,
    held: Vec<(u8, u8)>,
    /// Parts said instead of true ones, by the number of the answer.
    lies: Vec<Option<Lie>>,
}

#[derive(Debug, Arbitrary)]
struct Lie {
    prefix: String,
    digests: Option<[[u8; 16]; 16]>,
    listed: Vec<(u8, u8)>,
}

fuzz_target!(|input: Input| {
    let named = |pairs: &[(u8, u8)]| {
        let pairs = pairs.iter();
        pairs
            .map(|(at, v)| (name(*at), version(*v)))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let (offered, held) = (named(&input.offered), named(&input.held));
    let holder = Holder::new(held.clone());
    let mut matcher = Matcher::new(Arc::new(Index::new(offered.clone())));
    let mut asked = vec!["".parse().expect("the prefix of all")];
    let mut lies = input.lies.into_iter();
    let mut is_honest = true;
    let mut rounds = 0;
    while !matcher.is_done() {
        let Some(prefix) = asked.pop() else {
            assert!(!is_honest, "a comparison asks until it is done");
            return;
        };
        let mut part = holder.part(prefix);
        if let Some(Some(lie)) = lies.next() {
            let Ok(prefix) = lie.prefix.parse() else {
                return;
            };
            is_honest = false;
            let digests = lie.digests.map(|all| {
                let all = all.map(|one| Digest::from_bytes(&one).expect("16 bytes"));
                Content::Below(Box::new(all))
            });
            let listed = named(&lie.listed).into_iter().collect();
            part = Part {
                prefix,
                content: digests.unwrap_or(Content::Listed(listed)),
            };
        }
        match matcher.take(part) {
            Ok(more) => asked.extend(more),
            Err(_) => {
                assert!(!is_honest, "who says the truth is understood");
                return;
            }
        }
        rounds += 1;
        assert!(rounds < 10_000, "a comparison comes to an end");
    }
    if is_honest {
        // What is said to be held is held, and what differs is not taken for equal.
        let found = matcher.held();
        for (name, version) in &offered {
            let is_equal = held.get(name) == Some(version);
            assert_eq!(found.get(name) == Some(version), is_equal, "{name}");
        }
        for name in held.keys().filter(|name| !offered.contains_key(*name)) {
            assert!(found.contains_key(name), "{name} is to be removed");
        }
    }
});
