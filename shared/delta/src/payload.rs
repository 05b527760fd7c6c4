//! Encoded resources, in one piece or several.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// The encoded form of a resource, shared by all streams that send it.
///
/// A large one of which little changes at a time is best kept in pieces: its successor shares
/// those that stay the same. Payloads are equal when their bytes are, however these are cut.
#[derive(Clone)]
pub struct Payload(Form);

#[derive(Clone)]
enum Form {
    Whole([Bytes; 1]),
    Pieces { pieces: Arc<[Bytes]>, length: usize },
}

impl Payload {
    /// The pieces, in order.
    pub fn pieces(&self) -> &[Bytes] {
        match &self.0 {
            Form::Whole(whole) => whole,
            Form::Pieces { pieces, .. } => pieces,
        }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Whole([whole]) => whole.len(),
            Form::Pieces { length, .. } => *length,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes in one piece; copies them unless they are.
    pub fn to_bytes(&self) -> Bytes {
        match self.pieces() {
            [whole] => whole.clone(),
            pieces => pieces.concat().into(),
        }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Bytes::new().into()
    }
}

impl<B: Into<Bytes>> From<B> for Payload {
    fn from(whole: B) -> Self {
        Self(Form::Whole([whole.into()]))
    }
}

impl FromIterator<Bytes> for Payload {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let pieces: Arc<[Bytes]> = pieces.into_iter().collect();
        let length = pieces.iter().map(Bytes::len).sum();
        Self(Form::Pieces { pieces, length })
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |payload: &Self| payload.pieces().concat();
        self.len() == other.len()
            && match (self.pieces(), other.pieces()) {
                ([one], [other]) => one == other,
                _ => bytes(self) == bytes(other),
            }
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    /// Without its bytes: private keys may be among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_it_is_cut_does_not_matter() {
        let whole = Payload::from("abc");
        let pieces: Payload = ["a", "", "bc"].map(Bytes::from).into_iter().collect();
        assert_eq!(pieces, whole);
        assert_eq!(pieces.to_bytes(), "abc");
        assert_eq!(pieces.len(), 3);
        assert_ne!(pieces, Payload::from("abd"));
        assert_ne!(pieces, Payload::from("abcd"));
        assert!(Payload::from_iter([]).is_empty());
        assert_eq!(Payload::from_iter([]), Payload::default());
    }

    #[test]
    fn what_is_in_one_piece_is_not_copied() {
        let bytes = Bytes::from(vec![1; 100]);
        assert_eq!(
            Payload::from(bytes.clone()).to_bytes().as_ptr(),
            bytes.as_ptr()
        );
        assert_eq!(size_of::<Payload>(), 32);
    }
}
