use serde_json::{Value, json};

use super::check_table;
use crate::resource_type::ResourceType::Mesh;

#[test]
fn each_rule() {
    let mtls = |mtls: Value| ("/mtls", mtls);
    let logging = |backend: Value| ("/logging", json!({"backends": [backend]}));
    let tracing = |backend: Value| ("/tracing", json!({"backends": [backend]}));
    let zipkin = |conf: Value| tracing(json!({"name": "a", "type": "zipkin", "conf": conf}));
    let metrics = |conf: Value| {
        (
            "/metrics",
            json!({"backends": [{"name": "a", "type": "prometheus", "conf": conf}]}),
        )
    };
    let rotation =
        |expiration: Value| mtls(json!({"backends": [{"name": "ca", "dpCert": expiration}]}));
    let expiration = &["mtls.dpcert.rotation.expiration"][..];
    let url = &["tracing.backends[0].config.url"][..];
    check_table(
        Mesh,
        &json!({}),
        &[
            (
                "mTLS",
                &[mtls(
                    json!({"enabledBackend": "ca", "backends": [{"name": "ca", "type": "builtin"}]}),
                )],
                &[],
            ),
            (
                "one backend, names once, an enabled one that exists",
                &[mtls(
                    json!({"enabledBackend": "x", "backends": [{"name": "a"}, {"name": "a"}]}),
                )],
                &[
                    "mtls.backends",
                    "mtls.backends[1].name",
                    "mtls.enabledBackend",
                ],
            ),
            (
                "an expiration",
                &[rotation(json!({"rotation": {"expiration": "30d"}}))],
                &[],
            ),
            (
                "an expiration of nothing",
                &[rotation(json!({"rotation": {"expiration": "0"}}))],
                &[],
            ),
            ("no expiration", &[rotation(json!({}))], expiration),
            (
                "two units",
                &[rotation(json!({"rotation": {"expiration": "1d12h"}}))],
                expiration,
            ),
            (
                "no number",
                &[rotation(json!({"rotation": {"expiration": "d"}}))],
                expiration,
            ),
            (
                "logging to a file",
                &[logging(
                    json!({"name": "a", "type": "file", "conf": {"path": "/tmp/log"}}),
                )],
                &[],
            ),
            (
                "logging without name, kind or file",
                &[(
                    "/logging",
                    json!({"defaultBackend": "x", "backends": [{}, {"name": "a", "type": "file"}, {"name": "a", "type": "file", "conf": {"path": 5}}]}),
                )],
                &[
                    "logging.backends[0].name",
                    "logging.backends[0].type",
                    "logging.backends[1].config.path",
                    "logging.backends[2].config",
                    "logging.backends[2].name",
                    "logging.defaultBackend",
                ],
            ),
            (
                "logging over TCP",
                &[logging(
                    json!({"name": "a", "type": "tcp", "conf": {"address": "[::1]:514"}}),
                )],
                &[],
            ),
            (
                "logging over TCP to nobody",
                &[logging(json!({"name": "a", "type": "tcp"}))],
                &["logging.backends[0].config.address"],
            ),
            (
                "logging over TCP to no port",
                &[logging(
                    json!({"name": "a", "type": "tcp", "conf": {"address": "::1"}}),
                )],
                &["logging.backends[0].config.address"],
            ),
            (
                "tracing without name, with too much, of no kind",
                &[(
                    "/tracing",
                    json!({"defaultBackend": "x", "backends": [{"sampling": 100.5}]}),
                )],
                &[
                    "tracing.backends[0].name",
                    "tracing.backends[0].sampling",
                    "tracing.backends[0].type",
                    "tracing.defaultBackend",
                ],
            ),
            (
                "zipkin",
                &[zipkin(
                    json!({"url": "http://zipkin:9411/api/v2/spans", "apiVersion": "httpProto"}),
                )],
                &[],
            ),
            (
                "zipkin's API",
                &[zipkin(
                    json!({"url": "http://zipkin:9411", "apiVersion": "v3"}),
                )],
                &["tracing.backends[0].config.apiVersion"],
            ),
            ("zipkin nowhere", &[zipkin(json!({}))], url),
            (
                "zipkin without a port",
                &[zipkin(json!({"url": "http://zipkin/"}))],
                url,
            ),
            (
                "zipkin at no URL",
                &[zipkin(json!({"url": "zipkin:9411"}))],
                url,
            ),
            (
                "datadog nowhere",
                &[tracing(json!({"name": "a", "type": "datadog"}))],
                &[
                    "tracing.backends[0].config.address",
                    "tracing.backends[0].config.port",
                ],
            ),
            (
                "metrics of no kind",
                &[(
                    "/metrics",
                    json!({"enabledBackend": "x", "backends": [{"name": "a"}, {"name": "a", "type": "prometheus"}]}),
                )],
                &[
                    "metrics.backends[0].type",
                    "metrics.backends[1].name",
                    "metrics.enabledBackend",
                ],
            ),
            (
                "prometheus",
                &[metrics(
                    json!({"skipMTLS": true, "tls": {"mode": "disabled"}}),
                )],
                &[],
            ),
            (
                "prometheus with and without TLS",
                &[metrics(
                    json!({"skipMTLS": true, "tls": {"mode": "activeMTLSBackend"}}),
                )],
                &["metrics.backends[0].conf"],
            ),
            (
                "prometheus with a bad filter",
                &[metrics(json!({"envoy": {"filterRegex": "("}}))],
                &["metrics.backends[0].conf.envoy.filterRegex"],
            ),
            (
                "prometheus with one name twice",
                &[metrics(
                    json!({"aggregate": [{"name": "a"}, {"name": "a"}]}),
                )],
                &["metrics.backends[0].conf.aggregate[1].name"],
            ),
            (
                "constraints",
                &[(
                    "/constraints",
                    json!({"dataplaneProxy": {"requirements": [{"tags": {"a": "*"}}, {}], "restrictions": [{"tags": {"a b": "c"}}]}}),
                )],
                &[
                    "constraints.dataplaneProxy.requirements[1].tags",
                    "constraints.dataplaneProxy.restrictions[0].tags[\"a b\"]",
                ],
            ),
            (
                "egress without mTLS",
                &[("/routing", json!({"zoneEgress": true}))],
                &["mtls"],
            ),
        ],
    );
}
