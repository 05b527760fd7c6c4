//! Which paths a route can match, as far as the tree wants to know.
//!
//! Paths of requests are compared without their query, and the tree's keys with it. A route whose
//! path has a `?` or `#` in it matches nothing; it is kept away from the keys, so that none of
//! them has one and the end of a path cannot be confused with the rest of a key.

use crate::order::{PathKind, Position};

/// The longest key, in bytes: of longer paths the tree looks at the beginning. So it is no deeper
/// than that, and changes cost no more, however many paths begin with one another.
const MAX_KEY: usize = 256;

/// The paths that a route can match; it need not match all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach<'a> {
    /// This one.
    At(&'a str),
    /// This one, and what follows it after a slash.
    Below(&'a str),
    /// What begins with it.
    From(&'a str),
    /// Who knows.
    Anywhere,
}

impl<'a> Reach<'a> {
    pub(super) fn of(position: &'a Position) -> Self {
        let path = position.specificity.path();
        if path.is_empty() || path.contains(['?', '#']) && !is_regex(position) {
            return Self::Anywhere;
        }
        let stem = path.trim_end_matches('/');
        match position.specificity.kind() {
            PathKind::Exact => Self::At(path),
            // The entry for the bare path; of `/` that is `/`.
            PathKind::Prefix if position.is_implied.0 && stem.is_empty() => Self::At("/"),
            PathKind::Prefix if position.is_implied.0 => Self::At(stem),
            PathKind::Prefix => Self::Below(stem),
            PathKind::Regex => match literal(path) {
                "" => Self::Anywhere,
                literal => Self::From(literal),
            },
        }
    }

    /// The path under whose keys it is found, and which longer keys it is to be found under, too.
    pub(super) fn path(self) -> Option<(&'a str, Spread)> {
        let (path, spread) = match self {
            Self::At(path) => (path, Spread::None),
            Self::Below(path) => (path, Spread::Slash),
            Self::From(path) => (path, Spread::All),
            Self::Anywhere => return None,
        };
        let end = path.floor_char_boundary(MAX_KEY);
        // No key is longer than what is left of a path that is cut.
        Some(if end < path.len() {
            (&path[..end], Spread::None)
        } else {
            (path, spread)
        })
    }
}

/// Which keys that are longer than a route's path a matching path can be under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    None,
    /// Those that go on with a slash.
    Slash,
    All,
}

impl Spread {
    /// Whether it reaches keys that go on with `next`.
    pub(super) fn reaches(self, next: char) -> bool {
        match self {
            Self::None => false,
            Self::Slash => next == '/',
            Self::All => true,
        }
    }
}

fn is_regex(position: &Position) -> bool {
    position.specificity.kind() == PathKind::Regex
}

/// What every match of a regular expression begins with; less than that when in doubt. Envoy's
/// match is of the whole path, so the expression stands at its beginning.
fn literal(regex: &str) -> &str {
    if regex.contains('|') {
        return "";
    }
    let is_literal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '%');
    let end = regex.find(|c| !is_literal(c)).unwrap_or(regex.len());
    // The last one may be there any number of times.
    match regex[end..].chars().next() {
        Some('?' | '*' | '+' | '{') => &regex[..end.saturating_sub(1)],
        _ => &regex[..end],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_what_every_match_begins_with() {
        for (regex, expected) in [
            ("/v[0-9]+/.*", "/v"),
            ("/shop/cart", "/shop/cart"),
            ("/shop/carts?", "/shop/cart"),
            ("/shop/a+", "/shop/"),
            ("/shop/a{0,2}", "/shop/"),
            ("/a.b", "/a"),
            (r"/a\.b", "/a"),
            ("/a|/b", ""),
            ("/(a|b)", ""),
            ("(?i)/a", ""),
            ("^/a", ""),
            ("[/]a", ""),
            ("/?", ""),
            (".*", ""),
            ("", ""),
        ] {
            assert_eq!(literal(regex), expected, "{regex}");
        }
    }
}
