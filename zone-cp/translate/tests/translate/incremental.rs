//! A translator that follows a view offers what a translation from scratch does, whatever
//! happened before; what it offers is consistent in itself, and depends on the resources alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_delta::TypeSet as _;
use mesh_model::{Key, Resource, ResourceType, ZoneName};
use proptest::prelude::*;
use serde_json::Value;
use zone_translate::{
    EnvoyType, Proxy, Snapshot, Translation, Translator, ZoneView, render, translate,
};

use crate::generate::{Event, SUBSETS, event, key, own_dataplane, resource};

/// Everything of a snapshot but its revision.
type Items<'a> = BTreeMap<(EnvoyType, &'a str), &'a mesh_delta::Item<EnvoyType>>;

fn items(snapshot: &Snapshot) -> Items<'_> {
    EnvoyType::ALL
        .iter()
        .flat_map(|ty| {
            snapshot
                .items(*ty)
                .iter()
                .map(|(name, item)| ((*ty, &**name), item))
        })
        .collect()
}

fn assert_same(followed: &Translation, scratch: &Translation) {
    let (followed_items, scratch_items) = (items(&followed.snapshot), items(&scratch.snapshot));
    let names = |items: &Items<'_>| -> Vec<String> {
        items
            .keys()
            .map(|(ty, name)| format!("{ty:?} {name}"))
            .collect()
    };
    assert_eq!(names(&followed_items), names(&scratch_items));
    for (key, item) in followed_items {
        assert!(item == scratch_items[&key], "{key:?} differs");
    }
    assert_eq!(followed.findings, scratch.findings);
}

/// Nothing is referred to that is not offered (but for endpoints of clusters that know their own),
/// and nothing is offered that nothing refers to.
fn assert_consistent(translation: &Translation) {
    let snapshot = &translation.snapshot;
    let rendered = render::resources(snapshot);
    let all = |kind: &str| rendered[kind].as_array().cloned().unwrap_or_default();
    let clusters = all("clusters");
    let with_endpoints: BTreeSet<&str> = clusters
        .iter()
        .filter(|cluster| cluster["load_assignment"].is_object())
        .filter_map(|cluster| cluster["name"].as_str())
        .collect();
    let mut used = BTreeSet::new();
    for listener in all("listeners") {
        let chains = listener["filter_chains"].as_array().cloned();
        let chains = chains.expect("Envoy refuses a listener without chains");
        let matches: BTreeSet<String> = chains
            .iter()
            .map(|chain| chain["filter_chain_match"].to_string())
            .collect();
        assert_eq!(matches.len(), chains.len(), "Envoy refuses equal matches");
        refer(&listener, &mut used);
    }
    for routes in all("routes") {
        refer(&routes, &mut used);
    }
    for (ty, name) in &used {
        assert!(
            snapshot.items(*ty).contains_key(name.as_str()),
            "no {ty:?} {name}"
        );
    }
    let mut needed: BTreeSet<(EnvoyType, &str)> = BTreeSet::new();
    for ((ty, name), item) in items(snapshot) {
        for (needed_ty, needed_name) in item.needs.iter() {
            if *needed_ty == EnvoyType::Endpoint && with_endpoints.contains(&**needed_name) {
                continue;
            }
            let is_offered = snapshot.items(*needed_ty).contains_key(needed_name);
            assert!(
                is_offered,
                "{ty:?} {name} needs {needed_ty:?} {needed_name}"
            );
            needed.insert((*needed_ty, needed_name));
        }
    }
    for (ty, name) in &used {
        if *ty == EnvoyType::Cluster {
            assert!(
                needed.contains(&(*ty, name.as_str())),
                "{name} comes too late"
            );
        }
    }
    // Clusters of a listener wait with it for its certificate.
    let is_waiting = |finding: &zone_translate::Finding| {
        finding.path.starts_with("conf.listeners") && finding.path.contains(".tls")
    };
    let are_all_served = !translation.findings.iter().any(is_waiting);
    for (ty, name) in items(snapshot).into_keys() {
        let is_used = match ty {
            EnvoyType::Cluster | EnvoyType::Endpoint => {
                !are_all_served || needed.contains(&(ty, name))
            }
            EnvoyType::Secret | EnvoyType::Route => used.contains(&(ty, name.to_owned())),
            EnvoyType::Runtime | EnvoyType::Listener => true,
        };
        assert!(is_used, "nothing needs {ty:?} {name}");
    }
    assert_eq!(snapshot.items(EnvoyType::Runtime).len(), 1);
}

/// Collects what a rendered resource refers to by name.
fn refer(value: &Value, names: &mut BTreeSet<(EnvoyType, String)>) {
    let Value::Object(fields) = value else {
        let values = value.as_array().into_iter().flatten();
        values.for_each(|value| refer(value, names));
        return;
    };
    for (field, value) in fields {
        let found: Vec<(EnvoyType, &Value)> = match field.as_str() {
            "cluster" => vec![(EnvoyType::Cluster, value)],
            "route_config_name" => vec![(EnvoyType::Route, value)],
            "clusters" | "tls_certificate_sds_secret_configs" => {
                let ty = if field == "clusters" {
                    EnvoyType::Cluster
                } else {
                    EnvoyType::Secret
                };
                let values = value.as_array().into_iter().flatten();
                values.map(|value| (ty, &value["name"])).collect()
            }
            _ => Vec::new(),
        };
        let found = found.into_iter();
        names.extend(found.filter_map(|(ty, name)| Some((ty, name.as_str()?.to_owned()))));
        refer(value, names);
    }
}

/// What is there after events.
fn last_of(events: &[Event]) -> BTreeMap<Key, Arc<Resource>> {
    let mut all = BTreeMap::new();
    for event in events {
        match event {
            Event::Put(resource) => _ = all.insert(resource.key().clone(), Arc::clone(resource)),
            Event::Delete(key) => _ = all.remove(key),
            Event::Look => {}
        }
    }
    all
}

fn translated<'a>(resources: impl IntoIterator<Item = &'a Arc<Resource>>) -> Translation {
    let zone = ZoneName::parse("here").expect("a name");
    let proxy = Proxy::new(own_dataplane("red"), Some(zone));
    translate(&crate::fixture::view(resources), &proxy)
}

/// The items that differ between two translations.
fn difference(one: &Translation, other: &Translation) -> BTreeSet<(EnvoyType, String)> {
    let (one, other) = (items(&one.snapshot), items(&other.snapshot));
    let names = one.keys().chain(other.keys()).copied();
    let names = names.filter(|key| one.get(key) != other.get(key));
    names.map(|(ty, name)| (ty, name.to_owned())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn following_a_view_gives_what_translating_it_from_scratch_gives(
        events in prop::collection::vec(event(SUBSETS), 1..40),
        tree in prop::option::of(0_usize..4),
    ) {
        let mut view = ZoneView::default();
        let zone = ZoneName::parse("here").expect("a name");
        let mut proxy = Proxy::new(own_dataplane("red"), Some(zone));
        proxy.envoy_version = Some((1, 36));
        proxy.settings.route_tree_threshold = tree;
        proxy.settings.route_tree_bucket = 1 + tree.unwrap_or_default();
        proxy.settings.route_tree_growth = 2 + 10 * tree.unwrap_or_default();
        let mut translator = Translator::new(proxy);
        for event in events.into_iter().chain([Event::Look]) {
            match event {
                Event::Put(resource) => view.put(&resource),
                Event::Delete(key) => view.delete(&key),
                Event::Look => {
                    let before = translator.translation();
                    let followed = translator.update(&view);
                    assert_same(&translator.translation(), &translate(&view, translator.proxy()));
                    assert_consistent(&translator.translation());
                    if followed.is_none() {
                        assert_same(&before, &translator.translation());
                    }
                    // Looking again finds nothing new.
                    prop_assert!(translator.update(&view).is_none());
                }
            }
        }
    }

    #[test]
    fn the_order_in_which_resources_come_is_all_the_same(
        events in prop::collection::vec(event(SUBSETS), 10..60),
    ) {
        let resources = last_of(&events);
        let forwards = translated(resources.values());
        assert_same(&forwards, &translated(resources.values().rev()));
        // Those that were there first came first.
        let mut seen = BTreeSet::new();
        let by_event = events.iter().filter_map(|event| match event {
            Event::Put(resource) => seen.insert(resource.key()).then(|| resources.get(resource.key())),
            Event::Delete(_) | Event::Look => None,
        });
        assert_same(&forwards, &translated(by_event.flatten()));
    }

    #[test]
    fn removing_a_route_changes_only_what_named_it(
        // Less the last, which has its own test: a cluster may be called otherwise while it is there.
        events in prop::collection::vec(event(&SUBSETS[..2]), 20..60),
    ) {
        let all = last_of(&events);
        let is_route = |key: &Key| key.ty() == ResourceType::MeshGatewayRoute;
        let without_routes = translated(all.iter().filter(|(k, _)| !is_route(k)).map(|(_, r)| r));
        let with_all = translated(all.values());
        for route in all.keys().filter(|key| is_route(key)) {
            let rest = all.iter().filter(|(key, _)| !is_route(key) || *key == route);
            let alone = translated(rest.map(|(_, resource)| resource));
            let others = translated(all.iter().filter(|(key, _)| *key != route).map(|(_, r)| r));
            let named = difference(&without_routes, &alone);
            let changed = difference(&with_all, &others);
            prop_assert!(changed.is_subset(&named), "{route}: {changed:?}, named {named:?}");
        }
    }
}

#[test]
fn what_gateways_do_not_depend_on_changes_nothing() {
    let mut view = ZoneView::default();
    let mut translator = Translator::new(Proxy::new(own_dataplane("red"), None));
    assert!(
        translator.update(&view).is_some(),
        "the first look always has a result"
    );
    let insight = mesh_proto::mesh::DataplaneInsight::default();
    view.put(&resource(
        key(ResourceType::DataplaneInsight, "gw"),
        None,
        &insight,
    ));
    assert!(translator.update(&view).is_none());
}
