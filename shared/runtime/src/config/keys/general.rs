//! Keys of the process, its store, zones and metrics.

use super::Kind::{Bool, Duration, Int, List, Port, Text};
use super::Status::{Accepted, Fixed, Implemented, Refused};
use super::words::{
    ACCESS, ACCESS_RULES, ALWAYS, AT_START, CIPHERS, ENVIRONMENT, LATER, MODE, NEWEST_WINS,
    NO_POLLING, STORE, TLS_MAX, TLS_MIN,
};

keys! {
    "access.static.adminResources.groups": List(&["mesh-system:admin"]), Refused(ACCESS_RULES);
    "access.static.adminResources.users": List(&["mesh-system:admin"]), Refused(ACCESS_RULES);
    "access.static.controlPlaneMetadata.groups":
        List(&["mesh-system:unauthenticated", "mesh-system:authenticated"]), Refused(ACCESS_RULES);
    "access.static.controlPlaneMetadata.users": List(&[]), Refused(ACCESS_RULES);
    "access.static.generateDpToken.groups": List(&["mesh-system:admin"]), Refused(ACCESS_RULES);
    "access.static.generateDpToken.users": List(&["mesh-system:admin"]), Refused(ACCESS_RULES);
    "access.static.generateUserToken.groups": List(&["mesh-system:admin"]), Refused(ACCESS_RULES);
    "access.static.generateUserToken.users": List(&["mesh-system:admin"]), Refused(ACCESS_RULES);
    "access.static.generateZoneToken.groups": List(&["mesh-system:admin"]), Refused(ACCESS_RULES);
    "access.static.generateZoneToken.users": List(&["mesh-system:admin"]), Refused(ACCESS_RULES);
    "access.static.viewClusters.groups":
        List(&["mesh-system:unauthenticated", "mesh-system:authenticated"]), Refused(ACCESS_RULES);
    "access.static.viewClusters.users": List(&[]), Refused(ACCESS_RULES);
    "access.static.viewConfigDump.groups":
        List(&["mesh-system:unauthenticated", "mesh-system:authenticated"]), Refused(ACCESS_RULES),
        env ["KUMA_ACCESS_STATIC_GET_CONFIG_DUMP_GROUPS"];
    "access.static.viewConfigDump.users":
        List(&[]), Refused(ACCESS_RULES), env ["KUMA_ACCESS_STATIC_GET_CONFIG_DUMP_USERS"];
    "access.static.viewStats.groups":
        List(&["mesh-system:unauthenticated", "mesh-system:authenticated"]), Refused(ACCESS_RULES);
    "access.static.viewStats.users": List(&[]), Refused(ACCESS_RULES);
    "access.type": ACCESS, Fixed;
    "coreResources.enabled":
        List(&[
            "hostnamegenerators", "meshexternalservices", "meshidentities", "meshmultizoneservices",
            "meshopentelemetrybackends", "meshservices", "meshtrusts", "meshzoneaddresses",
            "workloads",
        ]), Accepted(LATER);
    "coreResources.status.meshIdentityInterval": Duration("5s"), Accepted(LATER);
    "coreResources.status.meshMultiZoneServiceInterval": Duration("5s"), Accepted(LATER);
    "coreResources.status.meshOpenTelemetryBackendInterval": Duration("5s"), Accepted(LATER);
    "coreResources.status.meshServiceInterval": Duration("5s"), Accepted(LATER);
    "coreResources.status.workloadInterval": Duration("5s"), Accepted(LATER);
    "defaults.createMeshRoutingResources": Bool(false), Accepted(LATER);
    "defaults.SkipHostnameGenerators": Bool(false), Accepted(LATER);
    "defaults.skipMeshCreation": Bool(false), Implemented;
    "defaults.skipTenantResources": Bool(false), Accepted(LATER);
    "environment": ENVIRONMENT, Implemented;
    "eventBus.bufferSize": Int(100), Accepted(LATER);
    "experimental.autoReachableServices": Bool(false), Accepted(LATER);
    "experimental.deltaXds": Bool(false), Accepted(LATER);
    "experimental.exposeZoneProxyMetrics": Bool(false), Accepted(LATER);
    "experimental.gatewayAPI": Bool(false), Accepted(LATER);
    "experimental.inboundTagsDisabled": Bool(false), Accepted(LATER);
    "experimental.ingressTagFilters": List(&[]), Accepted(LATER);
    "experimental.kdsDeltaEnabled": Bool(true), Accepted(ALWAYS);
    "experimental.kdsEventBasedWatchdog.delayFullResync": Bool(false), Accepted(LATER);
    "experimental.kdsEventBasedWatchdog.enabled": Bool(false), Accepted(LATER);
    "experimental.kdsEventBasedWatchdog.flushInterval": Duration("5s"), Accepted(LATER);
    "experimental.kdsEventBasedWatchdog.fullResyncInterval": Duration("1m0s"), Accepted(LATER);
    "experimental.kdsSyncNameWithHashSuffix": Bool(false), Accepted(ALWAYS);
    "experimental.kubeOutboundsAsVIPs": Bool(true), Accepted(LATER);
    "experimental.sidecarContainers": Bool(true), Accepted(LATER);
    "experimental.useTagFirstVirtualOutboundModel": Bool(false), Accepted(LATER);
    "general.certGenerationBaseBackoff": Duration("5s"), Accepted(LATER);
    "general.certGenerationCircuitBreakerMinProxies": Int(10), Accepted(LATER);
    "general.certGenerationMaxBackoff": Duration("5m0s"), Accepted(LATER);
    "general.dnsCacheTTL": Duration("10s"), Accepted(LATER);
    "general.resilientComponentBaseBackoff": Duration("5s"), Accepted(LATER);
    "general.resilientComponentMaxBackoff": Duration("1m0s"), Accepted(LATER);
    "general.tlsCertFile": Text(""), Implemented;
    "general.tlsCipherSuites": List(&[]), Refused(CIPHERS);
    "general.tlsKeyFile": Text(""), Implemented;
    "general.tlsMaxVersion": TLS_MAX, Fixed;
    "general.tlsMinVersion": TLS_MIN, Fixed;
    "general.workDir": Text(""), Implemented;
    "ipam.allocationInterval": Duration("5s"), Accepted(LATER);
    "ipam.knownInternalCIDRs":
        List(&[
            "10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "fc00::/7", "fd00::/8", "127.0.0.1/32",
            "::1/128",
        ]), Accepted(LATER);
    "ipam.meshExternalService.cidr": Text("242.0.0.0/8"), Accepted(LATER);
    "ipam.meshMultiZoneService.cidr": Text("243.0.0.0/8"), Accepted(LATER);
    "ipam.meshService.cidr": Text("241.0.0.0/8"), Accepted(LATER);
    "meshService.deletionGracePeriod": Duration("1h0m0s"), Accepted(LATER);
    "meshService.generationInterval": Duration("2s"), Accepted(LATER);
    "meshService.labelPropagation.allowedLabelKeys": List(&[]), Accepted(LATER);
    "meshService.labelPropagation.enabled": Bool(false), Accepted(LATER);
    "metrics.controlPlane.reportResourcesCount": Bool(true), Accepted(LATER);
    "metrics.dataplane.idleTimeout": Duration("5m0s"), Accepted(AT_START);
    "metrics.dataplane.subscriptionLimit": Int(2), Implemented;
    "metrics.mesh.bufferSize": Int(1000), Accepted(LATER);
    "metrics.mesh.eventProcessors": Int(1), Accepted(LATER);
    "metrics.mesh.fullResyncInterval": Duration("20s"), Accepted(LATER);
    "metrics.mesh.maxResyncTimeout": Duration("0s"), Accepted(LATER);
    "metrics.mesh.minResyncInterval": Duration("1s"), Accepted(LATER);
    "metrics.mesh.minResyncTimeout": Duration("0s"), Accepted(LATER);
    "metrics.openTelemetry.enabled":
        Bool(true), Accepted(LATER), env ["KUMA_METRICS_OPENTELEMETRY_ENABLED"];
    "metrics.zone.compactFinishedSubscriptions": Bool(false), Implemented;
    "metrics.zone.idleTimeout": Duration("5m0s"), Implemented;
    "metrics.zone.subscriptionLimit": Int(10), Implemented;
    "mode": MODE, Implemented;
    "multizone.global.kds.disableSOTW": Bool(false), Accepted(ALWAYS);
    "multizone.global.kds.grpcPort": Port(5685), Implemented;
    "multizone.global.kds.labels.skipPrefixes": List(&[]), Accepted(LATER);
    "multizone.global.kds.logPayloads": Bool(false), Accepted(LATER);
    "multizone.global.kds.maxMsgSize": Int(10485760), Implemented;
    "multizone.global.kds.msgSendTimeout": Duration("1m0s"), Accepted(LATER);
    "multizone.global.kds.nackBackoff": Duration("5s"), Accepted(LATER);
    "multizone.global.kds.refreshInterval": Duration("1s"), Accepted(NO_POLLING);
    "multizone.global.kds.responseBackoff": Duration("0s"), Accepted(NO_POLLING);
    "multizone.global.kds.tlsCertFile": Text(""), Implemented;
    "multizone.global.kds.tlsCipherSuites": List(&[]), Refused(CIPHERS);
    "multizone.global.kds.tlsEnabled": Bool(true), Implemented;
    "multizone.global.kds.tlsKeyFile": Text(""), Implemented;
    "multizone.global.kds.tlsMaxVersion": TLS_MAX, Fixed;
    "multizone.global.kds.tlsMinVersion": TLS_MIN, Fixed;
    "multizone.global.kds.tracing.enabled": Bool(true), Accepted(LATER);
    "multizone.global.kds.zoneHealthCheck.closeStaleConn": Bool(false), Accepted(NEWEST_WINS);
    "multizone.global.kds.zoneHealthCheck.pollInterval": Duration("0s"), Implemented;
    "multizone.global.kds.zoneHealthCheck.timeout": Duration("0s"), Implemented;
    "multizone.global.kds.zoneInsightFlushInterval": Duration("10s"), Implemented;
    "multizone.zone.disableOriginLabelValidation": Bool(false), Accepted(LATER);
    "multizone.zone.globalAddress": Text(""), Implemented;
    "multizone.zone.ingressUpdateInterval": Duration("1s"), Accepted(LATER);
    "multizone.zone.kds.labels.skipPrefixes": List(&[]), Accepted(LATER);
    "multizone.zone.kds.logPayloads": Bool(false), Accepted(LATER);
    "multizone.zone.kds.maxMsgSize": Int(10485760), Implemented;
    "multizone.zone.kds.msgSendTimeout": Duration("1m0s"), Accepted(LATER);
    "multizone.zone.kds.nackBackoff": Duration("5s"), Accepted(LATER);
    "multizone.zone.kds.refreshInterval": Duration("1s"), Accepted(NO_POLLING);
    "multizone.zone.kds.responseBackoff": Duration("0s"), Accepted(NO_POLLING);
    "multizone.zone.kds.rootCaFile": Text(""), Implemented;
    "multizone.zone.kds.tlsSkipVerify": Bool(false), Implemented;
    "multizone.zone.name": Text("default"), Implemented;
    "policies.pluginPoliciesEnabled":
        List(&[
            "meshaccesslogs", "meshcircuitbreakers", "meshfaultinjections", "meshhealthchecks",
            "meshhttproutes", "meshloadbalancingstrategies", "meshmetrics", "meshpassthroughs",
            "meshproxypatches", "meshratelimits", "meshretries", "meshtcproutes", "meshtimeouts",
            "meshtlses", "meshtraces", "meshtrafficpermissions",
        ]), Accepted(LATER),
        env ["KUMA_PLUGIN_POLICIES_ENABLED"];
    "proxy.gateway.globalDownstreamMaxConnections": Int(50000), Implemented;
    "reports.enabled": Bool(false), Accepted(LATER);
    "store.cache.enabled": Bool(true), Accepted(NO_POLLING);
    "store.cache.expirationTime": Duration("1s"), Accepted(NO_POLLING);
    "store.kubernetes.systemNamespace": Text("kuma-system"), Accepted(LATER);
    "store.postgres.connectionTimeout": Int(5), Accepted(LATER);
    "store.postgres.dbName": Text("kuma"), Accepted(LATER);
    "store.postgres.driverName": Text("pgx"), Accepted(LATER);
    "store.postgres.healthCheckInterval": Duration("30s"), Accepted(LATER);
    "store.postgres.host": Text("127.0.0.1"), Accepted(LATER);
    "store.postgres.maxConnectionIdleTime": Duration("30m0s"), Accepted(LATER);
    "store.postgres.maxConnectionLifetime": Duration("1h0m0s"), Accepted(LATER);
    "store.postgres.maxConnectionLifetimeJitter": Duration("1m0s"), Accepted(LATER);
    "store.postgres.maxIdleConnections": Int(50), Accepted(LATER);
    "store.postgres.maxListQueryElements": Int(0), Accepted(LATER);
    "store.postgres.maxOpenConnections": Int(50), Accepted(LATER);
    "store.postgres.maxReconnectInterval": Duration("1m0s"), Accepted(LATER);
    "store.postgres.minOpenConnections": Int(0), Accepted(LATER);
    "store.postgres.minReconnectInterval": Duration("10s"), Accepted(LATER);
    "store.postgres.password": Text("kuma"), Accepted(LATER), secret true;
    "store.postgres.port": Port(15432), Accepted(LATER);
    "store.postgres.readReplica.host": Text(""), Accepted(LATER);
    "store.postgres.readReplica.port": Port(5432), Accepted(LATER);
    "store.postgres.readReplica.ratio": Int(100), Accepted(LATER);
    "store.postgres.tls.caPath":
        Text(""), Accepted(LATER), env ["KUMA_STORE_POSTGRES_TLS_ROOT_CERT_PATH"];
    "store.postgres.tls.certPath": Text(""), Accepted(LATER);
    "store.postgres.tls.disableSSLSNI": Bool(false), Accepted(LATER);
    "store.postgres.tls.keyPath": Text(""), Accepted(LATER);
    "store.postgres.tls.mode": Text("disable"), Accepted(LATER);
    "store.postgres.tolerateNewerDBVersions": Bool(false), Accepted(LATER);
    "store.postgres.user": Text("kuma"), Accepted(LATER);
    "store.type": STORE, Implemented;
    "store.unsafeDelete": Bool(false), Implemented;
    "store.upsert.conflictRetryBaseBackoff": Duration("200ms"), Accepted(LATER);
    "store.upsert.conflictRetryJitterPercent": Int(30), Accepted(LATER);
    "store.upsert.conflictRetryMaxTimes": Int(10), Accepted(LATER);
    "tracing.openTelemetry.endpoint":
        Text(""), Accepted(LATER), env ["KUMA_TRACING_OPENTELEMETRY_ENDPOINT"];
}
