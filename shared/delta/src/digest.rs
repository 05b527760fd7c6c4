//! Order-free digests of what is held: equal sets have equal digests, however they came about.
//!
//! The digest of a set is the sum of those of its members, so one change costs the same whatever
//! the size of the set. It finds what was lost by mistake; it is no defence against a peer that
//! looks for collisions.

use std::fmt;
use std::iter::Sum;

use sha2::{Digest as _, Sha256};

use crate::snapshot::{Name, Version};

/// A digest of a set of names and versions. The default is that of the empty set.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Digest(u128);

impl Digest {
    /// How many bytes it has on the wire.
    pub const LENGTH: usize = 16;

    /// The digest of the set with this one member.
    pub fn of(name: &Name, version: &Version) -> Self {
        let mut hash = Sha256::new();
        // No name has a zero byte, so no two members read the same.
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(version.as_bytes());
        let hash: [u8; 32] = hash.finalize().into();
        let (first, _) = hash.split_at(Self::LENGTH);
        Self(
            first
                .iter()
                .fold(0, |all, byte| all << 8 | u128::from(*byte)),
        )
    }

    /// Adds a member that was not there.
    pub fn insert(&mut self, name: &Name, version: &Version) {
        self.0 = self.0.wrapping_add(Self::of(name, version).0);
    }

    /// Takes a member away that was there.
    pub fn remove(&mut self, name: &Name, version: &Version) {
        self.0 = self.0.wrapping_sub(Self::of(name, version).0);
    }

    /// Replaces what is held under a name; `None` is nothing.
    pub fn replace(&mut self, name: &Name, old: Option<&Version>, new: Option<&Version>) {
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.remove(name, old);
        }
        if let Some(new) = new {
            self.insert(name, new);
        }
    }

    /// As it travels.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        self.0.to_be_bytes()
    }

    /// From how it travels; `None` for another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl Sum for Digest {
    fn sum<I: Iterator<Item = Self>>(digests: I) -> Self {
        digests.fold(Self::default(), |Self(all), Self(one)| {
            Self(all.wrapping_add(one))
        })
    }
}

impl<'a> FromIterator<(&'a Name, &'a Version)> for Digest {
    fn from_iter<I: IntoIterator<Item = (&'a Name, &'a Version)>>(members: I) -> Self {
        members.into_iter().map(|(n, v)| Self::of(n, v)).sum()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Name {
        text.into()
    }

    #[test]
    fn neither_order_nor_history_shows() {
        let mut one = Digest::default();
        one.insert(&text("a.default"), &text("v1"));
        one.insert(&text("b.default"), &text("v1"));
        one.replace(&text("a.default"), Some(&text("v1")), Some(&text("v2")));
        one.insert(&text("c.default"), &text("v1"));
        one.replace(&text("c.default"), Some(&text("v1")), None);
        let other: Digest = [
            (&text("b.default"), &text("v1")),
            (&text("a.default"), &text("v2")),
        ]
        .into_iter()
        .collect();
        assert_eq!(one, other);
        assert_eq!(Digest::from_bytes(&one.to_bytes()), Some(one));
        assert_eq!(Digest::from_bytes(b"short"), None);
    }

    #[test]
    fn names_and_versions_do_not_run_into_one_another() {
        assert_ne!(
            Digest::of(&text("a"), &text("bc")),
            Digest::of(&text("ab"), &text("c"))
        );
    }
}
