//! The types of resources and what is fixed about each: scope, ways on KDS, paths, names.
//!
//! One table ([`ResourceType::describe`], in `table.rs`) so that a new type is a compile error
//! until every column is filled.

mod table;

use std::fmt;
use std::str::FromStr;

/// A type of resource, in the order in which a peer should learn of them: a mesh before what
/// lives in it, services before the routes to them, routes before the policies on them.
///
/// The order may change with a release: what is stored or sent has a type's name.
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
    /// When a client stops sending to an endpoint; selects by tags.
    CircuitBreaker,
    /// Faults on purpose; selects by tags.
    FaultInjection,
    /// How clients find healthy endpoints; selects by tags.
    HealthCheck,
    /// Changes to Envoy's configuration by hand; selects by tags.
    ProxyTemplate,
    /// How many requests a destination takes; selects by tags.
    RateLimit,
    /// Which requests a client sends again; selects by tags.
    Retry,
    /// How long a client waits; selects by tags.
    Timeout,
    /// Where access logs go; selects by tags.
    TrafficLog,
    /// Who may connect to whom; selects by tags.
    TrafficPermission,
    /// Where requests for a service go; selects by tags.
    TrafficRoute,
    /// Where spans go; selects by tags.
    TrafficTrace,
    /// Host names made of tags.
    VirtualOutbound,
    /// A service of one zone.
    MeshService,
    /// A service outside of the mesh, in the newer form.
    MeshExternalService,
    /// One service made of services of several zones.
    MeshMultiZoneService,
    /// Which host names services get.
    HostnameGenerator,
    /// Where access logs go.
    MeshAccessLog,
    /// When a client stops sending to an endpoint.
    MeshCircuitBreaker,
    /// Faults on purpose.
    MeshFaultInjection,
    /// How clients find healthy endpoints.
    MeshHealthCheck,
    /// Where HTTP requests for a service go.
    MeshHTTPRoute,
    /// How a client chooses among endpoints.
    MeshLoadBalancingStrategy,
    /// Which metrics a proxy exposes.
    MeshMetric,
    /// What may leave a proxy without being known.
    MeshPassthrough,
    /// Changes to Envoy's configuration by hand.
    MeshProxyPatch,
    /// How many requests a proxy takes.
    MeshRateLimit,
    /// Which requests a client sends again.
    MeshRetry,
    /// Where connections to a service go.
    MeshTCPRoute,
    /// How long a client waits.
    MeshTimeout,
    /// How strict a proxy is about TLS.
    MeshTLS,
    /// Where spans go.
    MeshTrace,
    /// Who may connect to whom.
    MeshTrafficPermission,
    /// How proxies get their identities.
    MeshIdentity,
    /// Which identities are trusted.
    MeshTrust,
    /// A collector of telemetry.
    MeshOpenTelemetryBackend,
    /// Where a zone is entered.
    MeshZoneAddress,
    /// What proxies of one kind of work have in common.
    Workload,
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
    /// What the global control plane knows of the services of a mesh in all zones.
    ServiceInsight,
    /// A proxy and its workload or gateway.
    Dataplane,
    /// What a zone knows of a proxy's streams.
    DataplaneInsight,
    /// The gateway through which other zones enter a zone.
    ZoneIngress,
    /// What a zone knows of the streams of its ingress.
    ZoneIngressInsight,
    /// The gateway through which a zone is left.
    ZoneEgress,
    /// What a zone knows of the streams of its egress.
    ZoneEgressInsight,
}

/// Whether resources of a type live in a mesh or beside all meshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// `/meshes/{mesh}/{collection}/{name}`.
    Mesh,
    /// `/{collection}/{name}`.
    Global,
}

/// Which ways resources of a type travel on KDS, and so who may own them: the global what goes
/// down, zones what goes up. What goes neither way stays where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ways {
    /// From the global, which owns them, to all zones.
    pub down: bool,
    /// From a zone, which owns them, to the global.
    pub up: bool,
    /// From the zone that owns them by way of the global to other zones.
    pub across: bool,
}

impl Ways {
    /// No way: they stay where they are.
    pub const NONE: Self = Self {
        down: false,
        up: false,
        across: false,
    };
    /// Owned by the global.
    pub const DOWN: Self = Self {
        down: true,
        ..Self::NONE
    };
    /// Owned by zones.
    pub const UP: Self = Self {
        up: true,
        ..Self::NONE
    };
    /// Owned by zones, and of use to other zones.
    pub const UP_ACROSS: Self = Self {
        across: true,
        ..Self::UP
    };
    /// Owned by whoever made them.
    pub const BOTH: Self = Self {
        down: true,
        ..Self::UP
    };
    /// Owned by whoever made them; those of a zone may be of use to other zones.
    pub const ALL: Self = Self {
        across: true,
        ..Self::BOTH
    };

    /// Whether zones get them from the global, whoever owns them.
    pub const fn reach_zones(self) -> bool {
        self.down || self.across
    }

    /// Whether they travel at all.
    pub const fn any(self) -> bool {
        self.down || self.up || self.across
    }
}

/// What the spec of a type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecFormat {
    /// The protobuf message of this full name; its fields stand beside the meta fields in a
    /// document.
    Message(&'static str),
    /// A JSON object; it stands under `spec` in a document.
    Json,
}

/// What kind of policy a type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// It selects proxies by their tags.
    BySelectors,
    /// It names what it is about in a `targetRef`.
    ByTargetRef {
        /// Whether it says something about incoming traffic, in `from` or `rules`.
        inbound: Inbound,
        /// Whether it says something about outgoing traffic, in `to`.
        has_to: bool,
    },
}

/// What a policy says about incoming traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound {
    /// Nothing.
    Nothing,
    /// Rules by source, which `from` and `rules` write differently.
    BySource,
    /// Rules for all sources alike, so that `from` says the same as `rules`.
    ForAll,
}

/// What is fixed about a resource type.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    /// The type's name: in `type:` of YAML and in `type_url` of KDS.
    pub name: &'static str,
    /// What the type is called inside the identifiers that mean the same on every control plane
    /// (`kri_m____default_`); empty: its resources have none.
    pub short_name: &'static str,
    /// Where resources of the type live.
    pub scope: Scope,
    /// Which ways they travel.
    pub ways: Ways,
    /// What their specs are.
    pub spec: SpecFormat,
    /// Whether control planes write a status beside the spec.
    pub has_status: bool,
    /// What kind of policy it is, if it is one.
    pub policy: Option<Policy>,
    /// Path segment of the collection in the admin API, and its aliases; empty: not in the API.
    pub collections: &'static [&'static str],
    /// What the command line calls one of them, then aliases; empty: not on the command line.
    pub singular: &'static [&'static str],
    /// What the command line calls many of them, then aliases.
    pub plural: &'static [&'static str],
    /// Whether this release does what they say. If not, they are kept and synchronised, and who
    /// writes one is told so.
    pub is_applied: bool,
    /// Written by control planes only; never over the API.
    pub is_read_only: bool,
    /// Only administrators may read or write them.
    pub is_admin_only: bool,
}

impl ResourceType {
    /// All types, in order.
    pub const ALL: [Self; 53] = [
        Self::Mesh,
        Self::MeshGateway,
        Self::MeshGatewayRoute,
        Self::ExternalService,
        Self::CircuitBreaker,
        Self::FaultInjection,
        Self::HealthCheck,
        Self::ProxyTemplate,
        Self::RateLimit,
        Self::Retry,
        Self::Timeout,
        Self::TrafficLog,
        Self::TrafficPermission,
        Self::TrafficRoute,
        Self::TrafficTrace,
        Self::VirtualOutbound,
        Self::MeshService,
        Self::MeshExternalService,
        Self::MeshMultiZoneService,
        Self::HostnameGenerator,
        Self::MeshAccessLog,
        Self::MeshCircuitBreaker,
        Self::MeshFaultInjection,
        Self::MeshHealthCheck,
        Self::MeshHTTPRoute,
        Self::MeshLoadBalancingStrategy,
        Self::MeshMetric,
        Self::MeshPassthrough,
        Self::MeshProxyPatch,
        Self::MeshRateLimit,
        Self::MeshRetry,
        Self::MeshTCPRoute,
        Self::MeshTimeout,
        Self::MeshTLS,
        Self::MeshTrace,
        Self::MeshTrafficPermission,
        Self::MeshIdentity,
        Self::MeshTrust,
        Self::MeshOpenTelemetryBackend,
        Self::MeshZoneAddress,
        Self::Workload,
        Self::Secret,
        Self::GlobalSecret,
        Self::Config,
        Self::Zone,
        Self::ZoneInsight,
        Self::ServiceInsight,
        Self::Dataplane,
        Self::DataplaneInsight,
        Self::ZoneIngress,
        Self::ZoneIngressInsight,
        Self::ZoneEgress,
        Self::ZoneEgressInsight,
    ];

    /// Types that the global sends to zones, in order.
    pub fn reaching_zones() -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(|ty| ty.describe().ways.reach_zones())
    }

    /// Types that zones send to the global, in order.
    pub fn leaving_zones() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|ty| ty.describe().ways.up)
    }

    /// The type's name.
    pub const fn name(self) -> &'static str {
        self.describe().name
    }

    /// Whether resources of the type live in a mesh.
    pub const fn is_mesh_scoped(self) -> bool {
        matches!(self.describe().scope, Scope::Mesh)
    }

    /// Whether specs of the type are JSON and no protobuf message.
    pub const fn is_json(self) -> bool {
        matches!(self.describe().spec, SpecFormat::Json)
    }

    /// The insight that accompanies resources of this type, under the same name and mesh.
    pub const fn insight(self) -> Option<Self> {
        match self {
            Self::Dataplane => Some(Self::DataplaneInsight),
            Self::Zone => Some(Self::ZoneInsight),
            Self::ZoneIngress => Some(Self::ZoneIngressInsight),
            Self::ZoneEgress => Some(Self::ZoneEgressInsight),
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
    fn every_type_is_in_its_place_and_names_a_message_that_exists() {
        for ty in ResourceType::ALL {
            let d = ty.describe();
            if let SpecFormat::Message(message) = d.spec {
                let found = mesh_proto::descriptors().get_message_by_name(message);
                assert!(found.is_some(), "{}: {message}", d.name);
            }
            assert_eq!(format!("{ty:?}"), d.name);
            assert_eq!(ResourceType::ALL[ty.index()], ty);
            assert_eq!(d.name.parse(), Ok(ty));
        }
    }

    #[test]
    fn no_two_types_have_a_word_in_common() {
        let words = |of: fn(&Descriptor) -> Vec<&'static str>| {
            let all: Vec<&str> = ResourceType::ALL
                .iter()
                .flat_map(|ty| of(&ty.describe()))
                .filter(|word| !word.is_empty())
                .collect();
            let unique: std::collections::BTreeSet<_> = all.iter().collect();
            assert_eq!(unique.len(), all.len(), "{all:?}");
        };
        words(|d| vec![d.short_name]);
        words(|d| d.collections.to_vec());
        words(|d| d.singular.iter().chain(d.plural).copied().collect());
    }

    fn names(types: impl Iterator<Item = ResourceType>) -> String {
        let mut names: Vec<_> = types.map(ResourceType::name).collect();
        names.sort_unstable();
        names.join(" ")
    }

    /// The types that a zone of Kuma 2.14 asks its global for; one of 2.5 asks for 34 of them.
    #[test]
    fn zones_get_the_types_that_stock_zones_ask_for() {
        assert_eq!(
            names(ResourceType::reaching_zones()),
            "CircuitBreaker Config ExternalService FaultInjection GlobalSecret HealthCheck \
             HostnameGenerator Mesh MeshAccessLog MeshCircuitBreaker MeshExternalService \
             MeshFaultInjection MeshGateway MeshGatewayRoute MeshHTTPRoute MeshHealthCheck \
             MeshIdentity MeshLoadBalancingStrategy MeshMetric MeshMultiZoneService \
             MeshOpenTelemetryBackend MeshPassthrough MeshProxyPatch MeshRateLimit MeshRetry \
             MeshService MeshTCPRoute MeshTLS MeshTimeout MeshTrace MeshTrafficPermission \
             MeshTrust MeshZoneAddress ProxyTemplate RateLimit Retry Secret ServiceInsight \
             Timeout TrafficLog TrafficPermission TrafficRoute TrafficTrace VirtualOutbound \
             ZoneIngress"
        );
    }

    /// The types that a global of Kuma 2.14 asks its zones for; one of 2.5 asks for six of them.
    #[test]
    fn the_global_gets_the_types_that_a_stock_global_asks_for() {
        assert_eq!(
            names(ResourceType::leaving_zones()),
            "Dataplane DataplaneInsight HostnameGenerator MeshAccessLog MeshCircuitBreaker \
             MeshExternalService MeshFaultInjection MeshGateway MeshHTTPRoute MeshHealthCheck \
             MeshIdentity MeshLoadBalancingStrategy MeshMetric MeshOpenTelemetryBackend \
             MeshPassthrough MeshProxyPatch MeshRateLimit MeshRetry MeshService MeshTCPRoute \
             MeshTLS MeshTimeout MeshTrace MeshTrafficPermission MeshTrust MeshZoneAddress \
             Workload ZoneEgress ZoneEgressInsight ZoneIngress ZoneIngressInsight"
        );
    }
}
