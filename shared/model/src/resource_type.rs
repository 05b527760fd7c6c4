//! The types of resources and what is fixed about each: scope, direction on KDS, paths, names.
//!
//! One table ([`ResourceType::describe`]) so that a new type is a compile error until every
//! column is filled.

use std::fmt;
use std::str::FromStr;

/// A type of resource, in the order in which a peer should learn of them: a mesh before what
/// lives in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// A tenant of the fleet.
    Mesh,
    /// The listeners of a builtin gateway.
    MeshGateway,
    /// Routes on a gateway's listeners.
    MeshGatewayRoute,
    /// A service outside of the mesh.
    ExternalService,
    /// A secret of one mesh.
    Secret,
    /// A secret of the whole fleet.
    GlobalSecret,
    /// A setting of the control planes themselves.
    Config,
    /// A zone that the global control plane knows.
    Zone,
    /// What the global control plane knows of a zone's streams.
    ZoneInsight,
    /// A proxy and its workload or gateway.
    Dataplane,
    /// What a zone knows of a proxy's streams.
    DataplaneInsight,
    /// The gateway through which other zones enter a zone.
    ZoneIngress,
}

/// Whether resources of a type live in a mesh or beside all meshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// `/meshes/{mesh}/{collection}/{name}`.
    Mesh,
    /// `/{collection}/{name}`.
    Global,
}

/// Who owns resources of a type, and so which way they travel on KDS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The global owns them and sends them to zones.
    Down,
    /// A zone owns them and sends them to the global.
    Up,
    /// They stay where they are.
    Local,
}

/// What is fixed about a resource type.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    /// The type's name: in `type:` of YAML and in `type_url` of KDS.
    pub name: &'static str,
    /// Where resources of the type live.
    pub scope: Scope,
    /// Which way they travel.
    pub direction: Direction,
    /// Full name of the protobuf message of the spec.
    pub message: &'static str,
    /// Path segment of the collection in the admin API, and its aliases; empty: not in the API.
    pub collections: &'static [&'static str],
    /// What the command line calls one of them, then aliases; empty: not on the command line.
    pub singular: &'static [&'static str],
    /// What the command line calls many of them, then aliases.
    pub plural: &'static [&'static str],
    /// Written by control planes only; never over the API.
    pub is_read_only: bool,
    /// Only administrators may read or write them.
    pub is_admin_only: bool,
}

impl ResourceType {
    /// All types, in order.
    pub const ALL: [Self; 12] = [
        Self::Mesh,
        Self::MeshGateway,
        Self::MeshGatewayRoute,
        Self::ExternalService,
        Self::Secret,
        Self::GlobalSecret,
        Self::Config,
        Self::Zone,
        Self::ZoneInsight,
        Self::Dataplane,
        Self::DataplaneInsight,
        Self::ZoneIngress,
    ];

    /// Types that the global sends to zones.
    pub const DOWN: [Self; 7] = [
        Self::Mesh,
        Self::MeshGateway,
        Self::MeshGatewayRoute,
        Self::ExternalService,
        Self::Secret,
        Self::GlobalSecret,
        Self::Config,
    ];

    /// Types that zones send to the global.
    pub const UP: [Self; 3] = [Self::Dataplane, Self::DataplaneInsight, Self::ZoneIngress];

    /// What is fixed about this type.
    pub const fn describe(self) -> Descriptor {
        let base = Descriptor {
            name: "",
            scope: Scope::Mesh,
            direction: Direction::Local,
            message: "",
            collections: &[],
            singular: &[],
            plural: &[],
            is_read_only: false,
            is_admin_only: false,
        };
        match self {
            Self::Mesh => Descriptor {
                name: "Mesh",
                scope: Scope::Global,
                direction: Direction::Down,
                message: "kuma.mesh.v1alpha1.Mesh",
                collections: &["meshes"],
                singular: &["mesh"],
                plural: &["meshes"],
                ..base
            },
            Self::MeshGateway => Descriptor {
                name: "MeshGateway",
                direction: Direction::Down,
                message: "kuma.mesh.v1alpha1.MeshGateway",
                collections: &["meshgateways"],
                singular: &["meshgateway"],
                plural: &["meshgateways"],
                ..base
            },
            Self::MeshGatewayRoute => Descriptor {
                name: "MeshGatewayRoute",
                direction: Direction::Down,
                message: "kuma.mesh.v1alpha1.MeshGatewayRoute",
                collections: &["meshgatewayroutes"],
                singular: &["meshgatewayroute"],
                plural: &["meshgatewayroutes"],
                ..base
            },
            Self::ExternalService => Descriptor {
                name: "ExternalService",
                direction: Direction::Down,
                message: "kuma.mesh.v1alpha1.ExternalService",
                collections: &["external-services"],
                singular: &["external-service"],
                plural: &["external-services"],
                ..base
            },
            Self::Secret => Descriptor {
                name: "Secret",
                direction: Direction::Down,
                message: "kuma.system.v1alpha1.Secret",
                collections: &["secrets"],
                singular: &["secret"],
                plural: &["secrets"],
                is_admin_only: true,
                ..base
            },
            Self::GlobalSecret => Descriptor {
                name: "GlobalSecret",
                scope: Scope::Global,
                direction: Direction::Down,
                message: "kuma.system.v1alpha1.Secret",
                collections: &["globalsecrets", "global-secrets"],
                singular: &["global-secret", "globalsecret"],
                plural: &["global-secrets", "globalsecrets"],
                is_admin_only: true,
                ..base
            },
            Self::Config => Descriptor {
                name: "Config",
                scope: Scope::Global,
                direction: Direction::Down,
                message: "kuma.system.v1alpha1.Config",
                ..base
            },
            Self::Zone => Descriptor {
                name: "Zone",
                scope: Scope::Global,
                message: "kuma.system.v1alpha1.Zone",
                collections: &["zones"],
                singular: &["zone"],
                plural: &["zones"],
                ..base
            },
            Self::ZoneInsight => Descriptor {
                name: "ZoneInsight",
                scope: Scope::Global,
                message: "kuma.system.v1alpha1.ZoneInsight",
                collections: &["zone-insights"],
                is_read_only: true,
                ..base
            },
            Self::Dataplane => Descriptor {
                name: "Dataplane",
                direction: Direction::Up,
                message: "kuma.mesh.v1alpha1.Dataplane",
                collections: &["dataplanes"],
                singular: &["dataplane"],
                plural: &["dataplanes"],
                ..base
            },
            Self::DataplaneInsight => Descriptor {
                name: "DataplaneInsight",
                direction: Direction::Up,
                message: "kuma.mesh.v1alpha1.DataplaneInsight",
                collections: &["dataplane-insights"],
                is_read_only: true,
                ..base
            },
            Self::ZoneIngress => Descriptor {
                name: "ZoneIngress",
                scope: Scope::Global,
                direction: Direction::Up,
                message: "kuma.mesh.v1alpha1.ZoneIngress",
                collections: &["zoneingresses", "zone-ingresses"],
                singular: &["zone-ingress", "zoneingress"],
                plural: &["zone-ingresses", "zoneingresses"],
                ..base
            },
        }
    }

    /// The type's name.
    pub const fn name(self) -> &'static str {
        self.describe().name
    }

    /// Whether resources of the type live in a mesh.
    pub const fn is_mesh_scoped(self) -> bool {
        matches!(self.describe().scope, Scope::Mesh)
    }

    /// The insight that accompanies resources of this type, under the same name and mesh.
    pub const fn insight(self) -> Option<Self> {
        match self {
            Self::Dataplane => Some(Self::DataplaneInsight),
            Self::Zone => Some(Self::ZoneInsight),
            _ => None,
        }
    }

    /// Position in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The type whose collection in the admin API is called `segment`.
    pub fn from_collection(segment: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|t| t.describe().collections.contains(&segment))
    }

    /// The type that the command line calls `word`, singular or plural.
    pub fn from_cli_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| {
            let d = t.describe();
            d.singular.contains(&word) || d.plural.contains(&word)
        })
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no resource type of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown resource type {0:?}")]
pub struct UnknownTypeError(pub String);

impl FromStr for ResourceType {
    type Err = UnknownTypeError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|t| t.name() == name)
            .ok_or_else(|| UnknownTypeError(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_names_a_message_that_exists() {
        for ty in ResourceType::ALL {
            let d = ty.describe();
            assert!(
                mesh_proto::descriptors()
                    .get_message_by_name(d.message)
                    .is_some(),
                "{}: {}",
                d.name,
                d.message
            );
            assert_eq!(ResourceType::ALL[ty.index()], ty);
            assert_eq!(d.name.parse(), Ok(ty));
        }
    }

    #[test]
    fn directions_and_their_lists_agree() {
        for ty in ResourceType::ALL {
            assert_eq!(
                ResourceType::DOWN.contains(&ty),
                ty.describe().direction == Direction::Down
            );
            assert_eq!(
                ResourceType::UP.contains(&ty),
                ty.describe().direction == Direction::Up
            );
        }
    }
}
