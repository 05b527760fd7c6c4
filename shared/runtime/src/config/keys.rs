//! The table of every configuration key that Kuma knows, with what we do about each.
//!
//! One row has the path in the file, the environment names, the kind of value with Kuma's
//! default, and a status. Adding a key to [`super::schema`] means making its row
//! [`Status::Implemented`]; a test holds the two together.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::{Value, json};

/// The section of keys that are ours and not Kuma's.
const OWN_SECTION: &str = "meridian";

/// One row.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    pub(super) status: Status,
    pub(super) is_secret: bool,
    /// Empty if the name follows from the path.
    env: &'static [&'static str],
}

/// What values a key takes, and its default.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Bool(bool),
    /// 0 to 2³²−1.
    Int(u32),
    /// 0 to 65535; a server with port 0 takes any free one.
    Port(u16),
    Text(&'static str),
    /// Go's syntax, not negative.
    Duration(&'static str),
    /// An IP address; the empty text is 0.0.0.0.
    Ip(&'static str),
    /// A list of texts.
    List(&'static [&'static str]),
    /// From text to text, empty by default.
    Map,
    /// A list of mappings, empty by default; only in a file.
    Objects,
    /// One word of several. The empty text is the default.
    Choice {
        default: &'static str,
        allowed: &'static [&'static str],
        /// What Kuma allows and we don't, with the reason.
        refused: &'static [(&'static str, &'static str)],
    },
}

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// It is part of [`super::Config`].
    Implemented,
    /// There is only one value, so there is nothing to configure.
    Fixed,
    /// Another value than the default gives a warning: the path and this text.
    Accepted(&'static str),
    /// Another value than the default is an error with this reason, because ignoring it would
    /// open a door or lose data.
    Refused(&'static str),
}

/// The rows of one file: a path, what values it takes, what becomes of them, and, where they
/// don't follow from the path, the names of its environment variables.
macro_rules! keys {
    ($($path:literal: $kind:expr, $status:expr $(, env $env:tt)? $(, secret $secret:tt)?;)*) => {
        pub(super) const KEYS: &[super::Key] = &[$(super::Key {
            path: $path,
            kind: $kind,
            status: $status,
            is_secret: keys!(@is_secret $($secret)?),
            env: keys!(@env $($env)?),
        },)*];
    };
    (@is_secret) => { false };
    (@is_secret $secret:tt) => { $secret };
    (@env) => { &[] };
    (@env $env:tt) => { &$env };
}

mod general;
mod kubernetes;
mod own;
mod servers;
mod words;

impl Key {
    /// The environment variables that set it; the first is the one to tell people.
    pub(super) fn env_names(&self) -> Vec<Cow<'static, str>> {
        if self.env.is_empty() {
            vec![Cow::Owned(env_name(self.path))]
        } else {
            self.env.iter().copied().map(Cow::Borrowed).collect()
        }
    }

    /// The default, in the form that values have after checking.
    pub(super) fn default(&self) -> Value {
        match self.kind {
            Kind::Bool(default) => json!(default),
            Kind::Int(default) => json!(default),
            Kind::Port(default) => json!(default),
            Kind::Text(default)
            | Kind::Duration(default)
            | Kind::Ip(default)
            | Kind::Choice { default, .. } => json!(default),
            Kind::List(default) => json!(default),
            Kind::Map => json!({}),
            Kind::Objects => json!([]),
        }
    }
}

/// All rows.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    [general::KEYS, servers::KEYS, kubernetes::KEYS, own::KEYS]
        .into_iter()
        .flatten()
}

/// What a path in a file is.
pub(super) enum Found {
    Key(&'static Key),
    /// Keys begin with it.
    Section,
    Unknown,
}

/// Looks up a path as a file has it. Letter case doesn't matter, because it doesn't to Kuma's
/// reader ([`encoding/json`](https://pkg.go.dev/encoding/json#Unmarshal)).
pub(super) fn find(path: &str) -> Found {
    let path = path.to_lowercase();
    if let Some(key) = INDEX.by_path.get(&path) {
        Found::Key(key)
    } else if INDEX.sections.contains(&path) {
        Found::Section
    } else {
        Found::Unknown
    }
}

/// The key that an environment variable sets.
pub(super) fn find_env(name: &str) -> Option<&'static Key> {
    INDEX.by_env.get(name).copied()
}

/// The known path that `path` may have meant: a neighbour with a similar name, or a key of
/// that name elsewhere.
pub(super) fn nearest_path(path: &str) -> Option<String> {
    let lower = path.to_lowercase();
    let (parent, name) = lower.rsplit_once('.').unwrap_or(("", &lower));
    let neighbours = all().filter_map(|key| {
        let rest = if parent.is_empty() {
            key.path
        } else {
            let (head, tail) = key.path.split_at_checked(parent.len())?;
            if !head.eq_ignore_ascii_case(parent) {
                return None;
            }
            tail.strip_prefix('.')?
        };
        let end = rest.find('.').unwrap_or(rest.len());
        Some(&key.path[..key.path.len() - rest.len() + end])
    });
    closest(name, neighbours, last_name).or_else(|| {
        all()
            .find(|key| last_name(key.path).eq_ignore_ascii_case(name))
            .map(|key| key.path.to_owned())
    })
}

/// The known environment variable that `name` may have meant.
pub(super) fn nearest_env(name: &str) -> Option<String> {
    closest(name, INDEX.by_env.keys().map(String::as_str), |name| name)
}

fn last_name(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, name)| name)
}

/// The candidate whose `part` is most similar to `name`, if any is similar enough.
fn closest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
    part: impl Fn(&str) -> &str,
) -> Option<String> {
    let limit = (name.chars().count() / 3).clamp(1, 4);
    candidates
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(name, &part(candidate).to_lowercase())
                .min(strsim::damerau_levenshtein(name, part(candidate)));
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

struct Index {
    /// By lower-case path.
    by_path: BTreeMap<String, &'static Key>,
    by_env: BTreeMap<String, &'static Key>,
    /// Lower-case proper prefixes of paths.
    sections: BTreeSet<String>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let mut index = Index {
        by_path: BTreeMap::new(),
        by_env: BTreeMap::new(),
        sections: BTreeSet::from([OWN_SECTION.to_owned()]),
    };
    for key in all() {
        let path = key.path.to_lowercase();
        for (at, _) in path.match_indices('.') {
            index.sections.insert(path[..at].to_owned());
        }
        index.by_path.insert(path, key);
        for name in key.env_names() {
            index.by_env.insert(name.into_owned(), key);
        }
    }
    index
});

/// `apiServer.http.port` is `KUMA_API_SERVER_HTTP_PORT`; a run of capitals is one word.
fn env_name(path: &str) -> String {
    let mut name = "KUMA_".to_owned();
    for (n, part) in path.split('.').enumerate() {
        if n > 0 {
            name.push('_');
        }
        let chars: Vec<char> = part.chars().collect();
        for (at, c) in chars.iter().enumerate() {
            let before = at.checked_sub(1).map(|at| chars[at]);
            let after = chars.get(at + 1);
            let starts_word = c.is_uppercase()
                && before.is_some_and(|before| {
                    !before.is_uppercase()
                        // `IPs` is one word too.
                        || after.is_some_and(|a| {
                            a.is_lowercase() && !(*a == 's' && at + 2 == chars.len())
                        })
                });
            if starts_word {
                name.push('_');
            }
            name.extend(c.to_uppercase());
        }
    }
    name
}

#[cfg(test)]
mod tests;
