//! What a peer lacks of what it is offered, and why: findings for operators.

use std::collections::BTreeMap;

use mesh_delta::{Item, Name};
use mesh_model::{ZoneName, labels};
use parking_lot::Mutex;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::kind::Kind;
use crate::{precheck, wire};

/// A resource that a peer does not have, and will not have before it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// Its type.
    pub kind: Kind,
    /// Its mesh; empty where the type has none.
    pub mesh: String,
    /// What it is called where it was made.
    pub name: String,
    /// What stands in the way.
    pub reason: String,
    /// Whether the peer said so; otherwise it was not sent, because the peer could not take it.
    pub is_refused: bool,
}

impl Lack {
    pub(crate) fn new(
        kind: Kind,
        stream_name: &Name,
        item: Option<&Item<Kind>>,
        reason: &str,
        is_refused: bool,
    ) -> Self {
        let (name, mesh) = wire::split_stream_name(stream_name).unwrap_or((stream_name, ""));
        let labels = item.map(precheck::labels_of).unwrap_or_default();
        let name = labels
            .get(labels::DISPLAY_NAME)
            .map_or(name, String::as_str);
        Self {
            kind,
            mesh: mesh.to_owned(),
            name: name.to_owned(),
            reason: reason.to_owned(),
            is_refused,
        }
    }

    /// The resource as it is called in messages.
    fn called(&self) -> String {
        let Self {
            kind, mesh, name, ..
        } = self;
        if mesh.is_empty() {
            format!("{kind} {name}")
        } else {
            format!("{kind} {mesh}/{name}")
        }
    }

    /// As the admin API shows it.
    /// `zone` is the one that lacks it; the global where there is none.
    pub fn to_json(&self, zone: Option<&ZoneName>) -> Value {
        json!({
            "zone": zone.map(ZoneName::as_str),
            "type": self.kind.to_string(),
            "mesh": self.mesh,
            "name": self.name,
            "reason": self.reason,
            "refusedByPeer": self.is_refused,
        })
    }
}

/// What the zones that are connected lack.
#[derive(Debug, Default)]
pub(crate) struct Lacks(Mutex<BTreeMap<ZoneName, (Uuid, Vec<Lack>)>>);

impl Lacks {
    /// A stream of a zone says what the zone lacks from now on. What is new is logged.
    pub(crate) fn replace(&self, zone: &ZoneName, stream: Uuid, lacks: Vec<Lack>) {
        let mut all = self.0.lock();
        let before = all.remove(zone).map(|(_, lacks)| lacks).unwrap_or_default();
        for lack in lacks
            .iter()
            .filter(|lack| !lack.is_refused && !before.contains(lack))
        {
            tracing::warn!(
                "{} is not sent to zone {zone}: {}",
                lack.called(),
                lack.reason
            );
        }
        if !lacks.is_empty() {
            all.insert(zone.clone(), (stream, lacks));
        }
    }

    /// A stream of a zone has ended: what a later one says stays.
    pub(crate) fn forget(&self, zone: &ZoneName, stream: Uuid) {
        let mut all = self.0.lock();
        if all.get(zone).is_some_and(|(of, _)| *of == stream) {
            all.remove(zone);
        }
    }

    /// All of them, by zone.
    pub(crate) fn all(&self) -> Vec<(ZoneName, Lack)> {
        let all = self.0.lock();
        all.iter()
            .flat_map(|(zone, (_, lacks))| lacks.iter().map(|lack| (zone.clone(), lack.clone())))
            .collect()
    }
}
