//! Resources in (`tests/golden/<case>/input.yaml`), Envoy's configuration out
//! (`output.snap` beside it). `cargo insta review` shows and accepts what changed.

use std::path::Path;

use serde_json::{Value, json};
use zone_translate::{render, translate};

use crate::fixture;

/// Each case, and the types of resources that it is about.
const CASES: [(&str, &[&str]); 14] = [
    ("listener", &["runtime", "listeners", "routes"]),
    ("matches", &["routes"]),
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
    ("external-service-refused", &["clusters", "endpoints"]),
];

#[test]
fn resources_become_the_configuration_beside_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (case, types) in CASES {
        let output = output(&folder.join(case).join("input.yaml"), types);
        insta::with_settings!({
            snapshot_path => folder.join(case),
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_yaml_snapshot!("output", output);
        });
    }
}

fn output(input: &Path, types: &[&str]) -> Value {
    let yaml = std::fs::read_to_string(input).expect("every case has an input");
    let resources = fixture::resources(&yaml);
    let translation = translate(&fixture::view(&resources), &fixture::gateway(&resources));
    let mut all = render::resources(&translation.snapshot);
    let mut output = json!({});
    for ty in types {
        output[*ty] = all[*ty].take();
    }
    let findings = translation.findings.iter().map(ToString::to_string);
    output["findings"] = findings.collect();
    output
}
