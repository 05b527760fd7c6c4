//! Keeps one bad route from holding up the others of its proxy.
//!
//! Envoy takes a route configuration as a whole or not at all. When it refuses one, the routes
//! that changed since the last one that it took are suspects; a [`Bisection`] decides which of
//! them are held back for the next attempt, and what turns out bad is written into the zone's
//! book. A suspect that is held back is not gone: the version that Envoy has taken before stays.
//! The same goes for routes of TCP and TLS listeners, which are part of the listener.
//!
//! A cluster that Envoy refuses and has no older version of is withdrawn, so that routes need not
//! wait for it: requests that they send there are answered with 500, the others go through.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_delta::{Name, Rejected, Sender};
use mesh_model::{Resource, ResourceName};
use mesh_store::Snapshot;
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
    /// One of them is refused, with these words.
    Refused(Arc<str>),
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
    /// Types that are refused whatever routes they hold, until one is taken.
    hopeless: BTreeSet<EnvoyType>,
}

#[derive(Debug)]
struct Search {
    ty: EnvoyType,
    bisection: Bisection<ResourceName>,
    /// What stays in place of suspects while they are held back.
    instead: BTreeMap<ResourceName, Option<Arc<Resource>>>,
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
        let Some(search) = &mut self.search else {
            return;
        };
        let content = translator.content();
        for name in translator.changed_routes(view) {
            search.bisection.changed(&name);
            let stays = search.instead.entry(name);
            stays.or_insert_with_key(|name| content.route(name).cloned());
        }
    }

    /// What the translator has to hold back.
    pub(super) fn held(
        &self,
        book: &RefusedRoutes,
        translator: &Translator,
        snapshot: &Snapshot,
    ) -> BTreeMap<ResourceName, HeldBack> {
        let mut held = BTreeMap::new();
        if let Some(search) = &self.search {
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
        // What this proxy has taken stays, though another refused it.
        let has_taken = |name: &ResourceName, held: &HeldBack| {
            TYPES.iter().all(|ty| {
                let taken = self.taken.get(ty).and_then(|taken| taken.route(name));
                taken.is_some_and(|route| Some(route.version()) == held.version)
            })
        };
        let book = book.held(translator.proxy().key().mesh(), snapshot);
        held.extend(
            book.into_iter()
                .filter(|(name, held)| !has_taken(name, held)),
        );
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
        snapshot: &Snapshot,
    ) -> bool {
        if let Some(search) = &mut self.search {
            match standing(search.ty) {
                Standing::Open => return false,
                Standing::Taken => {
                    self.taken.insert(search.ty, translator.content());
                    for name in search.bisection.trial() {
                        search.instead.remove(name);
                    }
                    search.bisection.taken();
                }
                Standing::Refused(words) => {
                    let hint = quoted_in(&words, translator);
                    search.bisection.refused(words, hint);
                }
            }
            self.conclude(translator, book, snapshot);
            return true;
        }
        for ty in TYPES {
            match standing(ty) {
                Standing::Open => {}
                Standing::Taken => {
                    self.hopeless.remove(&ty);
                    self.taken.insert(ty, translator.content());
                }
                Standing::Refused(words) => {
                    if self.begin(ty, words, translator) {
                        self.conclude(translator, book, snapshot);
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Begins a search, if there is anything to search.
    fn begin(&mut self, ty: EnvoyType, words: Arc<str>, translator: &Translator) -> bool {
        if self.hopeless.contains(&ty) || refusal::is_about_socket(&words) {
            return false;
        }
        let since = self.taken.get(&ty);
        let suspects = translator.suspects(ty, since);
        if suspects.is_empty() {
            return false;
        }
        tracing::info!(
            suspects = suspects.len(),
            "Envoy refuses a configuration; looking for the routes that it is about: {words}"
        );
        let instead = suspects.iter().map(|name| {
            let route = since.and_then(|since| since.route(name));
            (name.clone(), route.cloned())
        });
        self.search = Some(Search {
            ty,
            instead: instead.collect(),
            bisection: {
                let hint = quoted_in(&words, translator);
                Bisection::new(suspects, words, hint)
            },
        });
        true
    }

    /// Writes down what was found, and ends a search that has ended.
    fn conclude(&mut self, translator: &Translator, book: &RefusedRoutes, snapshot: &Snapshot) {
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
            book.put(refused, snapshot);
        }
        match search.bisection.end() {
            None => return,
            Some(End::Found) => {}
            Some(End::NotTheirs) => {
                tracing::warn!("Envoy refuses a configuration whatever routes it has");
                self.hopeless.insert(search.ty);
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
mod tests {
    use std::time::Duration;

    use mesh_delta::{Item, Policy, Request};

    use super::*;

    fn snapshot(revision: u64, cluster: &str) -> Translated {
        let needs = [EnvoyType::Cluster, EnvoyType::Endpoint].map(|ty| (ty, Name::from("cart")));
        let of =
            |name: &str, item: Item<EnvoyType>| [(Name::from(name), item)].into_iter().collect();
        Translated::empty().with(
            revision,
            [
                (EnvoyType::Cluster, of("cart", Item::new(cluster, "cart"))),
                (EnvoyType::Endpoint, of("cart", Item::new("1", "none"))),
                (
                    EnvoyType::Route,
                    of("routes", Item::new("1", "to cart").needing(needs)),
                ),
            ],
        )
    }

    #[test]
    fn routes_do_not_wait_for_a_cluster_that_is_refused() {
        let now = Duration::ZERO;
        let mut trials = Trials::default();
        let mut sender = Sender::new(Policy::envoy());
        sender.offer(trials.offered(snapshot(1, "bad")));
        for ty in [EnvoyType::Cluster, EnvoyType::Route] {
            let request = Request::wildcard(ty);
            sender.on_request(now, request).unwrap();
        }
        let clusters = sender.poll(now).unwrap();
        assert_eq!(clusters.ty, EnvoyType::Cluster);
        assert!(sender.poll(now).is_none(), "the routes wait for the answer");
        let answer = Request::nack(EnvoyType::Cluster, clusters.nonce, "no such protocol");
        sender.on_request(now, answer).unwrap();
        let said = std::iter::from_fn(|| sender.poll(now)).map(|response| response.ty);
        let said: Vec<EnvoyType> = said.collect();
        assert!(
            !said.contains(&EnvoyType::Route),
            "without this they would wait for ever"
        );
        sender.offer(trials.withdraw(&sender).unwrap());
        let routes = sender.poll(now).unwrap();
        assert_eq!(routes.ty, EnvoyType::Route);
        let withdrawn: Vec<_> = trials.withdrawn().map(|one| one.reason).collect();
        assert_eq!(withdrawn, [Arc::from("no such protocol")]);

        // As long as it stays the same it stays away; changed, it is offered again.
        let same = trials.offered(snapshot(2, "bad"));
        assert!(same.items(EnvoyType::Cluster).is_empty());
        let mended = trials.offered(snapshot(3, "good"));
        assert_eq!(mended.items(EnvoyType::Cluster).len(), 1);
        assert_eq!(mended.items(EnvoyType::Endpoint).len(), 1);
        assert_eq!(trials.withdrawn().count(), 0);
    }
}
