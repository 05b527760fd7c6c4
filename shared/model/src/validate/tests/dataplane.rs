use serde_json::{Value, json};

use super::check_table;
use crate::resource_type::ResourceType::Dataplane;

fn valid() -> Value {
    json!({"networking": {
        "address": "10.0.0.7",
        "inbound": [{"port": 8080, "servicePort": 8081, "tags": {"kuma.io/service": "echo", "kuma.io/protocol": "HTTP"}}],
        "outbound": [],
    }})
}

fn gateway() -> Value {
    json!({"networking": {
        "address": "127.0.1.1",
        "gateway": {"type": "BUILTIN", "tags": {"kuma.io/service": "edge-gateway", "kuma.io/protocol": "TCP"}},
    }})
}

const NET: &str = "/networking";
const ADDRESS: &str = "/networking/address";
const INBOUND: &str = "/networking/inbound/0";
const TAGS: &str = "/networking/inbound/0/tags";
const PROBE: &str = "/networking/inbound/0/serviceProbe";
const OUTBOUND: &str = "/networking/outbound";

#[test]
fn gateways() {
    let inbound = json!([{"port": 80, "tags": {"kuma.io/service": "a"}}]);
    let outbound = json!([{"port": 80, "tags": {"kuma.io/service": "a"}}]);
    let delegated = ("/networking/gateway/type", json!("DELEGATED"));
    let tags = "/networking/gateway/tags";
    check_table(
        Dataplane,
        &gateway(),
        &[
            (
                "builtin: no inbound",
                &[("/networking/inbound", inbound.clone())],
                &["networking.inbound"],
            ),
            (
                "builtin: no outbound",
                &[(OUTBOUND, outbound.clone())],
                &["networking.outbound"],
            ),
            (
                "builtin: no probes",
                &[("/probes", json!({}))],
                &["networking.probes"],
            ),
            (
                "builtin: no listeners",
                &[("/networking/listeners", json!([{}]))],
                &["networking.listeners"],
            ),
            (
                "delegated: no inbound",
                &[delegated.clone(), ("/networking/inbound", inbound)],
                &["networking.inbound"],
            ),
            (
                "delegated: outbounds",
                &[delegated, (OUTBOUND, outbound)],
                &[],
            ),
            ("no tags", &[(tags, json!({}))], &[]),
            (
                "tags without a service",
                &[(tags, json!({"a": "b"}))],
                &["networking.gateway.tags"],
            ),
            (
                "tags are no selectors",
                &[(tags, json!({"kuma.io/service": "*"}))],
                &["networking.gateway.tags[\"kuma.io/service\"]"],
            ),
            (
                "protocol tcp only",
                &[(
                    tags,
                    json!({"kuma.io/service": "a", "kuma.io/protocol": "http"}),
                )],
                &["networking.gateway.tags[\"kuma.io/protocol\"]"],
            ),
            (
                "an address is needed",
                &[(ADDRESS, json!(""))],
                &["networking.address"],
            ),
        ],
    );
}

#[test]
fn addresses_and_inbounds() {
    let service = |tags: Value| (TAGS, tags);
    let admin = ("/networking/admin", json!({"port": 8080}));
    check_table(
        Dataplane,
        &valid(),
        &[
            (
                "networking is needed",
                &[(NET, Value::Null)],
                &["networking"],
            ),
            (
                "an inbound or a gateway is needed",
                &[("/networking/inbound", json!([]))],
                &["networking"],
            ),
            ("a DNS name", &[(ADDRESS, json!("echo.example.com"))], &[]),
            (
                "not an address",
                &[(ADDRESS, json!("echo_1"))],
                &["networking.address"],
            ),
            (
                "0.0.0.0",
                &[(ADDRESS, json!("0.0.0.0"))],
                &["networking.address"],
            ),
            ("::", &[(ADDRESS, json!("::"))], &["networking.address"]),
            ("admin port elsewhere", std::slice::from_ref(&admin), &[]),
            (
                "admin port of an inbound",
                &[admin.clone(), (ADDRESS, json!("127.0.0.1"))],
                &["networking.admin.port"],
            ),
            (
                "admin port of a service",
                &[
                    ("/networking/admin", json!({"port": 8081})),
                    ("/networking/inbound/0/serviceAddress", json!("127.0.0.1")),
                ],
                &["networking.admin.port"],
            ),
            (
                "admin port of an inbound at any address",
                &[
                    admin.clone(),
                    ("/networking/inbound/0/address", json!("::")),
                ],
                &["networking.admin.port"],
            ),
            (
                "admin port of an outbound",
                &[
                    admin.clone(),
                    (
                        OUTBOUND,
                        json!([{"port": 8080, "tags": {"kuma.io/service": "a"}}]),
                    ),
                ],
                &["networking.admin.port"],
            ),
            (
                "port 0",
                &[("/networking/inbound/0/port", json!(0))],
                &["networking.inbound[0].port"],
            ),
            (
                "service port",
                &[("/networking/inbound/0/servicePort", json!(65536))],
                &["networking.inbound[0].servicePort"],
            ),
            (
                "service address",
                &[("/networking/inbound/0/serviceAddress", json!("localhost"))],
                &["networking.inbound[0].serviceAddress"],
            ),
            (
                "the service is not the proxy",
                &[
                    ("/networking/inbound/0/serviceAddress", json!("10.0.0.7")),
                    ("/networking/inbound/0/servicePort", json!(0)),
                ],
                &["networking.inbound[0].serviceAddress"],
            ),
            (
                "inbound address",
                &[("/networking/inbound/0/address", json!("localhost"))],
                &["networking.inbound[0].address"],
            ),
            (
                "the service is not the inbound",
                &[
                    ("/networking/inbound/0/address", json!("10.0.0.8")),
                    ("/networking/inbound/0/serviceAddress", json!("10.0.0.8")),
                    ("/networking/inbound/0/servicePort", json!(8080)),
                ],
                &["networking.inbound[0].serviceAddress"],
            ),
            ("no tags", &[service(json!({}))], &[]),
            (
                "tags without a service",
                &[service(json!({"a": "b"}))],
                &["networking.inbound[0].tags[\"kuma.io/service\"]"],
            ),
            (
                "characters of tags",
                &[service(json!({"kuma.io/service": "a/b", "c d": "e"}))],
                &[
                    "networking.inbound[0].tags[\"c d\"]",
                    "networking.inbound[0].tags[\"kuma.io/service\"]",
                ],
            ),
            (
                "protocol of tags",
                &[service(
                    json!({"kuma.io/service": "a", "kuma.io/protocol": "udp"}),
                )],
                &["networking.inbound[0].tags[\"kuma.io/protocol\"]"],
            ),
            (
                "protocol of an inbound",
                &[("/networking/inbound/0/protocol", json!("udp"))],
                &["networking.inbound[0].protocol"],
            ),
            (
                "a probe",
                &[(
                    PROBE,
                    json!({"interval": "1s", "timeout": "1ms", "unhealthyThreshold": 1, "tcp": {}}),
                )],
                &[],
            ),
            (
                "positive values of probes",
                &[(
                    PROBE,
                    json!({"interval": "0s", "timeout": "-1s", "unhealthyThreshold": 0, "healthyThreshold": 0}),
                )],
                &[
                    "networking.inbound[0].serviceProbe.interval",
                    "networking.inbound[0].serviceProbe.timeout",
                    "networking.inbound[0].serviceProbe.unhealthyThreshold",
                    "networking.inbound[0].serviceProbe.healthyThreshold",
                ],
            ),
            (
                "all inbounds",
                &[("/networking/inbound/-", json!({})), (INBOUND, json!({}))],
                &["networking.inbound[0].port", "networking.inbound[1].port"],
            ),
        ],
    );
}

#[test]
fn outbounds_listeners_probes_and_metrics() {
    let outbound = |outbound: Value| (OUTBOUND, json!([outbound]));
    let backend = |backend: Value| outbound(json!({"port": 80, "backendRef": backend}));
    let listener = |listener: Value| ("/networking/listeners", json!([listener]));
    let reachable = |backend: Value| {
        (
            "/networking/transparentProxying",
            json!({"reachableBackends": {"refs": [backend]}}),
        )
    };
    check_table(
        Dataplane,
        &valid(),
        &[
            (
                "an outbound's port and address",
                &[outbound(
                    json!({"address": "a", "tags": {"kuma.io/service": "a"}}),
                )],
                &[
                    "networking.outbound[0].port",
                    "networking.outbound[0].address",
                ],
            ),
            (
                "tags",
                &[outbound(json!({"port": 80}))],
                &["networking.outbound[0].tags"],
            ),
            (
                "the service of tags",
                &[outbound(json!({"port": 80, "tags": {"a": "b"}}))],
                &["networking.outbound[0].tags"],
            ),
            (
                "a backend",
                &[backend(
                    json!({"kind": "MeshService", "name": "a", "port": 80}),
                )],
                &[],
            ),
            (
                "a backend's kind, name and port",
                &[backend(json!({}))],
                &[
                    "networking.outbound[0].backendRef.kind",
                    "networking.outbound[0].backendRef.name",
                    "networking.outbound[0].backendRef.port",
                ],
            ),
            (
                "name or labels",
                &[backend(
                    json!({"kind": "MeshService", "name": "a", "labels": {"a": "b"}, "port": 80}),
                )],
                &["networking.outbound[0].backendRef.labels"],
            ),
            (
                "tags or a backend",
                &[outbound(
                    json!({"port": 80, "tags": {"a": "b"}, "backendRef": {"kind": "MeshService", "name": "a", "port": 80}}),
                )],
                &["networking.outbound[0]"],
            ),
            (
                "reachable backends",
                &[reachable(json!({"kind": "Nope", "port": 0}))],
                &[
                    "networking.transparentProxing.reachableBackends.refs[0].kind",
                    "networking.transparentProxing.reachableBackends.refs[0].name",
                    "networking.transparentProxing.reachableBackends.refs[0].port",
                ],
            ),
            (
                "a listener",
                &[listener(
                    json!({"type": "ZoneIngress", "address": "10.0.0.7", "port": 1}),
                )],
                &[],
            ),
            (
                "a listener's type, address and port",
                &[listener(json!({}))],
                &[
                    "networking.listeners[0].type",
                    "networking.listeners[0].address",
                    "networking.listeners[0].port",
                ],
            ),
            (
                "not at any address",
                &[listener(
                    json!({"type": "ZoneEgress", "address": "::", "port": 1}),
                )],
                &["networking.listeners[0].address"],
            ),
            (
                "probes",
                &[(
                    "/probes",
                    json!({"endpoints": [{"inboundPath": "a b", "path": "/a b"}, {"inboundPort": 1, "inboundPath": "/a?b", "path": "http://a/b"}]}),
                )],
                &[
                    "probes.port",
                    "probes.endpoints[0].inboundPort",
                    "probes.endpoints[0].inboundPath",
                    "probes.endpoints[0].path",
                ],
            ),
            (
                "a kind of metrics",
                &[("/metrics", json!({"type": "statsd"}))],
                &["metrics.type"],
            ),
            (
                "settings of metrics",
                &[(
                    "/metrics",
                    json!({"type": "prometheus", "conf": {"port": "many"}}),
                )],
                &["metrics.conf"],
            ),
        ],
    );
}
