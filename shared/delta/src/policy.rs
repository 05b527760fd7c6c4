//! What differs between receivers: how a sender treats first responses, NACKs and removals.

use std::num::NonZeroUsize;
use std::time::Duration;

/// How a [`Sender`](crate::Sender) treats its receiver. Every field may be set freely; the
/// constructors are the combinations in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Every response of a type holds all of it until one was accepted. For receivers that take any
    /// response before their first ACK for the complete state, and delete what it lacks.
    pub complete_until_first_ack: bool,
    /// What happens to a response that was refused as a whole.
    pub on_nack: OnNack,
    /// How long a removal of a [lingering](crate::TypeSet::lingers) type waits once nothing
    /// needs the name any more: requests under way may still use it, and a receiver that has
    /// just reconnected may not have said yet what it holds of other types.
    pub linger: Duration,
    /// How long an item waits for needs that are not [hard](crate::TypeSet::is_hard_need).
    pub need_timeout: Duration,
    /// The most entries in a response that need not be complete. For peers that announced it.
    pub max_chunk: Option<NonZeroUsize>,
    /// The most bytes of payloads, names and versions in a response that need not be complete;
    /// an item that has more is sent alone.
    pub max_bytes: Option<NonZeroUsize>,
    /// Whether the receiver is told that an item of a type that is not
    /// [whole](crate::TypeSet::is_whole) is gone. If not, it holds such an item until it
    /// unsubscribes from the name.
    pub removes_named: bool,
    /// The most names of one type that a receiver may subscribe to: each is remembered, whether
    /// it exists or not. Who goes beyond loses the stream.
    pub max_names: usize,
}

/// What happens to a response that was refused as a whole.
///
/// A refusal that lists resources needs no choice: the listed ones are not sent again until they
/// change and the others are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnNack {
    /// All its items count as rejected; each is sent again when it changes.
    KeepUntilChanged,
    /// Its items are sent again in smaller responses, until the refused ones stand alone: those
    /// are rejected until they change, the good ones arrive. Which items a receiver has applied
    /// from a refused response differs (none; the good ones), and this is right for either.
    Split,
    /// The whole type is sent again after a while, growing from `after` to `max`, until it is
    /// accepted or was refused `attempts` times without having changed. A change is sent no earlier
    /// than `after` the refusal.
    ResendWholeType {
        /// The first wait.
        after: Duration,
        /// The longest wait.
        max: Duration,
        /// How often the same content is tried; `u32::MAX` for ever.
        attempts: u32,
    },
}

impl Policy {
    /// Towards our own control planes, which say what they reject.
    pub fn own() -> Self {
        Self {
            complete_until_first_ack: false,
            on_nack: OnNack::Split,
            linger: Duration::ZERO,
            need_timeout: Duration::from_secs(5),
            max_chunk: None,
            max_bytes: None,
            removes_named: true,
            max_names: 100_000,
        }
    }

    /// Towards Envoy: an edit of routes loses no request.
    ///
    /// It passes over removals of what it asked for by name: connections of a listener that has
    /// changed or gone are answered from the routes that they had, until it ends them and
    /// unsubscribes. So long it needs what those routes name.
    pub fn envoy() -> Self {
        Self {
            linger: Duration::from_secs(5),
            removes_named: false,
            ..Self::own()
        }
    }

    /// Towards stock control planes whose "first response" ends with their first answer, ACK or
    /// NACK, and which apply the good resources of a response that they refuse.
    pub fn stock() -> Self {
        Self::own()
    }

    /// Towards stock control planes whose "first response" ends with their first ACK only and
    /// which count on the whole type being sent again after a NACK.
    pub fn stock_resending() -> Self {
        Self {
            complete_until_first_ack: true,
            on_nack: OnNack::ResendWholeType {
                after: Duration::from_secs(5),
                max: Duration::from_secs(60),
                attempts: u32::MAX,
            },
            ..Self::own()
        }
    }
}
