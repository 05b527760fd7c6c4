//! What an agent sends to `POST /bootstrap`.
//!
//! Agents from 2.5 to 2.14 differ in the fields they send: a field that one of them lacks is
//! optional here, unknown fields are ignored, and `null` means absent, because that is how Go
//! writes an empty list or map.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An agent's request for the bootstrap of its Envoy.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Request {
    /// The mesh; empty for zone proxies.
    pub mesh: String,
    /// The name of the proxy's resource.
    pub name: String,
    /// `dataplane`, `ingress` or `egress`; empty means `dataplane`.
    pub proxy_type: String,
    /// The token itself. Its content is checked when Envoy opens its stream, not here.
    pub dataplane_token: String,
    /// Where the token lies on the agent's machine.
    pub dataplane_token_path: String,
    /// The resource as JSON text; empty when it is in the store already.
    pub dataplane_resource: String,
    /// Versions of the agent and its Envoy.
    pub version: Version,
    /// PEM of the CA by which the agent trusts us; may be empty.
    pub ca_cert: String,
    /// Free keys; those under `version.dependencies.` name versions of other programs.
    pub dynamic_metadata: BTreeMap<String, String>,
    /// Where Envoy's DNS filter is to listen; 0 is none.
    pub dns_port: u32,
    /// Where it resolves what it does not know (2.5); 0 is none.
    pub empty_dns_port: u32,
    /// Where the agent answers `/ready`; 0 is nowhere.
    pub readiness_port: u32,
    /// The agent's system, by its Go name.
    pub operating_system: String,
    /// What the agent can do.
    pub features: Vec<String>,
    /// Limits of the agent's machine.
    pub resources: Resources,
    /// The directory of all sockets (2.14).
    pub workdir: String,
    /// The socket of the access log (2.5).
    pub access_log_socket_path: Option<String>,
    /// Where metrics are served.
    pub metrics_resources: MetricsResources,
    /// The system's CA bundle on the agent's machine (2.14).
    pub system_ca_path: Option<String>,
    /// Whether the agent's machine has IPv6 (2.14).
    pub ipv6_enabled: Option<bool>,
    /// The socket of a SPIRE agent (2.14).
    pub spire_resources: Option<SpireResources>,
    /// OpenTelemetry settings of the agent's environment (2.14).
    pub otel_env: Option<OtelEnv>,
    /// Whether the agent runs its application probe proxy (2.14). The name says the opposite
    /// of what the value means; agents in the field depend on that.
    pub app_probe_proxy_disabled: bool,
}

/// Versions of the agent and its Envoy, as they go into Envoy's node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Version {
    /// The agent.
    pub kuma_dp: AgentVersion,
    /// Its Envoy.
    pub envoy: EnvoyVersion,
}

/// The build of an agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentVersion {
    /// Its version.
    pub version: String,
    /// The tag it was built from.
    pub git_tag: String,
    /// The commit it was built from.
    pub git_commit: String,
    /// When it was built.
    pub build_date: String,
}

/// The build of an Envoy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvoyVersion {
    /// Its version.
    pub version: String,
    /// The whole build text.
    pub build: String,
    /// Whether the agent was made for this Envoy.
    pub kuma_dp_compatible: bool,
}

/// Limits of the agent's machine.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// The most heap Envoy may use, in bytes; 0 is unlimited.
    pub max_heap_size_bytes: u64,
}

/// Where metrics are served.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricsResources {
    /// The agent's socket (2.5).
    pub socket_path: Option<String>,
    /// Certificate for scraping over TLS.
    pub cert_path: String,
    /// Its key.
    pub key_path: String,
}

/// The socket of a SPIRE agent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SpireResources {
    /// Its path; empty without SPIRE.
    pub socket_path: String,
}

/// OpenTelemetry settings of the agent's environment.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OtelEnv {
    /// Whether signals go through the agent.
    pub pipe_enabled: bool,
}

impl Request {
    /// Parses a request body; `None` when it is no JSON object of the expected types.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut value: Value = serde_json::from_slice(body).ok()?;
        // A sequence would otherwise be taken as the fields in order.
        value.is_object().then_some(())?;
        drop_nulls(&mut value);
        serde_json::from_value(value).ok()
    }

    /// The kind of proxy, with the default filled in.
    pub fn proxy_type(&self) -> &str {
        match self.proxy_type.as_str() {
            "" => "dataplane",
            named => named,
        }
    }
}

fn drop_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, field| !field.is_null());
        fields.values_mut().for_each(drop_nulls);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_is_no_request() {
        for body in [
            "",
            "nonsense",
            "[]",
            "[\"default\"]",
            "\"default\"",
            "null",
            "{\"name\":7}",
        ] {
            assert_eq!(Request::parse(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn null_unknown_and_missing_fields_are_tolerated() {
        let body = br#"{"name": "edge", "features": null, "dynamicMetadata": null,
            "resources": {"maxHeapSizeBytes": null}, "future": {"field": [1]}}"#;
        let request = Request::parse(body).unwrap();
        let expected = Request {
            name: "edge".to_owned(),
            ..Request::default()
        };
        assert_eq!(request, expected);
        assert_eq!(request.proxy_type(), "dataplane");
    }
}
