//! The half of a stream that receives: our machine over a store, or what a stock control plane
//! has in its place.

use std::collections::{BTreeMap, BTreeSet};

use imbl::OrdMap;
use mesh_delta::{
    Apply, Digest, Holder, Mode, Name, Prefix, Receiver, Rejection, Request, Response, Resume,
    Verdict, Version, WILDCARD,
};

use crate::model::peer::Kind;
use crate::model::sending::ToSender;
use crate::model::store::Ty;

/// The half of a stream that receives.
#[derive(Debug)]
pub(super) enum Receiving {
    /// Ours.
    Own(OwnReceiving),
    /// A stock one.
    Stock(StockReceiving),
}

/// What a response comes to, once it is whole: to be judged, applied and answered.
#[derive(Debug)]
pub(super) struct Arrived {
    /// What it says.
    pub apply: Apply<Ty>,
    /// When it was made.
    pub said_at: u64,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// All was applied but for these.
    Applied(Vec<Name>),
    /// Nothing of it was, or only a part.
    Refused(String),
}

/// Our machine, and what KDS does around it.
#[derive(Debug)]
pub(super) struct OwnReceiving {
    receiver: Receiver<Ty>,
    holders: BTreeMap<Ty, Holder>,
    partial: BTreeMap<Ty, Response<Ty>>,
    last_ack: BTreeMap<Ty, Request<Ty>>,
    has_digests: bool,
    lists_rejections: bool,
}

/// What a stock control plane has in the place of our receiver.
#[derive(Debug)]
pub(super) struct StockReceiving {
    kind: Kind,
    /// Types whose next response is not the first one any more.
    begun: BTreeSet<Ty>,
    last_ack: BTreeMap<Ty, Request<Ty>>,
}

impl Receiving {
    /// Begins a stream of `kind` that asks for types of which so much is held, and offers that if
    /// it `resumes`.
    pub(super) fn begin(
        kind: Kind,
        held: Vec<(Ty, OrdMap<Name, Version>)>,
        resumes: bool,
    ) -> (Self, Vec<ToSender>) {
        let Kind::Own(abilities) = kind else {
            let stock = StockReceiving {
                kind,
                begun: BTreeSet::new(),
                last_ack: BTreeMap::new(),
            };
            let asks = held
                .into_iter()
                .map(|(ty, _)| ToSender::Request(Request::wildcard(ty), None));
            return (Self::Stock(stock), asks.collect());
        };
        let mut receiver = Receiver::new();
        let resume = if resumes {
            Resume::Versions
        } else {
            Resume::Nothing
        };
        let mut holders = BTreeMap::new();
        let mut said = Vec::new();
        for mut request in receiver.subscriptions(held, resume) {
            let held = std::mem::take(&mut request.initial_versions);
            if held.is_empty() {
                said.push(ToSender::Request(request, None));
            } else {
                let holder = Holder::new(held);
                said.push(ToSender::Parts(request.ty, vec![holder.part(Prefix::ALL)]));
                holders.insert(request.ty, holder);
            }
        }
        let own = OwnReceiving {
            receiver,
            holders,
            partial: BTreeMap::new(),
            last_ack: BTreeMap::new(),
            has_digests: abilities.digests,
            lists_rejections: abilities.rejections,
        };
        (Self::Own(own), said)
    }

    /// Takes in a response or a piece of one, and gives it once it is whole.
    pub(super) fn take(
        &mut self,
        mut response: Response<Ty>,
        has_more: bool,
        said_at: u64,
    ) -> Result<Option<Arrived>, String> {
        match self {
            Self::Own(own) => {
                if let Some(earlier) = own.partial.remove(&response.ty) {
                    if earlier.nonce != response.nonce {
                        return Err("a response goes on as another".into());
                    }
                    let later = std::mem::replace(&mut response, earlier);
                    response.resources.extend(later.resources);
                    response.removed.extend(later.removed);
                }
                if has_more {
                    own.partial.insert(response.ty, response);
                    return Ok(None);
                }
                let apply = own.receiver.on_response(response);
                let apply = apply.map_err(|error| error.to_string())?;
                Ok(Some(Arrived { apply, said_at }))
            }
            Self::Stock(_) if has_more => Err("a stock peer was sent a piece".into()),
            Self::Stock(stock) => {
                let is_first = !stock.begun.contains(&response.ty);
                let resources: BTreeMap<_, _> = response.resources.into_iter().collect();
                let mut removed = response.removed;
                removed.retain(|name| !resources.contains_key(name));
                let apply = Apply {
                    ty: response.ty,
                    nonce: response.nonce,
                    mode: if is_first {
                        Mode::Complete
                    } else {
                        Mode::Increment
                    },
                    upserts: resources.into_iter().collect(),
                    removed,
                    kept: BTreeSet::new(),
                };
                Ok(Some(Arrived { apply, said_at }))
            }
        }
    }

    /// The answer to what arrived.
    pub(super) fn answer(
        &mut self,
        apply: Apply<Ty>,
        outcome: Outcome,
    ) -> Result<ToSender, String> {
        let Apply { ty, nonce, .. } = apply;
        let (answer, holds) = match self {
            Self::Own(own) => {
                let verdict = match outcome {
                    Outcome::Refused(text) => Verdict::Refused(text),
                    Outcome::Applied(rejected) => Verdict::Rejected(
                        rejected
                            .into_iter()
                            .map(|name| Rejection {
                                name,
                                version: None,
                                reason: "not to its taste".into(),
                            })
                            .collect(),
                    ),
                };
                own.holders.remove(&ty);
                let answer = own.receiver.answer(ty, nonce, verdict);
                let mut answer = answer.map_err(|error| error.to_string())?;
                if !own.lists_rejections {
                    answer.rejected.clear();
                }
                (answer, own.has_digests.then(|| own.receiver.digest(ty)))
            }
            Self::Stock(stock) => {
                let error = match outcome {
                    Outcome::Refused(text) => Some(text),
                    Outcome::Applied(rejected) => (!rejected.is_empty())
                        .then(|| format!("{} resources are invalid", rejected.len())),
                };
                let is_begun =
                    error.is_none() || matches!(stock.kind, Kind::Stock27 | Kind::Stock214);
                if is_begun {
                    stock.begun.insert(ty);
                }
                (
                    match error {
                        None => Request::ack(ty, nonce),
                        Some(text) => Request::nack(ty, nonce, text).subscribe([WILDCARD]),
                    },
                    None,
                )
            }
        };
        let last_ack = match self {
            Self::Own(own) => &mut own.last_ack,
            Self::Stock(stock) => &mut stock.last_ack,
        };
        if answer.error.is_none() {
            last_ack.insert(ty, answer.clone());
        } else {
            last_ack.remove(&ty);
        }
        Ok(ToSender::Request(answer, holds))
    }

    /// What is held of these parts.
    pub(super) fn say_what_is_held(&self, ty: Ty, asked: &[Prefix]) -> Result<ToSender, String> {
        let Self::Own(own) = self else {
            return Err("a stock peer was asked what it holds".into());
        };
        let holder = own.holders.get(&ty).ok_or("asked what was not offered")?;
        let parts = asked.iter().map(|prefix| holder.part(*prefix)).collect();
        Ok(ToSender::Parts(ty, parts))
    }

    /// The last ACK of a type.
    pub(super) fn last_ack(&self, ty: Ty) -> Option<Request<Ty>> {
        let last_ack = match self {
            Self::Own(own) => &own.last_ack,
            Self::Stock(stock) => &stock.last_ack,
        };
        last_ack.get(&ty).cloned()
    }

    /// The digest of what is held of a type, from one that says it.
    pub(super) fn digest(&self, ty: Ty) -> Option<Digest> {
        match self {
            Self::Own(own) if own.has_digests => Some(own.receiver.digest(ty)),
            _ => None,
        }
    }

    /// Whether our machine knows what is held of a type.
    pub(super) fn agrees(&self, ty: Ty, held: &OrdMap<Name, Version>) -> bool {
        match self {
            Self::Own(own) => own.receiver.held(ty) == held,
            Self::Stock(_) => true,
        }
    }
}
