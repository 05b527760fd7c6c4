//! Protobuf framing by hand, so that a large message is put together from encoded parts.
//!
//! The encoding is that of <https://protobuf.dev/programming-guides/encoding/>: a field of type
//! message or string is a tag, a length and the bytes.

use bytes::{BufMut, Bytes, BytesMut};
use mesh_delta::Payload;
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

/// A message as it is put together: what is small is copied, what is large is shared.
///
/// Its cost is that of its pieces, not of its bytes: a route configuration has megabytes, of which
/// a change touches a few thousand.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    done: Vec<Bytes>,
    small: BytesMut,
}

impl Pieces {
    /// What is smaller is copied.
    const SHARED: usize = 4 * 1024;
    /// No copied piece grows much larger: the allocator has memory of this size at hand.
    const FULL: usize = 64 * 1024;

    /// Where to write what is small.
    pub(crate) fn small(&mut self) -> &mut BytesMut {
        &mut self.small
    }

    /// Adds bytes that are encoded already.
    pub(crate) fn share(&mut self, bytes: &Bytes) {
        if bytes.len() >= Self::SHARED {
            self.flush();
            self.done.push(bytes.clone());
            return;
        }
        if self.small.len() + bytes.len() > Self::FULL {
            self.flush();
        }
        self.small.put_slice(bytes);
    }

    /// The message.
    pub(crate) fn finish(mut self) -> Payload {
        self.flush();
        match <[Bytes; 1]>::try_from(self.done) {
            Ok([whole]) => whole.into(),
            Err(pieces) => pieces.into_iter().collect(),
        }
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            // Its own memory, so that none waits for more to be written into it.
            let small = std::mem::take(&mut self.small);
            self.done.push(small.freeze());
        }
    }
}
