//! What the tests of both halves share: two kinds of stream and short ways to say things.

use std::time::Duration;

use imbl::OrdMap;

use crate::{Event, Item, Name, Policy, Request, Response, Sender, Snapshot, TypeSet};

/// The types of a stream on which nothing refers to anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Plain {
    Mesh,
    Policy,
}

impl TypeSet for Plain {
    const ALL: &'static [Self] = &[Self::Mesh, Self::Policy];

    fn index(self) -> usize {
        self as usize
    }
}

/// The types of a stream like Envoy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Cluster,
    Endpoint,
    Listener,
    Route,
}

impl TypeSet for Kind {
    const ALL: &'static [Self] = &[Self::Cluster, Self::Endpoint, Self::Listener, Self::Route];

    fn index(self) -> usize {
        self as usize
    }

    fn companion(self) -> Option<Self> {
        (self == Self::Cluster).then_some(Self::Endpoint)
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }

    fn lingers(self) -> bool {
        matches!(self, Self::Cluster | Self::Endpoint)
    }

    fn is_hard_need(self) -> bool {
        self == Self::Cluster
    }
}

pub(crate) fn name(text: &str) -> Name {
    text.into()
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Builds a snapshot from `name@version` texts; `route@1>a,b` needs clusters and endpoints a, b.
#[derive(Debug, Clone)]
pub(crate) struct Offer<T: TypeSet>(pub(crate) Snapshot<T>);

impl<T: TypeSet> Offer<T> {
    pub(crate) fn new() -> Self {
        Self(Snapshot::empty())
    }

    /// The same offer, with exactly these items of a type.
    pub(crate) fn items(&self, ty: T, items: &[(&str, Item<T>)]) -> Self {
        let items: OrdMap<_, _> = items
            .iter()
            .map(|(text, item)| (name(text), item.clone()))
            .collect();
        Self(self.0.with(self.0.revision() + 1, [(ty, items)]))
    }

    /// The same offer, with exactly these `name@version` of a type.
    pub(crate) fn plain(&self, ty: T, items: &[&str]) -> Self {
        let items: Vec<_> = items
            .iter()
            .map(|text| {
                let (text, version) = text.split_once('@').expect("name@version");
                (text, Item::new(version, version.to_owned()))
            })
            .collect();
        self.items(ty, &items)
    }
}

/// `+name@version` and `-name`, separated by blanks; `complete:` or `delta:` before it.
pub(crate) fn said<T: TypeSet>(response: &Response<T>) -> String {
    let kind = if response.is_complete {
        "complete:"
    } else {
        "delta:"
    };
    let mut words = vec![format!("{:?} {kind}", response.ty)];
    let upserts = response.resources.iter();
    words.extend(upserts.map(|(name, item)| format!("+{name}@{}", item.version)));
    words.extend(response.removed.iter().map(|name| format!("-{name}")));
    words.join(" ")
}

/// A sender under test, with its clock and the responses that wait for an answer.
#[derive(Debug)]
pub(crate) struct Script<T: TypeSet> {
    pub(crate) sender: Sender<T>,
    pub(crate) now: Duration,
    pub(crate) open: Vec<Response<T>>,
}

impl<T: TypeSet> Script<T> {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            sender: Sender::new(policy),
            now: Duration::ZERO,
            open: Vec::new(),
        }
    }

    pub(crate) fn offer(&mut self, offer: &Offer<T>) {
        assert!(self.sender.offer(offer.0.clone()));
    }

    pub(crate) fn request(&mut self, request: Request<T>) -> Event<T> {
        self.sender
            .on_request(self.now, request)
            .expect("the request belongs to the stream")
    }

    /// Everything that may be sent now, in order.
    pub(crate) fn drain(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(response) = self.sender.poll(self.now) {
            texts.push(said(&response));
            self.open.push(response);
        }
        texts
    }

    /// Waits until the sender wants to say something.
    pub(crate) fn wait(&mut self) -> Vec<String> {
        assert_eq!(self.drain(), Vec::<String>::new());
        self.now = self.sender.next_deadline().expect("something is awaited");
        self.drain()
    }

    pub(crate) fn take_open(&mut self, ty: T) -> Response<T> {
        let at = self.open.iter().position(|response| response.ty == ty);
        self.open
            .remove(at.expect("a response of the type is open"))
    }

    /// Accepts the open response of a type, and drains.
    pub(crate) fn ack(&mut self, ty: T) -> Vec<String> {
        let response = self.take_open(ty);
        self.request(Request::ack(ty, response.nonce));
        self.drain()
    }

    /// Refuses the open response of a type as a whole, and drains.
    pub(crate) fn nack(&mut self, ty: T, text: &str) -> Vec<String> {
        let response = self.take_open(ty);
        self.request(Request::nack(ty, response.nonce, text));
        self.drain()
    }
}
