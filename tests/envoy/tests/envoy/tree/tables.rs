//! Generated tables of routes, as resources and as what is made of them, and requests for them.

use std::sync::Arc;

use mesh_model::json::parse_document;
use mesh_model::{Key, MeshName, Resource, ResourceName, Timestamp};
use serde_json::{Value, json};
use zone_translate::{Proxy, ZoneView, render, translate};

use super::chance::Chance;

const HOSTS: [&str; 4] = ["a.example", "b.example", "c.example", "x.org"];
const NAMED: [&str; 4] = ["a.example", "b.example", "*.example", "*"];
/// Parts of paths: many are beginnings of others, or become others on the way.
const PARTS: [&str; 18] = [
    "%C3%BC", "a", "b", "ab", "abc", "abcd", "c", "A", "a.b", "%41", "a%20b", "a;b", "-", "~", "ü",
    "1", "12", "123",
];
const REGEXES: [&str; 14] = [
    "/.*",
    ".*",
    "/a.*",
    "/a/b?",
    "/ab+c*",
    "/(a|b)/.*",
    "/a|/b",
    "[/]a.*",
    "/a/[^/]+",
    "(?i)/AB.*",
    "/ab/.*",
    "/abc?d?",
    r"/a\.b",
    "/1[0-9]*/?",
];

/// One table.
pub(super) struct Table {
    documents: Vec<Value>,
    /// Paths that rules name.
    paths: Vec<String>,
    list: Value,
    tree: Value,
}

/// A request for a table.
#[derive(Debug)]
pub(super) struct Request {
    method: &'static str,
    path: String,
    host: &'static str,
    headers: Vec<(&'static str, &'static str)>,
}

impl Table {
    /// Makes one.
    pub(super) fn generate(chance: &mut Chance) -> Self {
        let mut table = Self {
            documents: base(chance),
            paths: vec!["/".to_owned()],
            list: Value::Null,
            tree: Value::Null,
        };
        // Now and then one with full buckets.
        let (resources, bucket) = if chance.is(3) {
            (60, 64)
        } else {
            (1 + chance.below(25), 1 + chance.below(6))
        };
        let names_hosts = chance.is(40);
        for number in 0..resources {
            let route = table.route(number, names_hosts, chance);
            table.documents.push(route);
        }
        let resources: Vec<Arc<Resource>> = table.documents.iter().map(resource).collect();
        let mut view = ZoneView::default();
        resources.iter().for_each(|resource| view.put(resource));
        let mut proxy = Proxy::new(Arc::clone(&resources[0]), None);
        proxy.envoy_version = Some((1, 36));
        proxy.settings.route_tree_bucket = bucket;
        // Small trees repeat much, and are to be seen all the same.
        proxy.settings.route_tree_growth = 100;
        proxy.settings.route_tree_threshold = None;
        table.list = render::bootstrap(&translate(&view, &proxy).snapshot);
        proxy.settings.route_tree_threshold = Some(0);
        table.tree = render::bootstrap(&translate(&view, &proxy).snapshot);
        table
    }

    /// The resources, for a person who looks for what went wrong.
    pub(super) fn documents(&self) -> Value {
        self.documents.clone().into()
    }

    /// Envoy's configuration with the list, and with the tree.
    pub(super) fn both(&self) -> [&Value; 2] {
        [&self.list, &self.tree]
    }

    /// Whether the two differ.
    pub(super) fn is_tree(&self) -> bool {
        self.list != self.tree
    }

    fn route(&mut self, number: usize, names_hosts: bool, chance: &mut Chance) -> Value {
        let rules = 1 + chance.below(3);
        let rules: Vec<Value> = (0..rules)
            .map(|rule| {
                let matches = 1 + chance.below(3);
                let matches: Vec<Value> = (0..matches).map(|_| self.matched(chance)).collect();
                let mut redirect = json!({
                    "hostname": format!("r{number}-{rule}.example"), "statusCode": 302, "port": 80,
                });
                match chance.below(6) {
                    0 => redirect["path"] = json!({"replacePrefixMatch": chance.of(&["/", "/n"])}),
                    1 => redirect["path"] = json!({"replaceFull": "/full"}),
                    _ => {}
                }
                json!({"matches": matches, "filters": [{"redirect": redirect}]})
            })
            .collect();
        let mut http = json!({"rules": rules});
        if names_hosts && chance.is(60) {
            let names: Vec<&str> = (0..=chance.below(2)).map(|_| chance.of(&NAMED)).collect();
            http["hostnames"] = json!(names);
        }
        json!({
            "type": "MeshGatewayRoute", "mesh": "default", "name": format!("route-{number}"),
            "selectors": [{"match": {"kuma.io/service": "edge"}}],
            "conf": {"http": http},
        })
    }

    fn matched(&mut self, chance: &mut Chance) -> Value {
        let mut matched = json!({});
        match chance.below(20) {
            0 => {}
            1 => matched["path"] = json!({"match": "REGEX", "value": chance.of(&REGEXES)}),
            2..=9 => matched["path"] = json!({"match": "EXACT", "value": self.path(chance)}),
            _ => matched["path"] = json!({"match": "PREFIX", "value": self.path(chance)}),
        }
        let is_bare = matched["path"].is_null();
        if is_bare || chance.is(15) {
            matched["method"] = json!(chance.of(&["GET", "POST", "PUT", "OPTIONS"]));
        }
        if chance.is(25) {
            let header = |chance: &mut Chance| {
                let name = chance.of(&["x-a", "x-b"]);
                match chance.below(4) {
                    0 => json!({"match": "EXACT", "name": name, "value": chance.of(&["1", "2"])}),
                    1 => {
                        json!({"match": "REGEX", "name": name, "value": chance.of(&["1.*", "[12]"])})
                    }
                    2 => json!({"match": "PRESENT", "name": name}),
                    _ => json!({"match": "ABSENT", "name": name}),
                }
            };
            let headers: Vec<Value> = (0..=chance.below(2)).map(|_| header(chance)).collect();
            matched["headers"] = headers.into();
        }
        if chance.is(15) {
            let (kind, value) = match chance.below(2) {
                0 => ("EXACT", chance.of(&["1", "/a/b"])),
                _ => ("REGEX", chance.of(&["[12]", ".*"])),
            };
            let query = json!({"match": kind, "name": chance.of(&["q", "r"]), "value": value});
            matched["queryParameters"] = json!([query]);
        }
        matched
    }

    /// A path for a rule: often one that others have, or something below or above it.
    fn path(&mut self, chance: &mut Chance) -> String {
        let mut path = match chance.below(10) {
            0..=3 => self.known(chance),
            _ => String::new(),
        };
        for _ in 0..chance.below(4) {
            if !path.ends_with('/') {
                path.push('/');
            }
            path.push_str(chance.of(&PARTS));
        }
        match chance.below(30) {
            0..=2 => path.push('/'),
            // Envoy compares without what follows, so it matches nothing.
            3 => path.push_str("?q=1"),
            4 => path.push_str("#x"),
            _ => {}
        }
        if !path.starts_with('/') {
            path.insert(0, '/');
        }
        self.paths.push(path.clone());
        path
    }

    fn known(&self, chance: &mut Chance) -> String {
        self.paths[chance.below(self.paths.len())].clone()
    }

    /// A request whose path is that of a rule, or nearly so.
    pub(super) fn request(&self, chance: &mut Chance) -> Request {
        let known = self.known(chance);
        let end = known.find(['?', '#']).unwrap_or(known.len());
        let mut path = known[..end].to_owned();
        for _ in 0..chance.below(3) {
            disturb(&mut path, chance);
        }
        path.push_str(chance.of(&[
            "",
            "",
            "",
            "?q=1",
            "?q=/a/b&r=2",
            "?",
            "/?q=1",
            "?r=1?q=2",
            "/",
            "/a",
            "a",
        ]));
        let mut headers = Vec::new();
        for name in ["x-a", "x-b"] {
            if chance.is(30) {
                headers.push((name, chance.of(&["1", "2", "12"])));
            }
        }
        let method = chance.of(&["GET", "GET", "GET", "POST", "PUT", "OPTIONS"]);
        if method == "OPTIONS" && chance.is(20) {
            path = "*".to_owned();
        }
        Request {
            method,
            path: escaped(&path),
            host: chance.of(&HOSTS),
            headers,
        }
    }
}

/// As clients send it: without bytes that are not ASCII.
fn escaped(path: &str) -> String {
    let escape = |byte: u8| match byte.is_ascii() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    path.bytes().map(escape).collect()
}

/// One of the ways in which a path is nearly another.
fn disturb(path: &mut String, chance: &mut Chance) {
    let is_boundary = |at: &usize| path.is_char_boundary(*at);
    let places: Vec<usize> = (1..path.len()).filter(is_boundary).collect();
    let at = match places.len() {
        0 => return path.push_str(chance.of(&PARTS)),
        n => places[chance.below(n)],
    };
    match chance.below(9) {
        0 => path.truncate(at),
        1 => path.insert(at, '/'),
        2 => path.insert_str(
            at,
            chance.of(&["/./", "/../", "//", "%2F", "%2f", "%41", ";x"]),
        ),
        3 => {
            let flipped: String = path[at..]
                .chars()
                .map(|c| match c.is_ascii_lowercase() {
                    true => c.to_ascii_uppercase(),
                    false => c.to_ascii_lowercase(),
                })
                .collect();
            path.replace_range(at.., &flipped);
        }
        4 => {
            let next = path[at..].chars().next().map_or(0, char::len_utf8);
            let encoded: String = path.as_bytes()[at..at + next]
                .iter()
                .map(|byte| format!("%{byte:02X}"))
                .collect();
            path.replace_range(at..at + next, &encoded);
        }
        5 => {
            path.remove(at);
        }
        _ => {
            path.push('/');
            path.push_str(chance.of(&PARTS));
        }
    }
}

impl Request {
    /// As it goes over the wire.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Self {
            method, path, host, ..
        } = self;
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if matches!(*method, "POST" | "PUT") {
            text.push_str("content-length: 0\r\n");
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// The gateway, its Dataplane first.
fn base(chance: &mut Chance) -> Vec<Value> {
    let listener = |hostname: &str| json!({"port": 8080, "protocol": "HTTP", "hostname": hostname});
    let listeners = match chance.below(4) {
        0 => json!([listener("*"), listener("*.example")]),
        1 => json!([listener("a.example"), listener("*")]),
        _ => json!([listener("*")]),
    };
    vec![
        json!({
            "type": "Dataplane", "mesh": "default", "name": "gateway",
            "networking": {
                "address": "127.0.0.1",
                "gateway": {"type": "BUILTIN", "tags": {"kuma.io/service": "edge"}},
            },
        }),
        json!({
            "type": "MeshGateway", "mesh": "default", "name": "edge",
            "selectors": [{"match": {"kuma.io/service": "edge"}}],
            "conf": {"listeners": listeners},
        }),
    ]
}

fn resource(document: &Value) -> Arc<Resource> {
    let parsed = parse_document(document).expect("it is a resource");
    assert_eq!(parsed.unknown, Vec::<String>::new(), "{document}");
    let mesh = parsed.mesh.map(|m| MeshName::parse(&m).expect("a name"));
    let name = ResourceName::parse(&parsed.name).expect("a name");
    let key = Key::try_new(parsed.ty, mesh, name).expect("scope and mesh agree");
    let epoch = Timestamp::EPOCH;
    // Nothing here is refused before it gets to Envoy.
    assert_eq!(mesh_model::validate::spec(parsed.ty, &parsed.spec), []);
    Arc::new(Resource::new(key, parsed.labels, parsed.spec, epoch, epoch))
}
