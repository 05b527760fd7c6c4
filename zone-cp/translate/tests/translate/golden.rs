//! Resources in (`tests/golden/<case>/input.yaml`), Envoy's configuration out
//! (`output.snap` beside it). `cargo insta review` shows and accepts what changed.

use std::path::Path;
use std::sync::Arc;

use mesh_model::Resource;
use serde_json::{Value, json};
use zone_translate::{render, translate};

use crate::fixture;

/// Each case, and the types of resources that it is about.
const CASES: &[(&str, &[&str])] = &[
    ("listener", &["runtime", "listeners", "routes"]),
    ("two-ports", &["listeners", "routes"]),
    ("https-hostnames", &["listeners", "routes", "secrets"]),
    ("https-routes", &["listeners", "routes", "clusters"]),
    ("https-isolation", &["listeners", "routes"]),
    ("tcp-without-routes", &["listeners", "routes", "runtime"]),
    ("tcp-routes", &["listeners", "clusters", "endpoints"]),
    ("tls-passthrough-and-terminate", &["listeners", "clusters"]),
    ("tls-hostnames", &["listeners"]),
    ("routes-of-the-wrong-kind", &["listeners", "routes"]),
    ("clusters-by-kind", &["listeners", "routes", "clusters"]),
    ("listeners-not-served", &["listeners", "routes", "secrets"]),
    ("matches", &["routes"]),
    ("hosts-of-a-route", &["clusters", "routes"]),
    ("host-beside-any", &["routes"]),
    ("route-for-another-hostname", &["clusters", "routes"]),
    ("mirror", &["clusters", "endpoints", "routes"]),
    ("redirect", &["clusters", "routes"]),
    ("protocol-while-not-ready", &["clusters", "endpoints"]),
    ("request-headers", &["routes"]),
    ("response-headers", &["routes"]),
    ("prefix", &["routes"]),
    ("exact-beside-prefix", &["routes"]),
    ("header-matches", &["routes"]),
    ("query-matches", &["routes"]),
    ("paths-with-conditions", &["routes"]),
    ("kinds-of-paths", &["routes"]),
    ("set-host", &["routes"]),
    ("rewrite-a-prefix", &["routes"]),
    ("drop-a-prefix", &["routes"]),
    ("rewrite-the-root", &["routes"]),
    ("unresolved-backend", &["clusters", "routes"]),
    ("route-names-another-listener", &["clusters", "routes"]),
    ("wildcard-reaches-another-listener", &["routes"]),
    ("exact-and-wildcard-routes", &["routes"]),
    ("clusters-by-listener-tags", &["clusters", "routes"]),
    ("order", &["routes"]),
    ("weights", &["routes"]),
    ("listeners-by-hostname", &["runtime", "routes"]),
    ("hostnames-of-routes", &["routes"]),
    ("no-endpoints", &["clusters", "endpoints", "routes"]),
    ("endpoints", &["clusters", "endpoints"]),
    ("two-gateways", &["runtime", "routes"]),
    ("filters", &["routes"]),
    ("refused", &["routes"]),
    ("external-service", &["clusters", "endpoints", "routes"]),
    ("external-service-tls", &["clusters", "endpoints"]),
    ("external-service-tcp", &["listeners", "clusters"]),
    ("external-service-refused", &["clusters", "endpoints"]),
];

#[test]
fn resources_become_the_configuration_beside_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let certificates = fixture::certificates();
    for (case, types) in CASES {
        let input = folder.join(case).join("input.yaml");
        let output = output(&input, &certificates, types, *case == "listener");
        insta::with_settings!({
            snapshot_path => folder.join(case),
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_yaml_snapshot!("output", output);
        });
    }
}

fn output(input: &Path, certificates: &[Arc<Resource>], types: &[&str], is_whole: bool) -> Value {
    let yaml = std::fs::read_to_string(input).expect("every case has an input");
    let mut resources = fixture::resources(&yaml);
    resources.extend_from_slice(certificates);
    let translation = translate(&fixture::view(&resources), &fixture::gateway(&resources));
    let mut all = render::resources(&translation.snapshot);
    if !is_whole {
        shorten(&mut all);
    }
    let mut output = json!({});
    for ty in types {
        output[*ty] = all[*ty].take();
    }
    let findings = translation.findings.iter().map(ToString::to_string);
    output["findings"] = findings.collect();
    output
}

/// Leaves out what is the same in every case, or another each time.
fn shorten(all: &mut Value) {
    let each = |value: &mut Value, shorten: fn(&mut Value)| {
        let values = value.as_array_mut().into_iter().flatten();
        values.for_each(shorten);
    };
    each(&mut all["secrets"], |secret| {
        *secret = secret["name"].take();
    });
    each(&mut all["listeners"], |listener| {
        let chains = listener["filter_chains"]
            .as_array_mut()
            .into_iter()
            .flatten();
        let filters = chains
            .filter_map(|chain| chain["filters"].as_array_mut())
            .flatten();
        for filter in filters {
            // The settings are those of the case "listener".
            if let Some(rds) = filter["typed_config"].get_mut("rds") {
                *filter = json!({ "route_config_name": rds["route_config_name"].take() });
            }
        }
    });
}
