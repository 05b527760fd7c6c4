//! Checks that the paths named in the documents exist, because code moves and documents don't.
//!
//! Two kinds of names count: targets of relative links, and code spans that begin with a folder
//! or file of the workspace, such as `shared/model` or `shared/{model,delta}`. Fenced blocks are
//! left out, and so are the pages in docs/decisions: each tells of its day and is never edited.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Every name that leads nowhere, as `FILE:LINE: …`.
pub(crate) fn check(workspace: &Path) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for document in documents(workspace)? {
        let text = fs::read_to_string(&document)
            .with_context(|| format!("cannot read {}", document.display()))?;
        let folder = document.parent().unwrap_or(workspace);
        let shown = document
            .strip_prefix(workspace)
            .unwrap_or(&document)
            .display();
        for (line, prose) in prose(&text) {
            for target in links(prose) {
                if !folder.join(target).exists() {
                    problems.push(format!("{shown}:{line}: the link {target} leads nowhere"));
                }
            }
            for path in code_spans(prose).flat_map(expand) {
                if names_something(workspace, &path) && !workspace.join(&path).exists() {
                    problems.push(format!("{shown}:{line}: there is no {path}"));
                }
            }
        }
    }
    Ok(problems)
}

fn documents(workspace: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = vec![
        workspace.join("README.md"),
        workspace.join("ARCHITECTURE.md"),
    ];
    let docs = workspace.join("docs");
    for entry in fs::read_dir(&docs).with_context(|| format!("cannot read {}", docs.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The lines outside of fenced blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
            return None;
        }
        (!is_fenced).then_some((index + 1, line))
    })
}

/// The files that a line links to.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split([')', '#']).next()?;
        (!target.is_empty() && !target.contains("://")).then_some(target)
    })
}

/// What stands between single backticks.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// `a/{b,c}/d` as `a/b/d` and `a/c/d`.
fn expand(path: &str) -> Vec<String> {
    let parts = path
        .split_once('{')
        .and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    let Some((before, (choices, after))) = parts else {
        return vec![path.to_owned()];
    };
    choices
        .split(',')
        .flat_map(|choice| expand(&format!("{before}{choice}{after}")))
        .collect()
}

/// Whether a code span means a path of the workspace: it has a slash, and what stands before the
/// first one is there.
fn names_something(workspace: &Path, span: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    match span.split_once('/') {
        Some((first, _)) => {
            !first.is_empty() && span.chars().all(is_plain) && workspace.join(first).exists()
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_in_the_documents_exists() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert_eq!(check(workspace).unwrap(), [""; 0]);
    }

    #[test]
    fn the_image_has_the_envoy_that_the_lab_installs() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let between = |file: &str, before: &str, after: &str| {
            let text = fs::read_to_string(workspace.join(file)).unwrap();
            let rest = text.split_once(before).unwrap().1;
            rest.split_once(after).unwrap().0.to_owned()
        };
        assert_eq!(
            between("Dockerfile", "ARG ENVOY_VERSION=", "\n"),
            between(
                "shared/envoy-binary/src/lib.rs",
                "ENVOY_VERSION: &str = \"",
                "\""
            ),
        );
    }

    #[test]
    fn names_that_lead_nowhere_are_found() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| fs::write(root.path().join(path), text).unwrap();
        fs::create_dir_all(root.path().join("docs")).unwrap();
        fs::create_dir_all(root.path().join("shared/model")).unwrap();
        write(
            "README.md",
            "[map](ARCHITECTURE.md#ports) `shared/{model,gone}` `a/b` `GET /zones`",
        );
        write(
            "ARCHITECTURE.md",
            "`shared/model`\n```\n`shared/fenced`\n```\n[away](https://a/b)",
        );
        write("docs/kds.md", "[up](../README.md) [lost](lost.md)");
        assert_eq!(
            check(root.path()).unwrap(),
            [
                "README.md:1: there is no shared/gone",
                "docs/kds.md:1: the link lost.md leads nowhere"
            ]
        );
    }
}
