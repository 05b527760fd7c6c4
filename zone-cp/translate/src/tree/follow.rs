//! The tree of a virtual host that follows the host's lists.

use std::sync::Arc;

use bytes::Bytes;

use super::{Limits, Summary, Tree};
use crate::assemble::Pieces;
use crate::list::RouteList;

/// A tree while its virtual host has enough routes for one, and whether it is served.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    tree: Option<Tree>,
    served: Option<Summary>,
}

impl Follower {
    /// Starts over: the host has other lists now.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Looks at what changed in the lists of `chain`, which are positions in `slots`; whether the
    /// host is served by a tree. `None` for `limits`: nobody is.
    pub(crate) fn follow(
        &mut self,
        chain: &[usize],
        slots: &[RouteList],
        limits: Option<Limits>,
    ) -> Option<Summary> {
        self.served = None;
        let lists = || chain.iter().map(|slot| &slots[*slot]).enumerate();
        let routes: usize = lists().map(|(_, list)| list.written_len()).sum();
        let Some(limits) = limits.filter(|limits| routes > limits.threshold) else {
            self.tree = None;
            return None;
        };
        let tree = match &mut self.tree {
            Some(tree) => {
                for (index, list) in lists() {
                    for position in list.touched() {
                        let route = list.written(position).map(|entry| entry.bytes.clone());
                        tree.set((index, Arc::clone(position)), route);
                    }
                }
                tree
            }
            None => {
                let mut tree = Tree::new(limits);
                for (index, list) in lists() {
                    for (position, entry) in list.all_written() {
                        let bytes: Bytes = entry.bytes.clone();
                        tree.set((index, Arc::clone(position)), Some(bytes));
                    }
                }
                self.tree.insert(tree)
            }
        };
        if tree.is_worthwhile() {
            self.served = Some(tree.summarize());
        } else {
            tree.forget();
        }
        self.served
    }

    /// What the tree that is served amounts to, as last followed.
    pub(crate) fn served(&self) -> Option<Summary> {
        self.served
    }

    /// Writes the tree that is served.
    pub(crate) fn write(&self, out: &mut Pieces) {
        if let Some(tree) = &self.tree {
            tree.write(out);
        }
    }
}
