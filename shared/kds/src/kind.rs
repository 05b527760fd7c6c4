//! The resource types that travel on KDS, as the delta engine wants them.

use std::str::FromStr;

use mesh_delta::TypeSet;
use mesh_model::{Direction, ResourceType};

/// A resource type that travels on KDS, down or up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(ResourceType);

impl Kind {
    /// The kind of a resource type; `None` for types that stay where they are.
    pub fn of(ty: ResourceType) -> Option<Self> {
        (ty.describe().direction != Direction::Local).then_some(Self(ty))
    }

    /// The kind that a peer calls `type_url`: a bare type name. `None` for types that this
    /// release does not know or never sends.
    pub fn from_type_url(type_url: &str) -> Option<Self> {
        ResourceType::from_str(type_url).ok().and_then(Self::of)
    }

    /// The resource type.
    pub fn resource_type(self) -> ResourceType {
        self.0
    }

    /// What travels from the global to zones, a mesh before what lives in it.
    pub fn down() -> impl Iterator<Item = Self> {
        ResourceType::DOWN.into_iter().map(Self)
    }

    /// What travels from zones to the global.
    pub fn up() -> impl Iterator<Item = Self> {
        ResourceType::UP.into_iter().map(Self)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

impl TypeSet for Kind {
    const ALL: &'static [Self] = &[
        // The deployment's identity comes first: a zone takes nothing else before it.
        Self(ResourceType::Config),
        Self(ResourceType::Mesh),
        Self(ResourceType::MeshGateway),
        Self(ResourceType::MeshGatewayRoute),
        Self(ResourceType::ExternalService),
        Self(ResourceType::Secret),
        Self(ResourceType::GlobalSecret),
        Self(ResourceType::Dataplane),
        Self(ResourceType::DataplaneInsight),
        Self(ResourceType::ZoneIngress),
    ];

    fn index(self) -> usize {
        Self::ALL
            .iter()
            .position(|kind| *kind == self)
            .expect("a Kind is made of a type that travels")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_travels_is_a_kind_and_no_other() {
        for ty in ResourceType::ALL {
            let travels = ty.describe().direction != Direction::Local;
            assert_eq!(Kind::of(ty).is_some(), travels);
            assert_eq!(Kind::ALL.iter().any(|k| k.resource_type() == ty), travels);
        }
        for (index, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(kind.index(), index);
        }
        assert_eq!(Kind::down().count() + Kind::up().count(), Kind::ALL.len());
    }

    #[test]
    fn a_type_of_a_newer_release_is_unknown_and_not_an_error() {
        assert_eq!(Kind::from_type_url("MeshZoneAddress"), None);
        assert_eq!(Kind::from_type_url("Zone"), None);
        assert!(Kind::from_type_url("Mesh").is_some());
    }
}
