//! State-of-the-world xDS in front of a [`Sender`]: the same decisions in the older dialect.
//!
//! A request lists all names that are wanted, a response of a [whole](TypeSet::is_whole) type
//! holds all of it, and what it lacks is gone. So a cluster that only lingers is said again in each
//! response until it may go. Responses of other types hold what changed, which the protocol
//! allows: <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return>.
//!
//! **Invariant:** what is counted as held is what was in accepted responses. A refused response
//! changes nothing of that, and the next one of a whole type undoes what was applied of it.

mod resume;
mod stand_in;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use sha2::{Digest as _, Sha256};

use self::resume::Waiting;
use crate::message::{Nonce, ProtocolError, Request, Response, Time, WILDCARD};
use crate::payload::Payload;
use crate::sender::{Event, Sender};
use crate::snapshot::{Item, Name, TypeSet, Version};

type Items<T> = OrdMap<Name, Item<T>>;

/// What a state-of-the-world receiver says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorldRequest<T> {
    /// The type that it is about.
    pub ty: T,
    /// All names that it wants; of a whole type it gets everything.
    pub names: Vec<Name>,
    /// The version of the response that it accepted last, perhaps on an earlier stream.
    pub version: Option<Version>,
    /// The response that it has seen last on this stream.
    pub nonce: Option<Nonce>,
    /// That response was refused, and why.
    pub error: Option<String>,
}

/// A response in the state-of-the-world dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorldResponse<T> {
    /// The type that it is about.
    pub ty: T,
    /// The version of all that the receiver holds once it has accepted this.
    pub version: Version,
    /// Its nonce.
    pub nonce: Nonce,
    /// Of a whole type everything; of other types what is new.
    pub resources: Vec<(Name, Item<T>)>,
    /// How many names it brings news of: changed ones, and of a whole type those that are gone.
    pub changes: usize,
}

/// What is known of one type on one stream.
#[derive(Debug)]
struct State<T> {
    /// Whether its first request was seen.
    is_started: bool,
    /// The names that are wanted; none of a whole type.
    names: BTreeSet<Name>,
    /// What was in accepted responses.
    held: Items<T>,
    /// What is held from an earlier stream, in versions that cannot be said again.
    unknown: BTreeSet<Name>,
    /// The version that the receiver surely has; `None` also while it is in doubt.
    version: Option<Version>,
    /// The last response that was sent.
    nonce: Option<Nonce>,
    open: Option<Open<T>>,
    /// Whether a response was taken for accepted that was not answered.
    is_assumed: bool,
}

/// The response that waits for an answer.
#[derive(Debug)]
struct Open<T> {
    version: Version,
    /// What is held once it is accepted.
    next: Items<T>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            is_started: false,
            names: BTreeSet::new(),
            held: OrdMap::new(),
            unknown: BTreeSet::new(),
            version: None,
            nonce: None,
            open: None,
            is_assumed: false,
        }
    }
}

impl<T> State<T> {
    fn accept(&mut self, open: Open<T>) {
        self.held = open.next;
        self.version = Some(open.version);
        self.unknown.clear();
    }
}

/// The dialect's side of one stream. It is made with the stream's [`Sender`] and goes with it.
pub struct World<T: TypeSet> {
    types: Vec<State<T>>,
    waiting: Option<Waiting<T>>,
    stand_ins: StandIns,
}

/// Makes the payload that stands for a cluster of this name, and differs from any.
type StandIns = Arc<dyn Fn(&Name) -> Payload + Send + Sync>;

impl<T: TypeSet> fmt::Debug for World<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("types", &self.types)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl<T: TypeSet> World<T> {
    /// The side of a stream that was just opened. `stand_in` makes an item of a whole type that has
    /// a companion: one of this name that is not usable before its companion came.
    pub fn new(stand_in: impl Fn(&Name) -> Payload + Send + Sync + 'static) -> Self {
        Self {
            types: T::ALL.iter().map(|_| State::default()).collect(),
            waiting: None,
            stand_ins: Arc::new(stand_in),
        }
    }

    /// Takes in what the receiver says, once something is offered.
    ///
    /// # Errors
    ///
    /// As [`Sender::on_request`]; and if the receiver refuses what was taken for accepted. On its
    /// next stream there is nothing to assume.
    pub fn on_request(
        &mut self,
        now: Time,
        sender: &mut Sender<T>,
        request: WorldRequest<T>,
    ) -> Result<Event<T>, ProtocolError<T>> {
        let ty = request.ty;
        if !self.types[ty.index()].is_started {
            self.start(now, sender, request)?;
            return Ok(Event::Subscribed { ty });
        }
        let is_doubtful = self.owner_is_doubtful(ty);
        let state = &mut self.types[ty.index()];
        if request.nonce != state.nonce {
            // The answer to the latest response is still to come, and says all of this again.
            return Ok(match request.nonce {
                Some(nonce) => Event::Stale { ty, nonce },
                None => Event::Subscribed { ty },
            });
        }
        if std::mem::take(&mut state.is_assumed) && request.error.is_some() {
            return Err(ProtocolError::RefusedLate { ty });
        }
        let mut fed = Request::new(ty);
        if let Some(open) = state.open.take() {
            fed.nonce = request.nonce;
            if request.error.is_some() {
                state.version = None;
            } else {
                state.accept(open);
            }
            fed.error = request.error;
        }
        if !ty.is_whole() {
            let names = to_names(request.names);
            fed.subscribe = names.difference(&state.names).cloned().collect();
            fed.unsubscribe = state.names.difference(&names).cloned().collect();
            for name in &fed.unsubscribe {
                state.held.remove(name);
            }
            // A cluster that was replaced waits for its endpoints, and this is how it asks.
            let is_new = fed.nonce.is_some() || !fed.subscribe.is_empty();
            if !is_new && (fed.unsubscribe.is_empty() || is_doubtful) {
                fed.subscribe = names.iter().cloned().collect();
            }
            state.names = names;
        }
        let event = sender.on_request(now, fed)?;
        self.assume(now, sender);
        Ok(event)
    }

    /// The next response that may be sent now, if any.
    pub fn poll(&mut self, now: Time, sender: &mut Sender<T>) -> Option<WorldResponse<T>> {
        if self.waiting.as_ref().is_some_and(|w| w.until <= now) {
            self.stop_waiting(now, sender);
        }
        while let Some(response) = sender.poll(now) {
            if let Some(response) = self.translate(now, sender, response) {
                self.assume(now, sender);
                return Some(response);
            }
        }
        None
    }

    /// When [`Self::poll`] may have something to say without anything having happened. Valid
    /// after `poll` returned `None`.
    pub fn next_deadline(&self, sender: &Sender<T>) -> Option<Time> {
        let waiting = self.waiting.as_ref().map(|w| w.until);
        let deadlines = [sender.next_deadline(), waiting];
        deadlines.into_iter().flatten().min()
    }

    /// Whether the receiver holds items of a whole type that cannot be said again.
    #[cfg(test)]
    pub(crate) fn is_unsure(&self, ty: T) -> bool {
        !self.types[ty.index()].unknown.is_empty()
    }

    fn translate(
        &mut self,
        now: Time,
        sender: &mut Sender<T>,
        response: Response<T>,
    ) -> Option<WorldResponse<T>> {
        let ty = response.ty;
        let offered = sender.offered();
        let state = &mut self.types[ty.index()];
        let mut next = state.held.clone();
        for (name, item) in &response.resources {
            next.insert(name.clone(), kept(ty, item));
        }
        for name in &response.removed {
            next.remove(name);
        }
        let version = version_of(&next);
        let is_offered = |name: &Name| offered.is_some_and(|o| o.items(ty).contains_key(name));
        let mut unknown = state.unknown.iter();
        let lacks_unknown = unknown.any(|name| is_offered(name) && !next.contains_key(name));
        let changes = response.resources.len() + response.removed.len();
        let says_nothing = if ty.is_whole() && !lacks_unknown {
            state.version.as_ref() == Some(&version)
        } else {
            // That a name is gone cannot be said, or is said once what stays can be.
            response.resources.is_empty()
        };
        if says_nothing {
            state.held = next;
            acknowledge(now, sender, ty, response.nonce);
            return None;
        }
        let resources = if ty.is_whole() {
            to_resources(&next)
        } else {
            response.resources
        };
        let nonce = response.nonce;
        let said = WorldResponse {
            ty,
            version: version.clone(),
            nonce,
            resources,
            changes,
        };
        let open = Open { version, next };
        self.open(sender, &said, open);
        Some(said)
    }

    fn open(&mut self, sender: &mut Sender<T>, response: &WorldResponse<T>, open: Open<T>) {
        let ty = response.ty;
        let state = &mut self.types[ty.index()];
        if ty.is_whole() {
            let is_lost = |name: &&Name| !open.next.contains_key(*name);
            sender.lose(ty, state.unknown.iter().filter(is_lost));
        }
        state.nonce = Some(response.nonce.clone());
        state.open = Some(open);
    }

    /// Whether the type whose items items of `ty` accompany was refused last.
    fn owner_is_doubtful(&self, ty: T) -> bool {
        let mut owners = T::ALL.iter().filter(|owner| owner.companion() == Some(ty));
        owners.any(|owner| {
            let state = &self.types[owner.index()];
            state.version.is_none() && state.nonce.is_some()
        })
    }
}

/// Answers a response that need not be sent.
fn acknowledge<T: TypeSet>(now: Time, sender: &mut Sender<T>, ty: T, nonce: Nonce) {
    let answered = sender.on_request(now, Request::ack(ty, nonce));
    debug_assert!(
        answered.is_ok(),
        "an answer without names is never too much"
    );
}

/// What is remembered of an item: it is sent again only where a response holds everything.
fn kept<T: TypeSet>(ty: T, item: &Item<T>) -> Item<T> {
    if ty.is_whole() {
        return item.clone();
    }
    Item::new(Arc::clone(&item.version), Payload::default())
}

fn to_resources<T: TypeSet>(items: &Items<T>) -> Vec<(Name, Item<T>)> {
    let items = items.iter();
    items
        .map(|(name, item)| (name.clone(), item.clone()))
        .collect()
}

fn to_names(names: Vec<Name>) -> BTreeSet<Name> {
    let is_name = |name: &Name| &**name != WILDCARD;
    names.into_iter().filter(is_name).collect()
}

/// The version of a set of items: equal sets have equal versions, on any replica.
fn version_of<'a, T: TypeSet>(items: impl IntoIterator<Item = (&'a Name, &'a Item<T>)>) -> Version {
    use std::fmt::Write as _;
    let mut hash = Sha256::new();
    for (name, item) in items {
        for text in [name, &item.version] {
            hash.update(text.len().to_le_bytes());
            hash.update(text.as_bytes());
        }
    }
    let mut text = String::with_capacity(32);
    for byte in &hash.finalize()[..16] {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
    }
    text.into()
}

#[cfg(test)]
mod tests;
