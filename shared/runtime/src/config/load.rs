//! Collects the values from their sources and builds the typed configuration.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::keys::{self, Found, Key, Status};
use super::{Config, ConfigError, Kind, Loaded, MASK, Sources, validate, value};
use crate::yaml;

/// More than any configuration needs.
const MAX_FILE_BYTES: usize = 1024 * 1024;

/// The values that were set, and what was found on the way.
#[derive(Debug, Default)]
pub(super) struct Settings {
    set: BTreeMap<&'static str, Setting>,
    pub(super) problems: Vec<String>,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Setting {
    value: Value,
    /// Where it was set, as the beginning of a message.
    place: String,
}

pub(super) fn load(kind: Kind, sources: &Sources) -> Result<Loaded, ConfigError> {
    let mut settings = Settings::default();
    if let Some(path) = &sources.file {
        let document = read(path)?;
        if let Some(document) = &document {
            let file = File { path, document };
            settings.take_section(&file, &document.value, "", "");
        }
    }
    settings.take_environment(&sources.env);
    settings.take_flags(&sources.flags);

    let home = sources.env.get("HOME").map(String::as_str);
    settings.complete(kind, home);
    let (tree, others) = settings.trees();
    if !settings.problems.is_empty() {
        return Err(invalid(settings));
    }
    let mut config: Config = match serde_json::from_value(Value::Object(tree)) {
        Ok(config) => config,
        Err(error) => {
            settings.problems.push(error.to_string());
            return Err(invalid(settings));
        }
    };
    config.others = others;
    validate::check(&config, &mut settings);
    if settings.problems.is_empty() {
        Ok(Loaded {
            config,
            warnings: settings.warnings,
        })
    } else {
        Err(invalid(settings))
    }
}

fn invalid(settings: Settings) -> ConfigError {
    ConfigError::Invalid {
        problems: settings.problems,
    }
}

/// The one document of a file, if it has content.
fn read(path: &Path) -> Result<Option<yaml::Document>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mut documents =
        yaml::parse_with_limit(&text, MAX_FILE_BYTES).map_err(|source| ConfigError::Yaml {
            path: path.to_owned(),
            source,
        })?;
    if documents.len() > 1 {
        return Err(ConfigError::Invalid {
            problems: vec![format!(
                "{}:{}: a second document begins here, the file may have only one",
                path.display(),
                documents[1].first_line
            )],
        });
    }
    Ok(documents.pop())
}

struct File<'a> {
    path: &'a Path,
    document: &'a yaml::Document,
}

impl File<'_> {
    fn place(&self, yaml_path: &str) -> String {
        let line = self.document.nearest_line(yaml_path);
        format!("{}:{line}", self.path.display())
    }
}

impl Settings {
    /// Takes a section of a file. `path` is its dotted path as in the table, `yaml_path` the
    /// same for the document.
    fn take_section(&mut self, file: &File<'_>, section: &Value, path: &str, yaml_path: &str) {
        let entries = match section {
            Value::Object(entries) => entries,
            // A section whose keys are all commented out.
            Value::Null => return,
            _ => {
                let place = file.place(yaml_path);
                let what = if path.is_empty() { "the file" } else { path };
                self.problems
                    .push(format!("{place}: {what} must be a mapping"));
                return;
            }
        };
        for (name, value) in entries {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            let yaml_path = format!("{yaml_path}[{}]", json!(name));
            let place = file.place(&yaml_path);
            if name.contains('.') {
                self.problems.push(format!(
                    "{place}: {path} must be written as nested keys, not with dots"
                ));
                continue;
            }
            match keys::find(&path) {
                Found::Key(key) => self.take_file_value(key, value, place),
                Found::Section => self.take_section(file, value, &path, &yaml_path),
                Found::Unknown => {
                    let hint = keys::nearest_path(&path)
                        .map(|near| format!("; did you mean {near}?"))
                        .unwrap_or_default();
                    self.problems
                        .push(format!("{place}: {path} is not a known key{hint}"));
                }
            }
        }
    }

    fn take_file_value(&mut self, key: &'static Key, value: &Value, place: String) {
        if value.is_null() {
            return;
        }
        let place = format!("{place}: {}", key.path);
        match value::from_file(key, value) {
            Ok(value) => {
                if let Some(first) = self.set.get(key.path) {
                    self.problems.push(format!(
                        "{place}: is given twice with different letter case, first at {}",
                        first.place
                    ));
                    return;
                }
                self.set.insert(key.path, Setting { value, place });
            }
            Err(why) => self.problems.push(format!("{place}: {why}")),
        }
    }

    fn take_environment(&mut self, env: &BTreeMap<String, String>) {
        let mut unknown = Vec::new();
        for (name, value) in env.range("KUMA_".to_owned()..) {
            if !name.starts_with("KUMA_") {
                break;
            }
            if keys::find_env(name).is_none() && !is_service_link(name, value) {
                unknown.push(match keys::nearest_env(name) {
                    Some(near) => format!("{name} (did you mean {near}?)"),
                    None => name.clone(),
                });
            }
        }
        if !unknown.is_empty() {
            self.warnings.push(format!(
                "unknown environment variables have no effect: {}",
                unknown.join(", ")
            ));
        }
        for key in keys::all() {
            let given = key
                .env_names()
                .into_iter()
                .find_map(|name| env.get(name.as_ref()).map(|value| (name, value)));
            let Some((name, text)) = given else { continue };
            if is_service_link(&name, text) {
                // A Service called `kuma-dp-server` makes Kubernetes set KUMA_DP_SERVER_PORT.
                self.warnings.push(format!(
                    "{name}={text} is the link to a Kubernetes Service and has no effect"
                ));
                continue;
            }
            self.take_text(key, text, name.into_owned());
        }
    }

    fn take_flags(&mut self, flags: &BTreeMap<String, String>) {
        for (path, text) in flags {
            match keys::find(path) {
                Found::Key(key) => self.take_text(key, text, format!("flag for {path}")),
                Found::Section | Found::Unknown => self
                    .problems
                    .push(format!("flag for {path}: not a known key")),
            }
        }
    }

    fn take_text(&mut self, key: &'static Key, text: &str, place: String) {
        match value::from_text(key, text) {
            Ok(Some(value)) => {
                self.set.insert(key.path, Setting { value, place });
            }
            Ok(None) => {}
            Err(why) => self.problems.push(format!("{place}: {why}")),
        }
    }

    /// Gives values that depend on more than the table.
    fn complete(&mut self, kind: Kind, home: Option<&str>) {
        let own = match kind {
            Kind::Global => "global",
            Kind::Zone => "zone",
        };
        let mode = self.text("mode");
        if mode.is_empty() {
            self.replace("mode", json!(own));
        } else if mode != own {
            self.problem(
                "mode",
                &format!("{mode:?} does not fit this program, {own}-cp: start {mode}-cp instead"),
            );
        }
        if self.text("general.workDir").is_empty() {
            match home.filter(|home| !home.is_empty()) {
                Some(home) => {
                    let dir = Path::new(home).join(".kuma");
                    self.replace("general.workDir", json!(dir.to_string_lossy()));
                }
                None => self.problem(
                    "general.workDir",
                    "must be set (KUMA_GENERAL_WORK_DIR), because HOME is not",
                ),
            }
        }
        if self.text("multizone.zone.name").is_empty() {
            self.replace("multizone.zone.name", json!("default"));
        }
        let base_path = self.text("apiServer.basePath");
        let trimmed = base_path.trim_matches('/');
        self.replace("apiServer.basePath", json!(format!("/{trimmed}")));
        // Kuma reads 0 as its default.
        let connections = "proxy.gateway.globalDownstreamMaxConnections";
        if self.value(connections) == json!(0) {
            self.set.remove(connections);
        }
        validate::check_texts(self);
    }

    /// The sections of the schema, and the values without a place in it.
    fn trees(&mut self) -> (Map<String, Value>, Map<String, Value>) {
        let mut tree = Map::new();
        let mut others = Map::new();
        for key in keys::all() {
            let value = self.value(key.path);
            let is_default = value == key.default();
            let place = self.place(key.path);
            match key.status {
                Status::Implemented => {
                    if key.path == "multizone.zone.globalAddress" && value == json!("") {
                        continue;
                    }
                    insert(&mut tree, key.path, value);
                    continue;
                }
                Status::Refused(why) if !is_default => {
                    let default = key.default();
                    self.problems
                        .push(format!("{place}: only {default} is supported: {why}"));
                }
                Status::Accepted(why) if !is_default => {
                    self.warnings.push(format!("{place} {why}"));
                }
                Status::Fixed | Status::Refused(_) | Status::Accepted(_) => {}
            }
            let shown = if key.is_secret { json!(MASK) } else { value };
            insert(&mut others, key.path, shown);
        }
        (tree, others)
    }

    /// What a key is set to, or its default.
    pub(super) fn value(&self, path: &str) -> Value {
        match (self.set.get(path), keys::find(path)) {
            (Some(setting), _) => setting.value.clone(),
            (None, Found::Key(key)) => key.default(),
            (None, Found::Section | Found::Unknown) => Value::Null,
        }
    }

    pub(super) fn text(&self, path: &str) -> String {
        self.value(path).as_str().unwrap_or_default().to_owned()
    }

    /// Where a key was set, as the beginning of a message; its path if it wasn't.
    fn place(&self, path: &str) -> String {
        self.set
            .get(path)
            .map_or_else(|| path.to_owned(), |setting| setting.place.clone())
    }

    pub(super) fn problem(&mut self, path: &str, why: &str) {
        let place = self.place(path);
        self.problems.push(format!("{place}: {why}"));
    }

    fn replace(&mut self, path: &'static str, value: Value) {
        let place = self.place(path);
        self.set.insert(path, Setting { value, place });
    }
}

fn insert(tree: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            tree.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            let section = tree
                .entry(section)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(section) = section {
                insert(section, rest, value);
            }
        }
    }
}

/// Whether Kubernetes set the variable to link to a Service
/// (<https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables>).
fn is_service_link(name: &str, value: &str) -> bool {
    let is_address = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    let has_port_number = || {
        name.split("_PORT_").skip(1).any(|rest| {
            let number = rest.split('_').next().unwrap_or_default();
            !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
        })
    };
    is_address
        || name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || has_port_number()
}
