//! Routes that are held back because an Envoy refuses them.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::{Resource, ResourceName, ResourceType};
use zone_translate::{EnvoyType, HeldBack, Translation, Translator, ZoneView, render};

use crate::fixture;

/// A gateway, and a route to each of these paths, called after its position.
fn resources(paths: &[&str]) -> Vec<Arc<Resource>> {
    let mut yaml = "
type: Dataplane
mesh: default
name: gateway-1
networking:
  address: 10.0.0.9
  gateway: {type: BUILTIN, tags: {kuma.io/service: edge}}
---
type: MeshGateway
mesh: default
name: edge
selectors: [{match: {kuma.io/service: edge}}]
conf: {listeners: [{port: 8080, protocol: HTTP}]}
"
    .to_owned();
    for (n, path) in paths.iter().enumerate() {
        yaml += &format!(
            "---
type: MeshGatewayRoute
mesh: default
name: r-{n}
selectors: [{{match: {{kuma.io/service: edge}}}}]
conf: {{http: {{rules: [{{matches: [{{path: {{value: {path}}}}}], filters: [{{redirect: {{hostname: a.com, status_code: 302}}}}]}}]}}}}
"
        );
    }
    fixture::resources(&yaml)
}

fn route(resources: &[Arc<Resource>], n: usize) -> &Arc<Resource> {
    let mut routes = resources
        .iter()
        .filter(|r| r.key().ty() == ResourceType::MeshGatewayRoute);
    routes.nth(n).expect("a route")
}

fn name(n: usize) -> ResourceName {
    ResourceName::parse(&format!("r-{n}")).expect("a name")
}

fn view(resources: &[Arc<Resource>]) -> ZoneView {
    fixture::view(resources)
}

fn has(translation: &Translation, path: &str) -> bool {
    let routes = render::resources(&translation.snapshot)["routes"].to_string();
    routes.contains(&format!("\"{path}\""))
}

fn messages(translation: &Translation) -> Vec<&str> {
    let findings = translation.findings.iter();
    findings.map(|finding| finding.message.as_str()).collect()
}

#[test]
fn a_route_that_is_held_back_is_out_or_as_it_was_until_it_changes() {
    let first = resources(&["/a", "/b"]);
    let mut translator = Translator::new(fixture::gateway(&first));
    translator.update(&view(&first)).expect("the first one");
    let taken = translator.content();
    assert_eq!(translator.update(&view(&first)).map(|_| ()), None);

    let second = resources(&["/bad", "/c"]);
    assert_eq!(
        translator.changed_routes(&view(&second)),
        [name(0), name(1)]
    );
    translator.update(&view(&second)).expect("it changed");
    let suspects = translator.suspects(EnvoyType::Route, Some(&taken));
    assert_eq!(suspects, [name(0), name(1)]);
    assert_eq!(translator.suspects(EnvoyType::Listener, Some(&taken)), []);

    // The version before it stays.
    let mut held = HeldBack {
        version: Some(route(&second, 0).version()),
        instead: taken.route(&name(0)).cloned(),
        words: Some("too large".into()),
    };
    let mut hold = |held: &HeldBack| {
        translator.hold_back(BTreeMap::from([(name(0), held.clone())]));
        translator.update(&view(&second)).expect("other routes")
    };
    let translation = hold(&held);
    assert!(has(&translation, "/a") && has(&translation, "/c") && !has(&translation, "/bad"));
    let [message] = messages(&translation)[..] else {
        panic!("{:?}", translation.findings);
    };
    assert!(
        message.contains("stays live") && message.contains("too large"),
        "{message}"
    );

    // There was none.
    held.instead = None;
    let translation = hold(&held);
    assert!(!has(&translation, "/a") && has(&translation, "/c") && !has(&translation, "/bad"));
    assert!(messages(&translation)[0].contains("left out"));

    // Of a suspect nothing is said.
    held.words = None;
    let translation = hold(&held);
    assert_eq!(translation.findings, []);

    // What is held back is one version.
    let third = resources(&["/mended", "/c"]);
    let translation = translator.update(&view(&third)).expect("it changed");
    assert!(has(&translation, "/mended"));
}

#[test]
fn all_routes_are_suspects_when_nobody_knows_what_was_taken() {
    let resources = resources(&["/a", "/b"]);
    let mut translator = Translator::new(fixture::gateway(&resources));
    translator.update(&view(&resources)).expect("the first one");
    let all = [name(0), name(1)];
    assert_eq!(translator.suspects(EnvoyType::Route, None), all);
    // Nor when none of them changed.
    let content = translator.content();
    assert_eq!(translator.suspects(EnvoyType::Route, Some(&content)), all);
}
