//! The resource types that travel on KDS, as the delta engine wants them.

use std::str::FromStr;

use mesh_delta::TypeSet;
use mesh_model::ResourceType;

/// A resource type that travels on KDS, down or up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(ResourceType);

impl Kind {
    /// The kind of a resource type; `None` for types that stay where they are.
    pub fn of(ty: ResourceType) -> Option<Self> {
        ty.describe().ways.any().then_some(Self(ty))
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

    /// What zones get from the global, a mesh before what lives in it.
    pub fn down() -> impl Iterator<Item = Self> {
        ResourceType::reaching_zones().map(Self)
    }

    /// What travels from the zone that owns it to other zones.
    pub fn across() -> impl Iterator<Item = Self> {
        Self::down().filter(|kind| kind.0.describe().ways.across)
    }

    /// What travels from zones to the global.
    pub fn up() -> impl Iterator<Item = Self> {
        ResourceType::leaving_zones().map(Self)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

/// How many types travel.
const COUNT: usize = {
    let (mut count, mut i) = (0, 0);
    while i < ResourceType::ALL.len() {
        count += ResourceType::ALL[i].describe().ways.any() as usize;
        i += 1;
    }
    count
};

/// What travels. The deployment's identity comes first: a zone takes nothing else before it.
static ALL: [Kind; COUNT] = {
    let mut all = [Kind(ResourceType::Config); COUNT];
    let (mut filled, mut i) = (1, 0);
    while i < ResourceType::ALL.len() {
        let ty = ResourceType::ALL[i];
        if ty.describe().ways.any() && !matches!(ty, ResourceType::Config) {
            all[filled] = Kind(ty);
            filled += 1;
        }
        i += 1;
    }
    all
};

/// The position of each resource type in [`ALL`]; that of types that do not travel is past its
/// end.
static INDEX: [usize; ResourceType::ALL.len()] = {
    let mut index = [COUNT; ResourceType::ALL.len()];
    let mut i = 0;
    while i < COUNT {
        index[ALL[i].0.index()] = i;
        i += 1;
    }
    index
};

impl TypeSet for Kind {
    const ALL: &'static [Self] = &ALL;

    fn index(self) -> usize {
        INDEX[self.0.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_travels_is_a_kind_and_no_other() {
        for ty in ResourceType::ALL {
            let travels = ty.describe().ways.any();
            assert_eq!(Kind::of(ty).is_some(), travels);
            assert_eq!(Kind::ALL.iter().any(|k| k.resource_type() == ty), travels);
        }
        for (index, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(kind.index(), index);
        }
        // The identity first, and a mesh before what lives in it.
        assert_eq!(Kind::ALL[0].resource_type(), ResourceType::Config);
        assert_eq!(Kind::ALL[1].resource_type(), ResourceType::Mesh);
        let either: std::collections::BTreeSet<_> = Kind::down().chain(Kind::up()).collect();
        assert_eq!(either.len(), Kind::ALL.len());
    }

    #[test]
    fn a_type_of_a_newer_release_is_unknown_and_not_an_error() {
        assert_eq!(Kind::from_type_url("MeshTeapot"), None);
        assert_eq!(Kind::from_type_url("Zone"), None);
        assert!(Kind::from_type_url("Mesh").is_some());
    }
}
