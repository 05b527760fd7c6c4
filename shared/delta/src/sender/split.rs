//! How the items of a response that was refused as a whole are sent again.

use std::num::NonZeroUsize;

use crate::snapshot::Name;

/// Up to this many byte comparisons are spent on reading a refusal.
const MAX_READING: usize = 16 << 20;

/// The groups in which suspects are sent again, good ones first. Receivers usually name what they
/// refuse, so the names that the text does not mention are probably good; where that says
/// nothing, halves find one bad item among n with 2·log₂ n responses.
pub(super) fn groups(
    suspects: Vec<Name>,
    text: &str,
    max_chunk: Option<NonZeroUsize>,
) -> Vec<Vec<Name>> {
    let (first, second) = parts(suspects, text);
    let mut groups = Vec::new();
    for part in [first, second] {
        let size = max_chunk.map_or(part.len(), NonZeroUsize::get).max(1);
        groups.extend(part.chunks(size).map(<[_]>::to_vec));
    }
    groups
}

/// Two parts, each smaller than the whole.
fn parts(suspects: Vec<Name>, text: &str) -> (Vec<Name>, Vec<Name>) {
    if suspects.len().saturating_mul(text.len()) <= MAX_READING {
        let (named, others): (Vec<_>, Vec<_>) = suspects
            .iter()
            .cloned()
            .partition(|name| text.contains(&**name));
        if !named.is_empty() && !others.is_empty() {
            return (others, named);
        }
    }
    let mut first = suspects;
    let second = first.split_off(first.len() / 2);
    (first, second)
}
