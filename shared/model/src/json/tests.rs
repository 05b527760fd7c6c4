use mesh_proto::mesh;
use serde_json::json;

use super::*;

mod documents;
mod properties;

fn decode(ty: ResourceType, value: Value) -> Result<Decoded, JsonError> {
    let Value::Object(fields) = value else {
        panic!("a test's document is an object")
    };
    decode_spec(ty, &fields)
}

/// Reads and prints again.
fn round(ty: ResourceType, value: Value) -> Value {
    let decoded = decode(ty, value).unwrap();
    Value::Object(encode_spec(&decoded.spec))
}

fn error(ty: ResourceType, value: Value) -> String {
    decode(ty, value).unwrap_err().to_string()
}

/// A sub-document of a Dataplane, for rows about values.
fn probe(value: Value) -> Value {
    json!({"networking": {"inbound": [{"serviceProbe": value}]}})
}

#[test]
fn each_rule_of_the_dialect() {
    use ResourceType::{Dataplane, DataplaneInsight, Mesh, MeshGateway, Secret, Zone, ZoneInsight};
    let same = |v: Value| (v.clone(), v);
    let rows: Vec<(&str, ResourceType, (Value, Value))> = vec![
        (
            "names go out in lowerCamel and come in either way",
            Dataplane,
            (
                json!({"networking": {"transparent_proxying": {"redirect_port_inbound": 15006}}}),
                json!({"networking": {"transparentProxying": {"redirectPortInbound": 15006}}}),
            ),
        ),
        (
            "the JSON name wins",
            Dataplane,
            (
                json!({"networking": {"transparentProxying": {"redirectPortInbound": 1, "redirect_port_inbound": 2}}}),
                json!({"networking": {"transparentProxying": {"redirectPortInbound": 1}}}),
            ),
        ),
        (
            "odd capitals are kept",
            DataplaneInsight,
            same(json!({"mTLS": {"issuedBackend": "ca"}})),
        ),
        (
            "unknown fields are skipped at any depth",
            MeshGateway,
            (
                json!({"conf": {"listeners": [{"port": 80, "surplus": {"a": [1]}}], "x": 1}}),
                json!({"conf": {"listeners": [{"port": 80}]}}),
            ),
        ),
        (
            "zero scalars and empty lists go",
            MeshGateway,
            (
                json!({"selectors": [], "tags": {}, "conf": {"listeners": [{"port": 0, "hostname": "", "protocol": "NONE", "crossMesh": false}]}}),
                json!({"conf": {"listeners": [{}]}}),
            ),
        ),
        (
            "a set but empty message prints as {}",
            Dataplane,
            same(probe(json!({"tcp": {}}))),
        ),
        (
            "a set oneof member is written even when zero",
            MeshGateway,
            same(
                json!({"conf": {"listeners": [{"tls": {"certificates": [{"secret": ""}, {"inlineString": "pem"}]}}]}}),
            ),
        ),
        (
            "of two oneof members the later declared one wins",
            ResourceType::MeshGatewayRoute,
            (
                json!({"conf": {"http": {"hostnames": ["a"]}, "tcp": {}}}),
                json!({"conf": {"http": {"hostnames": ["a"]}}}),
            ),
        ),
        (
            "enums by name",
            MeshGateway,
            same(json!({"conf": {"listeners": [{"protocol": "HTTPS"}]}})),
        ),
        (
            "enums by number",
            MeshGateway,
            (
                json!({"conf": {"listeners": [{"protocol": 5}, {"protocol": 2}]}}),
                json!({"conf": {"listeners": [{"protocol": "HTTPS"}, {"protocol": 2}]}}),
            ),
        ),
        (
            "durations in Go's syntax",
            Dataplane,
            (
                probe(json!({"interval": "1h30m", "timeout": "1.5s"})),
                probe(json!({"interval": "5400s", "timeout": "1.500s"})),
            ),
        ),
        (
            "durations below zero and below a millisecond",
            Dataplane,
            (
                probe(json!({"interval": "-1500us", "timeout": "1ns"})),
                probe(json!({"interval": "-0.001500s", "timeout": "0.000000001s"})),
            ),
        ),
        (
            "timestamps in UTC with 0, 3, 6 or 9 digits",
            ZoneInsight,
            (
                json!({"subscriptions": [
                    {"connectTime": "2026-03-01T10:00:00+02:00", "disconnectTime": "2026-03-01T10:00:00.1Z"},
                    {"connectTime": "2026-03-01T10:00:00.000001Z", "disconnectTime": "0001-01-01T00:00:00Z"}]}),
                json!({"subscriptions": [
                    {"connectTime": "2026-03-01T08:00:00Z", "disconnectTime": "2026-03-01T10:00:00.100Z"},
                    {"connectTime": "2026-03-01T10:00:00.000001Z", "disconnectTime": "0001-01-01T00:00:00Z"}]}),
            ),
        ),
        (
            "wrappers are bare, even when zero",
            Zone,
            same(json!({"enabled": false})),
        ),
        (
            "wrapped numbers",
            Mesh,
            (
                json!({"tracing": {"backends": [{"sampling": 12.5}, {"sampling": "50"}]}}),
                json!({"tracing": {"backends": [{"sampling": 12.5}, {"sampling": 50}]}}),
            ),
        ),
        (
            "negative zero keeps its sign in free JSON",
            Mesh,
            same(json!({"mtls": {"backends": [{"conf": {"a": -0.0}}]}})),
        ),
        (
            "bytes in base64",
            Secret,
            same(json!({"data": "aGVsbG8gd29ybGQ="})),
        ),
        (
            "base64 over several lines",
            Secret,
            (
                json!({"data": "aGVsbG8g\nd29ybGQ=\n"}),
                json!({"data": "aGVsbG8gd29ybGQ="}),
            ),
        ),
        (
            "64-bit numbers as strings, read either way",
            ZoneInsight,
            (
                json!({"subscriptions": [{"status": {"total": {"responsesSent": 7, "responsesRejected": "18446744073709551615"}}}]}),
                json!({"subscriptions": [{"status": {"total": {"responsesSent": "7", "responsesRejected": "18446744073709551615"}}}]}),
            ),
        ),
        (
            "32-bit numbers may be quoted, or written as floats",
            MeshGateway,
            (
                json!({"conf": {"listeners": [{"port": "8099"}, {"port": 8080.0}]}}),
                json!({"conf": {"listeners": [{"port": 8099}, {"port": 8080}]}}),
            ),
        ),
        (
            "maps print sorted",
            MeshGateway,
            (
                json!({"tags": {"b": "2", "a": "1"}}),
                json!({"tags": {"a": "1", "b": "2"}}),
            ),
        ),
        (
            "null is absent",
            MeshGateway,
            (
                json!({"selectors": null, "conf": null, "tags": null}),
                json!({}),
            ),
        ),
        (
            "null inside a list or map is the zero value",
            MeshGateway,
            (
                json!({"selectors": [null], "tags": {"a": null}}),
                json!({"selectors": [{}], "tags": {"a": ""}}),
            ),
        ),
        (
            "Struct is free JSON",
            Mesh,
            same(
                json!({"mtls": {"backends": [{"conf": {"a": [1, 1.5, "x", null, {"b": true}], "c": {}}}]}}),
            ),
        ),
        (
            "meta fields are passed over",
            Zone,
            (
                json!({"type": "Zone", "name": "z", "labels": {}, "kri": 1, "snis": [], "status": {}, "creationTime": "x", "modificationTime": "x", "mesh": "m"}),
                json!({}),
            ),
        ),
    ];
    for (rule, ty, (input, output)) in rows {
        let printed = round(ty, input);
        assert_eq!(printed.to_string(), output.to_string(), "{rule}");
        assert_eq!(round(ty, printed), output, "{rule}: read again");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    use ResourceType::{Dataplane, Mesh, MeshGateway, MeshGatewayRoute, Secret, Zone, ZoneInsight};
    for (ty, value, wanted) in [
        (
            MeshGateway,
            json!({"conf": {"listeners": [{}, {"protocol": "NEARLY"}]}}),
            "conf.listeners[1].protocol: unknown value \"NEARLY\", must be one of NONE, TCP, TLS, HTTP, HTTPS",
        ),
        (
            MeshGateway,
            json!({"conf": {"listeners": [{"protocol": "https"}]}}),
            "conf.listeners[0].protocol: unknown value \"https\"",
        ),
        (
            MeshGatewayRoute,
            json!({"conf": {"http": {"rules": [{"backends": [{"weight": "heavy"}]}]}}}),
            "conf.http.rules[0].backends[0].weight: expected a whole number from 0 to 4294967295, found \"heavy\"",
        ),
        (
            MeshGateway,
            json!({"conf": {"listeners": [{"port": -1}]}}),
            "conf.listeners[0].port: expected a whole number",
        ),
        (
            MeshGateway,
            json!({"conf": {"listeners": [{"port": 1.5}]}}),
            "found the number 1.5",
        ),
        (
            MeshGateway,
            json!({"conf": {"listeners": [{"port": 4_294_967_296_u64}]}}),
            "conf.listeners[0].port",
        ),
        (
            MeshGateway,
            json!({"conf": {"listeners": {}}}),
            "conf.listeners: expected a list, found an object",
        ),
        (
            MeshGateway,
            json!({"conf": []}),
            "conf: expected an object, found a list",
        ),
        (
            MeshGateway,
            json!({"tags": {"port": 80}}),
            "tags[\"port\"]: expected a string (put it in quotes), found the number 80",
        ),
        (
            MeshGateway,
            json!({"tags": ["a"]}),
            "tags: expected an object, found a list",
        ),
        (
            MeshGateway,
            json!({"conf": {"listeners": [{"crossMesh": "true"}]}}),
            "conf.listeners[0].crossMesh: expected true or false",
        ),
        (
            Zone,
            json!({"enabled": "yes"}),
            "enabled: expected true or false, found \"yes\"",
        ),
        (Secret, json!({"data": "?"}), "data: is not base64"),
        (Secret, json!({"data": 5}), "data: expected base64"),
        (
            Mesh,
            json!({"tracing": {"backends": [{"sampling": "many"}]}}),
            "tracing.backends[0].sampling: expected a number",
        ),
        (
            Mesh,
            json!({"mtls": {"backends": [{"conf": 5}]}}),
            "mtls.backends[0].conf: expected an object",
        ),
        (
            Dataplane,
            probe(json!({"interval": "soon"})),
            "networking.inbound[0].serviceProbe.interval: \"soon\" is not a duration",
        ),
        (
            Dataplane,
            probe(json!({"interval": 5})),
            "expected a duration such as \"1.5s\" in quotes, found the number 5",
        ),
        (
            Dataplane,
            json!({"networking": {"transparent_proxying": {"redirect_port_inbound": "x"}}}),
            "networking.transparent_proxying.redirect_port_inbound: expected a whole number",
        ),
        (
            ZoneInsight,
            json!({"healthCheck": {"time": "yesterday"}}),
            "healthCheck.time: \"yesterday\" is not a time",
        ),
    ] {
        let found = error(ty, value);
        assert!(found.contains(wanted), "{found}\nshould contain\n{wanted}");
    }
}

#[test]
fn skipped_fields_are_reported_with_their_place() {
    let decoded = decode(
        ResourceType::MeshGatewayRoute,
        json!({"surplus": 1, "conf": {"tcp": {}, "http": {"rules": [{}, {"match": []}]}}}),
    )
    .unwrap();
    assert_eq!(
        decoded.unknown,
        ["surplus", "conf.http.rules[1].match", "conf.tcp"]
    );
    let decoded = decode(
        ResourceType::MeshGatewayRoute,
        json!({"conf": {"http": {}, "tcp": {}}}),
    )
    .unwrap();
    assert_eq!(decoded.unknown, ["conf.tcp"]);
}

#[test]
fn a_misspelt_field_has_a_nearest_one() {
    use ResourceType::{Dataplane, Mesh, MeshGateway, MeshGatewayRoute};
    for (ty, path, nearest) in [
        (MeshGateway, "conf.listeners[0].protcol", Some("protocol")),
        (MeshGateway, "conf.listeners[0].Port", Some("port")),
        (MeshGateway, "conf.listners", Some("listeners")),
        (MeshGateway, "selector", Some("selectors")),
        (MeshGateway, "lables", Some("labels")),
        (
            MeshGatewayRoute,
            "conf.http.rules[1].match",
            Some("matches"),
        ),
        (MeshGateway, "listeners", Some("conf.listeners")),
        (MeshGatewayRoute, "conf.rules", Some("conf.tcp.rules")),
        (MeshGateway, "conf.listeners[0].zzz", None),
        (MeshGatewayRoute, "conf.tcp", None),
        (Mesh, "mtls.backends[0].conf[\"a.b\"].c", None),
        (Dataplane, "networking.inbound[0].tag", Some("tags")),
        (Dataplane, "", None),
        (Dataplane, "a.b.c", None),
        (Dataplane, "x[", None),
    ] {
        assert_eq!(nearest_field(ty, path).as_deref(), nearest, "{path}");
    }
}

#[test]
fn bytes_do_not_depend_on_the_order_of_keys() {
    let tags: Vec<_> = (0..50).map(|i| (format!("key-{i}"), json!("v"))).collect();
    let forwards: Map<String, Value> = tags.iter().cloned().collect();
    let backwards: Map<String, Value> = tags.into_iter().rev().collect();
    let a = decode(
        ResourceType::MeshGateway,
        json!({"tags": forwards, "conf": {}}),
    )
    .unwrap();
    let b = decode(
        ResourceType::MeshGateway,
        json!({"conf": {}, "tags": backwards}),
    )
    .unwrap();
    assert_eq!(a.spec.bytes(), b.spec.bytes());
    let typed = a.spec.decode::<mesh::MeshGateway>();
    assert_eq!(Spec::encode(ResourceType::MeshGateway, &typed), a.spec);
}

#[test]
fn deep_documents_are_refused() {
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = Value::Array(vec![Value::Object(Map::from_iter([(
            "a".to_owned(),
            deep,
        )]))]);
    }
    let deep = Map::from_iter([("a".to_owned(), deep)]);
    let message = error(
        ResourceType::Mesh,
        json!({"mtls": {"backends": [{"conf": deep}]}}),
    );
    assert_eq!(message, "mtls.backends[0].conf: nested too deeply");
}

#[test]
fn fields_of_a_later_release_do_not_stop_printing() {
    // Field 1000, varint 7.
    let spec = Spec::parse(ResourceType::Zone, Bytes::from_static(&[0xc0, 0x3e, 0x07])).unwrap();
    assert_eq!(encode_spec(&spec), Map::new());
}

#[test]
fn messages_beside_specs_go_both_ways() {
    let Value::Object(fields) =
        json!({"dataplane": {"networking": {}}, "dataplaneInsight": {}, "x": 1})
    else {
        unreachable!()
    };
    let name = "kuma.mesh.v1alpha1.DataplaneOverview";
    let (bytes, unknown) = decode_message(name, &fields).unwrap();
    assert_eq!(unknown, ["x"]);
    assert_eq!(
        Value::Object(encode_message(name, &bytes).unwrap()),
        json!({"dataplane": {"networking": {}}, "dataplaneInsight": {}})
    );
    assert!(encode_message("no.Such", &[]).is_err());
    assert!(encode_message(name, b"\xff").is_err());
}
