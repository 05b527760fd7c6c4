//! The receiving half of a delta stream: what a response means and how to answer it.
//!
//! It keeps the versions that are held, decides whether a response is the complete state or an
//! increment, and writes the answers. Applying a response and judging resources is the caller's.
//!
//! **Invariant:** a version counts as held only after the caller accepted it; what was rejected
//! leaves the last accepted version in place.

use std::collections::{BTreeMap, BTreeSet};

use imbl::OrdMap;

use crate::digest::Digest;
use crate::message::{Nonce, Position, ProtocolError, Rejection, Request, Response};
use crate::snapshot::{Item, Name, TypeSet, Version};

/// A well-behaved sender waits for an answer before it goes on with a type.
const MAX_UNANSWERED: usize = 16;

/// Whether a new stream starts from what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// The versions that are held are offered; the sender says only what differs. For senders
    /// that are known to read them.
    Versions,
    /// Nothing is said; the first response of each type is the complete state.
    Nothing,
}

/// How a response is to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What it does not mention, and [`Apply::kept`] does not hold, is gone.
    Complete,
    /// What it does not mention stays.
    Increment,
}

/// A response to be judged, applied and [answered](Receiver::answer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apply<T> {
    /// The type.
    pub ty: T,
    /// To be handed to [`Receiver::answer`].
    pub nonce: Nonce,
    /// Whether what it lacks is to be dropped.
    pub mode: Mode,
    /// New and changed resources, each name once.
    pub upserts: Vec<(Name, Item<T>)>,
    /// Names that are gone; none of them is in `upserts`. They need not be held.
    pub removed: Vec<Name>,
    /// In complete mode: names that the sender has although this response lacks them. They were
    /// in a complete response that was refused as a whole.
    pub kept: BTreeSet<Name>,
}

impl<T: TypeSet> Apply<T> {
    /// Whether applying it drops `name`. A caller that holds resources of several sources asks
    /// this only for those of this sender.
    pub fn drops(&self, name: &Name) -> bool {
        match self.mode {
            Mode::Complete => {
                !self.kept.contains(name) && !self.upserts.iter().any(|(upsert, _)| upsert == name)
            }
            Mode::Increment => self.removed.contains(name),
        }
    }

    /// Of the names `held`, those that applying it drops. Faster than asking for each.
    pub fn dropped<'a>(&self, held: impl IntoIterator<Item = &'a Name>) -> Vec<Name> {
        let upserts: BTreeSet<_> = self.upserts.iter().map(|(name, _)| name).collect();
        let removed: BTreeSet<_> = self.removed.iter().collect();
        let is_dropped = |name: &&Name| match self.mode {
            Mode::Complete => !self.kept.contains(*name) && !upserts.contains(name),
            Mode::Increment => removed.contains(name),
        };
        held.into_iter().filter(is_dropped).cloned().collect()
    }
}

/// What became of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was applied.
    Accepted,
    /// It was applied, removals included, except for these resources. Towards peers that know no
    /// rejections of single resources, send the request without [`Request::rejected`]: its error
    /// says the same as text.
    Rejected(Vec<Rejection>),
    /// Nothing of it was applied, for this reason.
    Refused(String),
}

/// The receiving half of a delta stream. It outlives streams: [`Receiver::subscriptions`] begins
/// a new one.
#[derive(Debug)]
pub struct Receiver<T: TypeSet> {
    types: Vec<TypeState>,
    position: Option<Position>,
    marker: std::marker::PhantomData<T>,
}

#[derive(Debug, Default)]
struct TypeState {
    is_subscribed: bool,
    held: OrdMap<Name, Version>,
    /// The digest of `held`.
    digest: Digest,
    /// Whether the next response is the first one, and so the complete state.
    expects_complete: bool,
    /// After a refused complete response: the names that the sender has. Whatever else is held
    /// goes with the next response that is applied.
    kept: Option<BTreeSet<Name>>,
    open: Vec<Open>,
}

/// A response that waits for its answer.
#[derive(Debug)]
struct Open {
    nonce: Nonce,
    mode: Mode,
    upserts: BTreeMap<Name, Version>,
    removed: Vec<Name>,
    kept: BTreeSet<Name>,
}

impl<T: TypeSet> Default for Receiver<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: TypeSet> Receiver<T> {
    /// A receiver that has seen nothing.
    pub fn new() -> Self {
        Self {
            types: T::ALL.iter().map(|_| TypeState::default()).collect(),
            position: None,
            marker: std::marker::PhantomData,
        }
    }

    /// The same receiver, having seen `position` in an earlier life: older states of that store
    /// are refused.
    #[must_use]
    pub fn with_position(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    /// Begins a stream, subscribing to everything of the given types. With each type goes what is
    /// held of it (the store's truth, also when it is not offered).
    pub fn subscriptions(
        &mut self,
        types: impl IntoIterator<Item = (T, OrdMap<Name, Version>)>,
        resume: Resume,
    ) -> Vec<Request<T>> {
        for state in &mut self.types {
            *state = TypeState {
                held: std::mem::take(&mut state.held),
                digest: state.digest,
                ..TypeState::default()
            };
        }
        let mut requests = Vec::new();
        for (ty, held) in types {
            let mut request = Request::wildcard(ty);
            if resume == Resume::Versions {
                let versions = held.iter();
                request.initial_versions = versions
                    .map(|(name, version)| (name.clone(), version.clone()))
                    .collect();
            }
            self.types[ty.index()] = TypeState {
                is_subscribed: true,
                // No versions offered is all that the sender sees of holding none.
                expects_complete: request.initial_versions.is_empty(),
                digest: held.iter().collect(),
                held,
                ..TypeState::default()
            };
            requests.push(request);
        }
        requests
    }

    /// Takes in a response. The caller judges and applies it, then calls [`Self::answer`].
    ///
    /// # Errors
    ///
    /// If the sender broke the protocol or is behind itself; the stream should end.
    pub fn on_response(&mut self, response: Response<T>) -> Result<Apply<T>, ProtocolError<T>> {
        let ty = response.ty;
        let state = &mut self.types[ty.index()];
        if !state.is_subscribed {
            return Err(ProtocolError::NeverAskedFor { ty });
        }
        if state.open.len() >= MAX_UNANSWERED {
            let open = state.open.len();
            return Err(ProtocolError::TooManyUnanswered { ty, open });
        }
        if let Some(next) = response.position {
            if let Some(seen) = self.position.filter(|seen| !seen.may_be_followed_by(next)) {
                return Err(ProtocolError::RevisionWentBack {
                    ty,
                    revision: next.revision,
                    seen: seen.revision,
                });
            }
            self.position = Some(next);
        }
        // A name twice, or also removed, is an update to the last that was said of it.
        let upserts: BTreeMap<Name, Item<T>> = response.resources.into_iter().collect();
        let mut removed = response.removed;
        removed.retain(|name| !upserts.contains_key(name));
        let mut kept = BTreeSet::new();
        let mut mode = Mode::Increment;
        if std::mem::take(&mut state.expects_complete) {
            mode = Mode::Complete;
        } else if let Some(names) = &state.kept {
            mode = Mode::Complete;
            kept = names.clone();
            for name in &removed {
                kept.remove(name);
            }
        }
        let versions = upserts.iter();
        state.open.push(Open {
            nonce: response.nonce.clone(),
            mode,
            upserts: versions
                .map(|(name, item)| (name.clone(), item.version.clone()))
                .collect(),
            removed: removed.clone(),
            kept: kept.clone(),
        });
        Ok(Apply {
            ty,
            nonce: response.nonce,
            mode,
            upserts: upserts.into_iter().collect(),
            removed,
            kept,
        })
    }

    /// Records what became of a response and gives the answer to it.
    ///
    /// # Errors
    ///
    /// If no response with this nonce waits for an answer: it was answered before, or the stream
    /// is another one by now. Then there is nothing to send.
    pub fn answer(
        &mut self,
        ty: T,
        nonce: Nonce,
        verdict: Verdict,
    ) -> Result<Request<T>, ProtocolError<T>> {
        let state = &mut self.types[ty.index()];
        let Some(at) = state.open.iter().position(|open| open.nonce == nonce) else {
            return Err(ProtocolError::NothingToAnswer { ty, nonce });
        };
        let open = state.open.remove(at);
        Ok(match verdict {
            Verdict::Accepted => {
                state.apply(open, &[]);
                Request::ack(ty, nonce)
            }
            Verdict::Rejected(rejected) if rejected.is_empty() => {
                state.apply(open, &[]);
                Request::ack(ty, nonce)
            }
            Verdict::Rejected(mut rejected) => {
                for one in &mut rejected {
                    let sent = open.upserts.get(&one.name);
                    one.version = one.version.take().or_else(|| sent.cloned());
                }
                state.apply(open, &rejected);
                let reasons = rejected.iter();
                let reasons: Vec<_> = reasons
                    .map(|rejection| format!("{}: {}", rejection.name, rejection.reason))
                    .collect();
                let mut request = Request::nack(ty, nonce, reasons.join("; "));
                request.rejected = rejected;
                request
            }
            Verdict::Refused(text) => {
                state.refuse(open);
                Request::nack(ty, nonce, text)
            }
        })
    }

    /// The versions that were accepted last, by name.
    pub fn held(&self, ty: T) -> &OrdMap<Name, Version> {
        &self.types[ty.index()].held
    }

    /// The digest of what is held of a type; kept, so asking costs nothing.
    pub fn digest(&self, ty: T) -> Digest {
        self.types[ty.index()].digest
    }

    /// The latest position of the sender's store that was received.
    pub fn position(&self) -> Option<Position> {
        self.position
    }
}

impl TypeState {
    fn apply(&mut self, open: Open, rejected: &[Rejection]) {
        let rejected: BTreeSet<_> = rejected.iter().map(|rejection| &rejection.name).collect();
        if open.mode == Mode::Complete {
            let held = std::mem::take(&mut self.held);
            self.held = held
                .into_iter()
                .filter(|(name, _)| {
                    open.kept.contains(name)
                        || open.upserts.contains_key(name)
                        || rejected.contains(name)
                })
                .collect();
            self.digest = self.held.iter().collect();
            self.kept = None;
        }
        for name in open.removed.iter().filter(|name| !rejected.contains(name)) {
            if let Some(old) = self.held.remove(name) {
                self.digest.remove(name, &old);
            }
        }
        for (name, version) in open.upserts {
            if !rejected.contains(&name) {
                let old = self.held.insert(name.clone(), version.clone());
                self.digest.replace(&name, old.as_ref(), Some(&version));
            }
        }
    }

    fn refuse(&mut self, open: Open) {
        if open.mode == Mode::Complete {
            let mut kept = open.kept;
            kept.extend(open.upserts.into_keys());
            // Their removal will be said again.
            kept.extend(open.removed);
            self.kept = Some(kept);
        }
    }
}

#[cfg(test)]
mod tests;
