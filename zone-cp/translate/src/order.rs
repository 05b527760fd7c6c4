//! The order of routes within a host: total, stable, and a function of the resources alone.
//!
//! More specific matches come first, because Envoy takes the first that matches. Between equally
//! specific ones the older resource wins, then the smaller display name, then the earlier rule
//! (the precedence of the Gateway API:
//! <https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule>).

use std::cmp::Reverse;
use std::sync::Arc;

use mesh_model::ResourceName;

use crate::view::Age;

/// What a path condition compares with; more specific kinds first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PathKind {
    Exact,
    Prefix,
    Regex,
}

/// How specific a match is; smaller is more specific.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Specificity {
    kind: PathKind,
    length: Reverse<usize>,
    method: Reverse<bool>,
    headers: Reverse<usize>,
    queries: Reverse<usize>,
    path: Box<str>,
}

impl Specificity {
    /// `path` is the value of an exact or regex condition, and that of a prefix with a slash at
    /// its end; `headers` are the header conditions without the method.
    pub(crate) fn new(
        kind: PathKind,
        path: &str,
        has_method: bool,
        headers: usize,
        queries: usize,
    ) -> Self {
        Self {
            kind,
            length: Reverse(path.len()),
            method: Reverse(has_method),
            headers: Reverse(headers),
            queries: Reverse(queries),
            path: path.into(),
        }
    }

    /// What the path condition compares with.
    pub(crate) fn kind(&self) -> PathKind {
        self.kind
    }

    /// The path as it was given to [`Self::new`].
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

/// Where an entry stands among those of its host. No two entries of a host stand at one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) specificity: Specificity,
    /// By how many labels the hostname of its list is wider than that of the host; 0 in the list
    /// itself.
    pub(crate) breadth: usize,
    pub(crate) source: Arc<Source>,
    pub(crate) rule: usize,
    /// Position of the match in the rule.
    pub(crate) matching: usize,
    /// Whether it is the entry for a prefix's bare path, which comes before what is below it.
    pub(crate) is_implied: Reverse<bool>,
}

impl Position {
    /// The same position among the routes of a host whose hostname is so many labels narrower.
    pub(crate) fn in_host(self: &Arc<Self>, breadth: usize) -> Arc<Self> {
        if breadth == self.breadth {
            return Arc::clone(self);
        }
        Arc::new(Self {
            breadth,
            ..Self::clone(self)
        })
    }
}

/// The route resource that an entry comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    pub(crate) age: Age,
    pub(crate) display_name: Box<str>,
    pub(crate) name: ResourceName,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(path: &str, has_method: bool, headers: usize, queries: usize) -> Specificity {
        Specificity::new(PathKind::Exact, path, has_method, headers, queries)
    }

    #[test]
    fn the_first_difference_decides() {
        let sorted = [
            exact("/lang/json", false, 0, 0),
            exact("/app/json", true, 0, 0),
            exact("/app/json", false, 2, 0),
            exact("/app/json", false, 1, 3),
            exact("/app/json", false, 1, 0),
            exact("/bpp/json", false, 1, 0),
            Specificity::new(PathKind::Prefix, "/lang/json/", true, 9, 9),
            Specificity::new(PathKind::Prefix, "/", false, 0, 0),
            Specificity::new(PathKind::Regex, "/v[0-9]+/.*", false, 0, 0),
            Specificity::new(PathKind::Regex, "/.*", true, 1, 0),
            // Regexes of one length are compared by their conditions too.
            Specificity::new(PathKind::Regex, "/a*", false, 0, 0),
        ];
        assert!(sorted.is_sorted());
    }
}
