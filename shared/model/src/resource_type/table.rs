//! What is fixed about each type, one entry each.

use super::{Descriptor, Inbound, Policy, ResourceType, Scope, SpecFormat, Ways};

/// A type of which nothing is filled in yet.
const BASE: Descriptor = Descriptor {
    name: "",
    short_name: "",
    scope: Scope::Mesh,
    ways: Ways::NONE,
    spec: SpecFormat::Json,
    has_status: false,
    policy: None,
    collections: &[],
    singular: &[],
    plural: &[],
    is_applied: false,
    is_read_only: false,
    is_admin_only: false,
};

/// A policy that selects by tags; the global owns them.
const BY_SELECTORS: Descriptor = Descriptor {
    ways: Ways::DOWN,
    policy: Some(Policy::BySelectors),
    ..BASE
};

/// A policy with a `targetRef`.
const BY_TARGET_REF: Descriptor = Descriptor {
    ways: Ways::ALL,
    ..BASE
};

/// What only control planes write.
const INSIGHT: Descriptor = Descriptor {
    is_applied: true,
    is_read_only: true,
    ..BASE
};

const TO: Option<Policy> = Some(Policy::ByTargetRef {
    inbound: Inbound::Nothing,
    has_to: true,
});
const WHOLE_PROXY: Option<Policy> = Some(Policy::ByTargetRef {
    inbound: Inbound::Nothing,
    has_to: false,
});
const BY_SOURCE: Option<Policy> = Some(Policy::ByTargetRef {
    inbound: Inbound::BySource,
    has_to: false,
});
const BY_SOURCE_AND_TO: Option<Policy> = Some(Policy::ByTargetRef {
    inbound: Inbound::BySource,
    has_to: true,
});
const FOR_ALL: Option<Policy> = Some(Policy::ByTargetRef {
    inbound: Inbound::ForAll,
    has_to: false,
});
const FOR_ALL_AND_TO: Option<Policy> = Some(Policy::ByTargetRef {
    inbound: Inbound::ForAll,
    has_to: true,
});

const fn message(name: &'static str) -> SpecFormat {
    SpecFormat::Message(name)
}

impl ResourceType {
    /// What is fixed about this type.
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub const fn describe(self) -> Descriptor {
        match self {
            Self::Mesh => Descriptor {
                name: "Mesh",
                short_name: "m",
                scope: Scope::Global,
                ways: Ways::DOWN,
                spec: message("kuma.mesh.v1alpha1.Mesh"),
                collections: &["meshes"],
                singular: &["mesh"],
                plural: &["meshes"],
                is_applied: true,
                ..BASE
            },
            Self::MeshGateway => Descriptor {
                name: "MeshGateway",
                short_name: "mgw",
                ways: Ways::BOTH,
                spec: message("kuma.mesh.v1alpha1.MeshGateway"),
                collections: &["meshgateways"],
                singular: &["meshgateway"],
                plural: &["meshgateways"],
                is_applied: true,
                ..BASE
            },
            Self::MeshGatewayRoute => Descriptor {
                name: "MeshGatewayRoute",
                spec: message("kuma.mesh.v1alpha1.MeshGatewayRoute"),
                collections: &["meshgatewayroutes"],
                singular: &["meshgatewayroute"],
                plural: &["meshgatewayroutes"],
                is_applied: true,
                ..BY_SELECTORS
            },
            Self::ExternalService => Descriptor {
                name: "ExternalService",
                ways: Ways::DOWN,
                spec: message("kuma.mesh.v1alpha1.ExternalService"),
                collections: &["external-services"],
                singular: &["external-service"],
                plural: &["external-services"],
                is_applied: true,
                ..BASE
            },
            Self::CircuitBreaker => Descriptor {
                name: "CircuitBreaker",
                spec: message("kuma.mesh.v1alpha1.CircuitBreaker"),
                collections: &["circuit-breakers"],
                singular: &["circuit-breaker"],
                plural: &["circuit-breakers"],
                ..BY_SELECTORS
            },
            Self::FaultInjection => Descriptor {
                name: "FaultInjection",
                spec: message("kuma.mesh.v1alpha1.FaultInjection"),
                collections: &["fault-injections"],
                singular: &["fault-injection"],
                plural: &["fault-injections"],
                ..BY_SELECTORS
            },
            Self::HealthCheck => Descriptor {
                name: "HealthCheck",
                spec: message("kuma.mesh.v1alpha1.HealthCheck"),
                collections: &["health-checks"],
                singular: &["healthcheck"],
                plural: &["healthchecks"],
                ..BY_SELECTORS
            },
            Self::ProxyTemplate => Descriptor {
                name: "ProxyTemplate",
                spec: message("kuma.mesh.v1alpha1.ProxyTemplate"),
                collections: &["proxytemplates"],
                singular: &["proxytemplate"],
                plural: &["proxytemplates"],
                ..BY_SELECTORS
            },
            Self::RateLimit => Descriptor {
                name: "RateLimit",
                spec: message("kuma.mesh.v1alpha1.RateLimit"),
                collections: &["rate-limits"],
                singular: &["rate-limit"],
                plural: &["rate-limits"],
                ..BY_SELECTORS
            },
            Self::Retry => Descriptor {
                name: "Retry",
                spec: message("kuma.mesh.v1alpha1.Retry"),
                collections: &["retries"],
                singular: &["retry"],
                plural: &["retries"],
                ..BY_SELECTORS
            },
            Self::Timeout => Descriptor {
                name: "Timeout",
                spec: message("kuma.mesh.v1alpha1.Timeout"),
                collections: &["timeouts"],
                singular: &["timeout"],
                plural: &["timeouts"],
                ..BY_SELECTORS
            },
            Self::TrafficLog => Descriptor {
                name: "TrafficLog",
                spec: message("kuma.mesh.v1alpha1.TrafficLog"),
                collections: &["traffic-logs"],
                singular: &["traffic-log"],
                plural: &["traffic-logs"],
                ..BY_SELECTORS
            },
            Self::TrafficPermission => Descriptor {
                name: "TrafficPermission",
                spec: message("kuma.mesh.v1alpha1.TrafficPermission"),
                collections: &["traffic-permissions"],
                singular: &["traffic-permission"],
                plural: &["traffic-permissions"],
                ..BY_SELECTORS
            },
            Self::TrafficRoute => Descriptor {
                name: "TrafficRoute",
                spec: message("kuma.mesh.v1alpha1.TrafficRoute"),
                collections: &["traffic-routes"],
                singular: &["traffic-route"],
                plural: &["traffic-routes"],
                ..BY_SELECTORS
            },
            Self::TrafficTrace => Descriptor {
                name: "TrafficTrace",
                spec: message("kuma.mesh.v1alpha1.TrafficTrace"),
                collections: &["traffic-traces"],
                singular: &["traffic-trace"],
                plural: &["traffic-traces"],
                ..BY_SELECTORS
            },
            Self::VirtualOutbound => Descriptor {
                name: "VirtualOutbound",
                spec: message("kuma.mesh.v1alpha1.VirtualOutbound"),
                collections: &["virtual-outbounds"],
                singular: &["virtual-outbound"],
                plural: &["virtual-outbounds"],
                ..BY_SELECTORS
            },
            Self::MeshService => Descriptor {
                name: "MeshService",
                short_name: "msvc",
                ways: Ways::UP_ACROSS,
                has_status: true,
                collections: &["meshservices"],
                singular: &["meshservice"],
                plural: &["meshservices"],
                ..BASE
            },
            Self::MeshExternalService => Descriptor {
                name: "MeshExternalService",
                short_name: "extsvc",
                ways: Ways::BOTH,
                has_status: true,
                collections: &["meshexternalservices"],
                singular: &["meshexternalservice"],
                plural: &["meshexternalservices"],
                ..BASE
            },
            Self::MeshMultiZoneService => Descriptor {
                name: "MeshMultiZoneService",
                short_name: "mzsvc",
                ways: Ways::DOWN,
                has_status: true,
                collections: &["meshmultizoneservices"],
                singular: &["meshmultizoneservice"],
                plural: &["meshmultizoneservices"],
                ..BASE
            },
            Self::HostnameGenerator => Descriptor {
                name: "HostnameGenerator",
                short_name: "hg",
                scope: Scope::Global,
                ways: Ways::BOTH,
                collections: &["hostnamegenerators"],
                singular: &["hostnamegenerator"],
                plural: &["hostnamegenerators"],
                ..BASE
            },
            Self::MeshAccessLog => Descriptor {
                name: "MeshAccessLog",
                short_name: "mal",
                policy: FOR_ALL_AND_TO,
                has_status: true,
                collections: &["meshaccesslogs"],
                singular: &["meshaccesslog"],
                plural: &["meshaccesslogs"],
                ..BY_TARGET_REF
            },
            Self::MeshCircuitBreaker => Descriptor {
                name: "MeshCircuitBreaker",
                short_name: "mcb",
                policy: FOR_ALL_AND_TO,
                collections: &["meshcircuitbreakers"],
                singular: &["meshcircuitbreaker"],
                plural: &["meshcircuitbreakers"],
                ..BY_TARGET_REF
            },
            Self::MeshFaultInjection => Descriptor {
                name: "MeshFaultInjection",
                short_name: "mfi",
                policy: BY_SOURCE_AND_TO,
                collections: &["meshfaultinjections"],
                singular: &["meshfaultinjection"],
                plural: &["meshfaultinjections"],
                ..BY_TARGET_REF
            },
            Self::MeshHealthCheck => Descriptor {
                name: "MeshHealthCheck",
                short_name: "mhc",
                policy: TO,
                collections: &["meshhealthchecks"],
                singular: &["meshhealthcheck"],
                plural: &["meshhealthchecks"],
                ..BY_TARGET_REF
            },
            Self::MeshHTTPRoute => Descriptor {
                name: "MeshHTTPRoute",
                short_name: "mhttpr",
                policy: TO,
                collections: &["meshhttproutes"],
                singular: &["meshhttproute"],
                plural: &["meshhttproutes"],
                ..BY_TARGET_REF
            },
            Self::MeshLoadBalancingStrategy => Descriptor {
                name: "MeshLoadBalancingStrategy",
                short_name: "mlbs",
                policy: TO,
                collections: &["meshloadbalancingstrategies"],
                singular: &["meshloadbalancingstrategy"],
                plural: &["meshloadbalancingstrategies"],
                ..BY_TARGET_REF
            },
            Self::MeshMetric => Descriptor {
                name: "MeshMetric",
                short_name: "mm",
                policy: WHOLE_PROXY,
                has_status: true,
                collections: &["meshmetrics"],
                singular: &["meshmetric"],
                plural: &["meshmetrics"],
                ..BY_TARGET_REF
            },
            Self::MeshPassthrough => Descriptor {
                name: "MeshPassthrough",
                short_name: "mp",
                policy: WHOLE_PROXY,
                collections: &["meshpassthroughs"],
                singular: &["meshpassthrough"],
                plural: &["meshpassthroughs"],
                ..BY_TARGET_REF
            },
            Self::MeshProxyPatch => Descriptor {
                name: "MeshProxyPatch",
                short_name: "mpp",
                policy: WHOLE_PROXY,
                collections: &["meshproxypatches"],
                singular: &["meshproxypatch"],
                plural: &["meshproxypatches"],
                ..BY_TARGET_REF
            },
            Self::MeshRateLimit => Descriptor {
                name: "MeshRateLimit",
                short_name: "mrl",
                policy: FOR_ALL_AND_TO,
                collections: &["meshratelimits"],
                singular: &["meshratelimit"],
                plural: &["meshratelimits"],
                ..BY_TARGET_REF
            },
            Self::MeshRetry => Descriptor {
                name: "MeshRetry",
                short_name: "mr",
                policy: TO,
                collections: &["meshretries"],
                singular: &["meshretry"],
                plural: &["meshretries"],
                ..BY_TARGET_REF
            },
            Self::MeshTCPRoute => Descriptor {
                name: "MeshTCPRoute",
                short_name: "mtcpr",
                policy: TO,
                collections: &["meshtcproutes"],
                singular: &["meshtcproute"],
                plural: &["meshtcproutes"],
                ..BY_TARGET_REF
            },
            Self::MeshTimeout => Descriptor {
                name: "MeshTimeout",
                short_name: "mt",
                policy: FOR_ALL_AND_TO,
                collections: &["meshtimeouts"],
                singular: &["meshtimeout"],
                plural: &["meshtimeouts"],
                ..BY_TARGET_REF
            },
            Self::MeshTLS => Descriptor {
                name: "MeshTLS",
                short_name: "mtls",
                policy: FOR_ALL,
                collections: &["meshtlses"],
                singular: &["meshtls"],
                plural: &["meshtlses"],
                ..BY_TARGET_REF
            },
            Self::MeshTrace => Descriptor {
                name: "MeshTrace",
                short_name: "mtr",
                policy: WHOLE_PROXY,
                has_status: true,
                collections: &["meshtraces"],
                singular: &["meshtrace"],
                plural: &["meshtraces"],
                ..BY_TARGET_REF
            },
            Self::MeshTrafficPermission => Descriptor {
                name: "MeshTrafficPermission",
                short_name: "mtp",
                policy: BY_SOURCE,
                collections: &["meshtrafficpermissions"],
                singular: &["meshtrafficpermission"],
                plural: &["meshtrafficpermissions"],
                ..BY_TARGET_REF
            },
            Self::MeshIdentity => Descriptor {
                name: "MeshIdentity",
                short_name: "mid",
                ways: Ways::BOTH,
                has_status: true,
                collections: &["meshidentities"],
                singular: &["meshidentity"],
                plural: &["meshidentities"],
                ..BASE
            },
            Self::MeshTrust => Descriptor {
                name: "MeshTrust",
                short_name: "mtrust",
                ways: Ways::BOTH,
                has_status: true,
                collections: &["meshtrusts"],
                singular: &["meshtrust"],
                plural: &["meshtrusts"],
                ..BASE
            },
            Self::MeshOpenTelemetryBackend => Descriptor {
                name: "MeshOpenTelemetryBackend",
                short_name: "motb",
                ways: Ways::BOTH,
                has_status: true,
                collections: &["meshopentelemetrybackends"],
                singular: &["meshopentelemetrybackend"],
                plural: &["meshopentelemetrybackends"],
                ..BASE
            },
            Self::MeshZoneAddress => Descriptor {
                name: "MeshZoneAddress",
                short_name: "mza",
                ways: Ways::UP_ACROSS,
                collections: &["meshzoneaddresses"],
                singular: &["meshzoneaddress"],
                plural: &["meshzoneaddresses"],
                ..BASE
            },
            Self::Workload => Descriptor {
                name: "Workload",
                short_name: "wl",
                ways: Ways::UP,
                has_status: true,
                collections: &["workloads"],
                singular: &["workload"],
                plural: &["workloads"],
                ..BASE
            },
            Self::Secret => Descriptor {
                name: "Secret",
                ways: Ways::DOWN,
                spec: message("kuma.system.v1alpha1.Secret"),
                is_admin_only: true,
                collections: &["secrets"],
                singular: &["secret"],
                plural: &["secrets"],
                is_applied: true,
                ..BASE
            },
            Self::GlobalSecret => Descriptor {
                name: "GlobalSecret",
                scope: Scope::Global,
                ways: Ways::DOWN,
                spec: message("kuma.system.v1alpha1.Secret"),
                is_admin_only: true,
                collections: &["globalsecrets", "global-secrets"],
                singular: &["global-secret", "globalsecret"],
                plural: &["global-secrets", "globalsecrets"],
                is_applied: true,
                ..BASE
            },
            Self::Config => Descriptor {
                name: "Config",
                scope: Scope::Global,
                ways: Ways::DOWN,
                spec: message("kuma.system.v1alpha1.Config"),
                is_applied: true,
                ..BASE
            },
            Self::Zone => Descriptor {
                name: "Zone",
                short_name: "z",
                scope: Scope::Global,
                spec: message("kuma.system.v1alpha1.Zone"),
                collections: &["zones"],
                singular: &["zone"],
                plural: &["zones"],
                is_applied: true,
                ..BASE
            },
            Self::ZoneInsight => Descriptor {
                name: "ZoneInsight",
                scope: Scope::Global,
                spec: message("kuma.system.v1alpha1.ZoneInsight"),
                collections: &["zone-insights"],
                ..INSIGHT
            },
            Self::ServiceInsight => Descriptor {
                name: "ServiceInsight",
                ways: Ways::DOWN,
                spec: message("kuma.mesh.v1alpha1.ServiceInsight"),
                collections: &["service-insights"],
                ..INSIGHT
            },
            Self::Dataplane => Descriptor {
                name: "Dataplane",
                short_name: "dp",
                ways: Ways::UP,
                spec: message("kuma.mesh.v1alpha1.Dataplane"),
                collections: &["dataplanes"],
                singular: &["dataplane"],
                plural: &["dataplanes"],
                is_applied: true,
                ..BASE
            },
            Self::DataplaneInsight => Descriptor {
                name: "DataplaneInsight",
                ways: Ways::UP,
                spec: message("kuma.mesh.v1alpha1.DataplaneInsight"),
                collections: &["dataplane-insights"],
                ..INSIGHT
            },
            Self::ZoneIngress => Descriptor {
                name: "ZoneIngress",
                short_name: "zi",
                scope: Scope::Global,
                ways: Ways::UP_ACROSS,
                spec: message("kuma.mesh.v1alpha1.ZoneIngress"),
                collections: &["zoneingresses", "zone-ingresses"],
                singular: &["zone-ingress", "zoneingress"],
                plural: &["zone-ingresses", "zoneingresses"],
                is_applied: true,
                ..BASE
            },
            Self::ZoneIngressInsight => Descriptor {
                name: "ZoneIngressInsight",
                scope: Scope::Global,
                ways: Ways::UP,
                spec: message("kuma.mesh.v1alpha1.ZoneIngressInsight"),
                collections: &["zone-ingress-insights"],
                ..INSIGHT
            },
            Self::ZoneEgress => Descriptor {
                name: "ZoneEgress",
                short_name: "ze",
                scope: Scope::Global,
                ways: Ways::UP,
                spec: message("kuma.mesh.v1alpha1.ZoneEgress"),
                collections: &["zoneegresses"],
                singular: &["zoneegress"],
                plural: &["zoneegresses"],
                ..BASE
            },
            Self::ZoneEgressInsight => Descriptor {
                name: "ZoneEgressInsight",
                scope: Scope::Global,
                ways: Ways::UP,
                spec: message("kuma.mesh.v1alpha1.ZoneEgressInsight"),
                collections: &["zoneegressinsights"],
                ..INSIGHT
            },
        }
    }
}
