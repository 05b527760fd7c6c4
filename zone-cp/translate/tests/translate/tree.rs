//! Hosts with many routes, as Envoy gets them: which proxies, and what it looks like.

use std::path::Path;

use serde_json::Value;
use zone_translate::{Proxy, render, translate};

use crate::fixture;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tree")
}

/// The route configurations for a proxy with a low threshold that is changed by `change`.
fn routes(change: impl FnOnce(&mut Proxy)) -> Value {
    let yaml = std::fs::read_to_string(folder().join("input.yaml")).expect("the case has an input");
    let resources = fixture::resources(&yaml);
    let mut proxy = fixture::gateway(&resources);
    proxy.envoy_version = Some((1, 36));
    proxy.settings.route_tree_threshold = Some(4);
    proxy.settings.route_tree_bucket = 3;
    change(&mut proxy);
    let translation = translate(&fixture::view(&resources), &proxy);
    render::resources(&translation.snapshot)["routes"].take()
}

fn has_tree(routes: &Value) -> bool {
    routes.to_string().contains("prefix_match_map")
}

#[test]
fn a_host_with_many_routes_is_a_tree() {
    insta::with_settings!({
        snapshot_path => folder(),
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_yaml_snapshot!("output", routes(|_| ()));
    });
}

#[test]
fn only_releases_of_envoy_that_it_was_tested_with_get_a_tree() {
    for (version, expected) in [
        (None, false),
        (Some((1, 35)), false),
        (Some((1, 36)), true),
        (Some((1, 40)), true),
        (Some((1, 41)), false),
        (Some((2, 0)), false),
    ] {
        let routes = routes(|proxy| proxy.envoy_version = version);
        assert_eq!(has_tree(&routes), expected, "{version:?}");
    }
}

#[test]
fn no_threshold_is_no_tree() {
    assert!(has_tree(&routes(|proxy| proxy
        .settings
        .route_tree_threshold =
        Some(7))));
    assert!(!has_tree(&routes(|proxy| proxy
        .settings
        .route_tree_threshold =
        Some(8))));
    assert!(!has_tree(&routes(|proxy| proxy
        .settings
        .route_tree_threshold = None)));
}
