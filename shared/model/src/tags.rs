//! Tags of Dataplanes and listeners, and the selectors that match them.

use std::collections::BTreeMap;

/// Identity of a service; mandatory on inbounds and gateways.
pub const SERVICE: &str = "kuma.io/service";
/// The zone of a proxy; written by its control plane.
pub const ZONE: &str = "kuma.io/zone";
/// Protocol of an inbound or backend: `tcp`, `http`, `http2`, `grpc`, `kafka`.
pub const PROTOCOL: &str = "kuma.io/protocol";
/// Marks endpoints of external services; never written by users.
pub const EXTERNAL_SERVICE_NAME: &str = "kuma.io/external-service-name";
/// In a selector: any value.
pub const ANY: &str = "*";

/// Tags by key; ordered, because hashes and headers are made of them.
pub type Tags = BTreeMap<String, String>;

/// Whether `selector` matches `tags`: each key exists with an equal value, or with any value
/// where the selector says `*`. An empty selector matches everything.
pub fn matches(selector: &Tags, tags: &Tags) -> bool {
    selector.iter().all(|(key, wanted)| {
        tags.get(key)
            .is_some_and(|value| wanted == ANY || wanted == value)
    })
}

/// How specific a selector is; greater is more specific.
///
/// Compared by the number of keys first, then by how many of them name an exact value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    keys: usize,
    exact: usize,
}

impl Rank {
    /// The rank of a selector.
    pub fn of(selector: &Tags) -> Self {
        Self {
            keys: selector.len(),
            exact: selector.values().filter(|v| *v != ANY).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn a_selector_matches_when_all_its_keys_do() {
        let t = tags(&[(SERVICE, "edge"), ("vhost", "shop")]);
        assert!(matches(&tags(&[]), &t));
        assert!(matches(&tags(&[(SERVICE, "edge")]), &t));
        assert!(matches(&tags(&[(SERVICE, "*")]), &t));
        assert!(!matches(&tags(&[(SERVICE, "ed*")]), &t));
        assert!(!matches(&tags(&[(SERVICE, "edge"), ("zone", "*")]), &t));
    }

    #[test]
    fn more_keys_beat_exact_values_and_exact_values_beat_wildcards() {
        let one_exact = Rank::of(&tags(&[(SERVICE, "edge")]));
        let two_any = Rank::of(&tags(&[(SERVICE, "*"), ("a", "*")]));
        let one_any = Rank::of(&tags(&[(SERVICE, "*")]));
        assert!(two_any > one_exact && one_exact > one_any);
    }
}
