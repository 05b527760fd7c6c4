use serde_json::{Value, json};

use super::{check_table, violations};
use crate::resource_type::ResourceType::MeshGatewayRoute;

pub(super) fn valid() -> Value {
    json!({
        "selectors": [{"match": {"kuma.io/service": "edge-gateway"}}],
        "conf": {"http": {"rules": [{
            "matches": [{"path": {"match": "PREFIX", "value": "/"}}],
            "filters": [],
            "backends": [{"weight": 1, "destination": {"kuma.io/service": "echo"}}],
        }]}},
    })
}

const RULE: &str = "/conf/http/rules/0";
pub(super) const MATCHES: &str = "/conf/http/rules/0/matches";
pub(super) const BACKENDS: &str = "/conf/http/rules/0/backends";

#[test]
fn conf_and_rules() {
    check_table(
        MeshGatewayRoute,
        &valid(),
        &[
            (
                "a selector is needed",
                &[("/selectors", json!([]))],
                &["selectors"],
            ),
            (
                "selectors need the service",
                &[("/selectors/0/match", json!({"a": "b"}))],
                &["selectors[0].match"],
            ),
            ("conf is needed", &[("/conf", Value::Null)], &["conf"]),
            ("conf says which kind", &[("/conf", json!({}))], &["conf"]),
            (
                "nothing is asked of tcp",
                &[("/conf", json!({"tcp": {}}))],
                &[],
            ),
            (
                "an http rule is needed",
                &[("/conf", json!({"http": {}}))],
                &["conf.http.rules"],
            ),
            (
                "a match is needed; then the rest of the rule is not looked at",
                &[(RULE, json!({}))],
                &["conf.http.rules[0].matches"],
            ),
            (
                "backends are needed",
                &[(BACKENDS, json!([]))],
                &["conf.http.rules[0].backends"],
            ),
            (
                "backends need a service",
                &[(
                    BACKENDS,
                    json!([{"weight": 1, "destination": {"a": "b"}}, {"weight": 1}]),
                )],
                &[
                    "conf.http.rules[0].backends[0]",
                    "conf.http.rules[0].backends[1]",
                    "conf.http.rules[0].backends[1]",
                ],
            ),
            (
                "one backend needs no weight",
                &[(BACKENDS, json!([{"destination": {"kuma.io/service": "a"}}]))],
                &[],
            ),
            (
                "ours: of several one needs a weight",
                &[(
                    BACKENDS,
                    json!([{"destination": {"kuma.io/service": "a"}}, {"destination": {"kuma.io/service": "b"}}]),
                )],
                &["conf.http.rules[0].backends"],
            ),
            (
                "ours: weights have a 32-bit sum",
                &[(
                    BACKENDS,
                    json!([{"weight": u32::MAX, "destination": {"kuma.io/service": "a"}}, {"weight": 1, "destination": {"kuma.io/service": "b"}}]),
                )],
                &["conf.http.rules[0].backends"],
            ),
        ],
    );
}

#[test]
fn matches() {
    let path = |kind: &str, value: &str| json!([{"path": {"match": kind, "value": value}}]);
    let header = |kind: &str, name: &str, value: &str| json!([{"headers": [{"match": kind, "name": name, "value": value}]}]);
    let query = |kind: &str, name: &str, value: &str| json!([{"queryParameters": [{"match": kind, "name": name, "value": value}]}]);
    let value_place = &["conf.http.rules[0].matches[0].value"][..];
    let header_value = &["conf.http.rules[0].matches[0].headers[0].value"][..];
    let query_value = &["conf.http.rules[0].matches[0].query_parameters[0].value"][..];
    check_table(
        MeshGatewayRoute,
        &valid(),
        &[
            (
                "a match has a criterion",
                &[(MATCHES, json!([{}]))],
                &["conf.http.rules[0].matches[0]"],
            ),
            (
                "a method is enough",
                &[(MATCHES, json!([{"method": "GET"}]))],
                &[],
            ),
            ("EXACT", &[(MATCHES, path("EXACT", "/a"))], &[]),
            (
                "EXACT is absolute",
                &[(MATCHES, path("EXACT", "a"))],
                value_place,
            ),
            (
                "EXACT is not empty",
                &[(MATCHES, path("EXACT", ""))],
                value_place,
            ),
            ("PREFIX", &[(MATCHES, path("PREFIX", "/a/"))], &[]),
            (
                "PREFIX is absolute",
                &[(MATCHES, path("PREFIX", "a"))],
                value_place,
            ),
            (
                "REGEX",
                &[(MATCHES, path("REGEX", "^/users/{id}/[0-9]+$"))],
                &[],
            ),
            (
                "REGEX is not empty",
                &[(MATCHES, path("REGEX", ""))],
                value_place,
            ),
            (
                "ours: a path REGEX compiles",
                &[(MATCHES, path("REGEX", "/("))],
                value_place,
            ),
            ("a header", &[(MATCHES, header("EXACT", "x", "y"))], &[]),
            (
                "a header has a name",
                &[(MATCHES, header("EXACT", "", "y"))],
                &["conf.http.rules[0].matches[0].headers[0].name"],
            ),
            (
                "EXACT headers have a value",
                &[(MATCHES, header("EXACT", "x", ""))],
                header_value,
            ),
            (
                "REGEX headers have a value",
                &[(MATCHES, header("REGEX", "x", ""))],
                header_value,
            ),
            (
                "ours: a header REGEX compiles",
                &[(MATCHES, header("REGEX", "x", "["))],
                header_value,
            ),
            (
                "PRESENT headers have none",
                &[(MATCHES, header("PRESENT", "x", "y"))],
                header_value,
            ),
            (
                "ABSENT headers have none",
                &[(MATCHES, header("ABSENT", "x", "y"))],
                header_value,
            ),
            (
                "an ABSENT header",
                &[(MATCHES, header("ABSENT", "x", ""))],
                &[],
            ),
            (
                "a parameter has a name",
                &[(MATCHES, query("EXACT", "", "y"))],
                &["conf.http.rules[0].matches[0].query_parameters[0].name"],
            ),
            (
                "a parameter has a value",
                &[(MATCHES, query("EXACT", "x", ""))],
                query_value,
            ),
            (
                "a REGEX parameter has a value",
                &[(MATCHES, query("REGEX", "x", ""))],
                query_value,
            ),
            (
                "ours: a parameter's REGEX compiles",
                &[(MATCHES, query("REGEX", "x", "a**"))],
                query_value,
            ),
        ],
    );
}

#[test]
fn all_rules_are_looked_at() {
    let mut document = valid();
    let rule = json!({"matches": [{}]});
    super::put(&mut document, "/conf/http/rules/-", rule.clone());
    super::put(&mut document, "/conf/http/rules/-", rule);
    let fields: Vec<_> = violations(MeshGatewayRoute, &document)
        .into_iter()
        .map(|v| v.field)
        .collect();
    assert_eq!(
        fields,
        [
            "conf.http.rules[1].matches[0]",
            "conf.http.rules[1].backends",
            "conf.http.rules[2].matches[0]",
            "conf.http.rules[2].backends",
        ]
    );
}
