//! Paths and queries as text: cleaning, percent-encoding, parsing.

use std::collections::BTreeMap;

/// The path without empty, `.` and `..` segments, if it has any: the caller is sent there.
pub(crate) fn cleaned(path: &str) -> Option<String> {
    let is_clean = path.starts_with('/')
        && path
            .split('/')
            .skip(1)
            .enumerate()
            .all(|(i, s)| s != "." && s != ".." && (!s.is_empty() || is_last(path, i)));
    if is_clean {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let mut clean = format!("/{}", kept.join("/"));
    if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    Some(clean)
}

fn is_last(path: &str, index: usize) -> bool {
    index + 2 == path.split('/').count()
}

/// Decodes `%41`; `None` when the encoding is broken or is not UTF-8.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        bytes.push(match first {
            b'%' => {
                let (digits, tail) = rest.split_at_checked(2)?;
                rest = tail;
                let high = char::from(digits[0]).to_digit(16)?;
                let low = char::from(digits[1]).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Encodes for a query, with `+` for a space.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
}

/// The parameters of a request: by key, the values in the order they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(BTreeMap<String, Vec<String>>);

impl Query {
    /// Parses the part after `?`; parameters that cannot be decoded are left out.
    pub(crate) fn parse(text: &str) -> Self {
        let mut values = BTreeMap::<String, Vec<String>>::new();
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(key), Some(value)) = (decode(key, true), decode(value, true)) {
                values.entry(key).or_default().push(value);
            }
        }
        Self(values)
    }

    /// The first value of a key; an empty one counts as absent.
    pub(crate) fn first(&self, key: &str) -> Option<&str> {
        self.all(key)
            .first()
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }

    /// All values of a key.
    pub(crate) fn all(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// All parameters, ordered by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_slice()))
    }

    /// The query again, keys sorted, with another value for one of them.
    pub(crate) fn with(&self, key: &str, value: &str) -> String {
        let mut changed = self.0.clone();
        changed.insert(key.to_owned(), vec![value.to_owned()]);
        let mut out = String::new();
        for (key, values) in &changed {
            for value in values {
                if !out.is_empty() {
                    out.push('&');
                }
                encode(key, &mut out);
                out.push('=');
                encode(value, &mut out);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unclean_paths_are_cleaned() {
        for path in ["/", "/meshes", "/meshes/", "/meshes/default"] {
            assert_eq!(cleaned(path), None, "{path}");
        }
        for (path, clean) in [
            ("//meshes", "/meshes"),
            ("/meshes//x", "/meshes/x"),
            ("/meshes//", "/meshes/"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("//", "/"),
        ] {
            assert_eq!(cleaned(path).as_deref(), Some(clean), "{path}");
        }
    }

    #[test]
    fn a_plus_is_a_space_in_queries_only() {
        assert_eq!(decode("zones%2Binsights", false).unwrap(), "zones+insights");
        assert_eq!(decode("a+b", false).unwrap(), "a+b");
        assert_eq!(decode("a+b", true).unwrap(), "a b");
        assert_eq!(decode("%zz", false), None);
        assert_eq!(decode("%4", false), None);
        assert_eq!(decode("%ff", false), None);
    }

    #[test]
    fn the_query_of_the_next_page_is_sorted_and_encoded() {
        let query = Query::parse("size=2&tag=version:v1&name=page&x=y%26z&empty=");
        assert_eq!(
            query.with("offset", "2"),
            "empty=&name=page&offset=2&size=2&tag=version%3Av1&x=y%26z"
        );
        assert_eq!(query.first("empty"), None);
        assert_eq!(query.first("x"), Some("y&z"));
    }
}
