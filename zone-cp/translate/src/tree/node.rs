//! The nodes of the tree: buckets of at most so many routes, and branches by the next character of
//! the path where there are more.
//!
//! A branch has a bucket, too, for paths that go on in no way that has a key of its own: the
//! routes of the branch's own path, and as many of its smallest children as there is room for. So
//! keys stay few. A node remembers how many routes its buckets have, and their encoded form.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::encode::{self, Part};
use super::reach::{Reach, Spread};
use super::{Rank, Routes};
use crate::order::Position;

/// The routes under one key, or, with keys that are one character longer than the stem, several.
#[derive(Debug)]
pub(super) struct Node {
    shape: Shape,
    /// How many routes there are.
    len: usize,
    tally: Option<Tally>,
    part: Option<Part>,
}

#[derive(Debug)]
enum Shape {
    /// At most as many routes as a bucket may have.
    Bucket(Routes),
    /// More than that.
    Branch(Branch),
}

#[derive(Debug, Default)]
struct Branch {
    /// The longest text that the paths of all routes begin with.
    stem: Box<str>,
    /// Routes with just this path.
    own: Routes,
    children: BTreeMap<char, Node>,
}

/// What the buckets of a node have without what comes from outside of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tally {
    pub(super) buckets: usize,
    /// In all of them, so routes that are in several count as often.
    pub(super) routes: usize,
}

impl Default for Node {
    fn default() -> Self {
        Self::from(Shape::Bucket(Routes::new()), 0)
    }
}

impl Node {
    fn from(shape: Shape, len: usize) -> Self {
        Self {
            shape,
            len,
            tally: None,
            part: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The encoded form, if there is one.
    pub(super) fn part(&self) -> Option<&Part> {
        self.part.as_ref()
    }

    /// Adds a route, or replaces the one at this rank; whether it is one more. Its path begins as
    /// the node's key does, of which the first `known` bytes are not looked at.
    pub(super) fn put(
        &mut self,
        path: &str,
        known: usize,
        rank: Rank,
        route: Bytes,
        limit: usize,
    ) -> bool {
        if let Shape::Branch(branch) = &self.shape
            && let common = known + common_start(&branch.stem[known..], &path[known..])
            && common < branch.stem.len()
        {
            let stem = branch.stem[..common].into();
            self.grow_above(stem);
        }
        self.touch();
        let is_new = match &mut self.shape {
            Shape::Bucket(routes) => {
                let is_new = routes.insert(rank, route).is_none();
                if routes.len() > limit {
                    *self = Self::divide(std::mem::take(routes), known, limit);
                    return is_new;
                }
                is_new
            }
            Shape::Branch(branch) => match path[branch.stem.len()..].chars().next() {
                None => {
                    branch.forget_below(&rank.1);
                    branch.own.insert(rank, route).is_none()
                }
                Some(next) => {
                    let child = branch.children.entry(next).or_default();
                    child.put(path, branch.stem.len(), rank, route, limit)
                }
            },
        };
        self.len += usize::from(is_new);
        is_new
    }

    /// Removes a route; whether it was there.
    pub(super) fn remove(&mut self, path: &str, rank: &Rank, limit: usize) -> bool {
        let was_there = match &mut self.shape {
            Shape::Bucket(routes) => routes.remove(rank).is_some(),
            Shape::Branch(branch) => match path.strip_prefix(&*branch.stem) {
                None => false,
                Some(rest) => match rest.chars().next() {
                    None => {
                        let was_there = branch.own.remove(rank).is_some();
                        if was_there {
                            branch.forget_below(&rank.1);
                        }
                        was_there
                    }
                    Some(next) => branch.remove_from_child(next, path, rank, limit),
                },
            },
        };
        if was_there {
            self.len -= 1;
            self.touch();
            self.simplify(limit);
        }
        was_there
    }

    /// Counts its buckets and what is in them.
    pub(super) fn tally(&mut self, limit: usize) -> Tally {
        if let Some(tally) = self.tally {
            return tally;
        }
        let mut tally = Tally {
            buckets: 1,
            routes: self.len,
        };
        if let Shape::Branch(branch) = &mut self.shape {
            for next in branch.keys(limit) {
                let child = branch.children.get_mut(&next).expect("keys are children");
                let of_child = child.tally(limit);
                let inherited = spread(&branch.own).filter(|s| s.reaches(next)).count();
                tally.buckets += of_child.buckets;
                tally.routes += of_child.routes + of_child.buckets * inherited;
                tally.routes -= child.len;
            }
        }
        *self.tally.insert(tally)
    }

    /// Encodes what is not encoded. `from_above` has the routes from outside of the node that are
    /// in each of its buckets.
    pub(super) fn build(&mut self, key: &str, from_above: &Routes, limit: usize) {
        if self.part.is_some() {
            return;
        }
        // The root is no entry of the map, so it is by itself.
        let is_whole = self.len <= limit.saturating_mul(encode::BUCKETS_PER_PART);
        if is_whole && !key.is_empty() {
            let mut buckets = Vec::new();
            self.write(key, from_above, limit, &mut buckets);
            self.part = Some(Part::of_map_entries(buckets));
            return;
        }
        let mut children = Vec::new();
        let bucket = match &mut self.shape {
            Shape::Bucket(routes) => encode::on_match([&*routes, from_above]),
            Shape::Branch(branch) => {
                let keys = branch.keys(limit);
                for next in &keys {
                    let key = format!("{}{next}", branch.stem);
                    let from_above = branch.inherited(*next, from_above);
                    let child = branch.children.get_mut(next).expect("keys are children");
                    child.build(&key, &from_above, limit);
                }
                branch.forget_kept(&keys);
                let (with_key, kept): (Vec<_>, Vec<_>) = branch
                    .children
                    .iter()
                    .partition(|(next, _)| keys.binary_search(next).is_ok());
                children.extend(with_key.into_iter().filter_map(|(_, child)| child.part()));
                let kept = kept.into_iter().filter_map(|(_, child)| child.bucket());
                encode::on_match(kept.chain([&branch.own, from_above]))
            }
        };
        self.part = Some(Part::of_branch(key, bucket, &children));
    }

    /// Its children that are parts of the tree by themselves, in order.
    pub(super) fn children_with_parts(&self, part: &Part) -> impl Iterator<Item = &Self> {
        let children = match &self.shape {
            Shape::Branch(branch) if !part.is_whole() => Some(&branch.children),
            Shape::Branch(_) | Shape::Bucket(_) => None,
        };
        children
            .into_iter()
            .flat_map(BTreeMap::values)
            .filter(|child| child.part.is_some())
    }

    /// Drops the encoded form, of all nodes below, too.
    pub(super) fn forget(&mut self) {
        self.part = None;
        if let Shape::Branch(branch) = &mut self.shape {
            branch.children.values_mut().for_each(Self::forget);
        }
    }

    /// Has it counted and encoded again, without what is below.
    fn touch(&mut self) {
        self.tally = None;
        self.part = None;
    }

    /// Encodes all its buckets, as entries of the map.
    fn write(&mut self, key: &str, from_above: &Routes, limit: usize, out: &mut Vec<Bytes>) {
        self.part = None;
        match &mut self.shape {
            Shape::Bucket(routes) => {
                out.push(encode::map_entry(
                    key,
                    &encode::on_match([&*routes, from_above]),
                ));
            }
            Shape::Branch(branch) => {
                let keys = branch.keys(limit);
                let kept = branch.children.iter();
                let kept = kept.filter(|(next, _)| keys.binary_search(next).is_err());
                let kept = kept.filter_map(|(_, child)| child.bucket());
                let bucket = encode::on_match(kept.chain([&branch.own, from_above]));
                out.push(encode::map_entry(key, &bucket));
                branch.forget_kept(&keys);
                for next in keys {
                    let key = format!("{}{next}", branch.stem);
                    let from_above = branch.inherited(next, from_above);
                    let child = branch.children.get_mut(&next).expect("keys are children");
                    child.write(&key, &from_above, limit, out);
                }
            }
        }
    }

    /// Its routes, if it is no branch.
    fn bucket(&self) -> Option<&Routes> {
        match &self.shape {
            Shape::Bucket(routes) => Some(routes),
            Shape::Branch(_) => None,
        }
    }

    /// A node of these routes. Their paths have at least the first `known` bytes in common.
    fn divide(routes: Routes, known: usize, limit: usize) -> Self {
        let len = routes.len();
        if len <= limit {
            return Self::from(Shape::Bucket(routes), len);
        }
        let mut paths = routes.keys().map(|(_, position)| path_of(position));
        let first = paths.next().unwrap_or_default();
        let stem = paths.fold(first.len(), |stem, path| {
            known + common_start(&first[known..stem], &path[known..])
        });
        let stem: Box<str> = first[..stem].into();
        let mut own = Routes::new();
        let mut groups: BTreeMap<char, Routes> = BTreeMap::new();
        for (rank, route) in routes {
            match path_of(&rank.1)[stem.len()..].chars().next() {
                None => own.insert(rank, route),
                Some(next) => groups.entry(next).or_default().insert(rank, route),
            };
        }
        let children = groups
            .into_iter()
            .map(|(next, routes)| (next, Self::divide(routes, stem.len(), limit)))
            .collect();
        let branch = Branch {
            stem,
            own,
            children,
        };
        Self::from(Shape::Branch(branch), len)
    }

    /// Puts a branch with a shorter stem in place of this one, and this one below it.
    fn grow_above(&mut self, stem: Box<str>) {
        let mut below = std::mem::take(self);
        // Its key is another one now.
        below.part = None;
        self.len = below.len;
        if let Shape::Branch(branch) = &below.shape
            && let Some(next) = branch.stem[stem.len()..].chars().next()
        {
            self.shape = Shape::Branch(Branch {
                stem,
                own: Routes::new(),
                children: BTreeMap::from([(next, below)]),
            });
        }
    }

    /// Makes of a branch what it is without the routes that it has no more.
    fn simplify(&mut self, limit: usize) {
        let Shape::Branch(branch) = &mut self.shape else {
            return;
        };
        if self.len <= limit {
            let mut routes = std::mem::take(&mut branch.own);
            for child in std::mem::take(&mut branch.children).into_values() {
                child.drain_into(&mut routes);
            }
            self.shape = Shape::Bucket(routes);
        } else if branch.own.is_empty()
            && branch.children.len() == 1
            && let Some((_, mut only)) = branch.children.pop_first()
        {
            // Its key is another one now.
            only.part = None;
            *self = only;
        }
    }

    fn drain_into(self, routes: &mut Routes) {
        match self.shape {
            Shape::Bucket(own) => routes.extend(own),
            Shape::Branch(branch) => {
                routes.extend(branch.own);
                for child in branch.children.into_values() {
                    child.drain_into(routes);
                }
            }
        }
    }
}

impl Branch {
    /// The children that have keys, in order. The others are in the branch's own bucket: buckets,
    /// the smallest first, as many as there is room for.
    fn keys(&self, limit: usize) -> Vec<char> {
        let mut buckets: Vec<(usize, char)> = self
            .children
            .iter()
            .filter(|(_, child)| child.bucket().is_some())
            .map(|(next, child)| (child.len, *next))
            .collect();
        buckets.sort_unstable();
        let mut room = limit.saturating_sub(self.own.len());
        let mut kept = Vec::new();
        for (len, next) in buckets {
            if len > room {
                break;
            }
            room -= len;
            kept.push(next);
        }
        kept.sort_unstable();
        let keys = self.children.keys().copied();
        keys.filter(|next| kept.binary_search(next).is_err())
            .collect()
    }

    /// The routes from outside of a child that are in each of its buckets.
    fn inherited<'a>(&self, next: char, from_above: &'a Routes) -> Cow<'a, Routes> {
        let mut all = Cow::Borrowed(from_above);
        for (rank, route) in &self.own {
            if spread_of(&rank.1).reaches(next) {
                all.to_mut().insert(rank.clone(), route.clone());
            }
        }
        all
    }

    /// Has those children encoded again that repeat one of the branch's own routes.
    fn forget_below(&mut self, position: &Position) {
        let spread = spread_of(position);
        for (next, child) in &mut self.children {
            if spread.reaches(*next) {
                child.forget();
            }
        }
    }

    /// Children without keys are encoded with the branch.
    fn forget_kept(&mut self, keys: &[char]) {
        for (next, child) in &mut self.children {
            if keys.binary_search(next).is_err() {
                child.part = None;
            }
        }
    }

    fn remove_from_child(&mut self, next: char, path: &str, rank: &Rank, limit: usize) -> bool {
        let Some(child) = self.children.get_mut(&next) else {
            return false;
        };
        let was_there = child.remove(path, rank, limit);
        if child.len == 0 {
            self.children.remove(&next);
        }
        was_there
    }
}

fn spread(routes: &Routes) -> impl Iterator<Item = Spread> {
    routes.keys().map(|(_, position)| spread_of(position))
}

fn spread_of(position: &Position) -> Spread {
    let path = Reach::of(position).path();
    path.map_or(Spread::None, |(_, spread)| spread)
}

fn path_of(position: &Position) -> &str {
    Reach::of(position).path().map_or("", |(path, _)| path)
}

/// How many bytes both begin with, in whole characters.
fn common_start(a: &str, b: &str) -> usize {
    let mut pairs = a.char_indices().zip(b.chars());
    let differs = pairs.find(|((_, a), b)| a != b);
    differs.map_or(a.len().min(b.len()), |((index, _), _)| index)
}
