//! What a zone announced that decides which resources it gets and how they look.

use super::{FEATURE_HASH_SUFFIX, Naming, NodeInfo};

/// The peer knows zone tokens, and so what their public keys are for.
pub const FEATURE_ZONE_TOKEN: &str = "zone-token";
/// The peer knows `HostnameGenerator`s that select `MeshMultiZoneService`s (2.9 and later).
pub const FEATURE_MULTI_ZONE_SELECTOR: &str = "hg-mz-selector";
/// The peer knows policies that producers in other zones made (2.9 and later).
pub const FEATURE_PRODUCER_POLICIES: &str = "producer-policy-flow";
/// The peer knows policies without a top-level `targetRef` (2.9 and later).
pub const FEATURE_OPTIONAL_TARGET_REF: &str = "optional-top-level-target-ref";

/// Zones that announced the same of what matters for what they are sent. What is encoded for one
/// of them is shared by all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZoneClass {
    /// How names look; with [`Naming::Hashed`] come labels.
    pub naming: Naming,
    /// [`FEATURE_ZONE_TOKEN`].
    pub zone_tokens: bool,
    /// [`FEATURE_MULTI_ZONE_SELECTOR`].
    pub multi_zone_selectors: bool,
    /// [`FEATURE_PRODUCER_POLICIES`].
    pub producer_policies: bool,
    /// [`FEATURE_OPTIONAL_TARGET_REF`].
    pub optional_target_ref: bool,
}

impl ZoneClass {
    /// Zones of 2.5.
    pub const PLAIN: Self = Self {
        naming: Naming::Plain,
        zone_tokens: true,
        multi_zone_selectors: false,
        producer_policies: false,
        optional_target_ref: false,
    };
    /// Zones of 2.9 and later, and ours.
    pub const HASHED: Self = Self {
        naming: Naming::Hashed,
        zone_tokens: true,
        multi_zone_selectors: true,
        producer_policies: true,
        optional_target_ref: true,
    };

    /// The class of a zone that introduced itself so.
    pub fn of(zone: &NodeInfo) -> Self {
        let has = |feature: &str| zone.features.iter().any(|f| f == feature);
        Self {
            naming: if has(FEATURE_HASH_SUFFIX) {
                Naming::Hashed
            } else {
                Naming::Plain
            },
            zone_tokens: has(FEATURE_ZONE_TOKEN),
            multi_zone_selectors: has(FEATURE_MULTI_ZONE_SELECTOR),
            producer_policies: has(FEATURE_PRODUCER_POLICIES),
            optional_target_ref: has(FEATURE_OPTIONAL_TARGET_REF),
        }
    }
}
