//! A sender and a peer that says anything at all.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mesh_delta::{Nonce, Policy, Rejection, Request, Sender, Snapshot, TypeSet as _};
use mesh_fuzz::{Type, item, name, version};

/// How much a sender may say without having heard anything.
const MOST_SAID: usize = 64;

#[derive(Debug, Arbitrary)]
enum Step {
    /// The sender's resources change.
    Offer(Vec<(Type, u8, Option<u8>)>),
    /// The peer asks or answers.
    Ask(Asked),
    /// Time passes.
    Wait(u16),
}

#[derive(Debug, Arbitrary)]
struct Asked {
    ty: Type,
    nonce: Answered,
    error: bool,
    subscribe: Vec<Option<u8>>,
    unsubscribe: Vec<Option<u8>>,
    held: Vec<(u8, u8)>,
    rejected: Vec<(u8, Option<u8>)>,
}

#[derive(Debug, Arbitrary)]
enum Answered {
    Nothing,
    Last,
    Number(u8),
}

#[derive(Debug, Arbitrary)]
struct Input {
    policy: u8,
    has_digests: bool,
    steps: Vec<Step>,
}

fuzz_target!(|input: Input| {
    let policy = match input.policy % 4 {
        0 => Policy::own(),
        1 => Policy::envoy(),
        2 => Policy::stock(),
        _ => Policy::stock_resending(),
    };
    let mut sender: Sender<Type> = Sender::new(policy);
    if input.has_digests {
        sender = sender.with_digests();
    }
    let mut offered = Snapshot::empty();
    let mut last = [None, None];
    let mut now = Duration::ZERO;
    for step in input.steps {
        match step {
            Step::Offer(changes) => {
                for ty in Type::ALL {
                    let mut items = offered.items(*ty).clone();
                    for (_, at, change) in changes.iter().filter(|change| change.0 == *ty) {
                        match change {
                            Some(new) => items.insert(name(*at), item(*new)),
                            None => items.remove(&name(*at)),
                        };
                    }
                    offered = offered.with(offered.revision() + 1, [(*ty, items)]);
                }
                assert!(sender.offer(offered.clone()));
            }
            Step::Ask(asked) => {
                let nonce = match asked.nonce {
                    Answered::Nothing => None,
                    Answered::Last => last[asked.ty.index()].clone(),
                    Answered::Number(number) => Nonce::parse(&number.to_string()),
                };
                let names = |names: Vec<Option<u8>>| {
                    let names = names.into_iter();
                    names
                        .map(|one| one.map_or_else(|| "*".into(), name))
                        .collect()
                };
                let rejected = asked.rejected.into_iter();
                let request = Request {
                    ty: asked.ty,
                    nonce,
                    error: asked.error.then(|| "no".to_owned()),
                    subscribe: names(asked.subscribe),
                    unsubscribe: names(asked.unsubscribe),
                    initial_versions: asked
                        .held
                        .into_iter()
                        .map(|(at, held)| (name(at), version(held)))
                        .collect(),
                    rejected: rejected
                        .map(|(at, held)| Rejection {
                            name: name(at),
                            version: held.map(version),
                            reason: "no".to_owned(),
                        })
                        .collect(),
                };
                // A peer that breaks the protocol loses its stream.
                if sender.on_request(now, request).is_err() {
                    return;
                }
            }
            Step::Wait(milliseconds) => now += Duration::from_millis(milliseconds.into()),
        }
        let mut said = 0;
        while let Some(response) = sender.poll(now) {
            let items = offered.items(response.ty);
            for (name, item) in &response.resources {
                assert_eq!(items.get(name), Some(item), "only what is offered is sent");
            }
            for name in &response.removed {
                assert!(!items.contains_key(name), "what is offered is not removed");
            }
            last[response.ty.index()] = Some(response.nonce);
            said += 1;
            assert!(said <= MOST_SAID, "a sender waits for answers");
        }
        if let Some(deadline) = sender.next_deadline() {
            assert!(deadline > now, "what is due is said");
        }
    }
});
