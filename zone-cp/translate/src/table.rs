//! The routes of one HTTP or HTTPS port: its hosts, the lists of routes that they serve, and the
//! encoded route configurations.
//!
//! A host belongs to the listener with the most exact hostname that contains it. It serves the
//! routes that name it or a wider hostname, the more specific match first and of equal ones that
//! of the more exact hostname; then those of a listener for all hostnames that name none: so a
//! request finds one of these where no other matches. Routes are therefore kept in lists by
//! listener and hostname, and a host is a chain of lists that it shares with others, or has merged
//! for itself.

mod configuration;
mod merge;
mod repeat;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mesh_delta::{Item, Name};
use prost::Message as _;

use self::configuration::{Configuration, Frame};
use self::merge::{Merged, Merges};
use self::repeat::Repeats;
use crate::EnvoyType;
use crate::assemble;
use crate::envoy::{core, route};
use crate::host::Hostname;
use crate::list::RouteList;
use crate::order::Position;
use crate::plan::{Port, Protocol};
use crate::route::Entry;
use crate::tree::{Follower, Limits};

/// Field numbers of `RouteConfiguration` and `VirtualHost`
/// (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route.proto>).
mod field {
    pub(super) const NAME: u32 = 1;
    pub(super) const VIRTUAL_HOSTS: u32 = 2;
    pub(super) const REQUEST_HEADERS_TO_ADD: u32 = 6;
    pub(super) const VALIDATE_CLUSTERS: u32 = 7;
    pub(super) const REQUEST_HEADERS_TO_REMOVE: u32 = 8;
    pub(super) const MOST_SPECIFIC_WINS: u32 = 10;
    pub(super) const IGNORE_PORT: u32 = 14;
    pub(super) const DOMAINS: u32 = 2;
    pub(super) const ROUTES: u32 = 3;
    pub(super) const MATCHER: u32 = 21;
}

/// A list of routes: those of one listener under one hostname. The listener is a position in
/// [`Port::listeners`].
pub(crate) type ListKey = (usize, Hostname);

/// The routes of one port.
#[derive(Debug)]
pub(crate) struct Table {
    /// The port's name.
    pub(crate) name: Name,
    frame: Frame,
    /// The hostnames of the port's listeners.
    listeners: Vec<Hostname>,
    /// Positions in `slots`.
    lists: BTreeMap<ListKey, usize>,
    /// Lists that may be empty. They stay until everything is put together: a route that changes
    /// leaves its lists and comes back.
    emptied: BTreeSet<ListKey>,
    slots: Vec<RouteList>,
    free: Vec<usize>,
    /// One for each listener, or one for all of them.
    configurations: Vec<Configuration>,
    /// Lists with entries that are never reached.
    with_shadows: BTreeSet<ListKey>,
    merges: Merges,
    repeats: Repeats,
}

#[derive(Debug, Default)]
struct Host {
    /// The listener that it belongs to.
    listener: usize,
    /// The lists that it serves, in order, by slot.
    chain: Vec<usize>,
    /// The first of them, if it is made of several.
    merged: Option<Merged>,
    /// The same as a tree, if that is better.
    tree: Follower,
}

impl Table {
    /// A table without routes, whose requests carry the tags of the gateway in this form.
    pub(crate) fn new(port: &Port, tags_header: &str) -> Self {
        let listeners: Vec<Hostname> = port
            .listeners
            .iter()
            .map(|listener| listener.hostname.clone())
            .collect();
        let is_https = port.protocol == Protocol::Https;
        let mut configurations: Vec<Configuration> = Vec::new();
        let names = port.route_config_names().into_iter();
        for (index, (listener, name)) in port.listeners.iter().zip(names).enumerate() {
            if is_https || configurations.is_empty() {
                configurations.push(Configuration::new(name));
            }
            let hosts = configurations.last_mut().map(|c| &mut c.hosts);
            if let Some(hosts) = hosts {
                hosts.insert(listener.hostname.clone(), Host::of(index));
            }
        }
        Self {
            name: Arc::clone(&port.name),
            frame: Frame::new(tags_header, is_https),
            configurations,
            listeners,
            lists: BTreeMap::new(),
            emptied: BTreeSet::new(),
            slots: Vec::new(),
            free: Vec::new(),
            with_shadows: BTreeSet::new(),
            merges: Merges::default(),
            repeats: Repeats::default(),
        }
    }

    /// Where a route belongs that is attached to `listener` and names `hostname`, or names none:
    /// nowhere if the two have no name in common, or another listener has that name to itself.
    pub(crate) fn places(&self, listener: usize, hostname: Option<&Hostname>) -> Vec<ListKey> {
        let own = &self.listeners[listener];
        let Some(named) = hostname.filter(|name| name.is_within(own)) else {
            let overlaps = hostname.is_none_or(|name| name.contains(own));
            return overlaps
                .then(|| (listener, own.clone()))
                .into_iter()
                .collect();
        };
        // From the listener for all hostnames, the listener that the host of that name belongs to,
        // and those within the name: they are more exact than the one that the route is attached
        // to, but the route names them. Other listeners reach no requests but their own.
        let owner = self.owner(named);
        if *own != Hostname::any() {
            return (owner == Some(listener))
                .then(|| (listener, named.clone()))
                .into_iter()
                .collect();
        }
        self.listeners
            .iter()
            .enumerate()
            .filter(|(index, hostname)| Some(*index) == owner || hostname.is_within(named))
            .map(|(index, _)| (index, named.clone()))
            .collect()
    }

    /// Adds an entry to a list.
    pub(crate) fn insert(&mut self, key: &ListKey, position: Arc<Position>, entry: Entry) {
        self.configuration(key.0).is_stale = true;
        let slot = match self.lists.get(key) {
            Some(slot) => *slot,
            None => self.add_list(key),
        };
        let followers = self.merges.of(slot);
        self.repeats.entries += followers.len();
        if self.repeats.entries > self.repeats.limit {
            // Whether they have this list at all will be decided again.
            self.repeats.entries -= followers.len();
            self.merges.outdate(slot);
            self.configuration(key.0).is_rearranged = true;
        } else {
            for (merged, breadth) in followers {
                self.slots[merged].insert(position.in_host(breadth), entry.clone());
            }
        }
        self.slots[slot].insert(position, entry);
        self.note_shadows(key, slot);
    }

    /// Removes an entry from a list.
    pub(crate) fn remove(&mut self, key: &ListKey, position: &Arc<Position>) {
        let Some(slot) = self.lists.get(key).copied() else {
            return;
        };
        self.configuration(key.0).is_stale = true;
        let followers = self.merges.of(slot);
        self.repeats.entries = self.repeats.entries.saturating_sub(followers.len());
        for (merged, breadth) in followers {
            self.slots[merged].remove(&position.in_host(breadth));
        }
        self.slots[slot].remove(position);
        self.note_shadows(key, slot);
        if self.slots[slot].is_empty() {
            self.emptied.insert(key.clone());
        }
    }

    fn add_list(&mut self, key: &ListKey) -> usize {
        let (listener, hostname) = key;
        let is_owner = self.owner(hostname) == Some(*listener);
        let configuration = self.configuration(*listener);
        configuration.is_rearranged = true;
        if is_owner {
            let host = Host::of(*listener);
            configuration.hosts.entry(hostname.clone()).or_insert(host);
        }
        let slot = self.take_slot();
        self.lists.insert(key.clone(), slot);
        slot
    }

    fn take_slot(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(RouteList::default());
            self.slots.len() - 1
        })
    }

    fn remove_list(&mut self, key: &ListKey, slot: usize) {
        self.lists.remove(key);
        self.merges.outdate(slot);
        self.slots[slot].reset();
        self.free.push(slot);
        let (listener, hostname) = key;
        let is_of_listener = self.listeners.contains(hostname);
        let configuration = self.configuration(*listener);
        configuration.is_rearranged = true;
        let host = configuration.hosts.get(hostname);
        if !is_of_listener && host.is_some_and(|host| host.listener == *listener) {
            let host = configuration.hosts.remove(hostname);
            if let Some(merged) = host.and_then(|host| host.merged) {
                self.unmerge(&merged);
            }
        }
    }

    /// Takes note of a route for a listener that names a cluster.
    pub(crate) fn use_cluster(&mut self, listener: usize, name: &Name) {
        self.configuration(listener).use_cluster(name);
    }

    /// Takes note that such a route is gone.
    pub(crate) fn release_cluster(&mut self, listener: usize, name: &Name) {
        self.configuration(listener).release_cluster(name);
    }

    /// Entries that are never reached, each with the one that takes its requests.
    pub(crate) fn shadowed(&self) -> impl Iterator<Item = (&Arc<Position>, &Arc<Position>)> {
        self.with_shadows
            .iter()
            .filter_map(|key| self.lists.get(key))
            .flat_map(|slot| self.slots[*slot].shadowed())
    }

    /// Puts together what changed; whether there was anything. `trees` says which hosts are trees,
    /// and is always the same.
    pub(crate) fn assemble(&mut self, no_routes: &Bytes, trees: Option<Limits>) -> bool {
        if !self.configurations.iter().any(Configuration::is_outdated) {
            return false;
        }
        for key in std::mem::take(&mut self.emptied) {
            if let Some(slot) = self.lists.get(&key).copied()
                && self.slots[slot].is_empty()
            {
                self.remove_list(&key, slot);
            }
        }
        let are_all_rearranged = self.limit_repeats();
        for index in 0..self.configurations.len() {
            let configuration = &mut self.configurations[index];
            if are_all_rearranged || configuration.is_rearranged {
                configuration.is_stale = true;
                self.rearrange(index);
            }
            let configuration = &mut self.configurations[index];
            if configuration.is_outdated() {
                configuration.assemble(&self.frame, &mut self.slots, no_routes, trees);
            }
        }
        self.slots.iter_mut().for_each(RouteList::clear_touched);
        true
    }

    /// The route configurations as last assembled, each with the listener that it is for, or the
    /// first of those.
    pub(crate) fn items(&self) -> impl Iterator<Item = (usize, &Name, &Item<EnvoyType>)> {
        let all = self.configurations.iter().enumerate();
        all.filter_map(|(index, c)| Some((index, &c.name, c.item.as_ref()?)))
    }

    fn configuration(&mut self, listener: usize) -> &mut Configuration {
        // One for each, or one for all.
        let index = listener.min(self.configurations.len() - 1);
        &mut self.configurations[index]
    }

    /// The listener with the most exact hostname that contains `hostname`.
    fn owner(&self, hostname: &Hostname) -> Option<usize> {
        self.listeners
            .iter()
            .enumerate()
            .filter(|(_, listener)| listener.contains(hostname))
            .max_by_key(|(_, listener)| listener.exactness())
            .map(|(index, _)| index)
    }

    /// Makes the chains of all hosts of a configuration.
    fn rearrange(&mut self, index: usize) {
        let configuration = &mut self.configurations[index];
        configuration.is_rearranged = false;
        let mut hosts = std::mem::take(&mut configuration.hosts);
        for (hostname, host) in &mut hosts {
            let chain = self.chain(hostname, host);
            if host.chain != chain {
                host.chain = chain;
                host.tree.reset();
            }
        }
        self.configurations[index].hosts = hosts;
    }

    /// The lists that a host serves.
    fn chain(&mut self, hostname: &Hostname, host: &mut Host) -> Vec<usize> {
        let own = &self.listeners[host.listener];
        let mut named = Vec::new();
        let mut for_all = None;
        let names = std::iter::successors(Some(hostname.clone()), Hostname::parent);
        for (breadth, name) in names.enumerate() {
            let is_repeated = name != *hostname;
            let is_for_all = is_repeated && name == *own && *own == Hostname::any();
            let key = (host.listener, name);
            if is_repeated && self.repeats.left_out.contains(&key) {
                break;
            }
            match self.lists.get(&key) {
                Some(slot) if is_for_all => for_all = Some(*slot),
                Some(slot) => named.push((*slot, breadth)),
                None => {}
            }
        }
        let first = match named.as_slice() {
            [] | [_] => {
                if let Some(merged) = host.merged.take() {
                    self.unmerge(&merged);
                }
                named.first().map(|(slot, _)| *slot)
            }
            _ => Some(self.merge(host, named)),
        };
        first.into_iter().chain(for_all).collect()
    }

    fn note_shadows(&mut self, key: &ListKey, slot: usize) {
        if self.slots[slot].has_shadowed() {
            self.with_shadows.insert(key.clone());
        } else {
            self.with_shadows.remove(key);
        }
    }
}

impl Host {
    fn of(listener: usize) -> Self {
        Self {
            listener,
            chain: Vec::new(),
            merged: None,
            tree: Follower::default(),
        }
    }
}

/// The only route of a host without routes: a page that says so, with status 404, framed as a
/// field of its virtual host.
pub(crate) fn no_routes(page: &str) -> Bytes {
    let route = route::Route {
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
            ..Default::default()
        }),
        action: Some(route::route::Action::DirectResponse(
            route::DirectResponseAction {
                status: 404,
                body: Some(core::DataSource {
                    specifier: Some(core::data_source::Specifier::InlineString(page.to_owned())),
                }),
            },
        )),
        ..Default::default()
    };
    let mut bytes = BytesMut::new();
    assemble::put_field(field::ROUTES, &route.encode_to_vec(), &mut bytes);
    bytes.freeze()
}

#[cfg(test)]
mod tests;
