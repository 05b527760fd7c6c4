//! Whole answers as users of Kuma 2.14 know them, word for word: scripts match on them.

use serde_json::{Value, json};

use super::{ResourceType, spec};
use crate::json::parse_body;

fn answer(ty: ResourceType, document: Value) -> Vec<String> {
    let body = parse_body(ty, &document).unwrap();
    spec(ty, &body.spec)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_route_with_many_violations() {
    let document = json!({
        "type": "MeshGatewayRoute", "mesh": "default", "name": "Bad_Name",
        "selectors": [{"match": {"": ""}}],
        "conf": {
            "http": {"rules": [{
                "matches": [{"path": {"match": "PREFIX", "value": "no-slash"}}],
                "backends": [{"weight": 1, "surplus": 3, "destination": {"kuma.io/service": "echo"}}],
            }]},
            "tcp": {"rules": []},
        },
    });
    assert_eq!(
        answer(ResourceType::MeshGatewayRoute, document),
        [
            "selectors[0].match: tag name must be non-empty",
            "selectors[0].match[\"\"]: tag value must be non-empty",
            "selectors[0].match: mandatory tag \"kuma.io/service\" is missing",
            "conf.http.rules[0].matches[0].value: must be an absolute path",
        ]
    );
}

#[test]
fn a_route_with_an_empty_variable() {
    let document = json!({
        "selectors": [{"match": {"kuma.io/service": "edge-gateway"}}],
        "conf": {"http": {"rules": [{
            "matches": [{"path": {"match": "PREFIX", "value": "/var"}}],
            "filters": [{"requestHeader": {"set": [{"name": "x-note", "value": "|||"}]}}],
            "backends": [{"weight": 1, "destination": {"kuma.io/service": null}}],
        }]}},
    });
    assert_eq!(
        answer(ResourceType::MeshGatewayRoute, document),
        ["conf.http.rules[0].backends[0][\"kuma.io/service\"]: tag value must be non-empty"]
    );
}

#[test]
fn a_gateway_with_many_violations() {
    let document = json!({
        "type": "MeshGateway", "mesh": "default", "name": "broken", "selectors": [],
        "conf": {"listeners": [
            {"port": 99999, "protocol": "HTTPS"},
            {"port": 8080, "protocol": "HTTP", "hostname": "*.*.bad"},
            {"port": 8080, "protocol": "TCP"},
        ]},
    });
    assert_eq!(
        answer(ResourceType::MeshGateway, document),
        [
            "selectors: must have at least one element",
            "conf.listeners[0].port: port must be in the range [1, 65535]",
            "conf.listeners[0].tls: cannot be empty",
            "conf.listeners[1].hostname: invalid wildcard domain",
            "conf.listeners[1]: protocol conflicts with other listeners on this port",
            "conf.listeners[2]: protocol conflicts with other listeners on this port",
        ]
    );
}

#[test]
fn a_gateway_of_odd_numbers_is_taken() {
    let document = json!({
        "type": "MeshGateway", "mesh": "default", "name": "p1",
        "selectors": [{"match": {"kuma.io/service": "p1"}}],
        "conf": {"listeners": [
            {"port": "8099", "protocol": 2, "tls": {"mode": 1, "certificates": [{"secret": "none"}], "surplus": 1}},
        ]},
    });
    assert_eq!(answer(ResourceType::MeshGateway, document), [""; 0]);
}

#[test]
fn a_mesh_with_many_violations() {
    let document = json!({
        "type": "Mesh", "name": "ca-mesh",
        "mtls": {"enabledBackend": "x", "backends": [{"name": "a", "type": "builtin"}, {"name": "a", "type": "builtin"}]},
        "logging": {"defaultBackend": "none", "backends": [{"name": "", "type": "file"}]},
    });
    assert_eq!(
        answer(ResourceType::Mesh, document),
        [
            "mtls.backends: cannot have more than 1 backends",
            "mtls.backends[1].name: \"a\" name is already used for another backend",
            "mtls.enabledBackend: has to be set to one of the backends in the mesh",
            "logging.backends[0].name: cannot be empty",
            "logging.backends[0].config.path: cannot be empty",
            "logging.defaultBackend: has to be set to one of the logging backend in mesh",
        ]
    );
}
