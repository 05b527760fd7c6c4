//! The bootstrap of a gateway's Envoy, as JSON; pure.
//!
//! Field names are those of
//! [`envoy.config.bootstrap.v3.Bootstrap`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/bootstrap/v3/bootstrap.proto).
//! The names of clusters, secrets, layers and metadata keys are Kuma's, so that either control
//! plane can take over a proxy that the other one started.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mesh_model::tags;
use mesh_proto::mesh::Dataplane;
use serde_json::{Map, Value, json};

use super::request::Request;

/// The longest path of a Unix socket on Linux, without the final zero: see unix(7).
const MAX_SOCKET_PATH: usize = 107;

/// Names of log and metrics sockets are cut to this many characters before `.sock`.
const MAX_SOCKET_STEM: usize = 98;

/// What every bootstrap of this control plane has in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// Where Envoy's admin interface listens, when not on a Unix socket.
    pub admin_address: String,
    /// Its port for Dataplanes that name none.
    pub admin_port: u16,
    /// Whether the admin interface is a Unix socket for agents that say where sockets go.
    pub admin_unix_socket: bool,
    /// The host by which Envoy reaches us; `None` takes the one the agent used.
    pub xds_host: Option<String>,
    /// The port of the data-plane server.
    pub xds_port: u16,
    /// How long Envoy waits for a connection to us.
    pub xds_connect_timeout: Duration,
    /// How many downstream connections one gateway may hold.
    pub max_downstream_connections: u64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            admin_address: "127.0.0.1".to_owned(),
            admin_port: 9901,
            admin_unix_socket: true,
            xds_host: None,
            xds_port: 5678,
            xds_connect_timeout: Duration::from_secs(1),
            max_downstream_connections: 50_000,
        }
    }
}

/// How Envoy is to reach this control plane.
#[derive(Debug, Clone, Copy)]
pub struct ControlPlane<'a> {
    /// Our host, a name or an address without brackets.
    pub host: &'a str,
    /// Whether the name has IPv4 addresses only, so that asking for others wastes time.
    pub is_ipv4_only: bool,
    /// PEM of what our certificate is verified with.
    pub ca: &'a [u8],
}

/// The bootstrap for `dataplane`, a builtin gateway, as its agent asked for it.
///
/// Same input, same output.
pub fn bootstrap(
    request: &Request,
    dataplane: &Dataplane,
    control_plane: ControlPlane<'_>,
    params: &Params,
) -> Value {
    let admin = Admin::of(request, dataplane, params);
    json!({
        "node": {
            "id": format!("{}.{}", request.mesh, request.name),
            "cluster": service(dataplane),
            "metadata": metadata(request, &admin),
        },
        "admin": {
            "accessLog": [{
                "name": "envoy.access_loggers.file",
                "typedConfig": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": if request.operating_system == "windows" { "NUL" } else { "/dev/null" },
                },
            }],
            "address": admin.listen_address(),
        },
        "layeredRuntime": {
            "layers": [
                {
                    "name": "kuma",
                    "staticLayer": {
                        "re2.max_program_size.error_level": u32::MAX,
                        "re2.max_program_size.warn_level": 1000,
                    },
                },
                {
                    "name": "gateway.listeners",
                    "rtdsLayer": {
                        "name": "gateway.listeners",
                        "rtdsConfig": {"ads": {}, "resourceApiVersion": "V3"},
                    },
                },
            ],
        },
        "defaultRegexEngine": {
            "name": "envoy.regex_engines.google_re2",
            "typedConfig": {
                "@type": "type.googleapis.com/envoy.extensions.regex_engines.v3.GoogleRE2",
            },
        },
        "overloadManager": overload_manager(request, params),
        "statsConfig": stats_config(),
        "dynamicResources": {
            "adsConfig": ads(request),
            "ldsConfig": over_ads(),
            "cdsConfig": over_ads(),
        },
        "staticResources": {
            "clusters": [
                access_log_cluster(request),
                ads_cluster(control_plane, params),
            ],
            "secrets": [validation_context(control_plane)],
        },
    })
}

/// Where Envoy's admin interface is.
struct Admin {
    address: String,
    port: u32,
    socket: Option<String>,
}

impl Admin {
    fn of(request: &Request, dataplane: &Dataplane, params: &Params) -> Self {
        let networking = dataplane.networking.as_ref();
        let own_port = networking
            .and_then(|networking| networking.admin.as_ref())
            .map_or(0, |admin| admin.port);
        let socket = format!("{}/kuma-envoy-admin.sock", request.workdir);
        // A path that no socket can have would stop Envoy at its start; TCP serves as well.
        let usable = params.admin_unix_socket
            && !request.workdir.is_empty()
            && socket.len() <= MAX_SOCKET_PATH;
        Self {
            address: params.admin_address.clone(),
            port: match own_port {
                0 => u32::from(params.admin_port),
                port => port,
            },
            socket: usable.then_some(socket),
        }
    }

    fn listen_address(&self) -> Value {
        match &self.socket {
            Some(path) => json!({"pipe": {"path": path, "mode": 0o600}}),
            None => json!({"socketAddress": {"address": self.address, "portValue": self.port}}),
        }
    }
}

/// The service that the gateway stands for: the first value in order, where several are given.
fn service(dataplane: &Dataplane) -> &str {
    let networking = dataplane.networking.as_ref();
    networking
        .and_then(|networking| networking.gateway.as_ref())
        .and_then(|gateway| gateway.tags.get(tags::SERVICE))
        .map_or("unknown", String::as_str)
}

/// The node's metadata: what the ADS server learns about the proxy. Ports are strings.
fn metadata(request: &Request, admin: &Admin) -> Value {
    let mut metadata = Map::new();
    let mut put = |key: &str, value: Value| metadata.insert(key.to_owned(), value);

    put("version", version(request));
    put("features", json!(request.features));
    put(
        "metricsCertPath",
        json!(request.metrics_resources.cert_path),
    );
    put("metricsKeyPath", json!(request.metrics_resources.key_path));
    put("dataplane.proxyType", json!(request.proxy_type()));
    put("dataplane.admin.address", json!(admin.address));
    put("dataplane.admin.port", json!(admin.port.to_string()));
    for (key, port) in [
        ("dataplane.dns.port", request.dns_port),
        ("dataplane.dns.empty.port", request.empty_dns_port),
        ("dataplane.readinessReporter.port", request.readiness_port),
    ] {
        if port != 0 {
            put(key, json!(port.to_string()));
        }
    }
    if !request.dataplane_resource.is_empty() {
        put("dataplane.resource", json!(request.dataplane_resource));
    }
    if !request.dynamic_metadata.is_empty() {
        put("dynamicMetadata", json!(request.dynamic_metadata));
    }
    // The rest only agents of one generation send.
    if let Some(path) = &request.access_log_socket_path {
        put("accessLogSocketPath", json!(path));
    }
    if let Some(path) = &request.metrics_resources.socket_path {
        put("metricsSocketPath", json!(path));
    }
    if !request.workdir.is_empty() {
        put("workdir", json!(request.workdir));
    }
    if let Some(path) = &admin.socket {
        put("dataplane.admin.socketPath", json!(path));
    }
    if let Some(path) = &request.system_ca_path {
        put("systemCaPath", json!(path));
    }
    if let Some(enabled) = request.ipv6_enabled {
        put("ipv6Enabled", json!(enabled));
    }
    if let Some(spire) = &request.spire_resources {
        put("spireAgent.socketPath", json!(spire.socket_path));
    }
    if let Some(otel) = &request.otel_env {
        let inventory = json!({
            "pipeEnabled": otel.pipe_enabled,
            "shared": null,
            "logs": null,
            "metrics": null,
            "traces": null,
            "validationErrors": [],
        });
        put("otelEnvInventory", inventory);
    }
    if request.app_probe_proxy_disabled {
        put("dataplane.appProbeProxy.enabled", json!("true"));
    }
    Value::Object(metadata)
}

fn version(request: &Request) -> Value {
    let mut version = json!(request.version);
    let dependencies: Map<String, Value> = request
        .dynamic_metadata
        .iter()
        .filter_map(|(key, value)| {
            let name = key.strip_prefix("version.dependencies.")?;
            Some((name.to_owned(), json!(value)))
        })
        .collect();
    if !dependencies.is_empty() {
        version["dependencies"] = Value::Object(dependencies);
    }
    version
}

fn overload_manager(request: &Request, params: &Params) -> Value {
    let connections = json!({
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
            "maxActiveDownstreamConnections": params.max_downstream_connections.to_string(),
        },
    });
    let mut manager = json!({"refreshInterval": "0.250s", "resourceMonitors": [connections]});
    let limit = request.resources.max_heap_size_bytes;
    if limit > 0 {
        let heap = "envoy.resource_monitors.fixed_heap";
        let action = |name: &str, threshold: f64| {
            json!({
                "name": format!("envoy.overload_actions.{name}"),
                "triggers": [{"name": heap, "threshold": {"value": threshold}}],
            })
        };
        let monitor = json!({
            "name": heap,
            "typedConfig": {
                "@type": "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                "maxHeapSizeBytes": limit.to_string(),
            },
        });
        manager["resourceMonitors"] = json!([monitor, connections]);
        manager["actions"] = json!([
            action("shrink_heap", 0.95),
            action("stop_accepting_requests", 0.98),
        ]);
    }
    manager
}

fn stats_config() -> Value {
    let tags = [
        ("name", r"^grpc\.((.+)\.)"),
        ("status", r"^grpc.*streams_closed(_([0-9]+))"),
        ("kafka_name", r"^kafka(\.(\S*[0-9]))\."),
        ("kafka_type", r"^kafka\..*\.(.*?(?=_duration|$))"),
        ("worker", r"(worker_([0-9]+)\.)"),
        ("listener", r"((.+?)\.)rbac\."),
    ];
    let tags: Vec<_> = tags
        .iter()
        .map(|(name, regex)| json!({"tagName": name, "regex": regex}))
        .collect();
    json!({"statsTags": tags})
}

/// The ADS stream. It is incremental whatever the agent announces: Envoy speaks that by itself.
fn ads(request: &Request) -> Value {
    let mut service = json!({
        "envoyGrpc": {
            "clusterName": "ads_cluster",
            // Envoy's own pace is 0.5 to 30 s: too slow to come back after our restart.
            "retryPolicy": {"retryBackOff": {"baseInterval": "0.1s", "maxInterval": "1s"}},
        },
    });
    if !request.dataplane_token.is_empty() {
        service["initialMetadata"] =
            json!([{"key": "authorization", "value": request.dataplane_token}]);
    }
    json!({
        "apiType": "DELTA_GRPC",
        "transportApiVersion": "V3",
        "setNodeOnFirstMessageOnly": true,
        "grpcServices": [service],
    })
}

fn over_ads() -> Value {
    json!({"ads": {}, "initialFetchTimeout": "0s", "resourceApiVersion": "V3"})
}

fn access_log_cluster(request: &Request) -> Value {
    let path = match &request.access_log_socket_path {
        Some(path) if request.workdir.is_empty() => path.clone(),
        _ => {
            let directory = match request.workdir.as_str() {
                "" => "/tmp",
                directory => directory,
            };
            socket_path(directory, "kuma-al", &request.name, &request.mesh)
        }
    };
    cluster(
        "access_log_sink",
        Duration::from_secs(1),
        &json!({"pipe": {"path": path}}),
    )
}

/// `<directory>/<prefix>-<name>-<mesh>.sock`, cut so that it stays a possible path.
fn socket_path(directory: &str, prefix: &str, name: &str, mesh: &str) -> String {
    let mut stem = format!("{directory}/{prefix}-{name}-{mesh}");
    if let Some((cut, _)) = stem.char_indices().nth(MAX_SOCKET_STEM) {
        stem.truncate(cut);
    }
    stem + ".sock"
}

fn ads_cluster(control_plane: ControlPlane<'_>, params: &Params) -> Value {
    let host = control_plane.host;
    let mut cluster = cluster(
        "ads_cluster",
        params.xds_connect_timeout,
        &json!({"socketAddress": {"address": host, "portValue": params.xds_port}}),
    );
    if host.parse::<IpAddr>().is_err() {
        cluster["type"] = json!("STRICT_DNS");
        if host == "localhost" {
            // Many machines know ::1 as localhost while servers listen on 127.0.0.1 only.
            cluster["dnsLookupFamily"] = json!("V4_PREFERRED");
        } else if control_plane.is_ipv4_only {
            cluster["dnsLookupFamily"] = json!("V4_ONLY");
        }
    }
    cluster["transportSocket"] = json!({
        "name": "envoy.transport_sockets.tls",
        "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": host,
            "commonTlsContext": {
                "tlsParams": {"tlsMinimumProtocolVersion": "TLSv1_2"},
                "validationContextSdsSecretConfig": {"name": "cp_validation_ctx"},
            },
        },
    });
    cluster
}

/// A static HTTP/2 cluster with one endpoint.
fn cluster(name: &str, connect_timeout: Duration, address: &Value) -> Value {
    let http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    json!({
        "name": name,
        "type": "STATIC",
        "connectTimeout": proto_duration(connect_timeout),
        "loadAssignment": {
            "clusterName": name,
            "endpoints": [{"lbEndpoints": [{"endpoint": {"address": address}}]}],
        },
        "typedExtensionProtocolOptions": {
            http: {
                "@type": format!("type.googleapis.com/{http}"),
                "explicitHttpConfig": {"http2ProtocolOptions": {}},
            },
        },
        "upstreamConnectionOptions": {
            "tcpKeepalive": {"keepaliveProbes": 3, "keepaliveTime": 10, "keepaliveInterval": 10},
        },
    })
}

/// How Envoy verifies us: by the CA, and our certificate has to name the host.
fn validation_context(control_plane: ControlPlane<'_>) -> Value {
    let names = ["DNS", "IP_ADDRESS"]
        .map(|kind| json!({"sanType": kind, "matcher": {"exact": control_plane.host}}));
    json!({
        "name": "cp_validation_ctx",
        "validationContext": {
            "trustedCa": {"inlineBytes": BASE64.encode(control_plane.ca)},
            "matchTypedSubjectAltNames": names,
        },
    })
}

/// A duration in protobuf's JSON: seconds, with a fraction where there is one.
fn proto_duration(duration: Duration) -> String {
    match duration.subsec_nanos() {
        0 => format!("{}s", duration.as_secs()),
        nanos => format!("{}.{nanos:09}s", duration.as_secs()),
    }
}

#[cfg(test)]
#[path = "envoy_tests.rs"]
mod tests;
