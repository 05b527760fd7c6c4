//! The routes of one virtual host as a tree over the path, which Envoy searches in one step where
//! it would go through a list route by route (`VirtualHost.matcher`,
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto>).
//!
//! Envoy looks for the longest key that the path begins with, and tries the routes of that key's
//! bucket and no others. So a bucket has every route that a path under its key can match: those
//! whose own path is under the key, those of shorter paths that cover it, and those that may match
//! any path; all in the order of the list.
//!
//! **Invariant:** the tree is a function of the routes, not of how it came to hold them. A change
//! encodes again what has the changed route in it, and goes along one way from the root.

mod encode;
mod follow;
mod node;
mod reach;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::assemble::Pieces;
use crate::order::Position;
pub(crate) use crate::tree::follow::Follower;
use crate::tree::node::Node;
use crate::tree::reach::Reach;

/// Where a route stands in its virtual host: which of the host's lists it is from, and where it
/// stands in that.
pub(crate) type Rank = (usize, Arc<Position>);

/// Encoded routes, as [`crate::route::Entry`] has them, in order.
type Routes = BTreeMap<Rank, Bytes>;

/// When a virtual host has a tree, and how fine that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Hosts with more routes have one.
    pub(crate) threshold: usize,
    /// The most routes under one key, unless they have one path.
    pub(crate) bucket: usize,
    /// The most routes of a tree, routes that are repeated included, for each of the host.
    pub(crate) growth: usize,
}

/// What a tree amounts to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// How many bytes [`Tree::write`] writes.
    pub(crate) length: usize,
    /// A hash of them.
    pub(crate) hash: [u8; 32],
}

/// The routes of a virtual host by path.
#[derive(Debug)]
pub(crate) struct Tree {
    bucket: usize,
    growth: usize,
    root: Node,
    /// Routes that may match any path.
    anywhere: Routes,
}

impl Tree {
    /// A tree without routes.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            bucket: limits.bucket.max(1),
            growth: limits.growth,
            root: Node::default(),
            anywhere: Routes::new(),
        }
    }

    /// Says what is at `rank`: an encoded route, or nothing.
    pub(crate) fn set(&mut self, rank: Rank, route: Option<Bytes>) {
        let position = Arc::clone(&rank.1);
        let Some((path, _)) = Reach::of(&position).path() else {
            match route {
                Some(route) => self.anywhere.insert(rank, route),
                None => self.anywhere.remove(&rank),
            };
            self.root.forget();
            return;
        };
        match route {
            Some(route) => self.root.put(path, 0, rank, route, self.bucket),
            None => self.root.remove(path, &rank, self.bucket),
        };
    }

    /// Whether it serves requests better than the list: it has more than one bucket, and does not
    /// repeat too many routes.
    pub(crate) fn is_worthwhile(&mut self) -> bool {
        let routes = self.root.len() + self.anywhere.len();
        let tally = self.root.tally(self.bucket);
        let repeated = tally.routes + tally.buckets * self.anywhere.len();
        tally.buckets > 1 && repeated <= self.growth.saturating_mul(routes)
    }

    /// Encodes what changed; the result is up to date until the next change.
    pub(crate) fn summarize(&mut self) -> Summary {
        self.root.build("", &self.anywhere, self.bucket);
        encode::matcher_summary(&self.root)
    }

    /// The matcher of the virtual host, as last summarized.
    pub(crate) fn write(&self, out: &mut Pieces) {
        encode::write_matcher(&self.root, out);
    }

    /// Drops what is encoded, for a time in which nobody wants it.
    pub(crate) fn forget(&mut self) {
        self.root.forget();
    }
}

#[cfg(test)]
mod tests;
