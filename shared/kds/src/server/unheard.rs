//! What is stored of a zone that the zone says nothing about.
//!
//! A stock zone of 2.5 that has nothing of a type is silent about it, also when it had something
//! before: what is stored stays, and nobody can tell whether it is still there. So that is said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh_model::{Timestamp, ZoneName};
use mesh_store::Snapshot;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::intake::Intake;
use crate::kind::Kind;
use crate::peer::ZonePeer;

/// How long a zone may take to report a type: it applies what it gets first.
const PATIENCE: Duration = Duration::from_secs(10);

/// Resources of a zone that it has not reported since it connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// The zone.
    pub zone: ZoneName,
    /// Their type.
    pub kind: Kind,
    /// How many are stored.
    pub count: usize,
    /// When the zone connected.
    pub since: Timestamp,
}

impl Stale {
    /// As the admin API shows it, among what zones lack.
    pub fn to_json(&self) -> Value {
        let Self {
            zone,
            kind,
            count,
            since,
        } = self;
        json!({
            "zone": zone.as_str(),
            "type": kind.to_string(),
            "mesh": "",
            "name": "",
            "reason": format!(
                "the zone has said nothing of this type since it connected at {since}: what is \
                 stored of it, {count} in number, may be stale. Zones of Kuma 2.5 say nothing of \
                 a type of which they have nothing; if that is so, delete them here"
            ),
            "refusedByPeer": false,
        })
    }
}

#[derive(Debug)]
struct Reporting {
    stream: Uuid,
    intake: Intake,
    began: Instant,
    since: Timestamp,
    heard: BTreeSet<Kind>,
}

/// The stock zones that report, and what of.
#[derive(Debug, Default)]
pub(super) struct Unheard(Mutex<BTreeMap<ZoneName, Reporting>>);

impl Unheard {
    /// A zone began to report. One of ours is compared with what is stored, and needs no notes.
    pub(super) fn began(&self, peer: &ZonePeer, stream: Uuid, now: Timestamp) {
        if peer.abilities.heartbeat {
            return;
        }
        let reporting = Reporting {
            stream,
            intake: Intake::FromZone {
                zone: peer.zone.clone(),
                naming: peer.up_naming,
            },
            began: Instant::now(),
            since: now,
            heard: BTreeSet::new(),
        };
        self.0.lock().insert(peer.zone.clone(), reporting);
    }

    /// It reported a type.
    pub(super) fn heard(&self, zone: &ZoneName, stream: Uuid, kind: Kind) {
        if let Some(of) = self.0.lock().get_mut(zone)
            && of.stream == stream
        {
            of.heard.insert(kind);
        }
    }

    /// Its stream has ended.
    pub(super) fn ended(&self, zone: &ZoneName, stream: Uuid) {
        let mut all = self.0.lock();
        if all.get(zone).is_some_and(|of| of.stream == stream) {
            all.remove(zone);
        }
    }

    /// What may be stale, by zone.
    pub(super) fn stale(&self, snapshot: &Snapshot) -> Vec<Stale> {
        let all = self.0.lock();
        let late = all.iter().filter(|(_, of)| of.began.elapsed() >= PATIENCE);
        let stale = late.flat_map(|(zone, of)| {
            let unheard = Kind::up().filter(|kind| !of.heard.contains(kind));
            unheard.map(|kind| Stale {
                zone: zone.clone(),
                kind,
                count: snapshot
                    .list(kind.resource_type())
                    .filter(|resource| of.intake.owns(resource))
                    .count(),
                since: of.since,
            })
        });
        stale.filter(|stale| stale.count > 0).collect()
    }
}
