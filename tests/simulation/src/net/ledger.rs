//! Everything that was ever written to any store, and what must hold of it at any time.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_model::{Resource, ResourceType, labels};
use mesh_store::{Change, Snapshot};

use super::wire;

/// The label that tells contents apart: each is written once in a run.
pub(super) const CONTENT: &str = "simulation/content";
/// The label that says who wrote it.
pub(super) const WRITER: &str = "simulation/writer";
/// The global, where zones are named.
pub(super) const GLOBAL: &str = "global";

/// A resource, wherever it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Thing {
    pub(super) ty: ResourceType,
    pub(super) name: String,
    /// The control plane that it comes from.
    pub(super) of: String,
}

/// What happened to one store.
#[derive(Debug, Default)]
struct Book {
    /// What is there.
    live: BTreeMap<Thing, u64>,
    /// The write, of all that there were, with which each content came last.
    came: BTreeMap<(Thing, u64), u64>,
    /// The write with which a resource came back to where there was none.
    absent_until: BTreeMap<Thing, u64>,
    /// The write of the sender with which the newest content came that was applied.
    applied: BTreeMap<Thing, u64>,
}

/// All stores.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    books: BTreeMap<String, Book>,
    violations: Vec<String>,
    /// What happened, for people.
    story: Vec<String>,
    pub(super) writes: u64,
    pub(super) removals: u64,
}

impl Ledger {
    /// Notes something for people.
    pub(super) fn tell(&mut self, at: Duration, text: &str) {
        self.story.push(format!("{:>9.3} {text}", at.as_secs_f64()));
    }

    /// Notes something that must not happen.
    pub(super) fn accuse(&mut self, at: Duration, text: String) {
        self.tell(at, &format!("VIOLATION: {text}"));
        self.violations
            .push(format!("after {:.3} s: {text}", at.as_secs_f64()));
    }

    /// The first thing that must not happen and did.
    pub(super) fn violation(&self) -> Option<&str> {
        self.violations.first().map(String::as_str)
    }

    /// The last lines of the story.
    pub(super) fn story(&self, lines: usize) -> String {
        self.story[self.story.len().saturating_sub(lines)..].join("\n")
    }

    /// A write of `place` became durable.
    pub(super) fn committed(&mut self, place: &str, before: &Snapshot, after: &Snapshot) {
        let at = wire::now();
        for change in after.changes_since(before) {
            match &change {
                Change::Put { new, .. } => {
                    if let Some((thing, content)) = thing(place, new) {
                        self.put(at, place, new, (thing, content));
                    }
                }
                Change::Deleted { old } => {
                    if let Some((thing, content)) = thing(place, old) {
                        self.delete(at, place, (thing, content));
                    }
                }
            }
        }
    }

    fn put(
        &mut self,
        at: Duration,
        place: &str,
        resource: &Resource,
        (thing, content): (Thing, u64),
    ) {
        self.writes += 1;
        // One count for all stores: what is in another store since does not begin anew.
        let write = self.writes;
        self.tell(at, &format!("{place}: {} is #{content}", named(&thing)));
        if let Some(sender) = sender(place, &thing) {
            let came = self.books.get(&sender).and_then(|book| {
                let came = book.came.get(&(thing.clone(), content));
                came.copied()
            });
            let Some(came) = came else {
                let text = format!(
                    "{place} holds #{content} of {}, which {sender} never had",
                    named(&thing)
                );
                return self.accuse(at, text);
            };
            if resource.label(WRITER) != Some(thing.of.as_str()) {
                let writer = resource.label(WRITER).unwrap_or("nobody").to_owned();
                let text = format!("{place} holds {} of {writer}", named(&thing));
                self.accuse(at, text);
            }
            let book = self.books.entry(place.to_owned()).or_default();
            let last = book.applied.insert(thing.clone(), came);
            if last.is_some_and(|last| last > came) {
                let text = format!("{place} went back to #{content} of {}", named(&thing));
                self.accuse(at, text);
            }
        }
        let book = self.books.entry(place.to_owned()).or_default();
        if !book.live.contains_key(&thing) {
            book.absent_until.insert(thing.clone(), write);
        }
        book.live.insert(thing.clone(), content);
        book.came.insert((thing, content), write);
    }

    fn delete(&mut self, at: Duration, place: &str, (thing, content): (Thing, u64)) {
        self.writes += 1;
        self.tell(at, &format!("{place}: {} has gone", named(&thing)));
        if let Some(sender) = sender(place, &thing) {
            self.removals += 1;
            let was_gone = self.books.get(&sender).is_none_or(|book| {
                let came = book.came.get(&(thing.clone(), content)).copied();
                let absent = book.absent_until.get(&thing).copied();
                !book.live.contains_key(&thing) || absent > came
            });
            if !was_gone {
                let text = format!(
                    "{place} removed {}, which {sender} has had ever since it sent it",
                    named(&thing)
                );
                self.accuse(at, text);
            }
        }
        if let Some(book) = self.books.get_mut(place) {
            book.live.remove(&thing);
        }
    }

    /// Where a zone and the global do not hold of each other what they should, if anywhere.
    pub(super) fn difference(&self, zones: &[String]) -> Option<String> {
        zones.iter().find_map(|zone| self.difference_of(zone))
    }

    /// The same for one zone.
    pub(super) fn difference_of(&self, zone: &str) -> Option<String> {
        let empty = Book::default();
        let book = |place: &str| self.books.get(place).unwrap_or(&empty);
        let (global, local) = (book(GLOBAL), book(zone));
        let travels_down = |thing: &Thing| {
            thing.of == GLOBAL || thing.ty == ResourceType::ZoneIngress && thing.of != zone
        };
        // The zone's own Mesh of a name keeps the global's out. What comes from another zone has
        // that zone's hash in its name.
        let is_occupied = |thing: &Thing| {
            let own = Thing {
                of: zone.to_owned(),
                ..thing.clone()
            };
            thing.of == GLOBAL && local.live.contains_key(&own)
        };
        let travels_up = |thing: &Thing| {
            matches!(
                thing.ty,
                ResourceType::Dataplane | ResourceType::ZoneIngress
            )
        };
        let down = global.live.iter();
        let down = down.filter(|(thing, _)| travels_down(thing) && !is_occupied(thing));
        let here = local.live.iter().filter(|(thing, _)| thing.of != zone);
        let up = local.live.iter();
        let up = up.filter(|(thing, _)| thing.of == zone && travels_up(thing));
        let there = global.live.iter().filter(|(thing, _)| thing.of == zone);
        differing(zone, down.collect(), here.collect())
            .or_else(|| differing(GLOBAL, up.collect(), there.collect()))
    }

    /// Whether `place` holds this content.
    pub(super) fn holds(&self, place: &str, content: u64) -> bool {
        let book = self.books.get(place);
        book.is_some_and(|book| book.live.values().any(|live| *live == content))
    }
}

type Live<'a> = BTreeMap<&'a Thing, &'a u64>;

fn differing(place: &str, should: Live<'_>, does: Live<'_>) -> Option<String> {
    let lacking = should
        .iter()
        .find(|(thing, c)| does.get(**thing) != Some(*c));
    if let Some((thing, content)) = lacking {
        let held = does.get(*thing).map(|content| format!("#{content}"));
        return Some(format!(
            "{place} should hold #{content} of {}, and holds {}",
            named(thing),
            held.as_deref().unwrap_or("nothing")
        ));
    }
    let extra = does.keys().find(|thing| !should.contains_key(**thing))?;
    Some(format!("{place} still holds {}", named(extra)))
}

fn named(thing: &Thing) -> String {
    format!("{} {} of {}", thing.ty.name(), thing.name, thing.of)
}

/// What a stored resource is, if it is one of the simulation's.
fn thing(place: &str, resource: &Resource) -> Option<(Thing, u64)> {
    let content = resource.label(CONTENT)?.parse().ok()?;
    let is_globals = resource.label(labels::ORIGIN) == Some(labels::ORIGIN_GLOBAL);
    let of = match resource.label(labels::ZONE) {
        Some(zone) => zone,
        None if is_globals => GLOBAL,
        None => place,
    };
    let thing = Thing {
        ty: resource.key().ty(),
        name: resource.display_name().to_owned(),
        of: of.to_owned(),
    };
    Some((thing, content))
}

/// From whom `place` has a thing; `None` if it is its own.
fn sender(place: &str, thing: &Thing) -> Option<String> {
    if place == thing.of {
        None
    } else if place == GLOBAL {
        Some(thing.of.clone())
    } else {
        Some(GLOBAL.to_owned())
    }
}
