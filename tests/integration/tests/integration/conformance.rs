//! What `docs/kds-conformance.md` says is tested has a test.

use std::collections::BTreeSet;
use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The names of all tests in the source files below a folder.
fn tests_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", ".git"].contains(&name.as_str()) {
                tests_in(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                if line.starts_with("#[") {
                    is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
                } else if let Some(rest) = line
                    .strip_prefix("async ")
                    .unwrap_or(line)
                    .strip_prefix("fn ")
                {
                    if is_test && let Some((name, _)) = rest.split_once('(') {
                        found.insert(name.to_owned());
                    }
                    is_test = false;
                }
            }
        }
    }
}

#[test]
fn every_test_that_the_checklist_names_is_there() {
    let root = Path::new(ROOT);
    let mut tests = BTreeSet::new();
    tests_in(root, &mut tests);
    assert!(tests.len() > 500, "{}", tests.len());
    let checklist = std::fs::read_to_string(root.join("docs/kds-conformance.md")).unwrap();
    let rows = checklist.lines().filter(|line| line.starts_with("| "));
    let named: BTreeSet<&str> = rows
        .flat_map(|row| row.split('`').skip(1).step_by(2))
        .filter(|name| name.matches('_').count() > 2)
        .collect();
    assert!(named.len() > 50, "{}", named.len());
    let missing: Vec<&&str> = named
        .iter()
        .filter(|name| !tests.contains(**name))
        .collect();
    assert!(missing.is_empty(), "named and not there: {missing:?}");
    // Each row names one, or says why not.
    let of_rows = checklist
        .lines()
        .filter(|line| line.starts_with("| ") && !line.contains("held by"));
    let bare: Vec<&str> = of_rows
        .filter(|row| !row.contains('`') && !row.contains("**"))
        .collect();
    assert!(bare.is_empty(), "rows without a test: {bare:?}");
}
