//! The encoded form of the tree: a `prefix_match_map` over `:path`, whose values are lists of
//! routes
//! (<https://www.envoyproxy.io/docs/envoy/latest/xds/type/matcher/v3/matcher.proto>).
//!
//! Parts of some hundred routes are kept in one piece each, with a hash, so that what did not
//! change is neither encoded nor copied nor hashed again.

use std::sync::LazyLock;

use bytes::{BufMut as _, Bytes, BytesMut};
use sha2::{Digest as _, Sha256};

use super::node::Node;
use super::{Rank, Routes, Summary};
use crate::assemble::{self, Pieces};
use crate::envoy::{self, Named as _};

/// A part of the tree in one piece has at most as many routes of its own as that many full buckets.
pub(super) const BUCKETS_PER_PART: usize = 8;

/// Field numbers; each is named after its message.
mod field {
    pub(super) const MATCHER_TREE: u32 = 2;
    pub(super) const MATCHER_ON_NO_MATCH: u32 = 3;
    pub(super) const TREE_INPUT: u32 = 1;
    pub(super) const TREE_PREFIX_MATCH_MAP: u32 = 3;
    pub(super) const MAP_ENTRY: u32 = 1;
    pub(super) const ENTRY_KEY: u32 = 1;
    pub(super) const ENTRY_VALUE: u32 = 2;
    pub(super) const ON_MATCH_ACTION: u32 = 2;
    pub(super) const EXTENSION_NAME: u32 = 1;
    pub(super) const EXTENSION_CONFIG: u32 = 2;
    pub(super) const ANY_TYPE_URL: u32 = 1;
    pub(super) const ANY_VALUE: u32 = 2;
    pub(super) const LIST_ROUTES: u32 = 1;
}

/// A node as it is encoded.
#[derive(Debug)]
pub(super) struct Part {
    /// Entries of the map: those of all nodes below, or only the node's own. The root's is not an
    /// entry, but what to do when no key fits.
    bytes: Bytes,
    is_whole: bool,
    /// Of all nodes below, too.
    length: usize,
    hash: [u8; 32],
}

impl Part {
    /// A node whose buckets, and those of the nodes below, are these.
    pub(super) fn of_map_entries(entries: Vec<Bytes>) -> Self {
        let bytes: Bytes = match <[Bytes; 1]>::try_from(entries) {
            Ok([only]) => only,
            Err(entries) => entries.concat().into(),
        };
        Self {
            length: bytes.len(),
            hash: Sha256::digest(&bytes).into(),
            bytes,
            is_whole: true,
        }
    }

    /// A node with a bucket of its own and these below it.
    pub(super) fn of_branch(key: &str, bucket: Bytes, below: &[&Self]) -> Self {
        let is_root = key.is_empty();
        let bytes = if is_root {
            bucket
        } else {
            map_entry(key, &bucket)
        };
        let mut hasher = Sha256::new();
        hasher.update(Sha256::digest(&bytes));
        below.iter().for_each(|part| hasher.update(part.hash));
        let length_below: usize = below.iter().map(|part| part.length).sum();
        Self {
            length: length_below + if is_root { 0 } else { bytes.len() },
            hash: hasher.finalize().into(),
            bytes,
            is_whole: false,
        }
    }

    /// Whether nothing below has a part of its own.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }
}

/// What to do with a path under a key: to try these routes, in order.
pub(super) fn on_match<'a>(routes: impl IntoIterator<Item = &'a Routes>) -> Bytes {
    const NAME: &str = "routes";
    static TYPE_URL: LazyLock<String> = LazyLock::new(|| {
        let routes = Vec::new();
        envoy::route::RouteList { routes }.to_any().type_url
    });
    let mut routes: Vec<(&Rank, &Bytes)> = routes.into_iter().flatten().collect();
    routes.sort_unstable_by_key(|(rank, _)| *rank);
    let list: usize = routes.iter().map(|(_, route)| route.len()).sum();
    // A field without content is left out, as everybody else does.
    let value = match list {
        0 => 0,
        _ => assemble::field_len(field::ANY_VALUE, list),
    };
    let any = assemble::field_len(field::ANY_TYPE_URL, TYPE_URL.len()) + value;
    let extension = assemble::field_len(field::EXTENSION_NAME, NAME.len())
        + assemble::field_len(field::EXTENSION_CONFIG, any);
    let length = assemble::field_len(field::ON_MATCH_ACTION, extension);
    let mut out = BytesMut::with_capacity(length);
    assemble::put_header(field::ON_MATCH_ACTION, extension, &mut out);
    assemble::put_field(field::EXTENSION_NAME, NAME.as_bytes(), &mut out);
    assemble::put_header(field::EXTENSION_CONFIG, any, &mut out);
    assemble::put_field(field::ANY_TYPE_URL, TYPE_URL.as_bytes(), &mut out);
    if list > 0 {
        assemble::put_header(field::ANY_VALUE, list, &mut out);
    }
    let mut tag = BytesMut::new();
    assemble::put_header(field::LIST_ROUTES, 0, &mut tag);
    for (_, route) in routes {
        // They are framed as a field of a virtual host; only the number of the field differs.
        out.put_u8(tag[0]);
        out.put_slice(&route[1..]);
    }
    out.freeze()
}

/// An entry of the map.
pub(super) fn map_entry(key: &str, on_match: &[u8]) -> Bytes {
    let length = assemble::field_len(field::ENTRY_KEY, key.len())
        + assemble::field_len(field::ENTRY_VALUE, on_match.len());
    let mut out = BytesMut::with_capacity(assemble::field_len(field::MAP_ENTRY, length));
    assemble::put_header(field::MAP_ENTRY, length, &mut out);
    assemble::put_field(field::ENTRY_KEY, key.as_bytes(), &mut out);
    assemble::put_field(field::ENTRY_VALUE, on_match, &mut out);
    out.freeze()
}

/// What a matcher with this root amounts to.
pub(super) fn matcher_summary(root: &Node) -> Summary {
    let Some(part) = root.part() else {
        return Summary::default();
    };
    let tree = tree_length(part);
    Summary {
        length: assemble::field_len(field::MATCHER_TREE, tree)
            + assemble::field_len(field::MATCHER_ON_NO_MATCH, part.bytes.len()),
        hash: part.hash,
    }
}

/// Writes a matcher with this root.
pub(super) fn write_matcher(root: &Node, out: &mut Pieces) {
    let Some(part) = root.part() else {
        return;
    };
    assemble::put_header(field::MATCHER_TREE, tree_length(part), out.small());
    assemble::put_field(field::TREE_INPUT, &input(), out.small());
    assemble::put_header(field::TREE_PREFIX_MATCH_MAP, part.length, out.small());
    root.children_with_parts(part)
        .for_each(|child| write_part(child, out));
    assemble::put_header(field::MATCHER_ON_NO_MATCH, part.bytes.len(), out.small());
    out.share(&part.bytes);
}

fn write_part(node: &Node, out: &mut Pieces) {
    let Some(part) = node.part() else {
        return;
    };
    out.share(&part.bytes);
    node.children_with_parts(part)
        .for_each(|child| write_part(child, out));
}

fn tree_length(root: &Part) -> usize {
    assemble::field_len(field::TREE_INPUT, input().len())
        + assemble::field_len(field::TREE_PREFIX_MATCH_MAP, root.length)
}

/// What is looked up: the path, with its query.
fn input() -> Vec<u8> {
    use prost::Message as _;
    envoy::xds_core::TypedExtensionConfig {
        name: "path".to_owned(),
        typed_config: Some(
            envoy::matcher::HttpRequestHeaderMatchInput {
                header_name: ":path".to_owned(),
            }
            .to_any(),
        ),
    }
    .encode_to_vec()
}
