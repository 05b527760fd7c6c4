//! MeshGatewayRoute.
//!
//! Places are those that users of the field know: proto names rather than JSON names, and the
//! value of a path match at the match itself.

use mesh_proto::mesh::MeshGatewayRoute;
use mesh_proto::mesh::mesh_gateway_route::conf::Route;
use mesh_proto::mesh::mesh_gateway_route::http_route::filter::rewrite::Path as RewritePath;
use mesh_proto::mesh::mesh_gateway_route::http_route::filter::{
    Filter as Kind, HeaderFilter, Mirror, Redirect, Rewrite,
};
use mesh_proto::mesh::mesh_gateway_route::http_route::r#match::{header, path, query};
use mesh_proto::mesh::mesh_gateway_route::http_route::{Match, Rule};
use mesh_proto::mesh::mesh_gateway_route::{Backend, HttpRoute};

use super::{AT_LEAST_ONE, EMPTY, Violations, re2, tags};

pub(super) fn check(route: &MeshGatewayRoute, found: &mut Violations) {
    tags::check_selectors(found, "selectors", &route.selectors);
    match route.conf.as_ref().and_then(|conf| conf.route.as_ref()) {
        None => found.add("conf", EMPTY),
        Some(Route::Tcp(_)) => {}
        Some(Route::Http(http)) => check_http(found, http),
    }
}

fn check_http(found: &mut Violations, http: &HttpRoute) {
    if http.rules.is_empty() {
        found.add("conf.http.rules", AT_LEAST_ONE);
    }
    for (i, rule) in http.rules.iter().enumerate() {
        check_rule(found, &format!("conf.http.rules[{i}]"), rule);
    }
}

fn check_rule(found: &mut Violations, path: &str, rule: &Rule) {
    if rule.matches.is_empty() {
        found.add(format!("{path}.matches"), EMPTY);
        return;
    }
    for (i, item) in rule.matches.iter().enumerate() {
        check_match(found, &format!("{path}.matches[{i}]"), item);
    }

    let kinds = || rule.filters.iter().filter_map(|f| f.filter.as_ref());
    let rewrites_host = kinds()
        .any(|kind| matches!(kind, Kind::Rewrite(rewrite) if rewrite.host_to_backend_hostname));
    let has_redirect = kinds().any(|kind| matches!(kind, Kind::Redirect(_)));
    let has_prefix = rule.matches.iter().any(|m| {
        m.path
            .as_ref()
            .is_some_and(|p| p.r#match() == path::MatchType::Prefix)
    });
    for (i, filter) in rule.filters.iter().enumerate() {
        let path = format!("{path}.filters[{i}]");
        match &filter.filter {
            None => {}
            Some(Kind::RequestHeader(headers)) => {
                check_headers(
                    found,
                    &format!("{path}.request_header"),
                    headers,
                    rewrites_host,
                );
            }
            Some(Kind::ResponseHeader(headers)) => {
                check_response_headers(found, &format!("{path}.response_header"), headers);
            }
            Some(Kind::Redirect(redirect)) => {
                check_redirect(found, &format!("{path}.redirect"), redirect);
            }
            Some(Kind::Mirror(mirror)) => check_mirror(found, &format!("{path}.mirror"), mirror),
            Some(Kind::Rewrite(rewrite)) => {
                check_rewrite(found, &format!("{path}.rewrite"), rewrite, has_prefix);
            }
        }
    }
    if has_redirect && rule.filters.len() > 1 {
        found.add(
            format!("{path}.filters"),
            "redirects cannot be used with other filters",
        );
        return;
    }
    check_backends(
        found,
        &format!("{path}.backends"),
        &rule.backends,
        has_redirect,
    );
}

fn check_match(found: &mut Violations, path: &str, item: &Match) {
    if item.path.is_none()
        && item.method == 0
        && item.headers.is_empty()
        && item.query_parameters.is_empty()
    {
        found.add(path, EMPTY);
    }
    if let Some(by_path) = &item.path {
        let place = format!("{path}.value");
        match by_path.r#match() {
            path::MatchType::Exact | path::MatchType::Prefix => {
                if !by_path.value.starts_with('/') {
                    found.add(place, "must be an absolute path");
                }
            }
            path::MatchType::Regex => check_regex(found, place, &by_path.value),
        }
    }
    for (i, by_header) in item.headers.iter().enumerate() {
        if by_header.name.is_empty() {
            found.add(format!("{path}.headers[{i}].name"), EMPTY);
        }
        check_line(found, format!("{path}.headers[{i}].name"), &by_header.name);
        let place = format!("{path}.headers[{i}].value");
        match by_header.r#match() {
            header::MatchType::Absent | header::MatchType::Present => {
                if !by_header.value.is_empty() {
                    found.add(place, "cannot be set");
                }
            }
            header::MatchType::Exact => {
                if by_header.value.is_empty() {
                    found.add(place, EMPTY);
                }
            }
            header::MatchType::Regex => check_regex(found, place, &by_header.value),
        }
    }
    for (i, by_query) in item.query_parameters.iter().enumerate() {
        if by_query.name.is_empty() {
            found.add(format!("{path}.query_parameters[{i}].name"), EMPTY);
        }
        let place = format!("{path}.query_parameters[{i}].value");
        match by_query.r#match() {
            query::MatchType::Exact => {
                if by_query.value.is_empty() {
                    found.add(place, EMPTY);
                }
            }
            query::MatchType::Regex => check_regex(found, place, &by_query.value),
        }
    }
}

/// Ours: that the expression compiles. Envoy refuses all routes of a listener for one that does
/// not.
fn check_regex(found: &mut Violations, path: String, pattern: &str) {
    if pattern.is_empty() {
        found.add(path, EMPTY);
    } else if let Err(why) = re2::check(pattern) {
        found.add(path, format!("is not a regular expression: {why}"));
    }
}

fn check_headers(found: &mut Violations, path: &str, headers: &HeaderFilter, rewrites_host: bool) {
    if headers.set.is_empty() && headers.add.is_empty() && headers.remove.is_empty() {
        found.add(path, EMPTY);
    }
    for (i, header) in headers.set.iter().enumerate() {
        let place = format!("{path}.set[{i}]");
        check_header(found, &place, &header.name, &header.value);
        match HostHeader::of(&header.name) {
            Some(HostHeader::Host) if rewrites_host => found.add(place, REWRITES_HOST),
            // Ours: Envoy refuses all routes of a listener when one sets such a header. The host
            // itself is set in another way.
            Some(HostHeader::OtherPseudo) => found.add(format!("{place}.name"), PSEUDO),
            _ => {}
        }
    }
    for (i, header) in headers.add.iter().enumerate() {
        let place = format!("{path}.add[{i}]");
        check_header(found, &place, &header.name, &header.value);
        match HostHeader::of(&header.name) {
            Some(HostHeader::Host) if rewrites_host => found.add(place, REWRITES_HOST),
            // Ours: as above, and a request has one host, to which none can be added.
            Some(_) => found.add(format!("{place}.name"), HOST_ONLY_SET),
            None => {}
        }
    }
    for (i, name) in headers.remove.iter().enumerate() {
        let place = format!("{path}.remove[{i}]");
        if name.is_empty() {
            found.add(place, EMPTY);
        } else if HostHeader::of(name).is_some() {
            // Ours: as above.
            found.add(place, HOST_ONLY_SET);
        } else {
            check_line(found, place, name);
        }
    }
}

const REWRITES_HOST: &str = "cannot be used together with a rewrite that has hostToBackendHostname";
const PSEUDO: &str = "headers whose name starts with ':' cannot be set";
const HOST_ONLY_SET: &str =
    "Host and headers whose name starts with ':' can neither be added nor removed";

/// Ours, all of it: Envoy refuses all routes of a listener when one changes a pseudo header of
/// responses or one without a name.
fn check_response_headers(found: &mut Violations, path: &str, headers: &HeaderFilter) {
    let check_name = |found: &mut Violations, place: String, name: &str| {
        if name.is_empty() {
            found.add(place, EMPTY);
        } else if HostHeader::of(name).is_some() {
            found.add(
                place,
                "Host and headers whose name starts with ':' cannot be changed in responses",
            );
        } else {
            check_line(found, place, name);
        }
    };
    let lists = [("set", &headers.set), ("add", &headers.add)];
    for (list, headers) in lists {
        for (i, header) in headers.iter().enumerate() {
            check_name(found, format!("{path}.{list}[{i}].name"), &header.name);
            check_line(found, format!("{path}.{list}[{i}].value"), &header.value);
        }
    }
    for (i, name) in headers.remove.iter().enumerate() {
        check_name(found, format!("{path}.remove[{i}]"), name);
    }
}

fn check_header(found: &mut Violations, path: &str, name: &str, value: &str) {
    if name.is_empty() {
        found.add(format!("{path}.name"), EMPTY);
    }
    if value.is_empty() {
        found.add(format!("{path}.value"), EMPTY);
    }
    check_line(found, format!("{path}.name"), name);
    check_line(found, format!("{path}.value"), value);
}

/// Headers that are part of the request line in HTTP/2.
enum HostHeader {
    /// `Host` or `:authority`.
    Host,
    /// `:path`, `:method` and the like.
    OtherPseudo,
}

impl HostHeader {
    fn of(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority") {
            Some(Self::Host)
        } else {
            name.starts_with(':').then_some(Self::OtherPseudo)
        }
    }
}

fn check_redirect(found: &mut Violations, path: &str, redirect: &Redirect) {
    if redirect.port > 0 {
        found.port(&format!("{path}.port"), redirect.port);
    }
    // Ours: the codes between that Envoy cannot redirect with (300, 304 to 306).
    if ![301, 302, 303, 307, 308].contains(&redirect.status_code) {
        found.add(
            format!("{path}.status_code"),
            "must be one of 301, 302, 303, 307, 308",
        );
    }
    check_line(found, format!("{path}.hostname"), &redirect.hostname);
    check_line(found, format!("{path}.scheme"), &redirect.scheme);
    if let Some(rewrite) = &redirect.path {
        check_rewrite_path(found, &format!("{path}.path"), rewrite);
    }
}

fn check_rewrite(found: &mut Violations, path: &str, rewrite: &Rewrite, has_prefix: bool) {
    check_rewrite_path(found, path, rewrite);
    // A rewrite that is about the host may replace a prefix that no match has: nothing happens.
    if matches!(rewrite.path, Some(RewritePath::ReplacePrefixMatch(_)))
        && !has_prefix
        && !rewrite.host_to_backend_hostname
    {
        found.add(
            format!("{path}.replacePrefixMatch"),
            "cannot be used without a match on path prefix",
        );
    }
}

fn check_rewrite_path(found: &mut Violations, path: &str, rewrite: &Rewrite) {
    match &rewrite.path {
        Some(RewritePath::ReplaceFull(text)) => {
            check_line(found, format!("{path}.replaceFull"), text);
        }
        Some(RewritePath::ReplacePrefixMatch(text)) => {
            check_line(found, format!("{path}.replacePrefixMatch"), text);
        }
        None => {}
    }
}

/// Ours: Envoy refuses all routes of a listener when one writes several lines into a header.
fn check_line(found: &mut Violations, path: String, text: &str) {
    if text.contains(['\r', '\n', '\0']) {
        found.add(path, "must not contain line breaks or NUL characters");
    }
}

fn check_mirror(found: &mut Violations, path: &str, mirror: &Mirror) {
    match mirror.percentage {
        None => found.add(format!("{path}.percentage"), EMPTY),
        Some(percentage) if !(0.0..=100.0).contains(&percentage) => found.add(
            format!("{path}.percentage"),
            "must be in the range [0, 100]",
        ),
        Some(_) => {}
    }
    let place = format!("{path}.backend");
    match &mirror.backend {
        None => found.add(place, EMPTY),
        Some(backend) => tags::check(found, &place, &backend.destination, tags::SELECTOR),
    }
}

fn check_backends(found: &mut Violations, path: &str, backends: &[Backend], has_redirect: bool) {
    match (backends, has_redirect) {
        ([], false) => found.add(path, EMPTY),
        ([_, ..], true) => found.add(path, "must be empty when using redirect filters"),
        _ => {}
    }
    for (i, backend) in backends.iter().enumerate() {
        tags::check(
            found,
            &format!("{path}[{i}]"),
            &backend.destination,
            tags::SELECTOR,
        );
    }
    // Ours: Envoy refuses all routes of a listener when the weights of one sum up to nothing, or
    // to more than 32 bits hold. One backend alone needs no weight.
    let sum: u64 = backends.iter().map(|b| u64::from(b.weight)).sum();
    if backends.len() > 1 && sum == 0 {
        found.add(path, "at least one backend must have a weight above 0");
    }
    if sum > u64::from(u32::MAX) {
        found.add(path, "the sum of all weights must not exceed 4294967295");
    }
}
