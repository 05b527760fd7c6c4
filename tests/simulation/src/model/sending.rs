//! The half of a stream that sends: our machine, or what a stock control plane has in its place.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use imbl::OrdMap;
use mesh_delta::{
    Digest, Event, Index, Matcher, Name, Nonce, Part, Policy, Prefix, Request, Response, Sender,
    Snapshot, Time, TypeSet, Version,
};

use crate::model::store::Ty;

/// What is said to a receiver.
#[derive(Debug, Clone)]
pub(super) enum ToReceiver {
    /// A response, or a piece of one.
    Piece {
        /// What it has.
        response: Response<Ty>,
        /// More of it is to come.
        has_more: bool,
        /// When it was made, on the world's clock.
        said_at: u64,
    },
    /// What is held of these parts?
    Ask(Ty, Vec<Prefix>),
}

/// What is said to a sender.
#[derive(Debug, Clone)]
pub(super) enum ToSender {
    /// A request, and what is held of its type after it, from one with digests.
    Request(Request<Ty>, Option<Digest>),
    /// What is held of these parts.
    Parts(Ty, Vec<Part>),
}

impl ToSender {
    /// The type that it is about.
    pub(super) fn ty(&self) -> Ty {
        match self {
            Self::Request(request, _) => request.ty,
            Self::Parts(ty, _) => *ty,
        }
    }
}

/// What came of a message to a sender.
#[derive(Debug)]
pub(super) enum Heard {
    /// It was taken.
    Taken(Option<Event<Ty>>),
    /// It was taken, and there is something to be asked.
    Asks(Ty, Vec<Prefix>),
    /// What the receiver holds is not what it answered for.
    Differs(Ty),
}

/// The half of a stream that sends.
#[derive(Debug)]
pub(super) enum Sending {
    /// Ours.
    Own(OwnSending),
    /// A stock one.
    Stock(StockSending),
}

/// Our machine, and what KDS does around it.
#[derive(Debug)]
pub(super) struct OwnSending {
    sender: Sender<Ty>,
    matching: BTreeMap<Ty, Matcher>,
    /// In the harness: what a peer says that it holds is forgotten at once.
    is_forgetful: bool,
}

impl OwnSending {
    /// A sender for a stream that was just opened.
    pub(super) fn new(policy: Policy, has_digests: bool, is_forgetful: bool) -> Self {
        let sender = Sender::new(policy);
        Self {
            sender: if has_digests {
                sender.with_digests()
            } else {
                sender
            },
            matching: BTreeMap::new(),
            is_forgetful,
        }
    }

    fn hear(&mut self, now: Time, said: ToSender) -> Result<Heard, String> {
        let (request, holds) = match said {
            ToSender::Request(request, holds) => (request, holds),
            ToSender::Parts(ty, parts) => {
                let offered = self.sender.offered().ok_or("nothing is offered yet")?;
                let matcher = match self.matching.remove(&ty) {
                    Some(matcher) => matcher,
                    None => Matcher::new(Arc::new(index(offered.items(ty)))),
                };
                match compare(matcher, parts)? {
                    Ok(held) => {
                        let mut request = Request::wildcard(ty);
                        request.initial_versions = held;
                        (request, None)
                    }
                    Err((matcher, asked)) => {
                        self.matching.insert(ty, matcher);
                        return Ok(Heard::Asks(ty, asked));
                    }
                }
            }
        };
        self.request(now, request, holds)
    }

    fn request(
        &mut self,
        now: Time,
        mut request: Request<Ty>,
        holds: Option<Digest>,
    ) -> Result<Heard, String> {
        let ty = request.ty;
        if self.is_forgetful {
            request.initial_versions.clear();
        }
        let event = self
            .sender
            .on_request(now, request)
            .map_err(|error| error.to_string())?;
        let is_answer = matches!(event, Event::Acked { .. } | Event::Nacked { .. });
        if is_answer
            && let (Some(holds), Some(should)) = (holds, self.sender.digest(ty))
            && holds != should
        {
            return Ok(Heard::Differs(ty));
        }
        Ok(Heard::Taken(Some(event)))
    }
}

fn index(items: &OrdMap<Name, mesh_delta::Item<Ty>>) -> Index {
    let members = items.iter();
    Index::new(members.map(|(name, item)| (name.clone(), item.version.clone())))
}

type Comparison = Result<BTreeMap<Name, Version>, (Matcher, Vec<Prefix>)>;

fn compare(mut matcher: Matcher, parts: Vec<Part>) -> Result<Comparison, String> {
    let mut asked = Vec::new();
    for part in parts {
        asked.extend(matcher.take(part).map_err(|error| error.to_string())?);
    }
    Ok(if matcher.is_done() {
        Ok(matcher.held())
    } else {
        Err((matcher, asked))
    })
}

impl Sending {
    /// Replaces what is offered.
    pub(super) fn offer(&mut self, snapshot: Snapshot<Ty>) {
        match self {
            Self::Own(own) => _ = own.sender.offer(snapshot),
            Self::Stock(stock) => stock.offered = Some(snapshot),
        }
    }

    /// Takes in what the receiver says.
    pub(super) fn hear(&mut self, now: Time, said: ToSender) -> Result<Heard, String> {
        match (self, said) {
            (Self::Own(own), said) => own.hear(now, said),
            (Self::Stock(stock), ToSender::Request(request, _)) => {
                stock.hear(request);
                Ok(Heard::Taken(None))
            }
            (Self::Stock(_), ToSender::Parts(..)) => Err("a stock peer was told digests".into()),
        }
    }

    /// What may be said now.
    pub(super) fn poll(&mut self, now: Time) -> Option<Response<Ty>> {
        match self {
            Self::Own(own) => own.sender.poll(now),
            Self::Stock(stock) => stock.poll(),
        }
    }

    /// When there may be something to say without anything having happened.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        match self {
            Self::Own(own) => own.sender.next_deadline(),
            Self::Stock(_) => None,
        }
    }

    /// What the receiver should hold of a type, if this is known and nothing is under way.
    pub(super) fn digest(&self, ty: Ty) -> Option<Digest> {
        match self {
            Self::Own(own) if !own.sender.status(ty).is_in_flight => own.sender.digest(ty),
            _ => None,
        }
    }

    /// Whether all is said and answered.
    pub(super) fn is_synced(&self) -> bool {
        match self {
            Self::Own(own) => own.sender.is_synced(),
            Self::Stock(stock) => stock.types.values().all(|ty| ty.open.is_none()),
        }
    }
}

/// What a stock control plane has in the place of our sender: it takes what it sent for held,
/// whatever the answer, and opens a watch with every request.
#[derive(Debug)]
pub(super) struct StockSending {
    /// Whether it sends a refused type again, as 2.5 does.
    resends: bool,
    /// Whether it answers a request that answers nothing, as 2.14 does.
    answers_wildcards: bool,
    offered: Option<Snapshot<Ty>>,
    types: BTreeMap<Ty, StockType>,
    last_nonce: u64,
}

#[derive(Debug, Default)]
struct StockType {
    sent: BTreeMap<Name, Version>,
    is_first: bool,
    open: Option<Nonce>,
    /// How often all of it is sent once more.
    again: VecDeque<()>,
}

impl StockSending {
    /// A sender for a stream that was just opened.
    pub(super) fn new(resends: bool, answers_wildcards: bool) -> Self {
        Self {
            resends,
            answers_wildcards,
            offered: None,
            types: BTreeMap::new(),
            last_nonce: 0,
        }
    }

    fn hear(&mut self, request: Request<Ty>) {
        let is_new = !self.types.contains_key(&request.ty);
        let state = self.types.entry(request.ty).or_default();
        if request.nonce.is_none() {
            state.is_first |= is_new || self.answers_wildcards;
        }
        state.open = None;
        if request.error.is_some() && self.resends {
            state.again = [(), ()].into();
        }
    }

    fn poll(&mut self) -> Option<Response<Ty>> {
        let offered = self.offered.clone()?;
        for &ty in Ty::ALL {
            let Some(state) = self.types.get_mut(&ty).filter(|state| state.open.is_none()) else {
                continue;
            };
            let items = offered.items(ty);
            let is_again = state.again.pop_front().is_some();
            let differs = |name: &Name, version: &Version| state.sent.get(name) != Some(version);
            let resources: Vec<_> = items
                .iter()
                .filter(|(name, item)| is_again || differs(name, &item.version))
                .map(|(name, item)| (name.clone(), item.clone()))
                .collect();
            let sent = state.sent.keys();
            let removed: Vec<Name> = sent
                .filter(|name| !items.contains_key(*name))
                .cloned()
                .collect();
            if resources.is_empty() && removed.is_empty() && !state.is_first {
                continue;
            }
            state.is_first = false;
            state.sent = items
                .iter()
                .map(|(name, item)| (name.clone(), item.version.clone()))
                .collect();
            self.last_nonce += 1;
            let nonce = Nonce::parse(&self.last_nonce.to_string())?;
            state.open = Some(nonce.clone());
            return Some(Response {
                ty,
                nonce,
                resources,
                removed,
                is_complete: false,
                position: None,
            });
        }
        None
    }
}

/// A response in pieces of so many entries.
pub(super) fn pieces(response: Response<Ty>, size: usize) -> Vec<(Response<Ty>, bool)> {
    let mut pieces = Vec::new();
    let mut rest = response;
    loop {
        let later = rest.resources.split_off(rest.resources.len().min(size));
        let more = !later.is_empty();
        let mut next = Response {
            resources: later,
            removed: Vec::new(),
            ..rest.clone()
        };
        if more {
            // Removals come last.
            std::mem::swap(&mut next.removed, &mut rest.removed);
        }
        pieces.push((rest, more));
        if !more {
            return pieces;
        }
        rest = next;
    }
}

/// What a response says, for people.
pub(super) fn said(response: &Response<Ty>) -> String {
    let upserts = response.resources.iter();
    let upserts = upserts.map(|(name, item)| format!("+{name}@{}", item.version));
    let removed = response.removed.iter().map(|name| format!("-{name}"));
    let words: Vec<String> = upserts.chain(removed).collect();
    format!("{:?} #{} {}", response.ty, response.nonce, words.join(" "))
}
