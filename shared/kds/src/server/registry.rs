//! Which streams of which zones are live: the newest connection of a zone wins, and a second
//! zone under a name in use is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_model::ZoneName;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How many refused stores are remembered.
const MOST_REFUSED: usize = 1000;

/// One of the streams that a zone holds at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamKind {
    /// GlobalToZoneSync.
    Down,
    /// ZoneToGlobalSync.
    Up,
    /// The heartbeats of our own zones.
    Link,
    /// Questions for config dumps.
    ConfigDumps,
    /// Questions for stats.
    Stats,
    /// Questions for clusters.
    Clusters,
    /// Questions where resources are.
    Receipts,
}

impl StreamKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Down,
        Self::Up,
        Self::Link,
        Self::ConfigDumps,
        Self::Stats,
        Self::Clusters,
        Self::Receipts,
    ];
}

/// Another zone with the same name is connected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "zone {zone:?} is connected already with another store ({live}); two zones cannot have one \
     name: give one of them another name (multizone.zone.name)"
)]
pub(crate) struct NameInUse {
    zone: ZoneName,
    live: Uuid,
    /// Whether this is the first refusal of this store since the name was taken.
    pub(crate) is_news: bool,
}

/// Who takes a seat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taker<'a> {
    pub(crate) zone: &'a ZoneName,
    /// The identity of its store, from a zone of ours.
    pub(crate) store_id: Option<Uuid>,
    /// Whether it may sit there without a proof that it is the zone, as anybody may.
    pub(crate) is_exempt: bool,
}

#[derive(Debug)]
struct Live {
    id: u64,
    store_id: Option<Uuid>,
    is_exempt: bool,
    cancel: CancellationToken,
    /// Cancelled once its stream has ended.
    ended: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    streams: BTreeMap<(ZoneName, StreamKind), Live>,
    /// Stores that were refused, and are told apart from those that come for the first time.
    refused: BTreeSet<(ZoneName, Uuid)>,
}

/// The live streams, by zone and kind.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    state: Mutex<State>,
}

/// A stream's place in the registry; dropping it gives the place up.
#[derive(Debug)]
pub(crate) struct Seat {
    registry: Arc<Registry>,
    zone: ZoneName,
    kind: StreamKind,
    id: u64,
    /// Cancelled when a newer stream takes the seat.
    pub(crate) superseded: CancellationToken,
    ended: CancellationToken,
    /// The stream from which the seat was taken.
    predecessor: Option<CancellationToken>,
}

impl Registry {
    /// Takes the seat for a new stream, from an older stream of the same zone if there is one.
    ///
    /// # Errors
    /// When a live stream of the name belongs to another store: that is another zone. One that
    /// proves nothing gives way to one that does.
    pub(crate) fn take(
        self: &Arc<Self>,
        taker: Taker<'_>,
        kind: StreamKind,
    ) -> Result<Seat, NameInUse> {
        let Taker {
            zone,
            store_id,
            is_exempt,
        } = taker;
        let mut state = self.state.lock();
        let mut predecessor = None;
        if !is_exempt {
            for other in StreamKind::ALL {
                let place = (zone.clone(), other);
                if state.streams.get(&place).is_some_and(|l| l.is_exempt)
                    && let Some(live) = state.streams.remove(&place)
                {
                    live.cancel.cancel();
                    if other == kind {
                        predecessor = Some(live.ended);
                    }
                }
            }
        }
        let held = |kind| {
            state
                .streams
                .get(&(zone.clone(), kind))
                .and_then(|l| l.store_id)
        };
        let live = StreamKind::ALL.into_iter().filter_map(held);
        if let Some(ours) = store_id
            && let Some(live) = live.into_iter().find(|live| *live != ours)
        {
            let is_news =
                state.refused.len() < MOST_REFUSED && state.refused.insert((zone.clone(), ours));
            return Err(NameInUse {
                zone: zone.clone(),
                live,
                is_news,
            });
        }
        if let Some(ours) = store_id {
            state.refused.remove(&(zone.clone(), ours));
        }
        state.next_id += 1;
        let id = state.next_id;
        let (superseded, ended) = (CancellationToken::new(), CancellationToken::new());
        let live = Live {
            id,
            store_id,
            is_exempt,
            cancel: superseded.clone(),
            ended: ended.clone(),
        };
        if let Some(older) = state.streams.insert((zone.clone(), kind), live) {
            older.cancel.cancel();
            predecessor = Some(older.ended);
        }
        Ok(Seat {
            registry: Arc::clone(self),
            zone: zone.clone(),
            kind,
            id,
            superseded,
            ended,
            predecessor,
        })
    }

    /// Ends all streams of a zone.
    pub(crate) fn evict(&self, zone: &ZoneName) {
        let state = self.state.lock();
        for kind in StreamKind::ALL {
            if let Some(live) = state.streams.get(&(zone.clone(), kind)) {
                live.cancel.cancel();
            }
        }
    }
}

impl Seat {
    /// Resolves once the stream that had the seat before does nothing any more.
    pub(crate) fn is_free(&self) -> impl Future<Output = ()> + use<> {
        let predecessor = self.predecessor.clone();
        async move {
            if let Some(predecessor) = predecessor {
                predecessor.cancelled().await;
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.ended.cancel();
        let mut state = self.registry.state.lock();
        let place = (self.zone.clone(), self.kind);
        if state
            .streams
            .get(&place)
            .is_some_and(|live| live.id == self.id)
        {
            state.streams.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn east() -> ZoneName {
        ZoneName::parse("east").unwrap()
    }

    fn take(
        registry: &Arc<Registry>,
        kind: StreamKind,
        store_id: Option<Uuid>,
    ) -> Result<Seat, NameInUse> {
        let zone = &east();
        let is_exempt = false;
        registry.take(
            Taker {
                zone,
                store_id,
                is_exempt,
            },
            kind,
        )
    }

    #[test]
    fn the_newest_stream_of_a_zone_wins() {
        let registry = Arc::new(Registry::default());
        let store = Some(Uuid::from_u128(1));
        let old = take(&registry, StreamKind::Down, store).unwrap();
        let new = take(&registry, StreamKind::Down, store).unwrap();
        assert!(old.superseded.is_cancelled());
        // It does nothing while the older one may still write.
        assert!(new.is_free().now_or_never().is_none());
        drop(old);
        assert!(new.is_free().now_or_never().is_some());
        assert!(!new.superseded.is_cancelled());
        // The older stream's end did not free the seat of the newer one.
        assert_eq!(registry.state.lock().streams.len(), 1);
        registry.evict(&east());
        assert!(new.superseded.is_cancelled());
    }

    #[test]
    fn another_store_under_a_live_name_is_refused_until_the_name_is_free() {
        let registry = Arc::new(Registry::default());
        let first = take(&registry, StreamKind::Up, Some(Uuid::from_u128(1))).unwrap();
        let second = Some(Uuid::from_u128(2));
        assert!(take(&registry, StreamKind::Down, second).is_err());
        assert!(!first.superseded.is_cancelled());
        drop(first);
        assert!(take(&registry, StreamKind::Down, second).is_ok());
    }

    #[test]
    fn stock_zones_have_no_store_id_and_replace_one_another() {
        let registry = Arc::new(Registry::default());
        let first = take(&registry, StreamKind::Up, None).unwrap();
        assert!(take(&registry, StreamKind::Up, None).is_ok());
        assert!(first.superseded.is_cancelled());
    }

    #[test]
    fn one_that_proves_nothing_gives_way_to_one_that_does() {
        let registry = Arc::new(Registry::default());
        let zone = &east();
        let sit = |kind, store, is_exempt| {
            let taker = Taker {
                zone,
                store_id: Some(Uuid::from_u128(store)),
                is_exempt,
            };
            registry.take(taker, kind)
        };
        let stranger = sit(StreamKind::Up, 1, true).unwrap();
        assert!(sit(StreamKind::Down, 2, true).is_err());
        let zone = sit(StreamKind::Down, 2, false).unwrap();
        assert!(stranger.superseded.is_cancelled());
        drop(stranger);
        assert!(sit(StreamKind::Down, 3, false).is_err());
        assert!(!zone.superseded.is_cancelled());
    }
}
