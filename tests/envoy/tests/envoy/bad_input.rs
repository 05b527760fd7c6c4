//! What Envoy would refuse is left out before it is sent, and nothing else is.
//!
//! Envoy takes a route configuration as a whole or not at all, so each of these things would hold
//! up everything beside it. Real Envoys say that they refuse it, and that they take what is made
//! of the same thing in a route. What the admin API would refuse at once is given to the zone
//! without being asked: it can come from a stock global.

mod odd;

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::process::Command;
use zone_translate::{Proxy, Translation, ZoneView, render, translate};

use crate::edits::resource;

/// One thing that Envoy refuses.
struct Bad {
    what: &'static str,
    /// The same as an Envoy route.
    raw: Value,
    /// A rule with it.
    rule: Value,
    /// Where the finding is, in the rule.
    field: &'static str,
}

fn matching(what: &'static str, raw: Value, matched: Value, field: &'static str) -> Bad {
    Bad {
        what,
        raw: json!({"match": raw, "route": {"cluster": "c"}}),
        rule: json!({"matches": [matched], "backends": [backend(1)]}),
        field,
    }
}

fn regex(pattern: &'static str) -> Bad {
    matching(
        pattern,
        json!({"safe_regex": {"regex": pattern}}),
        json!({"path": {"match": "REGEX", "value": pattern}}),
        ".matches[0].path.value",
    )
}

fn filter(what: &'static str, raw: Value, filter: Value, field: &'static str) -> Bad {
    let mut route = json!({"match": {"prefix": "/"}, "route": {"cluster": "c"}});
    for (name, value) in raw.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("route", Value::Object(more)) => {
                for (name, value) in more {
                    route["route"][name] = value.clone();
                }
            }
            ("redirect", _) => {
                route = json!({"match": {"prefix": "/"}, "redirect": value});
            }
            _ => route[name] = value.clone(),
        }
    }
    let is_redirect = filter.get("redirect").is_some();
    let backends = if is_redirect {
        json!([])
    } else {
        json!([backend(1)])
    };
    Bad {
        what,
        raw: route,
        rule: json!({
            "matches": [{"path": {"match": "PREFIX", "value": "/bad"}}],
            "filters": [filter],
            "backends": backends,
        }),
        field,
    }
}

/// A header that is set in requests.
fn header(what: &'static str, name: &str, value: &str) -> Bad {
    filter(
        what,
        json!({"request_headers_to_add": [{"header": {"key": name, "value": value}}]}),
        json!({"request_header": {"add": [{"name": name, "value": value}]}}),
        ".filters[0].requestHeader.add[0]",
    )
}

fn weights(what: &'static str, weights: [u32; 2]) -> Bad {
    let clusters = weights.map(|weight| json!({"name": "c", "weight": weight}));
    let mut backends = weights.map(backend);
    backends[1]["destination"]["version"] = json!("v2");
    Bad {
        what,
        raw: json!({
            "match": {"prefix": "/"},
            "route": {"weighted_clusters": {"clusters": clusters}},
        }),
        rule: json!({
            "matches": [{"path": {"match": "PREFIX", "value": "/bad"}}],
            "backends": backends,
        }),
        field: ".backends",
    }
}

fn backend(weight: u32) -> Value {
    json!({"weight": weight, "destination": {"kuma.io/service": "cart"}})
}

/// Everything that `refuse.rs` knows.
fn list() -> Vec<Bad> {
    let long = "a".repeat(16 * 1024 + 1);
    let mut list = vec![
        matching(
            "a regular expression for a header",
            json!({"prefix": "/", "headers": [
                {"name": "a", "string_match": {"safe_regex": {"regex": "("}}},
            ]}),
            json!({"headers": [{"match": "REGEX", "name": "a", "value": "("}]}),
            ".matches[0].headers[0]",
        ),
        matching(
            "a regular expression for a query parameter",
            json!({"prefix": "/", "query_parameters": [
                {"name": "a", "string_match": {"safe_regex": {"regex": "("}}},
            ]}),
            json!({"query_parameters": [{"match": "REGEX", "name": "a", "value": "("}]}),
            ".matches[0].queryParameters[0]",
        ),
        header("no header name", "", "v"),
        header("a long header name", &long, "v"),
        header("two lines of header name", "a\nb", "v"),
        header("a pseudo header", ":path", "v"),
        header("another host", "HOST", "v"),
        header("a long header value", "a", &long),
        header("two lines of header value", "a", "v\r\nb: c"),
        header("a percent sign alone", "a", "100%"),
        header("a command that Envoy does not know", "a", "%FOO%"),
        header("a command without its argument", "a", "%REQ%"),
        header("a command with a wrong argument", "a", "%REQ(a b)%"),
        filter(
            "a pseudo header of responses",
            json!({"response_headers_to_add": [{"header": {"key": ":status", "value": "v"}}]}),
            json!({"response_header": {"set": [{"name": ":status", "value": "v"}]}}),
            ".filters[0].responseHeader.set[0]",
        ),
        filter(
            "a host to remove",
            json!({"request_headers_to_remove": ["Host"]}),
            json!({"request_header": {"remove": ["Host"]}}),
            ".filters[0].requestHeader.remove[0]",
        ),
        filter(
            "a pseudo header to remove",
            json!({"request_headers_to_remove": [":authority"]}),
            json!({"request_header": {"remove": [":authority"]}}),
            ".filters[0].requestHeader.remove[0]",
        ),
        filter(
            "two lines of host",
            json!({"route": {"host_rewrite_literal": "a\nb"}}),
            json!({"request_header": {"set": [{"name": "Host", "value": "a\nb"}]}}),
            ".filters[0].requestHeader.set[0]",
        ),
        filter(
            "two lines of path",
            json!({"route": {"regex_rewrite": {
                "pattern": {"regex": ".*"}, "substitution": "/a\nb",
            }}}),
            json!({"rewrite": {"replaceFull": "/a\nb"}}),
            ".filters[0].rewrite",
        ),
        filter(
            "two lines of prefix",
            json!({"route": {"prefix_rewrite": "/a\nb"}}),
            json!({"rewrite": {"replacePrefixMatch": "/a\nb"}}),
            ".filters[0].rewrite",
        ),
        filter(
            "two lines of host to redirect to",
            json!({"redirect": {"host_redirect": "a\nb"}}),
            json!({"redirect": {"hostname": "a\nb", "status_code": 302}}),
            ".filters[0].redirect.hostname",
        ),
        filter(
            "two lines of path to redirect to",
            json!({"redirect": {"prefix_rewrite": "/a\nb"}}),
            json!({"redirect": {"path": {"replacePrefixMatch": "/a\nb"}, "status_code": 302}}),
            ".filters[0].redirect.path",
        ),
        filter(
            "a redirect with a status of its own",
            json!({"redirect": {"response_code": 5}}),
            json!({"redirect": {"hostname": "a", "status_code": 304}}),
            ".filters[0].redirect.statusCode",
        ),
        filter(
            "a mirror to nowhere",
            json!({"route": {"request_mirror_policies": [{"cluster": ""}]}}),
            json!({"mirror": {"percentage": 1, "backend": {"destination": {"version": "v1"}}}}),
            ".filters[0].mirror.backend",
        ),
        weights("weights that are all 0", [0, 0]),
        weights("weights whose sum is too large", [u32::MAX, 1]),
    ];
    list.extend(
        [
            "(",
            "[a",
            "a**",
            "a{2}{3}",
            "(?=a)",
            r"(a)\1",
            "a{1001}",
            "(a{100}){100}",
            "(?x)a",
            r"\u0041",
            "*",
            "a\\",
        ]
        .map(regex),
    );
    for (name, what) in [("", "no name"), ("a\nb", "two lines of name")] {
        list.push(matching(
            what,
            json!({"prefix": "/", "headers": [{"name": name, "present_match": true}]}),
            json!({"headers": [{"match": "PRESENT", "name": name}]}),
            ".matches[0].headers[0]",
        ));
    }
    for (name, what) in [("", "no parameter"), (long.as_str(), "a long parameter")] {
        list.push(matching(
            what,
            json!({"prefix": "/", "query_parameters": [
                {"name": name, "string_match": {"exact": "v"}},
            ]}),
            json!({"query_parameters": [{"match": "EXACT", "name": name, "value": "v"}]}),
            ".matches[0].queryParameters[0]",
        ));
    }
    list
}

/// A static Envoy with some virtual hosts.
fn raw(virtual_hosts: &Value) -> Value {
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.\
                   HttpConnectionManager";
    json!({"static_resources": {
        "clusters": [{"name": "c"}],
        "listeners": [{
            "name": "l",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
            "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
                "@type": manager,
                "stat_prefix": "l",
                "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
                "route_config": {"name": "r", "virtual_hosts": virtual_hosts},
            }}]}],
        }],
    }})
}

/// Asks an Envoy; what it says against a configuration.
async fn refused(configuration: &Value) -> anyhow::Result<Option<String>> {
    let files = tempfile::tempdir()?;
    let file = files.path().join("envoy.json");
    std::fs::write(&file, configuration.to_string())?;
    validate(&file).await
}

async fn validate(file: &Path) -> anyhow::Result<Option<String>> {
    let output = Command::new(mesh_harness::envoy())
        .args(["--mode", "validate", "--log-level", "error", "-c"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .await?;
    let words = String::from_utf8_lossy(&output.stderr);
    // Before the reason it may repeat all of the configuration.
    let reason = words.trim_end().rsplit('\n').next().unwrap_or_default();
    Ok((!output.status.success()).then(|| reason.to_owned()))
}

/// What a zone that holds these routes would send.
fn translated(routes: &[Value]) -> anyhow::Result<Translation> {
    let dataplane = json!({
        "type": "Dataplane", "mesh": "default", "name": "gateway",
        "networking": {
            "address": "127.0.0.1",
            "gateway": {"type": "BUILTIN", "tags": {"kuma.io/service": "edge-gateway"}},
        },
    });
    let cart = json!({
        "type": "Dataplane", "mesh": "default", "name": "cart",
        "networking": {
            "address": "127.0.0.1",
            "inbound": [{"port": 9, "tags": {"kuma.io/service": "cart", "version": "v2"}}],
        },
    });
    let dataplane = Arc::new(resource(&dataplane)?);
    let mut view = ZoneView::default();
    view.put(&dataplane);
    view.put(&Arc::new(resource(&cart)?));
    view.put(&Arc::new(resource(&crate::support::mesh_gateway())?));
    for route in routes {
        view.put(&Arc::new(resource(route)?));
    }
    Ok(translate(&view, &Proxy::new(dataplane, None)))
}

fn route(name: &str, rules: &Value) -> Value {
    json!({
        "type": "MeshGatewayRoute", "mesh": "default", "name": name,
        "selectors": [{"match": {"kuma.io/service": "edge-gateway"}}],
        "conf": {"http": {"rules": rules}},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_refuses_each_thing_on_the_list() -> anyhow::Result<()> {
    let host = |route: &Value| json!([{"name": "v", "domains": ["*"], "routes": [route]}]);
    let with = |matching: Value| host(&json!({"match": matching, "route": {"cluster": "c"}}));
    let fine = json!({"match": {"prefix": "/"}, "route": {"cluster": "c"}});
    assert_eq!(refused(&raw(&host(&fine))).await?, None);
    let list = list();
    let of_routes = list.iter().map(|bad| (bad.what, host(&bad.raw)));
    // What routes have no part in, and the zone therefore never says.
    let twice =
        ["a", "b"].map(|name| json!({"name": name, "domains": ["a.com"], "routes": [fine]}));
    let never = [
        ("a domain twice", json!(twice)),
        (
            "a query in a prefix",
            with(json!({"path_separated_prefix": "/a?b"})),
        ),
        (
            "a prefix of one character",
            with(json!({"path_separated_prefix": "a"})),
        ),
    ];
    let all: Vec<(&str, Value)> = of_routes.chain(never).collect();
    let asked = all.iter().map(async |(what, hosts)| {
        let words = refused(&raw(hosts)).await?;
        Ok::<_, anyhow::Error>(words.is_none().then_some(*what))
    });
    let answers: Vec<_> = stream::iter(asked).buffered(4).collect().await;
    let taken: Vec<&str> = answers
        .into_iter()
        .filter_map(anyhow::Result::transpose)
        .collect::<anyhow::Result<_>>()?;
    assert!(taken.is_empty(), "Envoy takes {taken:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_on_the_list_is_left_out_alone_and_reported() -> anyhow::Result<()> {
    let list = list();
    let routes: Vec<Value> = (0..)
        .zip(&list)
        .map(|(n, bad)| {
            let good = json!({
                "matches": [{"path": {"match": "EXACT", "value": format!("/good/{n}")}}],
                "backends": [backend(1)],
            });
            route(&format!("r-{n}"), &json!([good, bad.rule]))
        })
        .collect();
    // Each alone, for the limit on findings.
    for ((n, bad), route) in (0..).zip(&list).zip(&routes) {
        let findings = translated(std::slice::from_ref(route))?.findings;
        let path = format!("conf.http.rules[1]{}", bad.field);
        assert!(
            findings
                .iter()
                .any(|f| f.name == format!("r-{n}") && f.path == path),
            "{}: {path}: {findings:#?}",
            bad.what
        );
    }
    let mut odd_names = routes.clone();
    // Names of hosts that are none, and some that several routes have.
    for (route, name) in odd_names
        .iter_mut()
        .zip(["a.com", "a.com", "a.*.com", "a b", "A.com", "."])
    {
        route["conf"]["http"]["hostnames"] = json!([name, "a.com"]);
    }
    odd_names.truncate(6);
    for routes in [&routes, &odd_names] {
        let configuration = render::bootstrap_with_keys(&translated(routes)?.snapshot);
        let refused = refused(&configuration).await?;
        assert_eq!(refused, None);
        let text = configuration.to_string();
        for n in 0..routes.len() {
            assert!(text.contains(&format!("\"/good/{n}\"")), "{n} is not there");
        }
    }
    Ok(())
}

/// The routes of which each alone is refused, with Envoy's words.
async fn culprits(routes: &[Value]) -> anyhow::Result<Vec<String>> {
    let configuration = render::bootstrap_with_keys(&translated(routes)?.snapshot);
    let Some(words) = refused(&configuration).await? else {
        return Ok(Vec::new());
    };
    if let [route] = routes {
        return Ok(vec![format!("{route}\n{words}")]);
    }
    let (first, second) = routes.split_at(routes.len() / 2);
    let mut all = Box::pin(culprits(first)).await?;
    all.extend(Box::pin(culprits(second)).await?);
    all.is_empty()
        .then(|| all.push(format!("only together: {words}")));
    Ok(all)
}

fn number(variable: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{variable} is a number")),
        Err(_) => Ok(default),
    }
}

/// `MERIDIAN_ODD_ROUTES` for more of them, `MERIDIAN_ODD_SEED` for others.
#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_what_is_made_of_odd_routes() -> anyhow::Result<()> {
    let seed = number("MERIDIAN_ODD_SEED", 1)?;
    let routes = usize::try_from(number("MERIDIAN_ODD_ROUTES", 400)?)?;
    let all: Vec<Value> = odd::routes(seed, routes);
    for routes in all.chunks(2000) {
        let culprits = culprits(routes).await?;
        assert!(
            culprits.is_empty(),
            "seed {seed}: {}",
            culprits.join("\n\n")
        );
    }
    Ok(())
}
