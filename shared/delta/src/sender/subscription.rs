//! What a receiver wants of one type: everything, some names, or both.

use std::collections::BTreeSet;

use crate::message::WILDCARD;
use crate::snapshot::Name;

/// A subscription as the xDS protocol has it: `*` and names are independent of one another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// Whether everything is wanted.
    pub(super) wildcard: bool,
    /// Names that are wanted whether they exist or not.
    pub(super) names: BTreeSet<Name>,
}

impl Subscription {
    /// The subscription that the first request of a type makes: no name at all means everything,
    /// as does `*`.
    pub(super) fn first(subscribe: &[Name]) -> Self {
        let (wildcards, names): (Vec<_>, BTreeSet<_>) = split(subscribe);
        Self {
            wildcard: !wildcards.is_empty() || names.is_empty(),
            names,
        }
    }

    /// Whether a resource of this name is wanted.
    pub(super) fn covers(&self, name: &Name) -> bool {
        self.wildcard || self.names.contains(name)
    }
}

/// Separates `*` from names.
fn split(names: &[Name]) -> (Vec<&Name>, BTreeSet<Name>) {
    let wildcards = names.iter().filter(|name| &***name == WILDCARD).collect();
    let rest = names
        .iter()
        .filter(|name| &***name != WILDCARD)
        .cloned()
        .collect();
    (wildcards, rest)
}
