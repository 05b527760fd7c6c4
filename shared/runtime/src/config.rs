//! The configuration of a control plane: Kuma's keys, environment names and defaults.
//!
//! A value comes from a flag, else the environment (`KUMA_…`), else the file, else its default.
//! Loading reads everything once and gives a fully valid [`Config`], or every problem it found,
//! each with its place. A key that Kuma knows and we don't act on gives one warning if it is set
//! to another value than its default; one that concerns storage, identity or access is an error
//! instead, because ignoring it would open a door or lose data.

mod address;
mod keys;
mod load;
mod schema;
mod text;
mod validate;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::address::{GlobalAddress, ParseAddressError};
pub use self::schema::{
    ApiServer, Authn, BootstrapParams, BootstrapServer, Defaults, Diagnostics, DpProxyAuthn,
    DpServer, DpServerAuthn, Environment, Gateway, General, Global, GlobalKds, GlobalKdsAuth, Http,
    Https, Meridian, MeridianGateway, Metrics, Mode, Multizone, Proxy, ProxyAuthentication, Store,
    StoreType, Subscriptions, TokenIssuer, UserTokens, XdsServer, Zone, ZoneAuthentication,
    ZoneHealthCheck, ZoneKds, ZoneKdsAuth, ZoneProxyAuthn, ZoneSubscriptions,
};
pub use self::text::SecretText;

/// What stands in place of a secret wherever the configuration is shown.
const MASK: &str = "*****";

/// Which program it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `global-cp`.
    Global,
    /// `zone-cp`.
    Zone,
}

/// A valid configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Whose configuration it is.
    pub mode: Mode,
    /// Where workloads run.
    pub environment: Environment,
    /// `store`.
    pub store: Store,
    /// `general`.
    pub general: General,
    /// `apiServer`.
    pub api_server: ApiServer,
    /// `dpServer`.
    pub dp_server: DpServer,
    /// `diagnostics`.
    pub diagnostics: Diagnostics,
    /// `multizone`.
    pub multizone: Multizone,
    /// `defaults`.
    pub defaults: Defaults,
    /// `bootstrapServer`.
    pub bootstrap_server: BootstrapServer,
    /// `metrics`.
    pub metrics: Metrics,
    /// `xdsServer`.
    pub xds_server: XdsServer,
    /// `proxy`.
    pub proxy: Proxy,
    /// `meridian`.
    pub meridian: Meridian,
    /// The known keys without a field, nested, secrets masked: only to be shown.
    #[serde(skip)]
    others: Map<String, Value>,
}

/// A configuration, and what to tell the operator about it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// One text each; log them at `warn`.
    pub warnings: Vec<String>,
}

/// Where values come from, the strongest last.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A YAML file.
    pub file: Option<PathBuf>,
    /// The environment; only names that begin with `KUMA_` count, some that Kong Mesh has with
    /// `KMESH_`, and `HOME`.
    pub env: BTreeMap<String, String>,
    /// Values given by flags, by path (`apiServer.http.port`), written as in the environment.
    pub flags: BTreeMap<String, String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not YAML.
    #[error("the configuration file {} is not valid YAML", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        #[source]
        source: crate::yaml::Error,
    },
    /// Something in it is wrong.
    #[error("the configuration is not valid{}", Listed(problems))]
    Invalid {
        /// Each with its place: file and line, or environment variable.
        problems: Vec<String>,
    },
}

struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [problem] => write!(f, ": {problem}"),
            problems => problems.iter().try_for_each(|p| write!(f, "\n  {p}")),
        }
    }
}

/// The flags of a program that is configured in this way.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigOptions {
    /// Configuration file, in YAML
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Print the resulting configuration as JSON and exit
    #[arg(long)]
    pub print_config: bool,
}

impl ConfigOptions {
    /// Loads from the file named and the environment of this process.
    ///
    /// # Errors
    ///
    /// As [`load`].
    pub fn load(&self, kind: Kind) -> Result<Loaded, ConfigError> {
        self.load_with(kind, BTreeMap::new())
    }

    /// Loads from the file named, the environment of this process, and flags of a program: values
    /// by path, written as in the environment.
    ///
    /// # Errors
    ///
    /// As [`load`].
    pub fn load_with(
        &self,
        kind: Kind,
        flags: BTreeMap<String, String>,
    ) -> Result<Loaded, ConfigError> {
        let sources = Sources {
            file: self.config_file.clone(),
            env: process_environment().collect(),
            flags,
        };
        load_from(kind, &sources)
    }
}

/// The environment of this process.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    // `std::env::vars` would panic where a stranger's variable is not UTF-8.
    std::env::vars_os().map(|(name, value)| {
        (
            name.to_string_lossy().into_owned(),
            value.to_string_lossy().into_owned(),
        )
    })
}

/// Loads the configuration of `kind` from a file and an environment.
///
/// # Errors
///
/// When the file can't be read, or when anything in the file or the environment is wrong: then
/// with every problem.
pub fn load(
    kind: Kind,
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    load_from(
        kind,
        &Sources {
            file: file.map(Path::to_owned),
            env: env.collect(),
            flags: BTreeMap::new(),
        },
    )
}

/// Loads the configuration of `kind` from all its sources.
///
/// # Errors
///
/// As [`load`].
pub fn load_from(kind: Kind, sources: &Sources) -> Result<Loaded, ConfigError> {
    load::load(kind, sources)
}

impl Config {
    /// Everything, nested and named as in a file, also the known keys that have no effect here.
    /// Secrets are masked.
    pub fn to_json(&self) -> Value {
        let mut json = serde_json::to_value(self).expect("every section has text keys");
        if let Value::Object(sections) = &mut json {
            merge(sections, &self.others);
        }
        json
    }

    /// Certificate and key of the admin API, if configured for it or in general.
    pub fn api_tls_files(&self) -> Option<(&Path, &Path)> {
        let https = &self.api_server.https;
        self.tls_files(https.tls_cert_file.as_ref(), https.tls_key_file.as_ref())
    }

    /// Certificate and key of the server for proxies, if configured for it or in general.
    pub fn dp_server_tls_files(&self) -> Option<(&Path, &Path)> {
        let server = &self.dp_server;
        self.tls_files(server.tls_cert_file.as_ref(), server.tls_key_file.as_ref())
    }

    /// Certificate and key of the KDS server, if configured for it or in general.
    pub fn kds_tls_files(&self) -> Option<(&Path, &Path)> {
        let kds = &self.multizone.global.kds;
        self.tls_files(kds.tls_cert_file.as_ref(), kds.tls_key_file.as_ref())
    }

    fn tls_files<'a>(
        &'a self,
        cert: Option<&'a PathBuf>,
        key: Option<&'a PathBuf>,
    ) -> Option<(&'a Path, &'a Path)> {
        let general = &self.general;
        cert.zip(key)
            .or_else(|| {
                general
                    .tls_cert_file
                    .as_ref()
                    .zip(general.tls_key_file.as_ref())
            })
            .map(|(cert, key)| (cert.as_path(), key.as_path()))
    }
}

/// Adds what `others` has to `sections`, inside sections that both have.
fn merge(sections: &mut Map<String, Value>, others: &Map<String, Value>) {
    for (name, value) in others {
        match (sections.get_mut(name), value) {
            (Some(Value::Object(section)), Value::Object(more)) => merge(section, more),
            (Some(_), _) => {}
            (None, value) => {
                sections.insert(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
