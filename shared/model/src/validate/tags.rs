//! Tags and tag selectors.

use std::collections::BTreeMap;

use mesh_proto::mesh::Selector;

use super::{AT_LEAST_ONE, Violations};
use crate::tags;

/// What is asked of a map of tags besides well-formed keys and values.
#[derive(Clone, Copy, Default)]
pub(super) struct Rules<'a> {
    /// Values select: `/` may occur in them, and `*` alone means any.
    pub(super) is_selector: bool,
    /// At least one tag.
    pub(super) is_required: bool,
    /// `kuma.io/service` among them.
    pub(super) needs_service: bool,
    /// Keys that only control planes write.
    pub(super) forbidden: &'a [&'a str],
}

/// What selects services or gateways.
pub(super) const SELECTOR: Rules<'_> = Rules {
    is_selector: true,
    is_required: true,
    needs_service: true,
    forbidden: &[],
};

/// Checks `tags` at `path`; the places are `path` and `path["key"]`.
pub(super) fn check(
    found: &mut Violations,
    path: &str,
    tags: &BTreeMap<String, String>,
    rules: Rules<'_>,
) {
    if tags.is_empty() && rules.is_required {
        found.add(path, "must have at least one tag");
    }
    for (key, value) in tags {
        let place = format!("{path}[{key:?}]");
        if key.is_empty() {
            found.add(path, "tag name must be non-empty");
        }
        if !key.bytes().all(|b| is_plain(b) || b == b'/') {
            found.add(
                place.as_str(),
                "tag name must consist of letters, digits, '-', '_', '.', ':' and '/'",
            );
        }
        if rules.forbidden.contains(&key.as_str()) {
            found.add(place.as_str(), "tag name must not be used here");
        }
        if value.is_empty() {
            found.add(place.as_str(), "tag value must be non-empty");
        } else if rules.is_selector {
            if value != tags::ANY && !value.bytes().all(|b| is_plain(b) || b == b'/') {
                found.add(
                    place,
                    "tag value must be '*' or consist of letters, digits, '-', '_', '.', ':' and '/'",
                );
            }
        } else if !value.bytes().all(is_plain) {
            found.add(
                place,
                "tag value must consist of letters, digits, '-', '_', '.' and ':'",
            );
        }
    }
    if rules.needs_service && !tags.contains_key(tags::SERVICE) {
        found.add(path, missing_service());
    }
}

/// Checks a list of selectors at `path`, of which at least one is needed.
pub(super) fn check_selectors(found: &mut Violations, path: &str, selectors: &[Selector]) {
    if selectors.is_empty() {
        found.add(path, AT_LEAST_ONE);
    }
    for (i, selector) in selectors.iter().enumerate() {
        check(
            found,
            &format!("{path}[{i}].match"),
            &selector.r#match,
            SELECTOR,
        );
    }
}

pub(super) fn missing_service() -> String {
    format!("mandatory tag {:?} is missing", tags::SERVICE)
}

/// Whether `protocol` is one that tags and inbounds may name; capitals do not matter.
pub(super) fn is_protocol(protocol: &str) -> bool {
    PROTOCOLS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(protocol))
}

/// The protocols of [`is_protocol`].
pub(super) const PROTOCOLS: [&str; 5] = ["tcp", "http", "http2", "grpc", "kafka"];

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':')
}
