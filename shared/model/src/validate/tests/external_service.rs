use serde_json::{Value, json};

use super::check_table;
use crate::resource_type::ResourceType::ExternalService;

const SERVICE: &str = "/tags/kuma.io~1service";
const PROTOCOL: &str = "/tags/kuma.io~1protocol";

fn valid() -> Value {
    json!({
        "networking": {"address": "httpbin.org:80"},
        "tags": {"kuma.io/service": "httpbin", "kuma.io/protocol": "http"},
    })
}

#[test]
fn each_rule_of_networking() {
    let address = |text: &str| [("/networking/address", json!(text))];
    let tls = |value: Value| [("/networking/tls", value)];
    let places = &["networking.address"][..];
    check_table(
        ExternalService,
        &valid(),
        &[
            ("an IP address", &address("192.0.2.1:443"), &[]),
            ("an IPv6 address", &address("[2001:db8::1]:443"), &[]),
            (
                "no networking",
                &[("/networking", json!(null))],
                &["networking"],
            ),
            ("no address", &address(""), places),
            (
                "no address, and so no look at the rest",
                &[("/networking", json!({"tls": {"serverName": ""}}))],
                places,
            ),
            ("no port", &address("httpbin.org"), places),
            ("not a host", &address("http bin:80"), places),
            ("not a port", &address("httpbin.org:http"), places),
            ("port 0", &address("httpbin.org:0"), places),
            ("port 65536", &address("httpbin.org:65536"), places),
            (
                "all of TLS",
                &tls(json!({
                    "enabled": true, "serverName": "a", "allowRenegotiation": true,
                    "skipHostnameVerification": true, "caCert": {"secret": "ca"},
                    "clientCert": {"inline": "YQ=="}, "clientKey": {"inlineString": "a"},
                })),
                &[],
            ),
            (
                "an empty server name",
                &tls(json!({"enabled": true, "serverName": ""})),
                &["networking.tls.serverName"],
            ),
            (
                "sources that are there and empty",
                &tls(json!({
                    "caCert": {}, "clientCert": {"secret": ""}, "clientKey": {"inline": ""},
                })),
                &[
                    "networking.tls.caCert",
                    "networking.tls.clientCert",
                    "networking.tls.clientKey",
                ],
            ),
            (
                "a bad address hides nothing else",
                &[(
                    "/networking",
                    json!({"address": "a", "tls": {"caCert": {"file": ""}}}),
                )],
                &["networking.address", "networking.tls.caCert"],
            ),
        ],
    );
}

#[test]
fn each_rule_of_tags() {
    check_table(
        ExternalService,
        &valid(),
        &[
            ("capitals", &[(PROTOCOL, json!("HTTP2"))], &[]),
            ("no tags", &[("/tags", json!({}))], &["tags", "tags"]),
            ("no service", &[("/tags", json!({"a": "b"}))], &["tags"]),
            (
                "an unknown protocol",
                &[(PROTOCOL, json!("spdy"))],
                &["tags[\"kuma.io/protocol\"]"],
            ),
            (
                "characters of a key and a value",
                &[("/tags/a=b", json!("c")), ("/tags/d", json!("e/f"))],
                &["tags[\"a=b\"]", "tags[\"d\"]"],
            ),
            (
                "any value",
                &[(SERVICE, json!("*"))],
                &["tags[\"kuma.io/service\"]"],
            ),
            (
                "an empty value",
                &[(SERVICE, json!(""))],
                &["tags[\"kuma.io/service\"]"],
            ),
            (
                "the service is the host",
                &[(SERVICE, json!("httpbin.org"))],
                &["tags[\"kuma.io/service\"]"],
            ),
        ],
    );
}
