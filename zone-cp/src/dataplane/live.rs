//! What each connected proxy has accepted, and since when.
//!
//! A look at the store and the moment in which Envoy had accepted all that followed from it make a
//! mark. The last marks of each proxy are kept, whatever there is in the store.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use mesh_kds::receipt::{Proxies, ProxyReceipt};
use mesh_model::{Key, Timestamp};
use parking_lot::Mutex;

/// How many marks of a proxy are kept.
const MARKS: usize = 64;
/// The most proxies that one answer names: those that lag come first.
const MOST: usize = 4096;

/// All connected proxies.
#[derive(Debug, Default)]
pub struct Live(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    proxies: BTreeMap<u64, One>,
}

#[derive(Debug)]
struct One {
    proxy: Key,
    /// When the store was looked at, of which not everything is accepted yet.
    looked_at: Option<Timestamp>,
    /// When the store was looked at, and when all of it was accepted.
    marks: VecDeque<(Timestamp, Timestamp)>,
    /// Whether older marks were forgotten.
    is_full: bool,
    /// What Envoy refused and goes without, with its words.
    refused: Vec<(String, String)>,
}

/// The place of a connected proxy; dropping it gives the place up.
#[derive(Debug)]
pub(crate) struct Place {
    live: Arc<Live>,
    id: u64,
}

impl Live {
    /// A proxy connected.
    pub(crate) fn connected(self: &Arc<Self>, proxy: &Key) -> Place {
        let mut state = self.0.lock();
        state.last_id += 1;
        let id = state.last_id;
        let one = One {
            proxy: proxy.clone(),
            looked_at: None,
            marks: VecDeque::new(),
            is_full: false,
            refused: Vec::new(),
        };
        state.proxies.insert(id, one);
        Place {
            live: Arc::clone(self),
            id,
        }
    }
}

impl Place {
    fn change(&self, change: impl FnOnce(&mut One)) {
        if let Some(one) = self.live.0.lock().proxies.get_mut(&self.id) {
            change(one);
        }
    }

    /// The store was looked at for the proxy.
    pub(crate) fn looked(&self, now: Timestamp) {
        self.change(|one| one.looked_at = Some(now));
    }

    /// The proxy has accepted all that it is offered.
    pub(crate) fn accepted(&self, now: impl FnOnce() -> Timestamp) {
        self.change(|one| {
            let Some(looked_at) = one.looked_at.take() else {
                return;
            };
            if one.marks.len() == MARKS {
                one.marks.pop_front();
                one.is_full = true;
            }
            one.marks.push_back((looked_at, now()));
        });
    }

    /// These resources, by type and name, are not in the proxy as they are, and why.
    pub(crate) fn refused(&self, refused: Vec<(String, String)>) {
        self.change(|one| one.refused = refused);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.live.0.lock().proxies.remove(&self.id);
    }
}

impl Proxies for Live {
    fn since(&self, resource: &Key, stored_at: Timestamp) -> Vec<ProxyReceipt> {
        let called = called(resource.ty().name(), resource.name().as_str());
        let state = self.0.lock();
        let concerned = state.proxies.values().filter(|one| {
            let mesh = resource.mesh();
            mesh.is_none() || one.proxy.mesh() == mesh
        });
        let mut receipts: Vec<ProxyReceipt> = concerned
            .map(|one| {
                let refused = one.refused.iter().find(|(of, _)| *of == called);
                let mark = one.marks.iter().position(|(at, _)| *at >= stored_at);
                let is_live = mark.is_some() && refused.is_none();
                // The oldest mark may have come long after the first that counts.
                let known = mark.filter(|at| *at > 0 || !one.is_full);
                ProxyReceipt {
                    mesh: one.proxy.mesh_str().to_owned(),
                    name: one.proxy.name().as_str().to_owned(),
                    is_live,
                    live_at: known.filter(|_| is_live).map(|at| one.marks[at].1),
                    refused: refused.map(|(_, why)| why.clone()).unwrap_or_default(),
                }
            })
            .collect();
        receipts.sort_by_key(|receipt| receipt.is_live);
        receipts.truncate(MOST);
        receipts
    }
}

/// A resource as refusals name it.
pub(crate) fn called(ty: &str, name: &str) -> String {
    format!("{ty} {name}")
}

#[cfg(test)]
mod tests {
    use mesh_model::{MeshName, ResourceName, ResourceType};

    use super::*;

    fn key(ty: ResourceType, name: &str) -> Key {
        let mesh = MeshName::parse("default").unwrap();
        Key::in_mesh(ty, mesh, ResourceName::parse(name).unwrap())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    /// Whether and since when the only proxy has what was stored at this time.
    fn since(live: &Live, stored_at: i64) -> (bool, Option<i64>) {
        let route = key(ResourceType::MeshGatewayRoute, "shop");
        let receipts = live.since(&route, at(stored_at));
        let [receipt] = &receipts[..] else {
            panic!("{receipts:?}");
        };
        (
            receipt.is_live,
            receipt.live_at.map(Timestamp::unix_seconds),
        )
    }

    #[test]
    fn what_was_stored_is_live_once_a_later_look_was_accepted() {
        let live = Arc::new(Live::default());
        let place = live.connected(&key(ResourceType::Dataplane, "edge-1"));
        assert_eq!(since(&live, 10), (false, None));
        place.looked(at(11));
        assert_eq!(since(&live, 10), (false, None), "nothing was accepted");
        place.accepted(|| at(12));
        assert_eq!(since(&live, 10), (true, Some(12)));
        assert_eq!(since(&live, 12), (false, None), "stored after the look");
        // The first look that counts, not the last.
        place.looked(at(20));
        place.accepted(|| at(21));
        assert_eq!(since(&live, 10), (true, Some(12)));
        assert_eq!(since(&live, 15), (true, Some(21)));
        // Accepting nothing new is no mark.
        place.accepted(|| at(30));
        assert_eq!(since(&live, 25), (false, None));
        drop(place);
        let route = key(ResourceType::MeshGatewayRoute, "shop");
        assert!(live.since(&route, at(10)).is_empty(), "it left");
    }

    #[test]
    fn when_it_was_long_ago_is_not_remembered_and_not_made_up() {
        let live = Arc::new(Live::default());
        let place = live.connected(&key(ResourceType::Dataplane, "edge-1"));
        for second in 0..100 {
            place.looked(at(second));
            place.accepted(|| at(second));
        }
        assert_eq!(since(&live, 0), (true, None));
        assert_eq!(since(&live, 90), (true, Some(90)));
    }

    #[test]
    fn what_envoy_refuses_is_not_live() {
        let live = Arc::new(Live::default());
        let place = live.connected(&key(ResourceType::Dataplane, "edge-1"));
        place.looked(at(1));
        place.accepted(|| at(2));
        let bad = called("MeshGatewayRoute", "shop");
        place.refused(vec![(bad, "bad regex".to_owned())]);
        let route = key(ResourceType::MeshGatewayRoute, "shop");
        let receipts = live.since(&route, at(0));
        assert!(!receipts[0].is_live);
        assert_eq!(receipts[0].refused, "bad regex");
        let other = key(ResourceType::MeshGatewayRoute, "other");
        assert!(live.since(&other, at(0))[0].is_live);
    }
}
