//! What a receiver brings along from an earlier stream.
//!
//! It says the version of each type that it accepted last, and which names it wants. If that
//! version is the one of what is offered, it holds all of it; otherwise all is sent again, and
//! what is equal changes nothing. Of the clusters it says no names, but it wants endpoints for
//! those that it has: so clusters wait for that request.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Items, World, WorldRequest, kept, to_names, version_of};
use crate::message::{ProtocolError, Request, Time};
use crate::sender::Sender;
use crate::snapshot::{Name, TypeSet, Version};

/// How long a whole type waits for the request that tells its names.
const PATIENCE: Duration = Duration::from_secs(1);
/// A version that no item has: something is held, and nobody knows what.
const UNKNOWN: &str = "?";

/// A type whose first request waits for that of its companion.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub(super) until: Time,
    ty: T,
    companion: T,
}

impl<T: TypeSet> World<T> {
    /// Takes in the first request of a type.
    pub(super) fn start(
        &mut self,
        now: Time,
        sender: &mut Sender<T>,
        request: WorldRequest<T>,
    ) -> Result<(), ProtocolError<T>> {
        let ty = request.ty;
        let names = to_names(request.names);
        if names.is_empty() && !ty.is_whole() {
            // Towards the sender no names would mean all.
            return Ok(());
        }
        let offered = sender.offered().map(|offered| offered.items(ty).clone());
        let offered = offered.unwrap_or_default();
        let covered: Items<T> = if ty.is_whole() {
            offered
                .iter()
                .map(|(n, i)| (n.clone(), kept(ty, i)))
                .collect()
        } else {
            let wanted = names.iter().filter_map(|name| offered.get_key_value(name));
            wanted.map(|(n, i)| (n.clone(), kept(ty, i))).collect()
        };
        let state = &mut self.types[ty.index()];
        state.is_started = true;
        state.names.clone_from(&names);
        let mut first = if ty.is_whole() {
            Request::wildcard(ty)
        } else {
            Request::new(ty).subscribe(names.iter().cloned())
        };
        if let Some(version) = &request.version {
            if *version == version_of(&covered) {
                let versions = covered.iter();
                first.initial_versions = versions
                    .map(|(n, i)| (n.clone(), i.version.clone()))
                    .collect();
                state.version = request.version;
                state.held = covered;
            } else if let Some(companion) = ty.companion().filter(|_| ty.is_whole())
                && !self.types[companion.index()].is_started
            {
                let until = now + PATIENCE;
                self.waiting = Some(Waiting {
                    until,
                    ty,
                    companion,
                });
                return Ok(());
            } else {
                first.initial_versions = self.unknown(ty);
            }
        }
        sender.on_request(now, first)?;
        let awaited = |w: &Waiting<T>| ty.index() >= w.companion.index();
        if self.waiting.as_ref().is_some_and(awaited) {
            self.stop_waiting(now, sender);
        }
        Ok(())
    }

    /// The waiting type begins, with what is known of it by now.
    pub(super) fn stop_waiting(&mut self, now: Time, sender: &mut Sender<T>) {
        let Some(Waiting { ty, .. }) = self.waiting.take() else {
            return;
        };
        let initial_versions = self.unknown(ty);
        let offered = sender.offered().map(|offered| offered.items(ty).clone());
        let is_gone = |name: &&Name| !offered.as_ref().is_some_and(|o| o.contains_key(*name));
        self.stand_in_for(ty, initial_versions.keys().filter(is_gone));
        let first = Request {
            initial_versions,
            ..Request::wildcard(ty)
        };
        let begun = sender.on_request(now, first);
        debug_assert!(
            begun.is_ok(),
            "a first request without names is never too much"
        );
    }

    /// What is held of a type in versions that nobody here knows.
    fn unknown(&mut self, ty: T) -> BTreeMap<Name, Version> {
        let named = match ty.companion() {
            Some(companion) if ty.is_whole() => &self.types[companion.index()].names,
            _ => &self.types[ty.index()].names,
        };
        let mut unknown: BTreeMap<Name, Version> = named
            .iter()
            .map(|name| (name.clone(), Version::from(UNKNOWN)))
            .collect();
        if ty.is_whole() && ty.companion().is_none() {
            // At least one, of which nobody knows what it needs.
            unknown.insert(UNKNOWN.into(), UNKNOWN.into());
        }
        self.types[ty.index()].unknown = unknown.keys().cloned().collect();
        unknown
    }
}
