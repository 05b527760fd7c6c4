//! A control plane as the receiver: our own state machine over a store.

use std::collections::BTreeMap;

use imbl::OrdMap;

use super::{Change, Items, Manners, NAMES, Offers, Peer, Scene};
use crate::testkit::Plain;
use crate::{
    Item, Name, Receiver, Rejection, Request, Response, Resume, TypeSet, Verdict, Version,
};

/// What is offered on a stream without references.
#[derive(Debug, Default)]
pub(super) struct Things {
    items: [OrdMap<Name, Item<Plain>>; 2],
}

impl Scene for Things {
    type Type = Plain;

    fn change(&mut self, changes: &[Change]) {
        for (ty, name, version, _) in changes {
            let items = &mut self.items[ty % 2];
            let name = Name::from(NAMES[*name]);
            match version {
                Some(version) => {
                    items.insert(name, Item::new(version.to_string(), Vec::new()));
                }
                None => _ = items.remove(&name),
            }
        }
    }

    fn items(&self) -> Items<Plain> {
        let items = self.items.iter().cloned();
        Plain::ALL.iter().copied().zip(items).collect()
    }
}

/// A control plane.
#[derive(Debug)]
pub(super) struct OwnPeer {
    manners: Manners,
    receiver: Receiver<Plain>,
    /// With the revision that it was sent at.
    store: BTreeMap<(Plain, Name), (Version, u64)>,
}

impl OwnPeer {
    pub(super) fn new(manners: Manners) -> Self {
        Self {
            manners,
            receiver: Receiver::new(),
            store: BTreeMap::new(),
        }
    }

    fn held(&self, ty: Plain) -> OrdMap<Name, Version> {
        self.store
            .iter()
            .filter(|((of, _), _)| *of == ty)
            .map(|((_, name), (version, _))| (name.clone(), version.clone()))
            .collect()
    }
}

impl Peer for OwnPeer {
    type Type = Plain;

    fn connect(&mut self, resumes: bool) -> Vec<Request<Plain>> {
        let held: Vec<_> = Plain::ALL.iter().map(|&ty| (ty, self.held(ty))).collect();
        let resume = if resumes {
            Resume::Versions
        } else {
            Resume::Nothing
        };
        self.receiver.subscriptions(held, resume)
    }

    fn receive(
        &mut self,
        response: Response<Plain>,
        offers: &Offers<Plain>,
    ) -> Result<Vec<Request<Plain>>, String> {
        let ty = response.ty;
        let revision = response.position.map_or(0, |position| position.revision);
        let apply = self
            .receiver
            .on_response(response)
            .map_err(|error| error.to_string())?;
        let rejected: Vec<_> = apply
            .upserts
            .iter()
            .filter(|(name, item)| offers.refuses(ty, name, item))
            .map(|(name, item)| Rejection {
                name: name.clone(),
                version: Some(item.version.clone()),
                reason: "refused".to_owned(),
            })
            .collect();
        let verdict = if self.manners == Manners::AllOrNothing && !rejected.is_empty() {
            Verdict::Refused("something is refused".to_owned())
        } else {
            for name in apply.dropped(self.held(ty).keys()) {
                let (_, sent) = self.store.remove(&(ty, name.clone())).expect("it is held");
                if !offers.was_absent_since(ty, &name, sent) {
                    return Err(format!("{ty:?} {name} was dropped but never gone"));
                }
            }
            for (name, item) in &apply.upserts {
                if !offers.refuses(ty, name, item) {
                    let held = (item.version.clone(), revision);
                    self.store.insert((ty, name.clone()), held);
                }
            }
            Verdict::Rejected(rejected)
        };
        let mut answer = self
            .receiver
            .answer(ty, apply.nonce, verdict)
            .map_err(|error| error.to_string())?;
        if self.manners == Manners::Grudging {
            answer.rejected.clear();
        }
        if *self.receiver.held(ty) != self.held(ty) {
            return Err(format!("{ty:?}: the receiver does not know what is held"));
        }
        Ok(vec![answer])
    }

    fn check(&self, offers: &Offers<Plain>) -> Result<(), String> {
        for &ty in Plain::ALL {
            for name in NAMES {
                let name = Name::from(name);
                let offered = offers.snapshot.items(ty).get(&name);
                if offered.is_some_and(|item| offers.refuses(ty, &name, item)) {
                    continue;
                }
                let held = self.store.get(&(ty, name.clone()));
                if held.map(|(version, _)| version) != offered.map(|item| &item.version) {
                    return Err(format!("{ty:?} {name}: {offered:?} offered, {held:?} held"));
                }
            }
        }
        Ok(())
    }
}
