//! Backends of a mesh for logs, traces and metrics, whose settings are free JSON that the type of
//! the backend gives a meaning.

use std::collections::BTreeSet;

use mesh_proto::mesh::prometheus_tls_config::Mode;
use mesh_proto::mesh::{
    DatadogTracingBackendConfig, FileLoggingBackendConfig, LoggingBackend, MetricsBackend,
    PrometheusMetricsBackendConfig, TcpLoggingBackendConfig, TracingBackend,
    ZipkinTracingBackendConfig,
};
use prost_types::Struct;

use super::{EMPTY, Violations, re2};
use crate::json;

pub(super) fn check_logging(found: &mut Violations, path: &str, backend: &LoggingBackend) {
    if backend.name.is_empty() {
        found.add(format!("{path}.name"), EMPTY);
    }
    let place = format!("{path}.config");
    match backend.r#type.as_str() {
        "file" => {
            let conf: Option<FileLoggingBackendConfig> = settings(
                found,
                &place,
                backend.conf.as_ref(),
                "kuma.mesh.v1alpha1.FileLoggingBackendConfig",
            );
            if conf.is_some_and(|c| c.path.is_empty()) {
                found.add(format!("{place}.path"), EMPTY);
            }
        }
        "tcp" => {
            let conf: Option<TcpLoggingBackendConfig> = settings(
                found,
                &place,
                backend.conf.as_ref(),
                "kuma.mesh.v1alpha1.TcpLoggingBackendConfig",
            );
            match conf {
                Some(c) if c.address.is_empty() => found.add(format!("{place}.address"), EMPTY),
                Some(c) if !is_host_and_port(&c.address) => {
                    found.add(
                        format!("{place}.address"),
                        "has to be in format of HOST:PORT",
                    );
                }
                _ => {}
            }
        }
        _ => found.add(
            format!("{path}.type"),
            "unknown backend type, must be file or tcp",
        ),
    }
}

pub(super) fn check_tracing(found: &mut Violations, path: &str, backend: &TracingBackend) {
    if backend.name.is_empty() {
        found.add(format!("{path}.name"), EMPTY);
    }
    if backend
        .sampling
        .is_some_and(|s| !(0.0..=100.0).contains(&s))
    {
        found.add(format!("{path}.sampling"), "must be in the range [0, 100]");
    }
    let place = format!("{path}.config");
    match backend.r#type.as_str() {
        "zipkin" => {
            let conf: Option<ZipkinTracingBackendConfig> = settings(
                found,
                &place,
                backend.conf.as_ref(),
                "kuma.mesh.v1alpha1.ZipkinTracingBackendConfig",
            );
            let Some(conf) = conf else {
                return;
            };
            if !["", "httpJson", "httpJsonV1", "httpProto"].contains(&conf.api_version.as_str()) {
                found.add(
                    format!("{place}.apiVersion"),
                    "must be one of httpJson, httpJsonV1, httpProto",
                );
            }
            if conf.url.is_empty() {
                found.add(format!("{place}.url"), EMPTY);
            } else if !is_url_with_port(&conf.url) {
                found.add(
                    format!("{place}.url"),
                    "must be a URL with a port, such as http://zipkin:9411/api/v2/spans",
                );
            }
        }
        "datadog" => {
            let conf: Option<DatadogTracingBackendConfig> = settings(
                found,
                &place,
                backend.conf.as_ref(),
                "kuma.mesh.v1alpha1.DatadogTracingBackendConfig",
            );
            let Some(conf) = conf else {
                return;
            };
            if conf.address.is_empty() {
                found.add(format!("{place}.address"), EMPTY);
            }
            found.port(&format!("{place}.port"), conf.port);
        }
        _ => found.add(
            format!("{path}.type"),
            "unknown backend type, must be zipkin or datadog",
        ),
    }
}

/// Checks metrics of a mesh or of one Dataplane.
pub(super) fn check_metrics(found: &mut Violations, path: &str, backend: &MetricsBackend) {
    if backend.r#type != "prometheus" {
        found.add(
            format!("{path}.type"),
            "unknown backend type, must be prometheus",
        );
        return;
    }
    let place = format!("{path}.conf");
    let conf: Option<PrometheusMetricsBackendConfig> = settings(
        found,
        &place,
        backend.conf.as_ref(),
        "kuma.mesh.v1alpha1.PrometheusMetricsBackendConfig",
    );
    let Some(conf) = conf else {
        return;
    };
    if let (Some(skips), Some(tls)) = (conf.skip_mtls, &conf.tls)
        && !matches!(
            (skips, tls.mode()),
            (false, Mode::ActiveMtlsBackend) | (true, Mode::Disabled)
        )
    {
        found.add(place, "skipMTLS and tls contradict each other");
        return;
    }
    if let Some(envoy) = &conf.envoy
        && let Err(why) = re2::check(&envoy.filter_regex)
    {
        found.add(
            format!("{place}.envoy.filterRegex"),
            format!("is not a regular expression: {why}"),
        );
        return;
    }
    let mut names = BTreeSet::new();
    for (i, aggregate) in conf.aggregate.iter().enumerate() {
        if !names.insert(aggregate.name.as_str()) {
            found.add(
                format!("{place}.aggregate[{i}].name"),
                "duplicate entry, values have to be unique",
            );
        }
    }
}

/// The typed form of free settings; absent ones are all defaults.
fn settings<M: prost::Message + Default>(
    found: &mut Violations,
    path: &str,
    conf: Option<&Struct>,
    message: &str,
) -> Option<M> {
    let fields = conf.map(json::struct_fields).unwrap_or_default();
    match json::decode_message(message, &fields) {
        Ok((bytes, _)) => M::decode(bytes).ok(),
        Err(why) => {
            found.add(path, format!("could not be read: {why}"));
            None
        }
    }
}

fn is_host_and_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| {
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(inner) => inner,
            None if host.contains(':') => "",
            None => host,
        };
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn is_url_with_port(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, rest)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        !scheme.is_empty()
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
            && is_host_and_port(host)
    })
}
