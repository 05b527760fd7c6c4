//! What kind of control plane a peer is, as far as the protocol shows it.

use std::num::NonZeroUsize;

use mesh_delta::Policy;

use crate::dice::{Dice, mixed};
use crate::model::store::Ty;

/// What one of ours can do beyond Kuma's protocol. Each may be missing, as it is in releases that
/// are older or newer than the ability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abilities {
    /// It says what it holds when it comes back.
    pub resume: bool,
    /// What it holds is compared with what it should hold.
    pub digests: bool,
    /// Responses to it may be in pieces.
    pub chunks: bool,
    /// It says which resources it refuses.
    pub rejections: bool,
}

/// A kind of control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One of ours.
    Own(Abilities),
    /// Its first response lasts until an ACK, its NACKs pass, and what it refused comes again.
    Stock25,
    /// Its first response lasts until an ACK, and it applies nothing of what it refuses.
    Stock26,
    /// Its first response lasts until an answer, and it applies the good part of what it refuses.
    Stock27,
    /// As 2.7, and it answers requests that answer nothing.
    Stock214,
}

impl Kind {
    /// One of ours, as it is now, or one that does not say what it holds.
    pub(super) fn ours(digests: bool) -> Self {
        Self::Own(Abilities {
            resume: true,
            digests,
            chunks: true,
            rejections: true,
        })
    }

    /// One of ours, with chance abilities.
    pub(super) fn own(dice: &mut Dice) -> Self {
        let rejections = dice.percent(70);
        Self::Own(Abilities {
            resume: dice.percent(70),
            // Who does not say what it refuses holds what nobody else can know.
            digests: rejections && dice.percent(70),
            chunks: dice.percent(70),
            rejections,
        })
    }

    /// Any.
    pub(super) fn any(dice: &mut Dice) -> Self {
        match dice.below(8) {
            0 => Self::Stock25,
            1 => Self::Stock26,
            2 => Self::Stock27,
            3 => Self::Stock214,
            _ => Self::own(dice),
        }
    }

    /// A stock one.
    pub(super) fn stock(dice: &mut Dice) -> Self {
        match dice.below(4) {
            0 => Self::Stock25,
            1 => Self::Stock26,
            2 => Self::Stock27,
            _ => Self::Stock214,
        }
    }

    /// What it can do beyond Kuma's protocol.
    pub(super) fn abilities(self) -> Abilities {
        match self {
            Self::Own(abilities) => abilities,
            _ => Abilities {
                resume: false,
                digests: false,
                chunks: false,
                rejections: false,
            },
        }
    }

    /// Whether it is one of ours.
    pub(super) fn is_own(self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// How one of ours sends to it, as KDS chooses by what a peer announces.
    pub(super) fn policy(self, is_global: bool, chunk: usize) -> Policy {
        let policy = match self {
            Self::Own(_) => return Policy::own(),
            Self::Stock25 => Policy::stock_resending(),
            Self::Stock26 => Policy {
                complete_until_first_ack: true,
                ..Policy::stock()
            },
            // A global of these cannot be told from one of 2.6.
            Self::Stock27 | Self::Stock214 => Policy {
                complete_until_first_ack: is_global,
                ..Policy::stock()
            },
        };
        Policy {
            max_chunk: NonZeroUsize::new(chunk),
            ..policy
        }
    }

    /// Whether it refuses this content for ever. 2.5 judges nothing.
    pub(super) fn refuses(self, taste: u64, ty: Ty, name: &str, content: &str) -> bool {
        if self == Self::Stock25 || taste == 0 {
            return false;
        }
        let text = name.bytes().chain([ty as u8]).chain(content.bytes());
        let hash = text.fold(taste, |hash, byte| mixed(hash ^ u64::from(byte)));
        hash % 7 == 0
    }
}
