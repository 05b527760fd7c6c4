//! The routes of one port: its hosts, the lists of routes that they serve, and the encoded
//! route configuration.
//!
//! A host belongs to the listener with the most exact hostname that contains it. It serves the
//! routes that name it, then those that name wider and wider hostnames, then those of its
//! listener that name none: so a request finds a route of a less specific hostname where no more
//! specific one matches. Routes are therefore kept in lists by listener and hostname, and a host
//! is a chain of lists that it shares with others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mesh_delta::{Item, Name, Version};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::EnvoyType;
use crate::assemble::{self, Pieces};
use crate::envoy::{self, core, route};
use crate::host::Hostname;
use crate::list::RouteList;
use crate::order::Position;
use crate::plan::Port;
use crate::refuse;
use crate::route::Entry;
use crate::tree::{Follower, Limits};

/// Field numbers of `RouteConfiguration` and `VirtualHost`
/// (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route.proto>).
mod field {
    pub(super) const NAME: u32 = 1;
    pub(super) const VIRTUAL_HOSTS: u32 = 2;
    pub(super) const REQUEST_HEADERS_TO_ADD: u32 = 6;
    pub(super) const VALIDATE_CLUSTERS: u32 = 7;
    pub(super) const MOST_SPECIFIC_WINS: u32 = 10;
    pub(super) const IGNORE_PORT: u32 = 14;
    pub(super) const DOMAINS: u32 = 2;
    pub(super) const ROUTES: u32 = 3;
    pub(super) const MATCHER: u32 = 21;
}

/// The header by which backends learn the tags of a gateway.
pub(crate) const TAGS_HEADER: &str = "x-kuma-tags";

/// The most entries of a port that hosts repeat because routes name no hostname. Beyond that no
/// host of the port repeats them: a configuration that Envoy cannot hold helps nobody.
const MAX_REPEATED: usize = 100_000;

/// A list of routes: those of one listener under one hostname. The listener is a position in
/// [`Port::listeners`].
pub(crate) type ListKey = (usize, Hostname);

/// The routes of one port.
#[derive(Debug)]
pub(crate) struct Table {
    /// The name of the route configuration.
    pub(crate) name: Name,
    /// The encoded header with the tags of the gateway.
    tags_header: Bytes,
    /// The hostnames of the port's listeners.
    listeners: Vec<Hostname>,
    /// Positions in `slots`; no list is empty.
    lists: BTreeMap<ListKey, usize>,
    slots: Vec<RouteList>,
    free: Vec<usize>,
    hosts: BTreeMap<Hostname, Host>,
    /// Lists with entries that are never reached.
    with_shadows: BTreeSet<ListKey>,
    /// Clusters by the number of routes that name them.
    clusters: BTreeMap<Name, usize>,
    needs: Option<Arc<[(EnvoyType, Name)]>>,
    is_stale: bool,
    /// Whether there are other lists or hosts than when chains were made.
    is_rearranged: bool,
    is_repeating: bool,
}

#[derive(Debug, Default)]
struct Host {
    /// The listener that it belongs to.
    listener: usize,
    /// The lists that it serves, in order, by slot.
    chain: Vec<usize>,
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
        let hosts = (0..).map(Host::of).zip(&listeners);
        Self {
            name: port.route_config_name(),
            tags_header: encode_tags_header(tags_header),
            hosts: hosts.map(|(host, name)| (name.clone(), host)).collect(),
            listeners,
            lists: BTreeMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            with_shadows: BTreeSet::new(),
            clusters: BTreeMap::new(),
            needs: None,
            is_stale: true,
            is_rearranged: true,
            is_repeating: true,
        }
    }

    /// Where a route belongs that is attached to `listener` and names `hostname`, or names none:
    /// nowhere if the two have no name in common.
    pub(crate) fn places(&self, listener: usize, hostname: Option<&Hostname>) -> Vec<ListKey> {
        let own = &self.listeners[listener];
        let Some(named) = hostname.filter(|name| name.is_within(own)) else {
            let overlaps = hostname.is_none_or(|name| name.contains(own));
            return overlaps
                .then(|| (listener, own.clone()))
                .into_iter()
                .collect();
        };
        // The listener that the host of that name belongs to, and those within the name: they
        // are more exact than the one that the route is attached to, but the route names them.
        let owner = self.owner(named);
        self.listeners
            .iter()
            .enumerate()
            .filter(|(index, hostname)| Some(*index) == owner || hostname.is_within(named))
            .map(|(index, _)| (index, named.clone()))
            .collect()
    }

    /// Adds an entry to a list.
    pub(crate) fn insert(&mut self, key: &ListKey, position: Arc<Position>, entry: Entry) {
        self.is_stale = true;
        let slot = match self.lists.get(key) {
            Some(slot) => *slot,
            None => self.add_list(key),
        };
        self.slots[slot].insert(position, entry);
        self.note_shadows(key, slot);
    }

    /// Removes an entry from a list.
    pub(crate) fn remove(&mut self, key: &ListKey, position: &Arc<Position>) {
        let Some(slot) = self.lists.get(key).copied() else {
            return;
        };
        self.is_stale = true;
        self.slots[slot].remove(position);
        self.note_shadows(key, slot);
        if self.slots[slot].is_empty() {
            self.remove_list(key, slot);
        }
    }

    fn add_list(&mut self, key: &ListKey) -> usize {
        self.is_rearranged = true;
        let (listener, hostname) = key;
        if self.owner(hostname) == Some(*listener) {
            let host = Host::of(*listener);
            self.hosts.entry(hostname.clone()).or_insert(host);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(RouteList::default());
            self.slots.len() - 1
        });
        self.lists.insert(key.clone(), slot);
        slot
    }

    fn remove_list(&mut self, key: &ListKey, slot: usize) {
        self.is_rearranged = true;
        self.lists.remove(key);
        self.slots[slot].reset();
        self.free.push(slot);
        let (listener, hostname) = key;
        let is_of_list = |host: &Host| host.listener == *listener;
        if !self.listeners.contains(hostname) && self.hosts.get(hostname).is_some_and(is_of_list) {
            self.hosts.remove(hostname);
        }
    }

    /// Takes note of a route that names a cluster.
    pub(crate) fn use_cluster(&mut self, name: &Name) {
        let count = self.clusters.entry(Arc::clone(name)).or_insert_with(|| {
            self.needs = None;
            0
        });
        *count += 1;
    }

    /// Takes note that such a route is gone.
    pub(crate) fn release_cluster(&mut self, name: &Name) {
        if let Some(count) = self.clusters.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                self.clusters.remove(name);
                self.needs = None;
            }
        }
    }

    /// Entries that are never reached, each with the one that takes its requests.
    pub(crate) fn shadowed(&self) -> impl Iterator<Item = (&Arc<Position>, &Arc<Position>)> {
        self.with_shadows
            .iter()
            .filter_map(|key| self.lists.get(key))
            .flat_map(|slot| self.slots[*slot].shadowed())
    }

    /// Whether the hosts that routes name serve the routes that name no hostname, too.
    pub(crate) fn is_repeating(&self) -> bool {
        self.is_repeating
    }

    /// The route configuration, if it may differ from the one returned last. `trees` says which
    /// hosts are trees, and is always the same.
    pub(crate) fn assemble(
        &mut self,
        no_routes: &Bytes,
        trees: Option<Limits>,
    ) -> Option<Item<EnvoyType>> {
        if !self.is_stale && self.needs.is_some() {
            return None;
        }
        self.is_stale = false;
        let is_repeating = self.repeated() <= MAX_REPEATED;
        if self.is_rearranged || is_repeating != self.is_repeating {
            self.is_repeating = is_repeating;
            self.rearrange();
        }
        let mut hasher = Sha256::new();
        hasher.update(no_routes);
        hasher.update(&self.tags_header);
        let mut sizes = Vec::with_capacity(self.hosts.len());
        // `*` and the wildcards last, as people expect; to Envoy the order is all the same.
        for (hostname, host) in self.hosts.iter_mut().rev() {
            hasher.update(hostname.as_str());
            let mut size = 0;
            if let Some(tree) = host.tree.follow(&host.chain, &self.slots, trees) {
                hasher.update([1]);
                hasher.update(tree.hash);
                size += assemble::field_len(field::MATCHER, tree.length);
            } else {
                hasher.update([0]);
                for slot in &host.chain {
                    let summary = self.slots[*slot].summarize();
                    size += summary.length;
                    hasher.update(summary.hash);
                }
            }
            if host.chain.is_empty() {
                size = no_routes.len();
            }
            size += assemble::field_len(field::NAME, hostname.as_str().len());
            size += assemble::field_len(field::DOMAINS, hostname.as_str().len());
            sizes.push(size);
        }
        let mut out = Pieces::default();
        assemble::put_field(field::NAME, self.name.as_bytes(), out.small());
        for ((hostname, host), size) in self.hosts.iter().rev().zip(sizes) {
            assemble::put_header(field::VIRTUAL_HOSTS, size, out.small());
            assemble::put_field(field::NAME, hostname.as_str().as_bytes(), out.small());
            assemble::put_field(field::DOMAINS, hostname.as_str().as_bytes(), out.small());
            if host.chain.is_empty() {
                out.share(no_routes);
            }
            if let Some(tree) = host.tree.served() {
                assemble::put_header(field::MATCHER, tree.length, out.small());
                host.tree.write(&mut out);
                continue;
            }
            for slot in &host.chain {
                self.slots[*slot].chunks().for_each(|c| out.share(c));
            }
        }
        self.slots.iter_mut().for_each(RouteList::clear_touched);
        out.share(&self.tags_header);
        // An absent wrapper would mean true for a configuration that is not delivered by RDS.
        assemble::put_header(field::VALIDATE_CLUSTERS, 0, out.small());
        // So that a route can take back what is said for all of them.
        assemble::put_bool(field::MOST_SPECIFIC_WINS, true, out.small());
        assemble::put_bool(field::IGNORE_PORT, true, out.small());
        Some(Item {
            version: version(&self.name, hasher),
            payload: out.finish(),
            needs: self.needs(),
        })
    }

    fn needs(&mut self) -> Arc<[(EnvoyType, Name)]> {
        let needs = self.needs.get_or_insert_with(|| {
            [EnvoyType::Cluster, EnvoyType::Endpoint]
                .into_iter()
                .flat_map(|ty| self.clusters.keys().map(move |name| (ty, Arc::clone(name))))
                .collect()
        });
        Arc::clone(needs)
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

    /// Makes the chains of all hosts.
    fn rearrange(&mut self) {
        self.is_rearranged = false;
        for (hostname, host) in &mut self.hosts {
            let own = &self.listeners[host.listener];
            let chain = std::iter::successors(Some(hostname.clone()), Hostname::parent)
                .filter(|name| self.is_repeating || name != own || name == hostname)
                .filter_map(|name| self.lists.get(&(host.listener, name)).copied())
                .collect();
            if host.chain != chain {
                host.chain = chain;
                host.tree.reset();
            }
        }
    }

    /// How many entries hosts repeat that are written for their listener's hostname.
    fn repeated(&self) -> usize {
        let mut hosts = vec![0; self.listeners.len()];
        for (hostname, host) in &self.hosts {
            if hostname != &self.listeners[host.listener] {
                hosts[host.listener] += 1;
            }
        }
        let own = self.listeners.iter().cloned().enumerate();
        own.filter_map(|key| Some((key.0, *self.lists.get(&key)?)))
            .map(|(listener, slot)| self.slots[slot].len() * hosts[listener])
            .sum()
    }

    fn note_shadows(&mut self, key: &ListKey, slot: usize) {
        if self.slots[slot].shadowed().is_empty() {
            self.with_shadows.remove(key);
        } else {
            self.with_shadows.insert(key.clone());
        }
    }
}

impl Host {
    fn of(listener: usize) -> Self {
        Self {
            listener,
            chain: Vec::new(),
            tree: Follower::default(),
        }
    }
}

fn version(name: &str, mut hasher: Sha256) -> Version {
    hasher.update(name);
    envoy::to_version(&hasher.finalize())
}

/// The header that tells backends the tags of the gateway, over whatever the client sent, framed
/// as a field of the route configuration: said once, it costs Envoy nothing per route. Tags that no
/// header can hold are not told.
fn encode_tags_header(value: &str) -> Bytes {
    let value = value.replace('%', "%%");
    if refuse::header_value(&value).is_err() {
        return Bytes::new();
    }
    let header = core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: TAGS_HEADER.to_owned(),
            value,
        }),
        append_action: core::header_value_option::HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    };
    let mut bytes = BytesMut::new();
    assemble::put_field(
        field::REQUEST_HEADERS_TO_ADD,
        &header.encode_to_vec(),
        &mut bytes,
    );
    bytes.freeze()
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
mod tests {
    use std::cmp::Reverse;
    use std::net::Ipv4Addr;

    use mesh_model::ResourceName;
    use mesh_model::tags::Tags;

    use super::*;
    use crate::order::{PathKind, Source, Specificity};
    use crate::plan::HostListener;
    use crate::view::Age;

    #[test]
    fn what_is_assembled_is_what_prost_would_encode() {
        let listener = |hostname: &str| HostListener {
            hostname: Hostname::parse(hostname).unwrap(),
            tags: Tags::new(),
        };
        let port = Port {
            name: Name::from("edge:HTTP:80"),
            address: Ipv4Addr::LOCALHOST.into(),
            number: 80,
            service: String::new(),
            connection_limit: 0,
            listeners: vec![listener("*"), listener("a.com"), listener("b.com")],
        };
        let mut table = Table::new(&port, "&a=1&");
        for number in 0..300 {
            let path = format!("/{number}");
            let route = route::Route {
                r#match: Some(route::RouteMatch {
                    path_specifier: Some(route::route_match::PathSpecifier::Path(path.clone())),
                    ..Default::default()
                }),
                ..Default::default()
            };
            let mut bytes = BytesMut::new();
            assemble::put_field(field::ROUTES, &route.encode_to_vec(), &mut bytes);
            let position = Position {
                specificity: Specificity::new(PathKind::Exact, &path, false, 0, 0),
                is_implied: Reverse(false),
                source: Arc::new(Source {
                    age: Age::default(),
                    display_name: "r".into(),
                    name: ResourceName::parse("r").unwrap(),
                }),
                rule: number,
                matching: 0,
            };
            let entry = Entry {
                bytes: bytes.freeze(),
                matching: number as u128,
            };
            let named = Hostname::parse("x.org").unwrap();
            for key in table.places(number % 2, (number % 3 == 0).then_some(&named)) {
                table.insert(&key, Arc::new(position.clone()), entry.clone());
            }
        }
        let page = no_routes("nothing here");
        let item = table
            .assemble(&page, None)
            .expect("the first time there is always one");
        let decoded = route::RouteConfiguration::decode(item.payload.to_bytes()).unwrap();
        let sizes: Vec<(&str, usize)> = decoded
            .virtual_hosts
            .iter()
            .map(|host| (host.name.as_str(), host.routes.len()))
            .collect();
        assert_eq!(
            sizes,
            [("x.org", 150), ("b.com", 1), ("a.com", 100), ("*", 100)]
        );
        assert_eq!(decoded.encode_to_vec(), item.payload.to_bytes());
        assert_eq!(table.assemble(&page, None), None, "nothing changed since");
    }
}
