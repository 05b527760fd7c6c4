//! Keys of what a control plane serves.

use super::Kind::{Bool, Duration, Int, Ip, List, Objects, Port, Text};
use super::Status::{Accepted, Fixed, Implemented, Refused};
use super::words::{
    CIPHERS, CLIENT_CERTS, DP_AUTHN, LATER, NO_POLLING, NO_RESENDING, OLD_DP_AUTHN, PUBLIC_KEYS,
    TLS_MAX, TLS_MIN, USE_SECRETS, USER_AUTHN, ZONE_AUTHN,
};

keys! {
    "apiServer.auth.clientCertsDir": Text(""), Refused(CLIENT_CERTS);
    "apiServer.authn.localhostIsAdmin": Bool(true), Implemented;
    "apiServer.authn.tokens.bootstrapAdminToken": Bool(true), Implemented;
    "apiServer.authn.tokens.enableIssuer": Bool(true), Implemented;
    "apiServer.authn.tokens.validator.publicKeys": Objects, Refused(PUBLIC_KEYS);
    "apiServer.authn.tokens.validator.useSecrets": Bool(true), Refused(USE_SECRETS);
    "apiServer.authn.type": USER_AUTHN, Fixed;
    "apiServer.basePath": Text("/"), Implemented;
    "apiServer.corsAllowedDomains": List(&[]), Implemented;
    "apiServer.gui.basePath": Text("/gui"), Accepted(LATER);
    "apiServer.gui.enabled": Bool(true), Accepted(LATER);
    "apiServer.gui.rootUrl": Text(""), Accepted(LATER);
    "apiServer.http.enabled": Bool(true), Implemented;
    "apiServer.http.interface": Ip("0.0.0.0"), Implemented;
    "apiServer.http.port": Port(5681), Implemented;
    "apiServer.https.enabled": Bool(true), Implemented;
    "apiServer.https.interface": Ip("0.0.0.0"), Implemented;
    "apiServer.https.port": Port(5682), Implemented;
    "apiServer.https.requireClientCert": Bool(false), Refused(CLIENT_CERTS);
    "apiServer.https.tlsCaFile":
        Text(""), Refused(CLIENT_CERTS),
        env ["KUMA_API_SERVER_HTTPS_TLS_CA_FILE", "KUMA_API_SERVER_HTTPS_CLIENT_CERTS_CA_FILE"];
    "apiServer.https.tlsCertFile": Text(""), Implemented;
    "apiServer.https.tlsCipherSuites": List(&[]), Refused(CIPHERS);
    "apiServer.https.tlsKeyFile": Text(""), Implemented;
    "apiServer.https.tlsMaxVersion": TLS_MAX, Fixed;
    "apiServer.https.tlsMinVersion": TLS_MIN, Fixed;
    "apiServer.idleTimeout": Duration("2m0s"), Accepted(LATER);
    "apiServer.readHeaderTimeout": Duration("1s"), Accepted(LATER);
    "apiServer.readOnly": Bool(false), Refused("the API would stay writable");
    "apiServer.readTimeout": Duration("10s"), Accepted(LATER);
    "apiServer.rootUrl": Text(""), Accepted(LATER);
    "apiServer.writeTimeout": Duration("30s"), Accepted(LATER);
    "bootstrapServer.params.adminAccessLogPath": Text("/dev/null"), Accepted(LATER);
    "bootstrapServer.params.adminAddress": Ip("127.0.0.1"), Implemented;
    "bootstrapServer.params.adminPort": Port(9901), Implemented;
    "bootstrapServer.params.corefileTemplatePath": Text(""), Accepted(LATER);
    "bootstrapServer.params.envoyAdminUnixSocket": Bool(true), Accepted(LATER);
    "bootstrapServer.params.readinessPort": Port(9902), Accepted(LATER);
    "bootstrapServer.params.xdsConnectTimeout": Duration("1s"), Implemented;
    "bootstrapServer.params.xdsGrpcMaxReceiveMessageBytes": Int(4194304), Accepted(LATER);
    "bootstrapServer.params.xdsHost": Text(""), Implemented;
    "bootstrapServer.params.xdsPort": Port(0), Implemented;
    "diagnostics.debugEndpoints": Bool(false), Accepted(LATER);
    "diagnostics.serverPort": Port(5680), Implemented;
    "diagnostics.tlsCertFile": Text(""), Accepted(LATER);
    "diagnostics.tlsCipherSuites": List(&[]), Accepted(LATER);
    "diagnostics.tlsEnabled": Bool(false), Refused("diagnostics would be served without TLS");
    "diagnostics.tlsKeyFile": Text(""), Accepted(LATER);
    "diagnostics.tlsMaxVersion": Text(""), Accepted(LATER);
    "diagnostics.tlsMinVersion": Text("TLSv1_2"), Accepted(LATER);
    "dnsServer.CIDR": Text("240.0.0.0/4"), Accepted(LATER);
    "dnsServer.domain": Text("mesh"), Accepted(LATER);
    "dnsServer.serviceVipEnabled": Bool(true), Accepted(LATER);
    "dnsServer.serviceVipPort":
        Port(80), Accepted(LATER),
        env ["KUMA_DNS_SERVER_SERVICE_VIP_PORT", "KUMA_DNS_SERVICE_SERVICE_VIP_PORT"];
    "dpServer.auth.type": OLD_DP_AUTHN, Fixed;
    "dpServer.auth.useTokenPath": Bool(false), Accepted(LATER);
    "dpServer.authn.dpProxy.dpToken.enableIssuer": Bool(true), Implemented;
    "dpServer.authn.dpProxy.dpToken.validator.publicKeys": Objects, Refused(PUBLIC_KEYS);
    "dpServer.authn.dpProxy.dpToken.validator.useSecrets": Bool(true), Refused(USE_SECRETS);
    "dpServer.authn.dpProxy.type": DP_AUTHN, Implemented;
    "dpServer.authn.enableReloadableTokens": Bool(false), Accepted(LATER);
    "dpServer.authn.zoneProxy.type": ZONE_AUTHN, Fixed;
    "dpServer.authn.zoneProxy.zoneToken.enableIssuer": Bool(true), Implemented;
    "dpServer.authn.zoneProxy.zoneToken.validator.publicKeys": Objects, Refused(PUBLIC_KEYS);
    "dpServer.authn.zoneProxy.zoneToken.validator.useSecrets": Bool(true), Refused(USE_SECRETS);
    "dpServer.gracefulShutdownTimeout": Duration("10s"), Accepted(LATER);
    "dpServer.hds.checkDefaults.healthyThreshold":
        Int(1), Accepted(LATER),
        env [
            "KUMA_DP_SERVER_HDS_CHECK_HEALTHY_THRESHOLD",
            "KUMA_DP_SERVER_HDS_CHECK_DEFAULTS_HEALTHY_THRESHOLD",
        ];
    "dpServer.hds.checkDefaults.interval":
        Duration("1s"), Accepted(LATER),
        env ["KUMA_DP_SERVER_HDS_CHECK_INTERVAL", "KUMA_DP_SERVER_HDS_CHECK_DEFAULTS_INTERVAL"];
    "dpServer.hds.checkDefaults.noTrafficInterval":
        Duration("1s"), Accepted(LATER),
        env [
            "KUMA_DP_SERVER_HDS_CHECK_NO_TRAFFIC_INTERVAL",
            "KUMA_DP_SERVER_HDS_CHECK_DEFAULTS_NO_TRAFFIC_INTERVAL",
        ];
    "dpServer.hds.checkDefaults.timeout":
        Duration("2s"), Accepted(LATER),
        env ["KUMA_DP_SERVER_HDS_CHECK_TIMEOUT", "KUMA_DP_SERVER_HDS_CHECK_DEFAULTS_TIMEOUT"];
    "dpServer.hds.checkDefaults.unhealthyThreshold":
        Int(1), Accepted(LATER),
        env [
            "KUMA_DP_SERVER_HDS_CHECK_UNHEALTHY_THRESHOLD",
            "KUMA_DP_SERVER_HDS_CHECK_DEFAULTS_UNHEALTHY_THRESHOLD",
        ];
    "dpServer.hds.enabled": Bool(true), Accepted(LATER);
    "dpServer.hds.interval": Duration("5s"), Accepted(LATER);
    "dpServer.hds.refreshInterval": Duration("10s"), Accepted(LATER);
    "dpServer.port": Port(5678), Implemented;
    "dpServer.readHeaderTimeout": Duration("5s"), Accepted(LATER);
    "dpServer.tlsCertFile": Text(""), Implemented;
    "dpServer.tlsCipherSuites": List(&[]), Refused(CIPHERS);
    "dpServer.tlsKeyFile": Text(""), Implemented;
    "dpServer.tlsMaxVersion": TLS_MAX, Fixed;
    "dpServer.tlsMinVersion": TLS_MIN, Fixed;
    "interCp.catalog.heartbeatInterval": Duration("5s"), Accepted(LATER);
    "interCp.catalog.instanceAddress": Text(""), Accepted(LATER);
    "interCp.catalog.instanceVersion": Text(""), Accepted(LATER);
    "interCp.catalog.writerInterval": Duration("15s"), Accepted(LATER);
    "interCp.server.port": Port(5683), Accepted(LATER);
    "interCp.server.tlsCipherSuites": List(&[]), Accepted(LATER);
    "interCp.server.tlsMaxVersion": Text(""), Accepted(LATER);
    "interCp.server.tlsMinVersion": Text("TLSv1_2"), Accepted(LATER);
    "monitoringAssignmentServer.apiVersions": List(&["v1"]), Accepted(LATER);
    "monitoringAssignmentServer.assignmentRefreshInterval": Duration("1s"), Accepted(LATER);
    "monitoringAssignmentServer.defaultFetchTimeout": Duration("30s"), Accepted(LATER);
    "monitoringAssignmentServer.enabled": Bool(true), Accepted(LATER);
    "monitoringAssignmentServer.port": Port(5676), Accepted(LATER);
    "monitoringAssignmentServer.tlsCertFile": Text(""), Accepted(LATER);
    "monitoringAssignmentServer.tlsCipherSuites": List(&[]), Accepted(LATER);
    "monitoringAssignmentServer.tlsEnabled": Bool(false), Accepted(LATER);
    "monitoringAssignmentServer.tlsKeyFile": Text(""), Accepted(LATER);
    "monitoringAssignmentServer.tlsMaxVersion": Text(""), Accepted(LATER);
    "monitoringAssignmentServer.tlsMinVersion": Text("TLSv1_2"), Accepted(LATER);
    "xdsServer.dataplaneConfigurationRefreshInterval": Duration("1s"), Accepted(NO_POLLING);
    "xdsServer.dataplaneDeregistrationDelay": Duration("10s"), Implemented;
    "xdsServer.dataplaneStatusFlushInterval": Duration("10s"), Implemented;
    "xdsServer.nackBackoff": Duration("5s"), Accepted(NO_RESENDING);
}
