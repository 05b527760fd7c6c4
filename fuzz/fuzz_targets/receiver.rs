//! A receiver and a peer that says anything at all, beside a map that does the same.

#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mesh_delta::{Digest, Mode, Name, Nonce, Receiver, Rejection, Response, Resume, Verdict, Version};
use mesh_fuzz::{Type, item, name};

#[derive(Debug, Arbitrary)]
enum Step {
    Begin { resumes: bool, only_one: bool },
    Hear(Said),
    Answer { at: u8, verdict: Judged },
}

#[derive(Debug, Arbitrary)]
struct Said {
    ty: Type,
    nonce: u8,
    resources: Vec<(u8, u8)>,
    removed: Vec<u8>,
    is_complete: bool,
}

#[derive(Debug, Arbitrary)]
enum Judged {
    Accepted,
    Refused,
    Rejected(Vec<u8>),
}

type Held = BTreeMap<Name, Version>;

fuzz_target!(|steps: Vec<Step>| {
    let mut receiver: Receiver<Type> = Receiver::new();
    let mut held: BTreeMap<Type, Held> = BTreeMap::new();
    let mut open = Vec::new();
    for step in steps {
        match step {
            Step::Begin { resumes, only_one } => {
                let resume = if resumes {
                    Resume::Versions
                } else {
                    Resume::Nothing
                };
                let types = [Type::Cluster, Type::Route];
                let types = &types[..if only_one { 1 } else { 2 }];
                let holds = |ty: &Type| {
                    let held = held.get(ty).into_iter().flatten();
                    held.map(|(name, version)| (name.clone(), version.clone()))
                        .collect()
                };
                receiver.subscriptions(types.iter().map(|ty| (*ty, holds(ty))), resume);
                open.clear();
            }
            Step::Hear(said) => {
                let resources = said.resources.iter();
                let response = Response {
                    ty: said.ty,
                    nonce: Nonce::parse(&said.nonce.to_string()).expect("a nonce"),
                    resources: resources.map(|(at, v)| (name(*at), item(*v))).collect(),
                    removed: said.removed.iter().map(|at| name(*at)).collect(),
                    is_complete: said.is_complete,
                    position: None,
                };
                // A peer that breaks the protocol loses its stream.
                let Ok(apply) = receiver.on_response(response) else {
                    return;
                };
                open.push(apply);
            }
            Step::Answer { at, verdict } => {
                if open.is_empty() {
                    continue;
                }
                let apply = open.remove(usize::from(at) % open.len());
                let rejected: Vec<Name> = match &verdict {
                    Judged::Rejected(names) => names.iter().map(|at| name(*at)).collect(),
                    Judged::Accepted | Judged::Refused => Vec::new(),
                };
                let told = match verdict {
                    Judged::Accepted => Verdict::Accepted,
                    Judged::Refused => Verdict::Refused("no".to_owned()),
                    Judged::Rejected(_) => Verdict::Rejected(
                        rejected
                            .iter()
                            .map(|name| Rejection {
                                name: name.clone(),
                                version: None,
                                reason: "no".to_owned(),
                            })
                            .collect(),
                    ),
                };
                if told != Verdict::Refused("no".to_owned()) {
                    let map = held.entry(apply.ty).or_default();
                    if apply.mode == Mode::Complete {
                        map.retain(|name, _| !apply.drops(name) || rejected.contains(name));
                    }
                    for name in apply.removed.iter().filter(|name| !rejected.contains(name)) {
                        map.remove(name);
                    }
                    for (name, item) in &apply.upserts {
                        if !rejected.contains(name) {
                            map.insert(name.clone(), item.version.clone());
                        }
                    }
                }
                // Two responses may have had one nonce; the first of them is answered.
                if receiver.answer(apply.ty, apply.nonce.clone(), told).is_err() {
                    return;
                }
                if open.iter().any(|other| other.nonce == apply.nonce && other.ty == apply.ty) {
                    return;
                }
                for (ty, map) in &held {
                    let theirs: Held = receiver
                        .held(*ty)
                        .iter()
                        .map(|(name, version)| (name.clone(), version.clone()))
                        .collect();
                    assert_eq!(&theirs, map);
                    let anew: Digest = receiver.held(*ty).iter().collect();
                    assert_eq!(receiver.digest(*ty), anew);
                }
            }
        }
    }
});
