//! The places where an Envoy may be.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::{ENVOY_VARIABLE, ENVOY_VERSION, Error};

/// What the environment says about where to look.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// `MERIDIAN_ENVOY`.
    pub variable: Option<PathBuf>,
    /// `PATH`.
    pub search_path: Option<OsString>,
    /// Our directory for Envoys: `<cache>/meridian/envoy`.
    pub cache: Option<PathBuf>,
}

impl Places {
    pub(crate) fn from_env() -> Self {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        // The XDG base directory specification: relative values are to be ignored.
        let cache = set("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| set("HOME").map(|home| Path::new(&home).join(".cache")));
        Self {
            variable: set(ENVOY_VARIABLE).map(PathBuf::from),
            search_path: set("PATH"),
            cache: cache.map(|cache| cache.join("meridian").join("envoy")),
        }
    }

    /// Where a version is, or would be, installed.
    pub(crate) fn installed(&self, version: &str) -> Option<PathBuf> {
        Some(self.cache.as_ref()?.join(version).join("envoy"))
    }

    pub(crate) fn locate(&self, flag: Option<&Path>) -> Result<PathBuf, Error> {
        if let Some(path) = flag {
            return self.named("--binary-path", path);
        }
        if let Some(path) = &self.variable {
            return self.named(ENVOY_VARIABLE, path);
        }
        let installed = self.installed(ENVOY_VERSION);
        self.on_search_path(Path::new("envoy"))
            .or_else(|| installed.clone().filter(|path| is_executable(path)))
            .ok_or_else(|| Error::NotFound {
                looked: match installed {
                    Some(path) => format!("{ENVOY_VARIABLE}, PATH and {}", path.display()),
                    None => format!("{ENVOY_VARIABLE} and PATH"),
                },
            })
    }

    fn named(&self, origin: &'static str, path: &Path) -> Result<PathBuf, Error> {
        let bare = path.components().count() == 1 && path.is_relative();
        let found = if bare {
            self.on_search_path(path)
        } else {
            is_executable(path).then(|| path.to_owned())
        };
        found.ok_or_else(|| Error::NotExecutable {
            origin,
            path: path.to_owned(),
        })
    }

    fn on_search_path(&self, name: &Path) -> Option<PathBuf> {
        env::split_paths(self.search_path.as_ref()?)
            .map(|directory| directory.join(name))
            .find(|path| is_executable(path))
    }
}

pub(crate) fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn executable(path: &Path) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_owned()
    }

    #[test]
    fn flag_then_variable_then_path_then_cache() {
        let dir = tempfile::tempdir().unwrap();
        let flag = executable(&dir.path().join("flag/my-envoy"));
        let variable = executable(&dir.path().join("variable/envoy"));
        let on_path = executable(&dir.path().join("path/envoy"));
        let cached = executable(&dir.path().join("cache").join(ENVOY_VERSION).join("envoy"));
        let mut places = Places {
            variable: Some(variable.clone()),
            search_path: Some(dir.path().join("path").into()),
            cache: Some(dir.path().join("cache")),
        };

        assert_eq!(places.locate(Some(&flag)).unwrap(), flag);
        assert_eq!(places.locate(None).unwrap(), variable);
        places.variable = None;
        assert_eq!(places.locate(None).unwrap(), on_path);
        places.search_path = None;
        assert_eq!(places.locate(None).unwrap(), cached);
        places.cache = None;
        assert!(matches!(places.locate(None), Err(Error::NotFound { .. })));
    }

    #[test]
    fn a_name_without_slash_is_looked_up_on_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let found = executable(&dir.path().join("envoy-1.40"));
        let places = Places {
            search_path: Some(dir.path().into()),
            ..Places::default()
        };
        assert_eq!(places.locate(Some(Path::new("envoy-1.40"))).unwrap(), found);
    }

    #[test]
    fn what_was_asked_for_is_never_replaced_by_another_envoy() {
        let dir = tempfile::tempdir().unwrap();
        executable(&dir.path().join("envoy"));
        let not_executable = dir.path().join("readme");
        fs::write(&not_executable, "").unwrap();
        let places = Places {
            variable: Some(dir.path().join("absent")),
            search_path: Some(dir.path().into()),
            cache: None,
        };

        let error = places.locate(None).unwrap_err().to_string();
        assert!(error.starts_with("MERIDIAN_ENVOY names "), "{error}");
        let error = places.locate(Some(&not_executable)).unwrap_err();
        assert!(error.to_string().starts_with("--binary-path names "));
    }

    #[test]
    fn not_found_says_where_it_looked_and_what_to_do() {
        let places = Places {
            cache: Some("/home/ada/.cache/meridian/envoy".into()),
            ..Places::default()
        };
        let error = places.locate(None).unwrap_err().to_string();
        let cached = format!("/home/ada/.cache/meridian/envoy/{ENVOY_VERSION}/envoy");
        assert!(error.contains(&cached), "{error}");
        assert!(error.contains("--binary-path or MERIDIAN_ENVOY"), "{error}");
    }
}
