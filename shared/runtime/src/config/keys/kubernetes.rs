//! Keys of the runtime sections.

use super::Kind::{Bool, Duration, Int, List, Map, Port, Text};
use super::Status::Accepted;
use super::words::{KUBERNETES, LATER};

keys! {
    "runtime.kubernetes.admissionServer.address": Text(""), Accepted(KUBERNETES);
    "runtime.kubernetes.admissionServer.certDir": Text(""), Accepted(KUBERNETES);
    "runtime.kubernetes.admissionServer.port": Port(5443), Accepted(KUBERNETES);
    "runtime.kubernetes.allowedUsers": List(&[]), Accepted(KUBERNETES);
    "runtime.kubernetes.clientConfig.burstQps": Int(100), Accepted(KUBERNETES);
    "runtime.kubernetes.clientConfig.qps": Int(100), Accepted(KUBERNETES);
    "runtime.kubernetes.controllersConcurrency.podController": Int(10), Accepted(KUBERNETES);
    "runtime.kubernetes.controlPlaneServiceName": Text("kuma-control-plane"), Accepted(KUBERNETES);
    "runtime.kubernetes.disallowMultipleMeshesPerNamespace": Bool(false), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.applicationProbeProxyPort": Port(9001), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.builtinDNS.enabled": Bool(true), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.builtinDNS.experimentalProxy": Bool(true), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.builtinDNS.port": Port(15053), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.caCertFile": Text(""), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.cniEnabled": Bool(false), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.containerPatches": List(&[]), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.ebpf.bpffsPath": Text("/sys/fs/bpf"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.ebpf.cgroupPath": Text("/sys/fs/cgroup"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.ebpf.enabled": Bool(false), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.ebpf.instanceIPEnvVarName":
        Text("INSTANCE_IP"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.ebpf.programsSourcePath":
        Text("/tmp/kuma-ebpf"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.exceptions.labels": Map, Accepted(KUBERNETES);
    "runtime.kubernetes.injector.ignoredServiceSelectorLabels": List(&[]), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.initContainer.image":
        Text("kuma/kuma-init:latest"), Accepted(KUBERNETES),
        env ["KUMA_INJECTOR_INIT_CONTAINER_IMAGE"];
    "runtime.kubernetes.injector.initContainer.resources.limits.cpu":
        Text("0"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.initContainer.resources.limits.memory":
        Text("50M"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.initContainer.resources.requests.cpu":
        Text("20m"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.initContainer.resources.requests.memory":
        Text("20M"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.nodeLabelsToCopy":
        List(&[
            "topology.kubernetes.io/zone", "topology.kubernetes.io/region",
            "kubernetes.io/hostname",
        ]), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.otelPipeEnabled": Bool(true), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.drainTime": Duration("30s"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.envVars": Map, Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.gid": Int(5678), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.image":
        Text("kuma/kuma-dp:latest"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.ipFamilyMode":
        Text("dualstack"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.livenessProbe.failureThreshold":
        Int(12), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.livenessProbe.initialDelaySeconds":
        Int(60), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.livenessProbe.periodSeconds":
        Int(5), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.livenessProbe.timeoutSeconds":
        Int(3), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.readinessProbe.failureThreshold":
        Int(12), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.readinessProbe.initialDelaySeconds":
        Int(1), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.readinessProbe.periodSeconds":
        Int(5), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.readinessProbe.successThreshold":
        Int(1), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.readinessProbe.timeoutSeconds":
        Int(3), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.redirectPortInbound":
        Int(15006), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.redirectPortInboundV6":
        Int(15010), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.redirectPortOutbound":
        Int(15001), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.resources.limits.cpu":
        Text("0"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.resources.limits.memory":
        Text("512Mi"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.resources.requests.cpu":
        Text("50m"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.resources.requests.memory":
        Text("64Mi"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.startupProbe.failureThreshold":
        Int(12), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.startupProbe.initialDelaySeconds":
        Int(1), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.startupProbe.periodSeconds":
        Int(5), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.startupProbe.timeoutSeconds":
        Int(3), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.uid": Int(5678), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarContainer.waitForDataplaneReady":
        Bool(false), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarTraffic.excludeInboundIPs": List(&[]), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarTraffic.excludeInboundPorts":
        List(&[]), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarTraffic.excludeOutboundIPs":
        List(&[]), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.sidecarTraffic.excludeOutboundPorts":
        List(&[]), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.spire.enabled": Bool(false), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.spire.mountPath": Text("/run/spire/sockets"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.spire.socketFileName": Text("socket"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.transparentProxyConfigMap": Text(""), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.unifiedResourceNamingEnabled": Bool(false), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.validationContainer.resources.limits.cpu":
        Text("0"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.validationContainer.resources.limits.memory":
        Text("50M"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.validationContainer.resources.requests.cpu":
        Text("20m"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.validationContainer.resources.requests.memory":
        Text("20M"), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.virtualProbesEnabled": Bool(false), Accepted(KUBERNETES);
    "runtime.kubernetes.injector.virtualProbesPort": Port(9000), Accepted(KUBERNETES);
    "runtime.kubernetes.leaderElection.leaseDuration": Duration("15s"), Accepted(KUBERNETES);
    "runtime.kubernetes.leaderElection.renewDeadline": Duration("10s"), Accepted(KUBERNETES);
    "runtime.kubernetes.marshalingCacheExpirationTime": Duration("5m0s"), Accepted(KUBERNETES);
    "runtime.kubernetes.nodeTaintController.cniApp": Text(""), Accepted(KUBERNETES);
    "runtime.kubernetes.nodeTaintController.cniNamespace":
        Text("kube-system"), Accepted(KUBERNETES);
    "runtime.kubernetes.nodeTaintController.enabled": Bool(false), Accepted(KUBERNETES);
    "runtime.kubernetes.serviceAccountName":
        Text("system:serviceaccount:kuma-system:kuma-control-plane"), Accepted(KUBERNETES);
    "runtime.kubernetes.skipMeshOwnerReference": Bool(false), Accepted(KUBERNETES);
    "runtime.kubernetes.supportGatewaySecretsInAllNamespaces": Bool(false), Accepted(KUBERNETES);
    "runtime.kubernetes.workloadLabels": List(&[]), Accepted(KUBERNETES);
    "runtime.universal.dataplaneCleanupAge": Duration("72h0m0s"), Accepted(LATER);
    "runtime.universal.spire.socketPath": Text("/tmp/spire-agent/public/api.sock"), Accepted(LATER);
    "runtime.universal.vipRefreshInterval": Duration("500ms"), Accepted(LATER);
    "runtime.universal.workload.generationInterval": Duration("2s"), Accepted(LATER);
    "runtime.universal.zoneResourceCleanupAge": Duration("72h0m0s"), Accepted(LATER);
}
