use serde_json::{Value, json};

use super::{check_table, violations};
use crate::resource_type::ResourceType::MeshGateway;

fn valid() -> Value {
    json!({
        "selectors": [{"match": {"kuma.io/service": "edge-gateway"}}],
        "tags": {"vhost": "shop"},
        "conf": {"listeners": [
            {"port": 8080, "protocol": "HTTP", "hostname": "shop.example.com", "tags": {"port": "http/8080"}},
        ]},
    })
}

fn https(tls: Value) -> Value {
    json!({"port": 8443, "protocol": "HTTPS", "tls": tls})
}

fn two(first: Value, second: Value) -> Value {
    json!([first, second])
}

#[test]
fn each_rule() {
    let certificate = json!({"secret": "c"});
    let terminate = |n: usize| {
        https(json!({"mode": "TERMINATE", "certificates": vec![certificate.clone(); n]}))
    };
    let listener = "/conf/listeners/0";
    let listeners = "/conf/listeners";
    let service = "/selectors/0/match/kuma.io~1service";
    check_table(
        MeshGateway,
        &valid(),
        &[
            (
                "a selector is needed",
                &[("/selectors", json!([]))],
                &["selectors"],
            ),
            (
                "selectors need tags, the service among them",
                &[("/selectors/0/match", json!({}))],
                &["selectors[0].match", "selectors[0].match"],
            ),
            (
                "selectors need the service",
                &[("/selectors/0/match", json!({"a": "b"}))],
                &["selectors[0].match"],
            ),
            (
                "selectors may match anything",
                &[(service, json!("*"))],
                &[],
            ),
            (
                "selectors do not glob",
                &[(service, json!("edge-*"))],
                &["selectors[0].match[\"kuma.io/service\"]"],
            ),
            (
                "selector keys have no spaces",
                &[("/selectors/0/match/a b", json!("c"))],
                &["selectors[0].match[\"a b\"]"],
            ),
            (
                "selector values are not empty",
                &[(service, json!(""))],
                &["selectors[0].match[\"kuma.io/service\"]"],
            ),
            (
                "crossMesh allows one selector",
                &[
                    ("/conf/listeners/0/crossMesh", json!(true)),
                    ("/selectors/-", json!({"match": {"kuma.io/service": "b"}})),
                    ("/selectors/-", json!({"match": {"kuma.io/service": "c"}})),
                ],
                &["selectors[1]", "selectors[2]"],
            ),
            (
                "gateway tags that others write",
                &[(
                    "/tags",
                    json!({"kuma.io/external-service-name": "a", "kuma.io/protocol": "http", "kuma.io/service": "a", "kuma.io/zone": "z", "ok": "a/b"}),
                )],
                &[
                    "tags[\"kuma.io/external-service-name\"]",
                    "tags[\"kuma.io/protocol\"]",
                    "tags[\"kuma.io/service\"]",
                    "tags[\"kuma.io/zone\"]",
                ],
            ),
            ("gateway tags may be empty", &[("/tags", json!({}))], &[]),
            ("conf is needed", &[("/conf", Value::Null)], &["conf"]),
            (
                "a listener is needed",
                &[(listeners, json!([]))],
                &["conf.listeners"],
            ),
            (
                "any hostname",
                &[("/conf/listeners/0/hostname", json!("*"))],
                &[],
            ),
            (
                "no hostname",
                &[("/conf/listeners/0/hostname", json!(""))],
                &[],
            ),
            (
                "a wildcard hostname",
                &[("/conf/listeners/0/hostname", json!("*.example.com"))],
                &[],
            ),
            (
                "not a hostname",
                &[("/conf/listeners/0/hostname", json!("Shop_"))],
                &["conf.listeners[0].hostname"],
            ),
            (
                "not a wildcard hostname",
                &[("/conf/listeners/0/hostname", json!("*.*.example.com"))],
                &["conf.listeners[0].hostname"],
            ),
            (
                "a hostname of more than 253 characters",
                &[(
                    "/conf/listeners/0/hostname",
                    json!(format!("*.{}", "a.".repeat(126) + "a")),
                )],
                &["conf.listeners[0].hostname"],
            ),
            (
                "port 0",
                &[("/conf/listeners/0/port", json!(0))],
                &["conf.listeners[0].port"],
            ),
            (
                "port 65536",
                &[("/conf/listeners/0/port", json!(65536))],
                &["conf.listeners[0].port"],
            ),
            (
                "a protocol is needed",
                &[("/conf/listeners/0/protocol", json!("NONE"))],
                &["conf.listeners[0].protocol"],
            ),
            (
                "a protocol of a later release is kept",
                &[("/conf/listeners/0/protocol", json!(2))],
                &[],
            ),
            (
                "HTTPS with crossMesh",
                &[(
                    listener,
                    json!({"port": 1, "protocol": "HTTPS", "crossMesh": true}),
                )],
                &["conf.listeners[0].protocol"],
            ),
            (
                "ours: TCP with crossMesh",
                &[(
                    listener,
                    json!({"port": 1, "protocol": "TCP", "crossMesh": true}),
                )],
                &["conf.listeners[0].protocol"],
            ),
            (
                "HTTPS without tls",
                &[(listener, https(Value::Null))],
                &["conf.listeners[0].tls"],
            ),
            (
                "HTTPS passed through",
                &[(listener, https(json!({"mode": "PASSTHROUGH"})))],
                &["conf.listeners[0].tls.mode"],
            ),
            (
                "tls without a mode",
                &[(listener, https(json!({"certificates": [certificate]})))],
                &["conf.listeners[0].tls.mode"],
            ),
            (
                "termination without a certificate",
                &[(listener, terminate(0))],
                &["conf.listeners[0].tls.certificates"],
            ),
            (
                "termination with one certificate",
                &[(listener, terminate(1))],
                &[],
            ),
            (
                "termination with two certificates",
                &[(listener, terminate(2))],
                &[],
            ),
            (
                "termination with three certificates",
                &[(listener, terminate(3))],
                &["conf.listeners[0].tls.certificates"],
            ),
            (
                "TLS passed through",
                &[(
                    listener,
                    json!({"port": 1, "protocol": "TLS", "tls": {"mode": "PASSTHROUGH"}}),
                )],
                &[],
            ),
            (
                "tls with crossMesh",
                &[(
                    listener,
                    json!({"port": 1, "protocol": "HTTP", "crossMesh": true, "tls": {"mode": "TERMINATE"}}),
                )],
                &["conf.listeners[0].tls"],
            ),
            (
                "empty tls with crossMesh",
                &[(
                    listener,
                    json!({"port": 1, "protocol": "HTTP", "crossMesh": true, "tls": {}}),
                )],
                &[],
            ),
            (
                "listener tags that others write",
                &[("/conf/listeners/0/tags", json!({"kuma.io/service": "a"}))],
                &["conf.listeners[0].tags[\"kuma.io/service\"]"],
            ),
            (
                "two protocols on a port",
                &[(
                    listeners,
                    two(
                        json!({"port": 80, "protocol": "HTTP", "hostname": "a"}),
                        json!({"port": 80, "protocol": "TCP"}),
                    ),
                )],
                &["conf.listeners[0]", "conf.listeners[1]"],
            ),
            (
                "one hostname twice on a port",
                &[(
                    listeners,
                    two(
                        json!({"port": 80, "protocol": "HTTP", "hostname": "*"}),
                        json!({"port": 80, "protocol": "HTTP"}),
                    ),
                )],
                &["conf.listeners[0]", "conf.listeners[1]"],
            ),
            (
                "one hostname on two ports",
                &[(
                    listeners,
                    two(
                        json!({"port": 80, "protocol": "HTTP"}),
                        json!({"port": 81, "protocol": "TCP"}),
                    ),
                )],
                &[],
            ),
            (
                "two connection limits on a port",
                &[(
                    listeners,
                    json!([
                        {"port": 80, "protocol": "HTTP", "hostname": "a", "resources": {"connectionLimit": 1}},
                        {"port": 80, "protocol": "HTTP", "hostname": "b", "resources": {}},
                        {"port": 80, "protocol": "HTTP", "hostname": "c", "resources": {"connectionLimit": 2}},
                    ]),
                )],
                &[
                    "conf.listeners[0].resources.connectionLimit",
                    "conf.listeners[2].resources.connectionLimit",
                ],
            ),
        ],
    );
}

#[test]
fn all_violations_come_at_once() {
    let found = violations(
        MeshGateway,
        &json!({"tags": {"kuma.io/zone": "z"}, "conf": {"listeners": [{"hostname": "_"}]}}),
    );
    let fields: Vec<_> = found.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "selectors",
            "tags[\"kuma.io/zone\"]",
            "conf.listeners[0].hostname",
            "conf.listeners[0].port",
            "conf.listeners[0].protocol",
        ]
    );
}
