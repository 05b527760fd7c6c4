//! An Envoy as the receiver: all clusters and listeners, endpoints and routes by name.

use std::collections::{BTreeMap, BTreeSet};

use imbl::OrdMap;

use super::{Change, Items, Manners, NAMES, Offers, Peer, Scene};
use crate::testkit::Kind;
use crate::{Item, Name, Request, Response, TypeSet};

/// Consistent configurations: each cluster may have endpoints, each listener has routes, and
/// routes need clusters that exist.
#[derive(Debug, Default)]
pub(super) struct Gateway {
    clusters: BTreeMap<usize, u8>,
    endpoints: BTreeMap<usize, u8>,
    listeners: BTreeMap<usize, u8>,
    routes: BTreeMap<usize, (u8, u8)>,
}

impl Scene for Gateway {
    type Type = Kind;

    fn change(&mut self, changes: &[Change]) {
        for &(ty, name, version, mask) in changes {
            let items = match Kind::ALL[ty] {
                Kind::Cluster => &mut self.clusters,
                Kind::Endpoint => &mut self.endpoints,
                Kind::Listener => &mut self.listeners,
                Kind::Route => {
                    match version {
                        Some(version) => _ = self.routes.insert(name, (version, mask)),
                        None => _ = self.routes.remove(&name),
                    }
                    continue;
                }
            };
            match version {
                Some(version) => _ = items.insert(name, version),
                None => _ = items.remove(&name),
            }
        }
    }

    fn items(&self) -> Items<Kind> {
        let plain = |items: &BTreeMap<usize, u8>| -> OrdMap<_, _> {
            items
                .iter()
                .map(|(name, version)| {
                    let item = Item::new(version.to_string(), Vec::new());
                    (Name::from(NAMES[*name]), item)
                })
                .collect()
        };
        let endpoints: BTreeMap<_, _> = self
            .endpoints
            .iter()
            .filter(|(name, _)| self.clusters.contains_key(name))
            .map(|(name, version)| (*name, *version))
            .collect();
        let endpoints = plain(&endpoints);
        let routes = self.routes.iter().map(|(name, (version, mask))| {
            let needed = (0..NAMES.len()).filter(|cluster| mask & (1 << cluster) != 0);
            let needed: Vec<_> = needed
                .filter(|cluster| self.clusters.contains_key(cluster))
                .map(|cluster| Name::from(NAMES[cluster]))
                .collect();
            let item = Item::new(format!("{version}>{}", needed.join(",")), Vec::new());
            let needs = needed.iter().flat_map(|name| {
                [
                    (Kind::Cluster, name.clone()),
                    (Kind::Endpoint, name.clone()),
                ]
            });
            (Name::from(NAMES[*name]), item.needing(needs))
        });
        let routes = routes.collect();
        vec![
            (Kind::Cluster, plain(&self.clusters)),
            (Kind::Endpoint, endpoints),
            (Kind::Listener, plain(&self.listeners)),
            (Kind::Route, routes),
        ]
    }
}

/// An Envoy. It outlives its connections, or is started anew when it does not resume.
#[derive(Debug)]
pub(super) struct EnvoyPeer {
    manners: Manners,
    /// With the revision that it was sent at.
    held: BTreeMap<(Kind, Name), (Item<Kind>, u64)>,
    /// Endpoints and routes that it asked for.
    named: BTreeMap<Kind, BTreeSet<Name>>,
    /// Whether the sender knows of what is held only by name and version.
    has_resumed: bool,
    /// What items need that were in responses which it refused on this stream.
    refused_needs: BTreeMap<(Kind, Name), BTreeSet<(Kind, Name)>>,
    /// Clusters that were updated and wait for endpoints.
    warming: BTreeSet<Name>,
}

impl EnvoyPeer {
    pub(super) fn new(manners: Manners) -> Self {
        Self {
            manners,
            held: BTreeMap::new(),
            named: BTreeMap::new(),
            has_resumed: false,
            refused_needs: BTreeMap::new(),
            warming: BTreeSet::new(),
        }
    }

    fn holds(&self, ty: Kind, name: &Name) -> bool {
        self.held.contains_key(&(ty, name.clone()))
    }

    /// It ignores what it gave up while it was under way.
    fn wants(&self, ty: Kind, name: &Name) -> bool {
        match ty {
            Kind::Cluster | Kind::Listener => true,
            Kind::Endpoint | Kind::Route => self
                .named
                .get(&ty)
                .is_some_and(|names| names.contains(name)),
        }
    }

    /// The type whose resources an item of `ty` makes it ask for.
    fn asks_for(ty: Kind) -> Option<Kind> {
        match ty {
            Kind::Cluster => Some(Kind::Endpoint),
            Kind::Listener => Some(Kind::Route),
            Kind::Endpoint | Kind::Route => None,
        }
    }

    /// What must hold of any response, at any time.
    fn judge(&self, response: &Response<Kind>) -> Result<(), String> {
        for (name, item) in &response.resources {
            for (ty, need) in &*item.needs {
                if *ty == Kind::Cluster && !self.holds(*ty, need) {
                    return Err(format!("route {name} arrived before cluster {need}"));
                }
            }
        }
        // Removals of what it does not have answer that a name does not exist.
        // What a cluster needs of endpoints is the cluster's business, and changes with it.
        let held = |name: &&Name| response.ty == Kind::Cluster && self.holds(response.ty, name);
        for removed in response.removed.iter().filter(held) {
            let need = (response.ty, removed.clone());
            let user = self
                .held
                .iter()
                .find(|(_, (item, _))| item.needs.contains(&need));
            if let Some(((ty, name), _)) = user {
                return Err(format!("{need:?} was removed, but {ty:?} {name} needs it"));
            }
        }
        Ok(())
    }

    fn apply(
        &mut self,
        response: &Response<Kind>,
        offers: &Offers<Kind>,
    ) -> Result<Vec<Request<Kind>>, String> {
        let ty = response.ty;
        let revision = response.position.map_or(0, |position| position.revision);
        let mut subscribe = Vec::new();
        let mut unsubscribe = Vec::new();
        for (name, item) in &response.resources {
            if offers.refuses(ty, name, item) || !self.wants(ty, name) {
                continue;
            }
            let before = self
                .held
                .insert((ty, name.clone()), (item.clone(), revision));
            match ty {
                Kind::Cluster
                    if before.is_some_and(|(before, _)| before.version != item.version) =>
                {
                    self.warming.insert(name.clone());
                }
                Kind::Cluster | Kind::Listener => subscribe.push(name.clone()),
                Kind::Endpoint => _ = self.warming.remove(name),
                Kind::Route => {}
            }
        }
        for name in &response.removed {
            let Some((_, sent)) = self.held.remove(&(ty, name.clone())) else {
                continue;
            };
            if !offers.was_absent_since(ty, name, sent) {
                return Err(format!("{ty:?} {name} was removed but never gone"));
            }
            if ty == Kind::Cluster {
                self.warming.remove(name);
            }
            if let Some(child) = Self::asks_for(ty) {
                self.held.remove(&(child, name.clone()));
                unsubscribe.push(name.clone());
            }
        }
        Ok(self.ask(ty, subscribe, &unsubscribe))
    }

    fn ask(&mut self, ty: Kind, subscribe: Vec<Name>, unsubscribe: &[Name]) -> Vec<Request<Kind>> {
        let Some(child) = Self::asks_for(ty) else {
            return Vec::new();
        };
        let named = self.named.entry(child).or_default();
        let mut request = Request::new(child);
        for name in subscribe {
            if named.insert(name.clone()) {
                request.subscribe.push(name);
            }
        }
        for name in unsubscribe {
            if named.remove(name) {
                request.unsubscribe.push(name.clone());
            }
        }
        if request.subscribe.is_empty() && request.unsubscribe.is_empty() {
            return Vec::new();
        }
        vec![request]
    }

    fn first_request(&self, ty: Kind) -> Option<Request<Kind>> {
        let mut request = match ty {
            Kind::Cluster | Kind::Listener => Request::wildcard(ty),
            Kind::Endpoint | Kind::Route => {
                let names = self.named.get(&ty).filter(|names| !names.is_empty())?;
                Request::new(ty).subscribe(names.iter().cloned())
            }
        };
        request.initial_versions = self
            .held
            .iter()
            .filter(|((of, _), _)| *of == ty)
            .map(|((_, name), (item, _))| (name.clone(), item.version.clone()))
            .collect();
        Some(request)
    }
}

impl Peer for EnvoyPeer {
    type Type = Kind;

    fn connect(&mut self, resumes: bool) -> Vec<Request<Kind>> {
        if !resumes {
            *self = Self::new(self.manners);
        }
        self.has_resumed = resumes;
        self.refused_needs.clear();
        let types = Kind::ALL.iter();
        types.filter_map(|&ty| self.first_request(ty)).collect()
    }

    fn receive(
        &mut self,
        response: Response<Kind>,
        offers: &Offers<Kind>,
    ) -> Result<Vec<Request<Kind>>, String> {
        let ty = response.ty;
        self.judge(&response)?;
        let has_refused = response
            .resources
            .iter()
            .any(|(name, item)| offers.refuses(ty, name, item));
        let nonce = response.nonce.clone();
        if !has_refused {
            let mut requests = vec![Request::ack(ty, nonce)];
            requests.extend(self.apply(&response, offers)?);
            return Ok(requests);
        }
        for (name, item) in &response.resources {
            let needs = self.refused_needs.entry((ty, name.clone())).or_default();
            needs.extend(item.needs.iter().cloned());
        }
        let mut requests = vec![Request::nack(ty, nonce, "something is refused")];
        if self.manners == Manners::Grudging {
            requests.extend(self.apply(&response, offers)?);
        }
        Ok(requests)
    }

    fn check(&self, offers: &Offers<Kind>) -> Result<(), String> {
        for &ty in Kind::ALL {
            for name in NAMES {
                let name = Name::from(name);
                if !self.wants(ty, &name) {
                    continue;
                }
                let offered = offers.snapshot.items(ty).get(&name);
                // What it asked for by name it holds until it gives the name up.
                if offered.is_none() && !ty.is_whole() {
                    continue;
                }
                let is_blocked = offered.is_some_and(|item| self.is_blocked(&item.needs, offers));
                if is_blocked || offered.is_some_and(|item| offers.refuses(ty, &name, item)) {
                    continue;
                }
                let held = self.held.get(&(ty, name.clone()));
                if held.map(|(item, _)| &item.version) != offered.map(|item| &item.version) {
                    if offered.is_none() && self.is_kept(ty, &name, offers) {
                        continue;
                    }
                    return Err(format!("{ty:?} {name}: {offered:?} offered, {held:?} held"));
                }
            }
        }
        all_warm(&self.warming, offers)
    }
}

impl EnvoyPeer {
    /// Whether a cluster is missing, as far as a sender can know: who applies the good part of a
    /// refused response, and refuses what comes next, leaves it in doubt about the good part.
    fn is_blocked(&self, needs: &[(Kind, Name)], offers: &Offers<Kind>) -> bool {
        let is_missing = |name: &Name| {
            let offered = offers.snapshot.items(Kind::Cluster).get(name);
            let is_refused = offered.is_some_and(|item| offers.refuses(Kind::Cluster, name, item));
            !self.holds(Kind::Cluster, name) || (self.manners == Manners::Grudging && is_refused)
        };
        needs
            .iter()
            .any(|(ty, name)| *ty == Kind::Cluster && is_missing(name))
    }

    /// Whether something that is no longer offered is rightly still there: what it belongs to, or
    /// what uses it, could not be replaced.
    fn is_kept(&self, ty: Kind, name: &Name, offers: &Offers<Kind>) -> bool {
        let is_current = |ty: Kind, name: &Name, item: &Item<Kind>| {
            let offered = offers.snapshot.items(ty).get(name);
            offered.is_some_and(|offered| offered.version == item.version)
        };
        let need = (ty, name.clone());
        // Nobody knows what an old item needs that the sender has not sent on this stream.
        let is_used = self.held.iter().any(|((ty, user), (item, _))| {
            let may_need = item.needs.contains(&need) || (self.has_resumed && !ty.lingers());
            may_need && !is_current(*ty, user, item)
        });
        // A refused response leaves it in doubt what of it was applied, as long as what comes next
        // is refused as well.
        let may_be_used = self.refused_needs.iter().any(|((ty, user), needs)| {
            let offered = offers.snapshot.items(*ty).get(user);
            needs.contains(&need) && offered.is_some_and(|item| offers.refuses(*ty, user, item))
        });
        let cluster = self.held.get(&(Kind::Cluster, name.clone()));
        let has_old_cluster = ty == Kind::Endpoint
            && cluster.is_some_and(|(item, _)| !is_current(Kind::Cluster, name, item));
        is_used || may_be_used || has_old_cluster
    }
}

/// Whether no cluster waits for endpoints that it can have.
pub(super) fn all_warm(warming: &BTreeSet<Name>, offers: &Offers<Kind>) -> Result<(), String> {
    for name in warming {
        let endpoints = offers.snapshot.items(Kind::Endpoint).get(name);
        if endpoints.is_some_and(|item| !offers.refuses(Kind::Endpoint, name, item)) {
            return Err(format!("cluster {name} still waits for endpoints"));
        }
    }
    Ok(())
}
