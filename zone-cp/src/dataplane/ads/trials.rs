//! Keeps one bad route from holding up the others of its proxy.
//!
//! Envoy takes a route configuration as a whole or not at all. When it refuses one, the routes
//! that changed since the last one that it took are suspects; a [`Bisection`] decides which of
//! them are held back for the next attempt, and what turns out bad is written into the zone's
//! book. A suspect that is held back is not gone: the version that Envoy has taken before stays.
//! The same goes for routes of TCP and TLS listeners, which are part of the listener.
//!
//! An Envoy that comes with routes of an earlier stream serves them. Nobody knows which they are,
//! so few are left out until it takes something; rather than more, it keeps what it has.
//!
//! A cluster that Envoy refuses and has no older version of is withdrawn, so that routes need not
//! wait for it: requests that they send there are answered with 500, the others go through.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_delta::{Name, Rejected, Sender};
use mesh_model::{Resource, ResourceName};
use mesh_store::{Revision, Snapshot};
use zone_translate::{Content, EnvoyType, HeldBack, Translator, ZoneView};

use super::bisect::{Bisection, End};
use super::{refusal, shortened};
use crate::dataplane::refused::{Refused, RefusedRoutes};

type Translated = zone_translate::Snapshot;

/// The types that routes are part of.
const TYPES: [EnvoyType; 2] = [EnvoyType::Route, EnvoyType::Listener];
/// How much of Envoy's words is kept with a route.
const MAX_WORDS: usize = 1024;

/// What became of the items of one type that are offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// One of them is refused.
    Refused {
        /// Why, in the proxy's words.
        words: Arc<str>,
        /// Whether the proxy goes on with another version of it.
        is_held: bool,
    },
    /// All are held by the proxy.
    Taken,
    /// Neither yet.
    Open,
}

/// What one proxy took, and what it is tried with.
#[derive(Debug, Default)]
pub(super) struct Trials {
    taken: BTreeMap<EnvoyType, Content>,
    /// What a response that waits for its answer completes, if it does.
    sent: BTreeMap<EnvoyType, Content>,
    search: Option<Search>,
    /// Clusters that were refused and are not held, as long as they do not change.
    withdrawn: BTreeMap<Name, Rejected<EnvoyType>>,
    /// Types that are refused whatever routes they hold, with the plan for which that is so, until
    /// one is taken.
    hopeless: BTreeMap<EnvoyType, u64>,
    /// What the book held back last.
    booked: BTreeMap<ResourceName, HeldBack>,
    /// Of the view that was seen last.
    revision: Revision,
}

#[derive(Debug)]
struct Search {
    ty: EnvoyType,
    bisection: Bisection<ResourceName>,
    /// What stays in place of suspects while they are held back.
    instead: BTreeMap<ResourceName, Option<Arc<Resource>>>,
    plan: u64,
    surroundings: u64,
}

impl Search {
    /// Takes note of what the book holds back otherwise than before.
    fn follow(
        &mut self,
        before: &BTreeMap<ResourceName, HeldBack>,
        now: &BTreeMap<ResourceName, HeldBack>,
    ) {
        let names: BTreeSet<&ResourceName> = before.keys().chain(now.keys()).collect();
        for name in names {
            let held = now.get(name);
            if held == before.get(name) {
                continue;
            }
            let stays = self.instead.get(name).cloned().flatten();
            let is_suspect = {
                let trial = self.bisection.trial().iter();
                trial.chain(self.bisection.left_out()).any(|s| s == name)
            };
            // Where the same stays in its place, the others are tried as before.
            let is_same = is_suspect && held.is_some_and(|held| held.instead == stays);
            let is_found = self.bisection.bad().iter().any(|(bad, _)| bad == name);
            if !is_same {
                self.bisection.disturbed();
            }
            if !is_found {
                self.bisection.changed(name);
            }
        }
    }

    /// Takes note of what else translation depends on.
    fn look_round(&mut self, translator: &Translator) {
        if self.plan != translator.plan() {
            self.bisection.disturbed();
        } else if self.surroundings != translator.surroundings() {
            self.bisection.doubt();
        }
        self.plan = translator.plan();
        self.surroundings = translator.surroundings();
    }
}

impl Trials {
    /// Takes note of a response: whether with it all items of its type are as they are offered.
    pub(super) fn sent(&mut self, ty: EnvoyType, is_all: bool, translator: &Translator) {
        if !TYPES.contains(&ty) {
            return;
        }
        if is_all {
            self.sent.insert(ty, translator.content());
        } else {
            self.sent.remove(&ty);
        }
    }

    /// Takes note of the answer to it.
    pub(super) fn answered(&mut self, ty: EnvoyType, is_taken: bool) {
        if let Some(sent) = self.sent.remove(&ty)
            && is_taken
        {
            self.taken.insert(ty, sent);
        }
    }

    /// The type that is searched in at present, of which refusals are no news.
    pub(super) fn searches(&self) -> Option<EnvoyType> {
        self.search.as_ref().map(|search| search.ty)
    }

    /// Before the translator sees `view`: routes that change during a search are suspects.
    pub(super) fn before(&mut self, view: &ZoneView, translator: &Translator) {
        self.revision = Revision(view.revision());
        let Some(search) = &mut self.search else {
            return;
        };
        let taken = self.taken.get(&search.ty);
        for name in translator.changed_routes(view) {
            search.bisection.changed(&name);
            let stays = search.instead.entry(name);
            stays.or_insert_with_key(|name| taken.and_then(|t| t.route(name)).cloned());
        }
    }

    /// What the translator has to hold back.
    pub(super) fn held(
        &mut self,
        book: &RefusedRoutes,
        translator: &Translator,
        snapshot: &Snapshot,
    ) -> BTreeMap<ResourceName, HeldBack> {
        // What this proxy has taken stays, though another refused it.
        let has_taken = |name: &ResourceName, held: &HeldBack| {
            TYPES.iter().all(|ty| {
                let taken = self.taken.get(ty).and_then(|taken| taken.route(name));
                taken.is_some_and(|route| Some(route.version()) == held.version)
            })
        };
        let mut book = book.held(translator.proxy().key().mesh(), snapshot);
        book.retain(|name, held| !has_taken(name, held));
        let mut held = BTreeMap::new();
        if let Some(search) = &mut self.search {
            search.follow(&self.booked, &book);
            held.extend(search.bisection.left_out().map(|name| {
                let instead = search.instead.get(name).cloned().flatten();
                let suspect = HeldBack {
                    version: None,
                    instead,
                    words: None,
                };
                (name.clone(), suspect)
            }));
        }
        self.booked.clone_from(&book);
        held.extend(book);
        held
    }

    /// The snapshot to offer for one that was translated.
    pub(super) fn offered(&mut self, snapshot: Translated) -> Translated {
        self.withdrawn.retain(|name, refused| {
            let cluster = snapshot.items(EnvoyType::Cluster).get(name);
            cluster.map(|cluster| &cluster.version) == refused.version.as_ref()
        });
        without(&snapshot, self.withdrawn.keys()).unwrap_or(snapshot)
    }

    /// Withdraws clusters that were refused just now: the snapshot to offer instead, if any were.
    pub(super) fn withdraw(&mut self, sender: &Sender<EnvoyType>) -> Option<Translated> {
        let refused: Vec<Rejected<EnvoyType>> = sender
            .rejections()
            .filter(|one| one.ty == EnvoyType::Cluster && one.version.is_some())
            .filter(|one| sender.held_version(one.ty, &one.name).is_none())
            .collect();
        let less = without(sender.offered()?, refused.iter().map(|one| &one.name));
        let refused = refused.into_iter().map(|one| (Arc::clone(&one.name), one));
        self.withdrawn.extend(refused);
        less
    }

    /// Clusters that are withdrawn, with Envoy's words.
    pub(super) fn withdrawn(&self) -> impl Iterator<Item = Rejected<EnvoyType>> {
        self.withdrawn.values().cloned()
    }

    /// Looks at what became of what is offered. Returns whether other routes are to be held back
    /// now: then translate, offer and look again.
    pub(super) fn look(
        &mut self,
        standing: impl Fn(EnvoyType) -> Standing,
        translator: &Translator,
        book: &RefusedRoutes,
    ) -> bool {
        if let Some(search) = &mut self.search {
            search.look_round(translator);
            match standing(search.ty) {
                Standing::Open => return false,
                Standing::Taken => {
                    self.taken.insert(search.ty, translator.content());
                    for name in search.bisection.trial() {
                        search.instead.remove(name);
                    }
                    search.bisection.taken();
                }
                Standing::Refused { words, .. } => {
                    let hint = quoted_in(&words, translator);
                    search.bisection.refused(words, hint);
                }
            }
            self.conclude(translator, book);
            return true;
        }
        for ty in TYPES {
            match standing(ty) {
                Standing::Open => {}
                Standing::Taken => {
                    self.hopeless.remove(&ty);
                    self.taken.insert(ty, translator.content());
                }
                Standing::Refused { words, is_held } => {
                    if self.begin(ty, words, is_held, translator) {
                        self.conclude(translator, book);
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Begins a search, if there is anything to search.
    fn begin(
        &mut self,
        ty: EnvoyType,
        words: Arc<str>,
        is_held: bool,
        translator: &Translator,
    ) -> bool {
        let is_hopeless = self.hopeless.get(&ty) == Some(&translator.plan());
        if is_hopeless || refusal::is_about_socket(&words) {
            return false;
        }
        let since = self.taken.get(&ty);
        let mut suspects = translator.suspects(ty, since);
        if suspects.is_empty() {
            return false;
        }
        tracing::info!(
            suspects = suspects.len(),
            "Envoy refuses a configuration; looking for the routes that it is about: {}",
            shortened(&words, MAX_WORDS)
        );
        let instead = suspects.iter().map(|name| {
            let route = since.and_then(|since| since.route(name));
            (name.clone(), route.cloned())
        });
        let instead = instead.collect();
        let hint = quoted_in(&words, translator);
        let bisection = if is_held && since.is_none() {
            // It has most of the routes from another stream, and serves them.
            suspects.sort_by_key(|name| translator.written(name).map(|r| r.modified()));
            Bisection::careful(suspects, words, hint)
        } else {
            Bisection::new(suspects, words, since.is_some(), hint)
        };
        self.search = Some(Search {
            ty,
            instead,
            bisection,
            plan: translator.plan(),
            surroundings: translator.surroundings(),
        });
        true
    }

    /// Writes down what was found, and ends a search that has ended.
    fn conclude(&mut self, translator: &Translator, book: &RefusedRoutes) {
        let Some(search) = &self.search else { return };
        for (name, words) in search.bisection.bad() {
            let Some(route) = translator.written(name) else {
                continue;
            };
            let refused = Refused {
                route: Arc::clone(route),
                words: shortened(words, MAX_WORDS).into(),
                instead: search.instead.get(name).cloned().flatten(),
            };
            book.put(refused, self.revision);
        }
        match search.bisection.end() {
            None => return,
            Some(End::Found) => {}
            Some(End::NotTheirs) => {
                tracing::warn!(
                    "Envoy refuses a configuration, and to leave out routes does not help"
                );
                self.hopeless.insert(search.ty, search.plan);
            }
        }
        self.search = None;
    }
}

/// The same snapshot without some clusters and their endpoints; `None` if it has none of them.
fn without<'a>(
    snapshot: &Translated,
    names: impl Iterator<Item = &'a Name> + Clone,
) -> Option<Translated> {
    let has_any = names
        .clone()
        .any(|name| snapshot.items(EnvoyType::Cluster).contains_key(name));
    if !has_any {
        return None;
    }
    let types = [EnvoyType::Cluster, EnvoyType::Endpoint];
    let less = types.map(|ty| {
        let mut items = snapshot.items(ty).clone();
        for name in names.clone() {
            items.remove(name);
        }
        (ty, items)
    });
    Some(snapshot.with(snapshot.revision(), less))
}

/// Whether the words of a refusal quote something of a route.
fn quoted_in<'a>(
    words: &str,
    translator: &'a Translator,
) -> impl Fn(&ResourceName) -> bool + use<'a> {
    const SHORTEST: usize = 4;
    const MOST: usize = 8;
    let fragments: Vec<Vec<u8>> = words
        .split(['\'', '"'])
        .skip(1)
        .step_by(2)
        .filter(|text| text.len() >= SHORTEST)
        .take(MOST)
        .map(|text| text.as_bytes().to_vec())
        .collect();
    move |name| {
        // Texts are in an encoded resource as they are.
        let Some(route) = translator.written(name) else {
            return false;
        };
        let bytes = route.spec().bytes();
        fragments.iter().any(|fragment| {
            bytes
                .windows(fragment.len())
                .any(|window| window == fragment)
        })
    }
}

#[cfg(test)]
mod tests;
