//! The labels that carry meaning between control planes.

/// Who made a resource: [`ORIGIN_GLOBAL`] or [`ORIGIN_ZONE`].
pub const ORIGIN: &str = "kuma.io/origin";
/// Value of [`ORIGIN`] for what the global owns.
pub const ORIGIN_GLOBAL: &str = "global";
/// Value of [`ORIGIN`] for what a zone owns.
pub const ORIGIN_ZONE: &str = "zone";
/// The zone that owns a resource.
pub const ZONE: &str = "kuma.io/zone";
/// The name before a hash suffix or a zone prefix was added.
pub const DISPLAY_NAME: &str = "kuma.io/display-name";
/// The mesh of a mesh-scoped resource.
pub const MESH: &str = "kuma.io/mesh";
/// Where a resource's control plane runs: `universal` or `kubernetes`.
pub const ENV: &str = "kuma.io/env";
/// What a proxy is: `sidecar`, `gateway`, `zoneingress` or `zoneegress`.
pub const PROXY_TYPE: &str = "kuma.io/proxy-type";
/// The Kubernetes namespace of a resource.
pub const NAMESPACE: &str = "k8s.kuma.io/namespace";
/// [`KDS_SYNC_DISABLED`]: the resource does not travel on KDS.
pub const KDS_SYNC: &str = "kuma.io/kds-sync";
/// Value of [`KDS_SYNC`] for what stays on its control plane.
pub const KDS_SYNC_DISABLED: &str = "disabled";
/// For whom a policy was made: `system`, `workload-owner`, `consumer` or [`PRODUCER`].
pub const POLICY_ROLE: &str = "kuma.io/policy-role";
/// Value of [`POLICY_ROLE`] for what the owner of a service says about calls to it.
pub const PRODUCER: &str = "producer";
/// When a Dataplane's deletion grace period began; local to a zone.
pub const DELETION_GRACE_PERIOD: &str = "kuma.io/deletion-grace-period-started-at";
/// Ours: when the global created a resource, in Unix seconds. KDS itself carries no times.
pub const CREATED: &str = "meridian.io/created";
