//! Protobuf framing by hand, so that a large message is put together from encoded parts.
//!
//! The encoding is that of <https://protobuf.dev/programming-guides/encoding/>: a field of type
//! message or string is a tag, a length and the bytes.

use bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// The length of a field's tag, length and `length` bytes of content.
pub(crate) fn field_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

/// Writes the tag and length before `length` bytes of content.
pub(crate) fn put_header(tag: u32, length: usize, out: &mut impl BufMut) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

/// Writes a field.
pub(crate) fn put_field(tag: u32, content: &[u8], out: &mut impl BufMut) {
    put_header(tag, content.len(), out);
    out.put_slice(content);
}

/// Writes a field of type `bool`.
pub(crate) fn put_bool(tag: u32, value: bool, out: &mut impl BufMut) {
    encode_key(tag, WireType::Varint, out);
    encode_varint(u64::from(value), out);
}
