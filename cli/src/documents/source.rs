//! Finding and reading files.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};

/// Folders nest no deeper than this; a loop of symbolic links does.
const MAX_DEPTH: usize = 32;

/// A text with a name.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// What the user would call it.
    pub(crate) name: Arc<str>,
    pub(crate) text: String,
}

/// Reads what `-f` names, in the order given: files, `-` for standard input, and folders, whose
/// `*.yaml`, `*.yml` and `*.json` are read at any depth in order of their paths.
///
/// A file that is named twice is read once. What begins with a dot inside a folder is left out.
pub(crate) fn read(names: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
    let mut paths = Vec::new();
    for name in names {
        let before = paths.len();
        match fs::metadata(name) {
            _ if name == Path::new("-") => paths.push(name.clone()),
            Ok(metadata) if metadata.is_dir() => {
                collect(name, MAX_DEPTH, &mut paths)?;
                if paths.len() == before {
                    bail!(
                        "there is no .yaml, .yml or .json file in the folder {}",
                        name.display()
                    );
                }
            }
            Ok(_) => paths.push(name.clone()),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", name.display()));
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    paths.retain(|path| seen.insert(path.clone()));
    paths.iter().map(|path| read_one(path)).collect()
}

fn collect(folder: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let about = || format!("cannot read the folder {}", folder.display());
    let Some(deeper) = depth.checked_sub(1) else {
        bail!(
            "{} is nested more than {MAX_DEPTH} folders deep; is a symbolic link leading back?",
            folder.display()
        );
    };
    let mut entries = fs::read_dir(folder)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(about)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let is_folder = fs::metadata(&path)
            .with_context(|| format!("cannot read {}", path.display()))?
            .is_dir();
        if is_folder {
            collect(&path, deeper, paths)?;
        } else if path
            .extension()
            .is_some_and(|e| e == "yaml" || e == "yml" || e == "json")
        {
            paths.push(path);
        }
    }
    Ok(())
}

fn read_one(path: &Path) -> anyhow::Result<Source> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .context("cannot read standard input")?;
        return source("<stdin>", bytes);
    }
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    source(&path.display().to_string(), bytes)
}

fn source(name: &str, bytes: Vec<u8>) -> anyhow::Result<Source> {
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => bail!(
            "{name} is not text in UTF-8: byte {} does not belong in one",
            error.utf8_error().valid_up_to()
        ),
    };
    Ok(Source {
        name: Arc::from(name),
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path, files: &[&str]) -> Vec<String> {
        let paths: Vec<_> = files.iter().map(|file| folder.join(file)).collect();
        read(&paths)
            .unwrap()
            .iter()
            .map(|source| {
                let name = Path::new(&*source.name);
                name.strip_prefix(folder).unwrap().display().to_string()
            })
            .collect()
    }

    #[test]
    fn a_folder_is_read_to_the_bottom_in_order() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/deep")).unwrap();
        for file in [
            "b.yaml",
            "a/deep/x.json",
            "a/y.yml",
            "notes.txt",
            ".hidden.yaml",
        ] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        assert_eq!(
            names(folder.path(), &["b.yaml", ""]),
            ["b.yaml", "a/deep/x.json", "a/y.yml"]
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = |path: &Path| format!("{:#}", read(&[path.to_owned()]).unwrap_err());
        assert!(error(folder.path()).contains("no .yaml"));
        let absent = folder.path().join("absent.yaml");
        assert!(error(&absent).contains("absent.yaml"));
        let binary = folder.path().join("binary.yaml");
        fs::write(&binary, b"type: \xff").unwrap();
        assert!(error(&binary).contains("byte 6"));
        std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
        assert!(error(folder.path()).contains("symbolic link"));
    }
}
