//! The documents about gateways name a test for each statement; those tests are there.
//!
//! In code spans: `FILE.yaml: CASE` is in `tests/envoy/cases`, `golden: NAME` is a folder of
//! `zone-translate`, `FILE.rs: NAME` is a function beside this file, `PATH.rs: NAME` one anywhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

const DOCUMENTS: [&str; 2] = ["docs/gateway-cases.md", "docs/differences.md"];

#[test]
fn the_documents_name_tests_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut missing = Vec::new();
    let mut count = 0;
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).expect("the document");
        for (number, line) in (1..).zip(text.lines()) {
            // Every second part is within backticks.
            for span in line.split('`').skip(1).step_by(2) {
                let Some((place, name)) = span.split_once(": ").filter(|(_, n)| *n != "…") else {
                    continue;
                };
                count += 1;
                if !is_there(&root, place, name) {
                    missing.push(format!("{document}:{number}: there is no {span}"));
                }
            }
        }
    }
    assert!(count > 100, "only {count} tests are named");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

fn is_there(root: &Path, place: &str, name: &str) -> bool {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    if place == "golden" {
        let folder = root.join("zone-cp/translate/tests/golden").join(name);
        return folder.join("output.snap").is_file();
    }
    if place.ends_with(".yaml") {
        let text = read(root.join("tests/envoy/cases").join(place));
        let documents = mesh_runtime::yaml::parse(&text).expect("cases are YAML");
        return documents.into_iter().any(|document| {
            let cases: BTreeMap<String, Value> =
                serde_json::from_value(document.value).unwrap_or_default();
            cases.contains_key(name)
        });
    }
    let path = if place.contains('/') {
        root.join(place)
    } else {
        root.join("tests/envoy/tests/envoy").join(place)
    };
    read(path).contains(&format!("fn {name}("))
}
