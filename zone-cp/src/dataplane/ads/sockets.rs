//! Listeners whose socket Envoy could not open.
//!
//! Envoy tries once. Whatever took the port may end, and nothing in the configuration changes
//! then, so such listeners are sent again as they are, after longer and longer waits.

use std::time::Duration;

use mesh_delta::{Rejected, Time};
use zone_translate::EnvoyType;

use super::refusal;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The sockets of one proxy.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// When the next attempt is, after how long a wait.
    next: Option<(Time, Duration)>,
    /// What is being tried again, and was refused before.
    trying: Vec<Rejected<EnvoyType>>,
}

impl Sockets {
    /// Looks at what is refused after an answer for listeners.
    pub(super) fn answered(
        &mut self,
        now: Time,
        mut rejections: impl Iterator<Item = Rejected<EnvoyType>>,
    ) {
        self.trying.clear();
        if !rejections.any(|one| is_of_socket(&one)) {
            self.next = None;
            return;
        }
        match self.next {
            Some((at, _)) if at > now => {}
            last => {
                let wait = last.map_or(FIRST_WAIT, |(_, wait)| (wait * 2).min(LONGEST_WAIT));
                self.next = Some((now + wait, wait));
            }
        }
    }

    /// When there is something to try again.
    pub(super) fn due(&self) -> Option<Time> {
        let (at, _) = self.next?;
        self.trying.is_empty().then_some(at)
    }

    /// What to send again now.
    pub(super) fn try_again(
        &mut self,
        now: Time,
        rejections: impl Iterator<Item = Rejected<EnvoyType>>,
    ) -> &[Rejected<EnvoyType>] {
        if self.due().is_some_and(|at| at <= now) {
            self.trying = rejections.filter(is_of_socket).collect();
            if self.trying.is_empty() {
                self.next = None;
            }
            &self.trying
        } else {
            &[]
        }
    }

    /// What was refused and is being tried again.
    pub(super) fn trying(&self) -> &[Rejected<EnvoyType>] {
        &self.trying
    }
}

fn is_of_socket(one: &Rejected<EnvoyType>) -> bool {
    one.ty == EnvoyType::Listener && refusal::is_about_socket(&one.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(reason: &str) -> impl Iterator<Item = Rejected<EnvoyType>> {
        let one = Rejected {
            ty: EnvoyType::Listener,
            name: "edge:HTTP:80".into(),
            version: Some("1".into()),
            reason: reason.into(),
        };
        std::iter::once(one)
    }

    const TAKEN: &str = "cannot bind '127.0.0.1:80': Address already in use";

    #[test]
    fn a_taken_port_is_tried_again_after_longer_and_longer_waits() {
        let mut sockets = Sockets::default();
        let mut now = Duration::ZERO;
        let mut waits = Vec::new();
        for _ in 0..6 {
            sockets.answered(now, rejected(TAKEN));
            let due = sockets.due().unwrap();
            waits.push((due - now).as_secs());
            assert!(
                sockets.try_again(now, rejected(TAKEN)).is_empty(),
                "not yet"
            );
            now = due;
            assert_eq!(sockets.try_again(now, rejected(TAKEN)).len(), 1);
            assert_eq!(sockets.due(), None, "the answer comes first");
        }
        assert_eq!(waits, [1, 2, 4, 8, 15, 15]);
        sockets.answered(now, std::iter::empty());
        assert_eq!((sockets.due(), sockets.trying()), (None, &[][..]));
    }

    #[test]
    fn other_refusals_are_not_tried_again() {
        let mut sockets = Sockets::default();
        sockets.answered(Duration::ZERO, rejected("no filter chains"));
        assert_eq!(sockets.due(), None);
    }
}
