//! What one zone gets of what is offered to zones like it.

use imbl::ordmap::DiffItem;
use mesh_delta::{Name, Snapshot};
use mesh_model::ZoneName;

use super::{Items, Offer};
use crate::kind::Kind;

/// The offer of a class without what is not for one zone: what it owns itself, what disabled zones
/// own and what is for another one. A look costs time in proportion to what changed of the types
/// that travel across; the others are shared as they are.
#[derive(Debug)]
pub(crate) struct View {
    zone: ZoneName,
    /// What was looked at last, and what was left of it.
    last: Option<(Offer, Snapshot<Kind>)>,
}

impl View {
    /// A view that has not looked yet.
    pub(crate) fn new(zone: ZoneName) -> Self {
        Self { zone, last: None }
    }

    /// What the zone should hold when `offer` is what there is.
    pub(crate) fn at(&mut self, offer: Offer) -> Snapshot<Kind> {
        let mut replaced = Vec::new();
        for kind in Kind::across() {
            let all = offer.items.items(kind);
            let earlier = self.last.as_ref();
            let kept = match earlier.filter(|(last, _)| last.disabled == offer.disabled) {
                Some((last, view)) if last.items.items(kind).ptr_eq(all) => {
                    view.items(kind).clone()
                }
                Some((last, view)) => {
                    let (kept, before) = (view.items(kind).clone(), last.items.items(kind));
                    self.follow(kept, before, all, kind, &offer)
                }
                None => self.sift(kind, &offer),
            };
            replaced.push((kind, kept));
        }
        let view = offer.items.with(offer.items.revision(), replaced);
        self.last = Some((offer, view.clone()));
        view
    }

    /// Everything of a kind but what is not for the zone.
    fn sift(&self, kind: Kind, offer: &Offer) -> Items {
        let mut kept = offer.items.items(kind).clone();
        let first = (kind, Name::from(""));
        for ((_, name), _) in offer
            .audiences
            .range(first..)
            .take_while(|((of, _), _)| *of == kind)
        {
            if !self.is_for_zone(kind, name, offer) {
                kept.remove(name);
            }
        }
        kept
    }

    /// The same, from what it was before.
    fn follow(
        &self,
        mut kept: Items,
        before: &Items,
        all: &Items,
        kind: Kind,
        offer: &Offer,
    ) -> Items {
        for difference in before.diff(all) {
            match difference {
                DiffItem::Add(name, item)
                | DiffItem::Update {
                    new: (name, item), ..
                } => {
                    if self.is_for_zone(kind, name, offer) {
                        kept.insert(name.clone(), item.clone());
                    } else {
                        kept.remove(name);
                    }
                }
                DiffItem::Remove(name, _) => drop(kept.remove(name)),
            }
        }
        kept
    }

    fn is_for_zone(&self, kind: Kind, name: &Name, offer: &Offer) -> bool {
        let audience = offer.audiences.get(&(kind, name.clone()));
        audience.is_none_or(|audience| {
            audience.admits(&self.zone) && !offer.disabled.contains(&audience.owner)
        })
    }
}
