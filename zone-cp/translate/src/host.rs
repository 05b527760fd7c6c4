//! Hostnames of listeners and routes, and which contains which.
//!
//! Containment is by whole labels and over several levels, as Envoy's own domain search has it
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto>):
//! `*.com` contains `*.example.com` and `a.b.com`, and `*` contains everything.

use std::fmt;
use std::sync::Arc;

/// A lower-case hostname: exact (`a.example.com`), a wildcard (`*.example.com`), or `*`.
///
/// Ordered as text, so that in descending order `*.x` and `*` come last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Hostname(Arc<str>);

impl Hostname {
    /// Parses what a listener or route says; empty means any.
    ///
    /// `None` for what is no hostname: Envoy would refuse it, or take a `*` in it literally.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if text.is_empty() || text == "*" {
            return Some(Self::any());
        }
        let name = text.strip_prefix("*.").unwrap_or(&text);
        let is_label = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        name.split('.').all(is_label).then(|| Self(text.into()))
    }

    /// `*`.
    pub(crate) fn any() -> Self {
        Self(Arc::from("*"))
    }

    /// As it is written in Envoy's configuration.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether every name that matches `other` also matches this.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        match self.0.strip_prefix('*') {
            // What is left of "*.x" is ".x", so that a label boundary is part of the comparison.
            Some(suffix) => self == other || other.0.ends_with(suffix),
            None => self == other,
        }
    }

    /// Whether it is contained in `other` and not the same.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self != other && other.contains(self)
    }

    /// The next wider hostname: `*.example.com` for `a.example.com`, `*.com` for that, then `*`.
    pub(crate) fn parent(&self) -> Option<Self> {
        if &*self.0 == "*" {
            return None;
        }
        let rest = self.0.strip_prefix("*.").unwrap_or(&self.0);
        Some(match rest.split_once('.') {
            Some((_, domain)) => Self(format!("*.{domain}").into()),
            None => Self::any(),
        })
    }

    /// How exact it is; the greatest of several that contain one name is the nearest to it.
    pub(crate) fn exactness(&self) -> usize {
        match self.0.strip_prefix('*') {
            Some(suffix) => suffix.len(),
            None => usize::MAX,
        }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Hostname {
        Hostname::parse(text).unwrap()
    }

    #[test]
    fn wildcards_contain_names_below_them_at_any_depth() {
        for (wide, narrow, expected) in [
            ("*", "a", true),
            ("", "*.com", true),
            ("*.com", "*.example.com", true),
            ("*.com", "a.b.com", true),
            ("*.com", "telecom", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", "a.examples.com", false),
            ("foo.com", "foo.bar.com", false),
            ("foo.com", "FOO.com", true),
            ("a.com", "*.com", false),
        ] {
            assert_eq!(
                host(wide).contains(&host(narrow)),
                expected,
                "{wide} {narrow}"
            );
        }
    }

    #[test]
    fn parents_widen_one_label_at_a_time() {
        let chain: Vec<String> =
            std::iter::successors(Some(host("a.b.example.com")), Hostname::parent)
                .map(|h| h.to_string())
                .collect();
        assert_eq!(
            chain,
            [
                "a.b.example.com",
                "*.b.example.com",
                "*.example.com",
                "*.com",
                "*"
            ]
        );
        assert_eq!(host("localhost").parent(), Some(Hostname::any()));
    }

    #[test]
    fn what_envoy_would_refuse_or_misread_is_no_hostname() {
        for bad in [
            "*foo.com", "foo.*", "a..b", "a.b.", "a b", "a:80", "*.*", "*.",
        ] {
            assert_eq!(Hostname::parse(bad), None, "{bad}");
        }
    }
}
