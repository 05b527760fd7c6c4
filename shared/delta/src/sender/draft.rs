//! Decides what the next response of a type says.

use super::entry::Phase;
use super::ordering::{Order, Step};
use super::state::TypeState;
use crate::message::Time;
use crate::snapshot::{Item, Name, TypeSet};

/// What is around an item in an encoded response, generously.
const AROUND: usize = 128;

/// A response without its nonce.
#[derive(Debug)]
pub(super) struct Draft<T> {
    pub(super) ty: T,
    pub(super) resources: Vec<(Name, Item<T>)>,
    pub(super) removed: Vec<Name>,
    pub(super) is_complete: bool,
    /// Whether it is a group of suspects.
    pub(super) is_retry: bool,
}

impl<T: TypeSet> Draft<T> {
    fn empty(ty: T) -> Self {
        Self {
            ty,
            resources: Vec::new(),
            removed: Vec::new(),
            is_complete: false,
            is_retry: false,
        }
    }

    fn len(&self) -> usize {
        self.resources.len() + self.removed.len()
    }

    /// Whether it says nothing but that names are gone, which is said in the opposite order.
    pub(super) fn is_removal(&self) -> bool {
        self.resources.is_empty() && !self.removed.is_empty()
    }
}

/// What else was found while drafting.
#[derive(Debug)]
pub(super) struct Found<T> {
    /// Names that have to wait, with the reason.
    pub(super) waits: Vec<(T, Name, Step<T>)>,
    /// How many groups of suspects have nothing left to send.
    pub(super) spent: Vec<(T, usize)>,
    /// When the first of the waits is over.
    pub(super) deadline: Option<Time>,
}

impl<T> Found<T> {
    pub(super) fn new() -> Self {
        Self {
            waits: Vec::new(),
            spent: Vec::new(),
            deadline: None,
        }
    }

    pub(super) fn wake_at(&mut self, at: Time) {
        self.deadline = Some(self.deadline.map_or(at, |deadline| deadline.min(at)));
    }
}

/// The next response of a type, if one may be sent now.
pub(super) fn draft<T: TypeSet>(
    order: &mut Order<'_, T>,
    ty: T,
    found: &mut Found<T>,
) -> Option<Draft<T>> {
    let types = order.types;
    let state = &types[ty.index()];
    if state.subscription.is_none() || state.in_flight.is_some() {
        return None;
    }
    match state.resend_time() {
        Ok(at) if at <= order.now => {}
        Ok(at) => {
            found.wake_at(at);
            return None;
        }
        Err(()) => return None,
    }
    if state.must_be_complete(order.policy) || state.resend.is_some() {
        return complete(order, ty, state, found);
    }
    let has_retries = match state.retry_at {
        _ if state.retries.is_empty() => false,
        Some(at) if at > order.now => {
            found.wake_at(at);
            false
        }
        _ => true,
    };
    if has_retries && state.prefers_retry {
        return retry(order, ty, state, found).or_else(|| changes(order, ty, state, found));
    }
    let draft = changes(order, ty, state, found);
    match draft {
        None if has_retries => retry(order, ty, state, found),
        draft => draft,
    }
}

/// Everything of the type.
fn complete<T: TypeSet>(
    order: &mut Order<'_, T>,
    ty: T,
    state: &TypeState<T>,
    found: &mut Found<T>,
) -> Option<Draft<T>> {
    if !state.is_first() && state.queue.is_empty() && state.resend.is_none() {
        return None;
    }
    let offered = order.offered.items(ty);
    let mut draft = Draft::empty(ty);
    let mut has_all = true;
    for (name, _) in offered.iter().filter(|(name, _)| state.covers(name)) {
        has_all &= take(order, &mut draft, name, found);
    }
    for name in &state.queue {
        if !offered.contains_key(name) {
            // A receiver deletes what a complete response lacks; this is for those that do not.
            take(order, &mut draft, name, found);
        }
    }
    let is_wildcard = state
        .subscription
        .as_ref()
        .is_some_and(|subscription| subscription.wildcard);
    draft.is_complete = has_all && is_wildcard;
    // If all there is has to wait, "nothing" would be a lie.
    (draft.len() > 0 || has_all).then_some(draft)
}

/// What changed, or was asked for, and was not sent since.
fn changes<T: TypeSet>(
    order: &mut Order<'_, T>,
    ty: T,
    state: &TypeState<T>,
    found: &mut Found<T>,
) -> Option<Draft<T>> {
    let max = order.policy.max_chunk.map_or(usize::MAX, |max| max.get());
    let most_bytes = order.policy.max_bytes.map_or(usize::MAX, |max| max.get());
    let offered = order.offered.items(ty);
    let mut draft = Draft::empty(ty);
    let mut has_all = true;
    let mut bytes = 0_usize;
    for name in &state.queue {
        let item = offered.get(name);
        let more = item.map_or(0, |item| item.payload.len() + item.version.len());
        bytes = bytes.saturating_add(name.len() + more + AROUND);
        if draft.len() == max || draft.len() > 0 && bytes > most_bytes {
            break;
        }
        has_all &= take(order, &mut draft, name, found);
    }
    let owes_empty = state.owes_any && state.retries.is_empty() || state.is_first() && has_all;
    (draft.len() > 0 || owes_empty).then_some(draft)
}

/// The next group of suspects, the first of `retries` then. Those that may not be sent now are left to [`changes`].
fn retry<T: TypeSet>(
    order: &mut Order<'_, T>,
    ty: T,
    state: &TypeState<T>,
    found: &mut Found<T>,
) -> Option<Draft<T>> {
    let mut draft = Draft {
        is_retry: true,
        ..Draft::empty(ty)
    };
    let mut spent = 0;
    for group in &state.retries {
        let is_suspect = |name: &&Name| {
            state
                .entries
                .get(*name)
                .is_some_and(|entry| entry.phase == Phase::Suspect)
        };
        for name in group.iter().filter(is_suspect) {
            take(order, &mut draft, name, found);
        }
        if draft.len() > 0 {
            break;
        }
        spent += 1;
    }
    found.spent.push((ty, spent));
    (draft.len() > 0).then_some(draft)
}

/// Adds the name to the draft if it may be sent now. Returns whether nothing is left out: a
/// removal that has to wait leaves out nothing that is offered.
fn take<T: TypeSet>(
    order: &mut Order<'_, T>,
    draft: &mut Draft<T>,
    name: &Name,
    found: &mut Found<T>,
) -> bool {
    let wait = match order.step(draft.ty, name) {
        Step::Send(item) => {
            draft.resources.push((name.clone(), item));
            return true;
        }
        Step::Remove => {
            draft.removed.push(name.clone());
            return true;
        }
        wait => wait,
    };
    if let Step::Blocked { until: Some(until) } | Step::Deferred { until: Some(until) } = wait {
        found.wake_at(until);
    }
    let is_removal = matches!(wait, Step::Deferred { .. });
    found.waits.push((draft.ty, name.clone(), wait));
    is_removal
}
