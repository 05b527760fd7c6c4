//! Clusters that a receiver has from an earlier stream and that are no longer offered.
//!
//! Nobody here can say such a cluster again, and a response without it takes it away while routes
//! of the earlier stream still name it. So the first response about clusters comes after all that
//! can come before it: after the routes, unless one needs a cluster that is new.

use super::{Open, World, WorldResponse};
use crate::message::{Request, Time};
use crate::sender::Sender;
use crate::snapshot::{Name, TypeSet};

/// The first response of a whole type, from when it is expected until it is sent.
#[derive(Debug)]
pub(super) struct Withheld<T: TypeSet> {
    ty: T,
    response: Option<(WorldResponse<T>, Open<T>)>,
    /// When it is sent if nothing needs it before.
    pub(super) deadline: Option<Time>,
}

impl<T: TypeSet> World<T> {
    pub(super) fn expect_to_withhold(&mut self, ty: T) {
        self.withheld = Some(Withheld {
            ty,
            response: None,
            deadline: None,
        });
    }

    /// Passes a response on, unless it has to wait.
    pub(super) fn withhold(
        &mut self,
        now: Time,
        sender: &mut Sender<T>,
        response: WorldResponse<T>,
        open: Open<T>,
    ) -> Option<WorldResponse<T>> {
        match &mut self.withheld {
            Some(withheld) if withheld.ty == response.ty => {
                withheld.response = Some((response, open));
                withheld.deadline = Some(now + sender.policy().linger);
                None
            }
            _ => {
                self.open(sender, &response, open);
                Some(response)
            }
        }
    }

    /// The withheld response, once everything else was answered.
    pub(super) fn release(
        &mut self,
        now: Time,
        sender: &mut Sender<T>,
    ) -> Option<WorldResponse<T>> {
        let withheld = self.withheld.as_ref()?;
        let deadline = withheld.deadline?;
        let is_quiet = self.types.iter().all(|state| state.open.is_none());
        let is_due = deadline <= now || sender.blocked().next().is_some();
        if !is_quiet || !is_due {
            return None;
        }
        let ty = withheld.ty;
        let (response, open) = self.withheld.take()?.response?;
        let is_back = |name: &Name| {
            let offered = sender.offered();
            offered.is_some_and(|offered| offered.items(ty).contains_key(name))
                && !open.next.contains_key(name)
        };
        if self.types[ty.index()].unknown.iter().any(is_back) {
            // What is offered again meanwhile must not be taken away.
            sender.retract(ty);
            return self.poll(now, sender);
        }
        self.open(sender, &response, open);
        // Clusters that it changes wait for endpoints, and these were sent before.
        if let Some(companion) = ty.companion() {
            let names = self.types[companion.index()].names.iter().cloned();
            let again = Request::new(companion).subscribe(names);
            let asked = sender.on_request(now, again);
            debug_assert!(asked.is_ok(), "these names were subscribed to before");
        }
        Some(response)
    }
}
