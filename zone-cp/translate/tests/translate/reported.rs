//! What the admin API takes and cannot work, or not as it is written, is reported on its resource.
//!
//! The rows are what validation leaves alone, because Kuma's does: a resource of an existing
//! deployment must not be refused. What the API refuses has a table beside its rules.

use zone_translate::translate;

use crate::fixture;

const LISTENERS: &str = "[{port: 8080, protocol: HTTP}]";

const RULE: &str =
    "{matches: [{path: {value: /}}], backends: [{destination: {kuma.io/service: cart}}]}";

/// The findings of a gateway with these listeners and one route, as
/// `<type> <name> <path>: <message>`.
fn findings(listeners: &str, route: &str) -> Vec<String> {
    let yaml = format!(
        "
type: Dataplane
mesh: default
name: gateway-1
networking:
  address: 10.0.0.9
  gateway: {{type: BUILTIN, tags: {{kuma.io/service: edge}}}}
---
type: Dataplane
mesh: default
name: cart-1
networking:
  address: 10.0.0.1
  inbound: [{{port: 80, tags: {{kuma.io/service: cart}}}}]
---
type: MeshGateway
mesh: default
name: edge
selectors: [{{match: {{kuma.io/service: edge}}}}]
conf: {{listeners: {listeners}}}
---
type: MeshGatewayRoute
mesh: default
name: shop
{route}
"
    );
    let resources = fixture::resources(&yaml);
    let translation = translate(&fixture::view(&resources), &fixture::gateway(&resources));
    let text =
        |f: &zone_translate::Finding| format!("{} {} {}: {}", f.ty, f.name, f.path, f.message);
    translation.findings.iter().map(text).collect()
}

fn selecting(conf: &str) -> String {
    format!("selectors: [{{match: {{kuma.io/service: edge}}}}]\nconf: {conf}")
}

fn http(rules: &str) -> String {
    selecting(&format!("{{http: {{rules: [{rules}]}}}}"))
}

/// Checks that exactly one finding is there, with this beginning and these words.
fn reports(what: &str, found: &[String], place: &str, words: &str) {
    let expected = format!("{place}: ");
    assert_eq!(found.len(), 1, "{what}: {found:#?}");
    assert!(
        found[0].starts_with(&expected) && found[0].contains(words),
        "{what}: {found:#?}"
    );
}

#[test]
fn nothing_is_reported_of_what_works() {
    assert_eq!(findings(LISTENERS, &http(RULE)), [""; 0]);
}

#[test]
fn what_validation_leaves_alone_in_gateways() {
    let route = http(RULE);
    for (what, listeners, field, words) in [
        (
            "TLS without a tls block",
            "{port: 8443, protocol: TLS}",
            "[1].tls",
            "needs a tls block",
        ),
        (
            "a certificate that is not there",
            "{port: 8443, protocol: HTTPS, tls: {mode: TERMINATE, certificates: [{secret: none}]}}",
            "[1].tls.certificates[0]",
            "left out",
        ),
        (
            "certificates where TLS is passed through",
            "{port: 8443, protocol: TLS, tls: {mode: PASSTHROUGH, certificates: [{secret: none}]}}",
            "[1].tls.certificates",
            "not used",
        ),
        (
            "tls on a listener without TLS",
            "{port: 8081, protocol: HTTP, tls: {mode: TERMINATE, certificates: [{secret: none}]}}",
            "[1].tls",
            "does not speak TLS",
        ),
        (
            "a hostname of TCP",
            "{port: 9000, protocol: TCP, hostname: a.com}",
            "[1].hostname",
            "name no host",
        ),
        (
            "crossMesh beside a plain listener of the port",
            "{port: 8080, protocol: HTTP, hostname: a.com, crossMesh: true}",
            "[1].crossMesh",
            "not supported",
        ),
    ] {
        let listeners = format!("[{{port: 8080, protocol: HTTP}}, {listeners}]");
        let place = format!("MeshGateway edge conf.listeners{field}");
        reports(what, &findings(&listeners, &route), &place, words);
    }
}

#[test]
fn what_validation_leaves_alone_in_routes() {
    let hostname = format!("{{http: {{hostnames: [a.com, \"a b\"], rules: [{RULE}]}}}}");
    let elsewhere = format!("{{http: {{hostnames: [b.com], rules: [{RULE}]}}}}");
    let listeners = "[{port: 8080, protocol: HTTP, hostname: a.com}]";
    let tcp = |rules: &str| selecting(&format!("{{tcp: {{rules: [{rules}]}}}}"));
    let of_tcp = "[{port: 9000, protocol: TCP}]";
    let cart = "{destination: {kuma.io/service: cart}}";
    let filters = |filters: &str| {
        http(&RULE.replace("backends:", &format!("filters: [{filters}], backends:")))
    };
    for (what, listeners, route, field, words) in [
        (
            "a hostname that is none",
            listeners,
            selecting(&hostname),
            "conf.http.hostnames[1]",
            "not a hostname",
        ),
        (
            "hostnames of no listener",
            listeners,
            selecting(&elsewhere),
            "conf.http.hostnames",
            "serves any of its hostnames",
        ),
        (
            "a hostname of another listener than the wildcard that is selected",
            "[{port: 8080, protocol: HTTP, hostname: a.com, tags: {team: a}}, \
              {port: 8080, protocol: HTTP, hostname: '*.com', tags: {team: b}}]",
            selecting(&format!(
                "{{http: {{hostnames: [a.com], rules: [{RULE}]}}}}"
            ))
            .replace("service: edge", "service: edge, team: b"),
            "conf.http.hostnames",
            "serves any of its hostnames",
        ),
        (
            "the header with the gateway's tags",
            LISTENERS,
            filters("{requestHeader: {set: [{name: X-Kuma-Tags, value: x}]}}"),
            "conf.http.rules[0].filters[0].requestHeader.set[0]",
            "tells backends the tags",
        ),
        (
            "listener tags of no listener",
            LISTENERS,
            http(RULE).replace("service: edge", "service: edge, port: other"),
            "selectors",
            "no listener of the gateway has all the tags",
        ),
        (
            "a route of the wrong kind",
            of_tcp,
            http(RULE),
            "selectors",
            "TCP",
        ),
        (
            "no TCP rule",
            of_tcp,
            tcp(""),
            "conf.tcp.rules",
            "no backend",
        ),
        (
            "a TCP rule without backends",
            of_tcp,
            tcp("{backends: []}"),
            "conf.tcp.rules[0]",
            "no backend",
        ),
        (
            "a TCP backend without a service",
            of_tcp,
            tcp(&format!(
                "{{backends: [{cart}, {{destination: {{a: b}}}}]}}"
            )),
            "conf.tcp.rules[0].backends[1]",
            "kuma.io/service",
        ),
        (
            "a TCP backend without a weight",
            of_tcp,
            tcp(&format!(
                "{{backends: [{cart}, {{weight: 1, destination: {{kuma.io/service: cart}}}}]}}"
            )),
            "conf.tcp.rules[0].backends[0].weight",
            "no connection goes there",
        ),
        (
            "a service that nobody offers",
            LISTENERS,
            http(&RULE.replace("cart", "none")),
            "conf.http.rules[0].backends[0]",
            "503",
        ),
        (
            "several rewrites",
            LISTENERS,
            filters("{rewrite: {replaceFull: /a}}, {rewrite: {replaceFull: /b}}"),
            "conf.http.rules[0].filters[1].rewrite",
            "one rewrite",
        ),
        (
            "a filter that says nothing",
            LISTENERS,
            filters("{}"),
            "conf.http.rules[0].filters[0]",
            "says nothing",
        ),
        (
            "a percent sign in a header value",
            LISTENERS,
            filters("{request_header: {add: [{name: a, value: 100%}]}}"),
            "conf.http.rules[0].filters[0].requestHeader.add[0]",
            "%%",
        ),
        (
            "the same match twice",
            LISTENERS,
            http(&format!("{RULE}, {RULE}")),
            "conf.http.rules[1].matches[0]",
            "never reached",
        ),
    ] {
        let place = format!("MeshGatewayRoute shop {field}");
        reports(what, &findings(listeners, &route), &place, words);
    }
}

#[test]
fn a_gateway_that_another_one_outranks() {
    let second = "selectors: [{match: {kuma.io/service: edge}}]
conf: {http: {rules: []}}
---
type: MeshGateway
mesh: default
name: second
selectors: [{match: {kuma.io/service: edge}}]
conf: {listeners: [{port: 8081, protocol: HTTP}]}";
    let found = findings(LISTENERS, second);
    assert!(
        found
            .iter()
            .any(|f| f.starts_with("MeshGateway second selectors: MeshGateway edge")),
        "{found:#?}"
    );
}
