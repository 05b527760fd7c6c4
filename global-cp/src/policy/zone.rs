//! Zones: what goes with one.

use std::collections::BTreeSet;

use mesh_api::{Evict, Refusal, status};
use mesh_model::{Key, ResourceType, labels};
use mesh_store::{Expect, Op};

/// Everything that the zone sent, and what is known of its streams.
pub(crate) fn evict(request: &Evict, is_safe: bool) -> Result<Vec<Op>, Refusal> {
    let zone = request.old.key();
    let snapshot = &request.snapshot;
    let insight = zone.with_type(ResourceType::ZoneInsight);
    let is_online = snapshot
        .get(&insight)
        .is_some_and(|insight| status::is_zone_online(&insight.decode()));
    if is_safe && is_online {
        return Err(Refusal::new(
            "zone",
            format!(
                "zone \"{}\" is still connected; stop its control plane first",
                zone.name()
            ),
        ));
    }
    let sent = snapshot
        .iter()
        .filter(|r| r.label(labels::ZONE) == Some(zone.name().as_str()))
        .map(|r| r.key());
    let keys: BTreeSet<Key> = sent
        .flat_map(|key| {
            let insight = key.ty().insight().map(|ty| key.with_type(ty));
            std::iter::once(key.clone()).chain(insight)
        })
        .chain([insight])
        .filter(|key| key != zone)
        .collect();
    Ok(keys
        .into_iter()
        .map(|key| Op::Delete {
            key,
            expect: Expect::Anything,
        })
        .collect())
}
