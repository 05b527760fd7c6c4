//! Where two sides differ, found without listing what they share.
//!
//! Names are spread over the leaves of a tree by their hash. The [`Holder`] says the digests of
//! the parts below the root; the [`Matcher`] on the other side asks further where they differ
//! from its own, until the parts in question are so small that the holder lists them. What a
//! receiver missed costs in proportion to it; what it has costs nothing.
//!
//! **Invariant:** when a matcher is done, it knows exactly what the holder holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::Digest as _;

use crate::digest::Digest;
use crate::snapshot::{Name, Version};

/// Digits of the hash that can be told apart.
const MOST_DIGITS: u8 = 16;
/// A part with up to this many names is listed.
const LISTED: usize = 16;
/// How many parts there are below one.
const BRANCHES: usize = 16;
/// More than this is not listed by any holder in its right mind.
const MOST_LISTED: usize = 10_000_000;

/// A part of all names: those whose hash begins with these digits. Its text is hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The digits, from the most significant bit on; zeros behind them.
    bits: u64,
    digits: u8,
}

impl Prefix {
    /// Every name.
    pub const ALL: Self = Self { bits: 0, digits: 0 };

    fn first(self) -> u64 {
        self.bits
    }

    fn last(self) -> u64 {
        let rest = u64::MAX.checked_shr(u32::from(self.digits) * 4);
        self.bits | rest.unwrap_or(0)
    }

    fn child(self, digit: u64) -> Self {
        let shift = 60 - u32::from(self.digits) * 4;
        Self {
            bits: self.bits | digit << shift,
            digits: self.digits + 1,
        }
    }

    fn children(self) -> impl Iterator<Item = Self> {
        (0..BRANCHES as u64).map(move |digit| self.child(digit))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:016x}", self.bits);
        f.write_str(&text[..usize::from(self.digits)])
    }
}

impl FromStr for Prefix {
    type Err = ResumeError;

    fn from_str(text: &str) -> Result<Self, ResumeError> {
        let wrong = || ResumeError::NotAPrefix(text.chars().take(32).collect());
        let digits = u8::try_from(text.len()).map_err(|_too_long| wrong())?;
        if digits > MOST_DIGITS || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let padded = format!("{text:0<16}");
        let bits = u64::from_str_radix(&padded, 16).map_err(|_no_number| wrong())?;
        Ok(Self { bits, digits })
    }
}

/// What a holder says of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub prefix: Prefix,
    /// What is in it.
    pub content: Content,
}

/// What is in a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The digests of the parts below it.
    Below(Box<[Digest; BRANCHES]>),
    /// Everything in it.
    Listed(Vec<(Name, Version)>),
}

/// A holder said something that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// A prefix is no hexadecimal number of up to 16 digits.
    #[error("{0:?} names no part: a prefix has up to 16 hexadecimal digits")]
    NotAPrefix(String),
    /// A part that was not asked for, or was told already.
    #[error("part {0:?} was not asked for")]
    NotAsked(String),
    /// A part that cannot be divided any more is not listed.
    #[error("part {0:?} has no parts below it and must be listed")]
    TooDeep(String),
    /// A name is listed in a part where it does not belong.
    #[error("{name:?} is not in part {prefix:?}")]
    Misplaced {
        /// The name.
        name: Name,
        /// The part.
        prefix: String,
    },
    /// More names than anybody holds.
    #[error("more than {MOST_LISTED} names are listed")]
    TooMany,
}

/// Names and versions by the hash of the name. What is offered to many is indexed once.
#[derive(Debug, Clone, Default)]
pub struct Index {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    hash: u64,
    digest: Digest,
    name: Name,
    version: Version,
}

impl Index {
    /// An index of these; each name once.
    pub fn new(members: impl IntoIterator<Item = (Name, Version)>) -> Self {
        let mut entries: Vec<Entry> = members
            .into_iter()
            .map(|(name, version)| Entry {
                hash: hash(&name),
                digest: Digest::of(&name, &version),
                name,
                version,
            })
            .collect();
        entries.sort_unstable_by(|a, b| (a.hash, &a.name).cmp(&(b.hash, &b.name)));
        Self { entries }
    }

    fn part(&self, prefix: Prefix) -> &[Entry] {
        let start = self.entries.partition_point(|e| e.hash < prefix.first());
        let end = self.entries.partition_point(|e| e.hash <= prefix.last());
        &self.entries[start..end]
    }

    fn digest(&self, prefix: Prefix) -> Digest {
        self.part(prefix).iter().map(|entry| entry.digest).sum()
    }
}

fn hash(name: &Name) -> u64 {
    let hash: [u8; 32] = sha2::Sha256::digest(name.as_bytes()).into();
    let (first, _) = hash.split_at(8);
    first
        .iter()
        .fold(0, |all, byte| all << 8 | u64::from(*byte))
}

/// The side that says what it holds of one type.
#[derive(Debug, Clone)]
pub struct Holder(Index);

impl Holder {
    /// A holder of these.
    pub fn new(held: impl IntoIterator<Item = (Name, Version)>) -> Self {
        Self(Index::new(held))
    }

    /// How many names are held.
    pub fn len(&self) -> usize {
        self.0.entries.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.0.entries.is_empty()
    }

    /// What is in a part: a list where that is short, or else digests.
    pub fn part(&self, prefix: Prefix) -> Part {
        let entries = self.0.part(prefix);
        let content = if entries.len() <= LISTED || prefix.digits == MOST_DIGITS {
            let list = entries.iter();
            Content::Listed(list.map(|e| (e.name.clone(), e.version.clone())).collect())
        } else {
            let mut below = Box::new([Digest::default(); BRANCHES]);
            for (digest, child) in below.iter_mut().zip(prefix.children()) {
                *digest = self.0.digest(child);
            }
            Content::Below(below)
        };
        Part { prefix, content }
    }
}

/// The side that compares what is held with what it offers of one type.
#[derive(Debug)]
pub struct Matcher {
    offered: Arc<Index>,
    open: BTreeSet<Prefix>,
    listed: Vec<(Prefix, Vec<(Name, Version)>)>,
    total: usize,
    bytes: usize,
}

impl Matcher {
    /// A matcher that waits for the holder's first word, which is about [`Prefix::ALL`].
    pub fn new(offered: Arc<Index>) -> Self {
        Self {
            offered,
            open: [Prefix::ALL].into(),
            listed: Vec::new(),
            total: 0,
            bytes: 0,
        }
    }

    /// Takes in a part and gives those below it that are to be asked for.
    ///
    /// # Errors
    /// When the holder answers what was not asked, or what cannot be.
    pub fn take(&mut self, part: Part) -> Result<Vec<Prefix>, ResumeError> {
        let Part { prefix, content } = part;
        if !self.open.remove(&prefix) {
            return Err(ResumeError::NotAsked(prefix.to_string()));
        }
        match content {
            Content::Listed(list) => {
                let range = prefix.first()..=prefix.last();
                if let Some((name, _)) = list.iter().find(|(n, _)| !range.contains(&hash(n))) {
                    return Err(ResumeError::Misplaced {
                        name: name.clone(),
                        prefix: prefix.to_string(),
                    });
                }
                self.total = self.total.saturating_add(list.len());
                if self.total > MOST_LISTED {
                    return Err(ResumeError::TooMany);
                }
                let bytes = list
                    .iter()
                    .map(|(name, version)| name.len() + version.len());
                self.bytes = self.bytes.saturating_add(bytes.sum());
                self.listed.push((prefix, list));
                Ok(Vec::new())
            }
            Content::Below(_) if prefix.digits == MOST_DIGITS => {
                Err(ResumeError::TooDeep(prefix.to_string()))
            }
            Content::Below(digests) => {
                let differing = prefix.children().zip(*digests);
                let differing: Vec<Prefix> = differing
                    .filter(|(child, digest)| self.offered.digest(*child) != *digest)
                    .map(|(child, _)| child)
                    .collect();
                self.open.extend(&differing);
                Ok(differing)
            }
        }
    }

    /// How many bytes the names and versions have that were listed so far. The caller decides how
    /// many are too many.
    pub fn listed_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is left to be asked.
    pub fn is_done(&self) -> bool {
        self.open.is_empty()
    }

    /// What the holder holds. Meaningful once the matcher is done.
    pub fn held(self) -> BTreeMap<Name, Version> {
        let mut listed = self.listed;
        listed.sort_unstable_by_key(|(prefix, _)| *prefix);
        let is_listed = |entry: &Entry| {
            let after = listed.partition_point(|(prefix, _)| prefix.first() <= entry.hash);
            after
                .checked_sub(1)
                .is_some_and(|at| entry.hash <= listed[at].0.last())
        };
        let mut held: BTreeMap<Name, Version> = self
            .offered
            .entries
            .iter()
            .filter(|entry| !is_listed(entry))
            .map(|entry| (entry.name.clone(), entry.version.clone()))
            .collect();
        held.extend(listed.into_iter().flat_map(|(_, list)| list));
        held
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(members: impl IntoIterator<Item = (u32, u8)>) -> BTreeMap<Name, Version> {
        members
            .into_iter()
            .map(|(name, version)| {
                (
                    format!("resource-{name}.default").into(),
                    format!("v{version}").into(),
                )
            })
            .collect()
    }

    /// What the matcher believes at the end, and how many parts with how many listed names it
    /// took.
    fn converse(
        held: &BTreeMap<Name, Version>,
        offered: &BTreeMap<Name, Version>,
    ) -> (BTreeMap<Name, Version>, usize, usize) {
        let holder = Holder::new(held.clone());
        let mut matcher = Matcher::new(Arc::new(Index::new(offered.clone())));
        let mut asked = vec![Prefix::ALL];
        let (mut parts, mut names) = (0, 0);
        while let Some(prefix) = asked.pop() {
            let prefix: Prefix = prefix.to_string().parse().unwrap();
            let part = holder.part(prefix);
            parts += 1;
            if let Content::Listed(list) = &part.content {
                names += list.len();
            }
            asked.extend(matcher.take(part).unwrap());
        }
        assert!(matcher.is_done());
        (matcher.held(), parts, names)
    }

    proptest! {
        #[test]
        fn the_matcher_learns_what_is_held(
            held in proptest::collection::btree_map(0..400_u32, 0..3_u8, 0..300),
            offered in proptest::collection::btree_map(0..400_u32, 0..3_u8, 0..300),
        ) {
            let (held, offered) = (set(held), set(offered));
            prop_assert_eq!(converse(&held, &offered).0, held);
        }
    }

    #[test]
    fn what_is_shared_costs_nothing_and_what_differs_its_own_size() {
        for size in [100, 5_000, 50_000] {
            let held = set((0..size).map(|n| (n, 0)));
            let (found, parts, names) = converse(&held, &held);
            assert_eq!((found, parts, names), (held.clone(), 1, 0), "{size}");
            for differing in [1_usize, 10] {
                let mut offered = held.clone();
                for n in 0..differing {
                    offered.insert(format!("resource-{}.default", n * 7).into(), "new".into());
                }
                let (found, parts, names) = converse(&held, &offered);
                assert_eq!(found, held);
                assert!(parts <= 1 + 5 * differing, "{size}, {differing}: {parts}");
                assert!(names <= LISTED * differing, "{size}, {differing}: {names}");
            }
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut matcher = Matcher::new(Arc::new(Index::new(set((0..100).map(|n| (n, 0))))));
        let other = Part {
            prefix: "a".parse().unwrap(),
            content: Content::Listed(Vec::new()),
        };
        assert_eq!(
            matcher.take(other),
            Err(ResumeError::NotAsked("a".to_owned()))
        );
        let all = Part {
            prefix: Prefix::ALL,
            content: Content::Below(Box::new([Digest::default(); BRANCHES])),
        };
        let asked = matcher.take(all).unwrap();
        assert_eq!(asked.len(), BRANCHES);
        let wrong: Name = "resource-0.default".into();
        let prefix = asked
            .into_iter()
            .find(|p| !(p.first()..=p.last()).contains(&hash(&wrong)))
            .unwrap();
        let misplaced = Part {
            prefix,
            content: Content::Listed(vec![(wrong, "v0".into())]),
        };
        assert!(matches!(
            matcher.take(misplaced),
            Err(ResumeError::Misplaced { .. })
        ));
        for text in ["g", "00000000000000000", "-1", "ä"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
        let deep: Prefix = "0123456789abcdef".parse().unwrap();
        assert_eq!((deep.first(), deep.last()), (deep.bits, deep.bits));
    }
}
