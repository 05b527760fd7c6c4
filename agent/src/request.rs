//! What the agent tells the control plane about itself.
//!
//! The union of what agents from 2.5 to 2.14 send, so that a stock control plane of either
//! generation serves us; each ignores what it does not know. Features are the exception: only
//! what this agent really does is listed, because a control plane relies on each.

use std::fs;
use std::path::Path;

use mesh_runtime::version;
use serde_json::{Value, json};

use crate::args::Run;
use crate::envoy::Version;
use crate::proxy::Proxy;
use crate::token::Token;

/// Incremental ADS, and listeners that several workers accept on: both are Envoy's own.
const FEATURES: &[&str] = &["feature-delta-grpc", "feature-reuse-port"];

/// Names of log and metrics sockets are cut to this many characters before `.sock`.
const MAX_SOCKET_STEM: usize = 98;

/// Usual places of the system's CA bundle.
const SYSTEM_CAS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What the request is made of, besides the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub run: &'a Run,
    pub proxy: &'a Proxy,
    pub token: Option<&'a Token>,
    /// PEM of the control plane's CA; empty for the system's.
    pub ca: &'a str,
    pub envoy: &'a Version,
    /// Where sockets go; absolute.
    pub sockets: &'a Path,
}

/// The body of `POST /bootstrap`.
pub(crate) fn body(parts: Parts<'_>) -> Value {
    let Parts {
        run, proxy, envoy, ..
    } = parts;
    let socket = |prefix| socket_path(parts.sockets, prefix, proxy);
    let mut body = json!({
        "mesh": proxy.mesh,
        "name": proxy.name,
        "proxyType": proxy.kind,
        "version": {
            "kumaDp": {
                "version": version::VERSION,
                "gitTag": version::GIT_TAG,
                "gitCommit": version::GIT_COMMIT,
                "buildDate": version::BUILD_DATE,
            },
            "envoy": {
                "version": envoy.version,
                "build": envoy.build,
                "kumaDpCompatible": is_compatible(&envoy.version),
            },
        },
        "caCert": parts.ca,
        "dynamicMetadata": {},
        "operatingSystem": "linux",
        "features": FEATURES,
        "resources": {"maxHeapSizeBytes": memory_limit(run.max_memory_bytes)},
        "accessLogSocketPath": socket("kuma-al"),
        "metricsResources": {
            "socketPath": socket("kuma-mh"),
            "certPath": run.later.metrics_cert_path,
            "keyPath": run.later.metrics_key_path,
        },
        "workdir": parts.sockets,
        "systemCaPath": system_ca_path(),
        "ipv6Enabled": has_ipv6(),
        "spireResources": {"socketPath": ""},
    });
    for (field, port) in [
        ("dnsPort", run.later.dns_envoy_port),
        ("emptyDnsPort", run.later.dns_coredns_empty_port),
        ("readinessPort", u32::from(run.readiness_port)),
    ] {
        if port != 0 {
            body[field] = json!(port);
        }
    }
    if let Some(token) = parts.token {
        body["dataplaneToken"] = json!(token.text);
        body["dataplaneTokenPath"] = json!(token.path);
    }
    if let Some(resource) = &proxy.resource {
        body["dataplaneResource"] = json!(resource);
    }
    body
}

/// Whether this Envoy is one that we test with: 1.36 to 1.40.
fn is_compatible(version: &str) -> bool {
    let mut parts = version.split('.');
    let minor = parts.nth(1).and_then(|minor| minor.parse::<u32>().ok());
    version.starts_with("1.") && minor.is_some_and(|minor| (36..=40).contains(&minor))
}

fn socket_path(directory: &Path, prefix: &str, proxy: &Proxy) -> String {
    let Proxy { name, mesh, .. } = proxy;
    let stem = format!("{}/{prefix}-{name}-{mesh}", directory.display());
    let stem: String = stem.chars().take(MAX_SOCKET_STEM).collect();
    stem + ".sock"
}

/// The limit that was asked for, else that of the control group; 0 is none.
fn memory_limit(asked: u64) -> u64 {
    if asked > 0 {
        return asked;
    }
    let files = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let text = files.iter().find_map(|file| fs::read_to_string(file).ok());
    text.as_deref().map_or(0, parse_limit)
}

/// The content of a control group's file. Version 2 says `max` for no limit, version 1 the
/// largest page-aligned number.
fn parse_limit(text: &str) -> u64 {
    let limit = text.trim().parse().unwrap_or(0);
    if limit >= 1 << 60 { 0 } else { limit }
}

fn system_ca_path() -> &'static str {
    let found = SYSTEM_CAS.iter().find(|path| Path::new(path).exists());
    found.copied().unwrap_or_default()
}

fn has_ipv6() -> bool {
    fs::read_to_string("/proc/net/if_inet6").is_ok_and(|addresses| !addresses.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn body_of(proxy: &Proxy, token: Option<&Token>, flags: &[&str]) -> Value {
        let cli = Cli::parse_from(["meridian-dp", "run"].iter().chain(flags));
        let Command::Run(run) = cli.command else {
            panic!("{cli:?}")
        };
        body(Parts {
            run: &run,
            proxy,
            token,
            ca: "PEM",
            envoy: &Version {
                version: "1.36.4".to_owned(),
                build: "a/1.36.4/b/c/d".to_owned(),
            },
            sockets: Path::new("/run/dp"),
        })
    }

    fn edge() -> Proxy {
        Proxy {
            mesh: "default".to_owned(),
            name: "edge".to_owned(),
            kind: "dataplane".to_owned(),
            resource: Some("{}".to_owned()),
        }
    }

    /// A field that one of the generations sends and we don't would be a default there.
    #[test]
    fn both_generations_find_their_fields() {
        let token = Token {
            text: "a.b.c".to_owned(),
            path: "/run/token".into(),
        };
        let body = body_of(&edge(), Some(&token), &[]);
        let both = "mesh name proxyType dataplaneToken dataplaneTokenPath dataplaneResource \
            version caCert dynamicMetadata dnsPort readinessPort operatingSystem features \
            resources metricsResources";
        let only_2_5 = "emptyDnsPort accessLogSocketPath";
        let only_2_14 = "workdir systemCaPath ipv6Enabled spireResources";
        for field in [both, only_2_5, only_2_14]
            .iter()
            .flat_map(|names| names.split(' '))
        {
            assert!(field.is_empty() || body.get(field).is_some(), "{field}");
        }
        assert_eq!(body["workdir"], "/run/dp");
        assert_eq!(
            body["accessLogSocketPath"],
            "/run/dp/kuma-al-edge-default.sock"
        );
        assert_eq!(
            body["metricsResources"]["socketPath"],
            "/run/dp/kuma-mh-edge-default.sock"
        );
        assert_eq!(body["version"]["envoy"]["kumaDpCompatible"], true);
    }

    #[test]
    fn what_is_off_or_unknown_is_left_out() {
        let proxy = Proxy {
            resource: None,
            ..edge()
        };
        let flags = [
            "--readiness-port=0",
            "--dns-envoy-port=0",
            "--dns-coredns-empty-port=0",
        ];
        let body = body_of(&proxy, None, &flags);
        for field in [
            "readinessPort",
            "dnsPort",
            "emptyDnsPort",
            "dataplaneToken",
            "dataplaneTokenPath",
            "dataplaneResource",
        ] {
            assert_eq!(body.get(field), None, "{field}");
        }
    }

    #[test]
    fn memory_limits_of_both_control_group_versions() {
        for (text, limit) in [
            ("max\n", 0),
            ("1073741824\n", 1 << 30),
            ("9223372036854771712\n", 0),
            ("", 0),
        ] {
            assert_eq!(parse_limit(text), limit, "{text}");
        }
        assert_eq!(memory_limit(7), 7);
    }

    #[test]
    fn tested_envoys_are_compatible() {
        for (version, expected) in [
            ("1.36.4", true),
            ("1.40.0", true),
            ("1.35.9", false),
            ("2.36.0", false),
            ("x", false),
        ] {
            assert_eq!(is_compatible(version), expected, "{version}");
        }
    }
}
