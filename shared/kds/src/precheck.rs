//! What is too much for a stock peer at once.
//!
//! The first response of a type is its complete state, which a stock peer takes as one message. One
//! that is larger than it takes makes it end the stream, come back and meet the same again, so that
//! nothing else gets through either. So the newest resources are left out of it. Most peers get
//! them as an increment once they have accepted the first response, and hold everything a moment
//! later. Those that may ask for the complete state at any time never do, and lack them.

use std::collections::{BTreeMap, BTreeSet};

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use mesh_delta::{Item, Name, Snapshot, TypeSet as _};
use mesh_model::labels;
use mesh_proto::mesh::KumaResource;
use prost::Message as _;

use crate::kind::Kind;
use crate::lack::Lack;

type Items = OrdMap<Name, Item<Kind>>;

/// What surrounds an item in an encoded message, generously.
const AROUND: usize = 128;

/// What is left out, and why.
type LeftOut = BTreeMap<(Kind, Name), String>;

/// Leaves out of each snapshot what a peer cannot take. A look costs time in proportion to what
/// changed, except for types that do not fit.
#[derive(Debug)]
pub(crate) struct Precheck {
    /// The most bytes of all resources of a type.
    limit: usize,
    /// What was looked at last.
    last: Snapshot<Kind>,
    /// How many bytes each kind of it has.
    bytes: BTreeMap<Kind, usize>,
    /// Whether a complete state may be asked for at any time.
    is_strict: bool,
    /// Kinds of which the first response was accepted.
    accepted: BTreeSet<Kind>,
    left_out: LeftOut,
    is_news: bool,
}

impl Precheck {
    /// For a peer to which the complete state of a type has at most `limit` bytes, which it gets
    /// once or, with `is_strict`, again and again.
    pub(crate) fn new(limit: usize, is_strict: bool) -> Self {
        Self {
            limit,
            last: Snapshot::empty(),
            bytes: BTreeMap::new(),
            is_strict,
            accepted: BTreeSet::new(),
            left_out: LeftOut::new(),
            is_news: false,
        }
    }

    /// What of `snapshot` the peer can take.
    pub(crate) fn pass(&mut self, snapshot: &Snapshot<Kind>) -> Snapshot<Kind> {
        let mut passed = Vec::new();
        let mut left_out = LeftOut::new();
        for kind in Kind::ALL.iter().copied() {
            let items = snapshot.items(kind);
            let bytes = self.weigh(kind, items);
            if bytes > self.limit && !self.accepted.contains(&kind) {
                passed.push((kind, oldest(kind, items, bytes, self.limit, &mut left_out)));
            }
        }
        self.last = snapshot.clone();
        // The others come next.
        if !self.is_strict {
            left_out.clear();
        }
        self.is_news |= left_out != self.left_out;
        self.left_out = left_out;
        snapshot.with(snapshot.revision(), passed)
    }

    /// The peer accepted a response of a kind.
    pub(crate) fn accepted(&mut self, kind: Kind) {
        if !self.is_strict {
            self.accepted.insert(kind);
        }
    }

    /// Whether what is left out changed since it was asked last.
    pub(crate) fn has_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    /// What is left out for good, and why.
    pub(crate) fn left_out(&self) -> impl Iterator<Item = (&(Kind, Name), &String)> {
        self.left_out.iter()
    }

    /// The same as findings.
    pub(crate) fn lacks(&self) -> impl Iterator<Item = Lack> + '_ {
        self.left_out.iter().map(|((kind, name), reason)| {
            let item = self.last.items(*kind).get(name);
            Lack::new(*kind, name, item, reason, false)
        })
    }

    /// How many bytes all items of a kind have.
    fn weigh(&mut self, kind: Kind, items: &Items) -> usize {
        let bytes = self.bytes.entry(kind).or_default();
        for difference in self.last.items(kind).diff(items) {
            let (old, new) = match difference {
                DiffItem::Add(name, item) => (0, size(name, item)),
                DiffItem::Update { old, new } => (size(old.0, old.1), size(new.0, new.1)),
                DiffItem::Remove(name, item) => (size(name, item), 0),
            };
            *bytes = *bytes - old + new;
        }
        *bytes
    }
}

/// The oldest items, as far as they fit: what worked goes on working.
fn oldest(kind: Kind, items: &Items, bytes: usize, limit: usize, left_out: &mut LeftOut) -> Items {
    let by_age = items.iter().map(|(name, item)| (created(item), name, item));
    let mut by_age: Vec<(i64, &Name, &Item<Kind>)> = by_age.collect();
    by_age.sort_by_key(|(created, name, _)| (*created, *name));
    let (mut fitting, mut room) = (Items::new(), limit);
    for (_, name, item) in by_age {
        if let Some(rest) = room.checked_sub(size(name, item)) {
            room = rest;
            fitting.insert(name.clone(), item.clone());
        } else {
            let reason = format!(
                "all {kind}s together have {bytes} bytes, more than the {limit} that fit a message \
                 to a stock control plane; raise kds.maxMsgSize on both sides"
            );
            left_out.insert((kind, name.clone()), reason);
        }
    }
    fitting
}

fn size(name: &Name, item: &Item<Kind>) -> usize {
    name.len() + item.version.len() + item.payload.len() + AROUND
}

/// When the resource was created, in Unix seconds; those that don't say are the oldest.
fn created(item: &Item<Kind>) -> i64 {
    let labels = labels_of(item);
    let created = labels.get(labels::CREATED);
    created.and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(crate) fn labels_of(item: &Item<Kind>) -> BTreeMap<String, String> {
    let envelope = KumaResource::decode(item.payload.to_bytes());
    let meta = envelope.ok().and_then(|envelope| envelope.meta);
    meta.map(|meta| meta.labels).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Outgoing, encode, stream_name};
    use mesh_model::ResourceType;

    const KIND: ResourceType = ResourceType::MeshGateway;

    fn kind() -> Kind {
        Kind::of(KIND).unwrap()
    }

    /// A resource of 1,000 bytes and some.
    fn with(items: &mut Items, name: &str, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        let mut labels: BTreeMap<String, String> = labels.collect();
        labels.insert("pad".into(), "x".repeat(1000));
        let item = encode(Outgoing {
            ty: KIND,
            name,
            mesh: "default",
            labels,
            spec: bytes::Bytes::new(),
            status: None,
        });
        items.insert(stream_name(name, "default"), item);
    }

    fn names(snapshot: &Snapshot<Kind>) -> String {
        let names = snapshot.items(kind()).keys();
        let names: Vec<&str> = names.filter_map(|n| n.strip_suffix(".default")).collect();
        names.join(" ")
    }

    #[test]
    fn what_does_not_fit_a_message_together_is_left_out_newest_first() {
        let mut precheck = Precheck::new(3000, true);
        let mut items = Items::new();
        let mut at = 0;
        let mut pass = |items: &Items| {
            at += 1;
            let snapshot = Snapshot::empty().with(at, [(kind(), items.clone())]);
            let passed = precheck.pass(&snapshot);
            let news = precheck.has_news().then(|| {
                let lacks = precheck.lacks();
                let lacks = lacks.map(|lack| format!("{}: {}", lack.name, lack.reason));
                lacks.collect::<Vec<String>>().join("\n")
            });
            (names(&passed), news)
        };
        with(&mut items, "b", &[(labels::CREATED, "7")]);
        with(&mut items, "c", &[(labels::CREATED, "5")]);
        assert_eq!(pass(&items), ("b c".into(), None));
        with(&mut items, "a", &[(labels::CREATED, "9")]);
        let (passed, news) = pass(&items);
        assert_eq!(passed, "b c");
        let news = news.unwrap();
        assert!(
            news.starts_with("a: all MeshGateways together have"),
            "{news}"
        );
        assert!(news.contains("kds.maxMsgSize"), "{news}");
        // An older one takes the place of the newest.
        with(&mut items, "old", &[]);
        let (passed, news) = pass(&items);
        assert_eq!(passed, "c old");
        assert_eq!(news.unwrap().lines().count(), 2);
        items.remove("old.default");
        items.remove("c.default");
        assert_eq!(pass(&items), ("a b".into(), Some(String::new())));
    }
}
