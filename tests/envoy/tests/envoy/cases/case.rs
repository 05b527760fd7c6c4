//! What the files of cases hold.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

use super::answer::Expected;
use super::ask::Ask;

/// Listener ports of cases begin here: below the ports that the harness gives to processes.
const FIRST_PORT: u16 = 12_000;
const PORTS_OF_A_CASE: u16 = 10;

/// A case, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// The file's name without its ending; not written.
    #[serde(skip)]
    pub(crate) file: String,
    /// The key in the file; not written.
    #[serde(skip)]
    pub(crate) name: String,
    /// Its own real ports, by those that are written; not written.
    #[serde(skip)]
    ports: BTreeMap<u16, u16>,
    /// Listeners of a MeshGateway. A port is any number; each case gets other ones in truth, also
    /// in requests and in what is expected.
    #[serde(default = "one_listener")]
    pub(crate) listeners: Vec<Value>,
    /// By name, the `conf` of routes. `tags` beside it narrow the selector, and a
    /// backend that is only a name is that service with the weight 1.
    #[serde(default)]
    pub(crate) routes: BTreeMap<String, Value>,
    /// Whole resources. `${a}` is the address of backend `a`, `${a.port}` its port, and
    /// `${edge.pem}` the path of a file with the certificate `edge` and its key.
    #[serde(default)]
    pub(crate) resources: Vec<Value>,
    #[serde(default)]
    pub(crate) requests: Vec<Request>,
    /// By name, routes that cannot be written.
    #[serde(default)]
    pub(crate) refused: BTreeMap<String, Refused>,
    /// Words of the findings that there are.
    #[serde(default)]
    pub(crate) findings: Vec<String>,
}

/// A route that is refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refused {
    pub(crate) conf: Value,
    /// Words of the refusal.
    pub(crate) because: String,
}

/// A request and what comes of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    #[serde(flatten)]
    pub(crate) ask: Ask,
    pub(crate) gets: Expected,
}

fn one_listener() -> Vec<Value> {
    vec![serde_json::json!({"port": 80, "protocol": "HTTP"})]
}

impl Case {
    /// Where it is written.
    pub(crate) fn title(&self) -> String {
        format!("cases/{}.yaml: {}", self.file, self.name)
    }

    /// With this all names of its own begin.
    pub(crate) fn prefix(&self) -> String {
        format!("{}-{}-", self.file, self.name)
    }

    /// The real port for a written one; without one that of the first listener.
    pub(crate) fn port(&self, written: Option<u16>) -> anyhow::Result<u16> {
        let written = match written {
            Some(port) => port,
            None => port_of(self.listeners.first().context("no listeners")?)?,
        };
        let port = self.ports.get(&written).copied();
        port.with_context(|| format!("no listener has the port {written}"))
    }

    /// The protocol of the listeners on a written port.
    pub(crate) fn protocol(&self, written: Option<u16>) -> &str {
        let is_on = |listener: &&Value| written.is_none() || port_of(listener).ok() == written;
        let listener = self.listeners.iter().find(is_on);
        listener
            .and_then(|l| l["protocol"].as_str())
            .unwrap_or_default()
    }

    /// A text with real ports instead of those that are written after a `:`.
    pub(crate) fn with_ports(&self, text: &str) -> String {
        let mut parts = text.split(':');
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = part.split_at(digits);
            let real = number.parse().ok().and_then(|port| self.ports.get(&port));
            let number = real.map_or(number.to_owned(), ToString::to_string);
            out.extend([":", &number, rest]);
        }
        out
    }

    fn take_ports(&mut self, index: usize) -> anyhow::Result<()> {
        let first = FIRST_PORT + u16::try_from(index)? * PORTS_OF_A_CASE;
        let mut free = first..first + PORTS_OF_A_CASE;
        for listener in &self.listeners {
            let written = port_of(listener)?;
            if let Entry::Vacant(vacant) = self.ports.entry(written) {
                vacant.insert(free.next().context("too many ports for one case")?);
            }
        }
        Ok(())
    }
}

pub(crate) fn port_of(listener: &Value) -> anyhow::Result<u16> {
    let port = listener["port"].as_u64().context("a listener has a port")?;
    Ok(port.try_into()?)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// All cases, in the order of files and names.
pub(crate) fn all() -> anyhow::Result<Vec<Case>> {
    let mut files = std::fs::read_dir(folder())?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    files.sort();
    let mut cases = Vec::new();
    for path in files {
        let file = path.file_stem().context("a name")?;
        let file = file.to_str().context("a name in UTF-8")?;
        let text = std::fs::read_to_string(&path)?;
        let documents = mesh_runtime::yaml::parse(&text).context(path.display().to_string())?;
        for document in documents {
            let named: BTreeMap<String, Value> = serde_json::from_value(document.value)?;
            for (name, value) in named {
                let mut case: Case = serde_json::from_value(value)
                    .with_context(|| format!("{}: {name}", path.display()))?;
                case.take_ports(cases.len())?;
                (case.file, case.name) = (file.to_owned(), name);
                cases.push(case);
            }
        }
    }
    Ok(cases)
}
