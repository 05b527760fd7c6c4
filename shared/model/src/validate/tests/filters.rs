use serde_json::{Value, json};

use super::check_table;
use super::route::{BACKENDS, MATCHES, valid};
use crate::resource_type::ResourceType::MeshGatewayRoute;

const FILTERS: &str = "/conf/http/rules/0/filters";

#[test]
fn header_filters() {
    let request = |filter: Value| json!([{"requestHeader": filter}]);
    let response = |filter: Value| json!([{"responseHeader": filter}]);
    let pair = |name: &str, value: &str| json!([{"name": name, "value": value}]);
    let rewrite_host = json!({"rewrite": {"hostToBackendHostname": true}});
    let with_rewrite = |filter: Value| json!([filter, rewrite_host]);
    let at = "conf.http.rules[0].filters[0].request_header";
    let place = |rest: &str| format!("{at}.{rest}");
    let (set, add) = (place("set[0]"), place("add[0]"));
    let (set_name, set_value) = (place("set[0].name"), place("set[0].value"));
    let (add_name, add_value) = (place("add[0].name"), place("add[0].value"));
    let remove = place("remove[0]");
    let of_response = |rest: &str| format!("conf.http.rules[0].filters[0].response_header.{rest}");
    check_table(
        MeshGatewayRoute,
        &valid(),
        &[
            (
                "a filter does something",
                &[(FILTERS, request(json!({})))],
                &[at],
            ),
            (
                "set has name and value",
                &[(FILTERS, request(json!({"set": pair("", "")})))],
                &[&set_name, &set_value],
            ),
            (
                "add has name and value",
                &[(FILTERS, request(json!({"add": pair("", "")})))],
                &[&add_name, &add_value],
            ),
            (
                "remove has a name",
                &[(FILTERS, request(json!({"remove": [""]})))],
                &[&remove],
            ),
            (
                "the host may be set",
                &[(FILTERS, request(json!({"set": pair("Host", "a")})))],
                &[],
            ),
            (
                "in any spelling",
                &[(FILTERS, request(json!({"set": pair(":AUTHORITY", "a")})))],
                &[],
            ),
            (
                "but not beside a rewrite of it",
                &[(
                    FILTERS,
                    with_rewrite(json!({"requestHeader": {"set": pair("hOST", "a")}})),
                )],
                &[&set],
            ),
            (
                "nor added beside one",
                &[(
                    FILTERS,
                    with_rewrite(json!({"requestHeader": {"add": pair("host", "a")}})),
                )],
                &[&add],
            ),
            (
                "ours: other pseudo headers are not set",
                &[(FILTERS, request(json!({"set": pair(":path", "/a")})))],
                &[&set_name],
            ),
            (
                "ours: the host is not added",
                &[(FILTERS, request(json!({"add": pair("HOST", "a")})))],
                &[&add_name],
            ),
            (
                "ours: pseudo headers are not added",
                &[(FILTERS, request(json!({"add": pair(":scheme", "a")})))],
                &[&add_name],
            ),
            (
                "ours: the host is not removed",
                &[(FILTERS, request(json!({"remove": ["Host"]})))],
                &[&remove],
            ),
            (
                "ours: pseudo headers are not removed",
                &[(FILTERS, request(json!({"remove": [":authority"]})))],
                &[&remove],
            ),
            (
                "ours: headers have one line",
                &[(
                    FILTERS,
                    request(json!({"set": pair("a\n", "b\r"), "remove": ["c\u{0}"]})),
                )],
                &[&set_name, &set_value, &remove],
            ),
            (
                "responses may have empty values",
                &[(FILTERS, response(json!({"set": pair("x", "")})))],
                &[],
            ),
            (
                "responses may have empty filters",
                &[(FILTERS, response(json!({})))],
                &[],
            ),
            (
                "ours: pseudo headers of responses stay",
                &[(
                    FILTERS,
                    response(
                        json!({"set": pair(":status", "200"), "add": pair("host", "a"), "remove": [":status", ""]}),
                    ),
                )],
                &[
                    &of_response("set[0].name"),
                    &of_response("add[0].name"),
                    &of_response("remove[0]"),
                    &of_response("remove[1]"),
                ],
            ),
        ],
    );
}

#[test]
fn other_filters() {
    let redirect = |redirect: Value| (FILTERS, json!([{"redirect": redirect}]));
    let mirror = |mirror: Value| (FILTERS, json!([{"mirror": mirror}]));
    let rewrite = |rewrite: Value| (FILTERS, json!([{"rewrite": rewrite}]));
    let no_backends = (BACKENDS, json!([]));
    let backend = json!({"destination": {"kuma.io/service": "a"}});
    let exact = (MATCHES, json!([{"path": {"value": "/a"}}]));
    let status = &["conf.http.rules[0].filters[0].redirect.status_code"][..];
    let percentage = &["conf.http.rules[0].filters[0].mirror.percentage"][..];
    let prefix = &["conf.http.rules[0].filters[0].rewrite.replacePrefixMatch"][..];
    check_table(
        MeshGatewayRoute,
        &valid(),
        &[
            (
                "a redirect",
                &[
                    redirect(json!({"statusCode": 308, "port": 443})),
                    no_backends.clone(),
                ],
                &[],
            ),
            (
                "a redirect's port",
                &[
                    redirect(json!({"statusCode": 301, "port": 70000})),
                    no_backends.clone(),
                ],
                &["conf.http.rules[0].filters[0].redirect.port"],
            ),
            (
                "a redirect's status",
                &[redirect(json!({"statusCode": 200})), no_backends.clone()],
                status,
            ),
            (
                "a redirect has a status",
                &[redirect(json!({})), no_backends.clone()],
                status,
            ),
            (
                "ours: not 304",
                &[redirect(json!({"statusCode": 304})), no_backends.clone()],
                status,
            ),
            (
                "a redirect has no backends",
                &[redirect(json!({"statusCode": 301}))],
                &["conf.http.rules[0].backends"],
            ),
            (
                "a redirect stands alone; then backends are not looked at",
                &[(
                    FILTERS,
                    json!([{"redirect": {"statusCode": 301}}, {"responseHeader": {}}]),
                )],
                &["conf.http.rules[0].filters"],
            ),
            (
                "ours: a redirect has one line",
                &[
                    redirect(
                        json!({"statusCode": 301, "scheme": "a\n", "hostname": "b\n", "path": {"replaceFull": "/\n"}}),
                    ),
                    no_backends,
                ],
                &[
                    "conf.http.rules[0].filters[0].redirect.hostname",
                    "conf.http.rules[0].filters[0].redirect.scheme",
                    "conf.http.rules[0].filters[0].redirect.path.replaceFull",
                ],
            ),
            (
                "a mirror",
                &[mirror(json!({"percentage": 12.5, "backend": backend}))],
                &[],
            ),
            (
                "of nothing",
                &[mirror(json!({"percentage": 0, "backend": backend}))],
                &[],
            ),
            (
                "a mirror has a percentage",
                &[mirror(json!({"backend": backend}))],
                percentage,
            ),
            (
                "at most 100",
                &[mirror(json!({"percentage": 101, "backend": backend}))],
                percentage,
            ),
            (
                "a number",
                &[mirror(json!({"percentage": "NaN", "backend": backend}))],
                percentage,
            ),
            (
                "a mirror has a backend",
                &[mirror(json!({"percentage": 1}))],
                &["conf.http.rules[0].filters[0].mirror.backend"],
            ),
            (
                "with a service",
                &[mirror(
                    json!({"percentage": 1, "backend": {"destination": {"a": ""}}}),
                )],
                &[
                    "conf.http.rules[0].filters[0].mirror.backend[\"a\"]",
                    "conf.http.rules[0].filters[0].mirror.backend",
                ],
            ),
            (
                "a prefix is replaced",
                &[rewrite(json!({"replacePrefixMatch": "/b"}))],
                &[],
            ),
            (
                "if there is one",
                &[rewrite(json!({"replacePrefixMatch": "/b"})), exact.clone()],
                prefix,
            ),
            (
                "or the rewrite is about the host",
                &[
                    rewrite(json!({"replacePrefixMatch": "/b", "hostToBackendHostname": true})),
                    exact.clone(),
                ],
                &[],
            ),
            (
                "a whole path is replaced anyway",
                &[rewrite(json!({"replaceFull": "/b"})), exact],
                &[],
            ),
            (
                "ours: by one line",
                &[rewrite(json!({"replacePrefixMatch": "/\r"}))],
                prefix,
            ),
        ],
    );
}
