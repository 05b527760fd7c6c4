//! Which proxy this agent stands for: from a resource, or by name.

use std::env;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use mesh_runtime::yaml;
use serde_json::Value;

use crate::args::Run;
use crate::template::{self, TemplateError};

/// The proxy, as the control plane will know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// Its mesh; empty for zone proxies.
    pub mesh: String,
    pub name: String,
    /// `dataplane`, `ingress` or `egress`.
    pub kind: String,
    /// The resource as JSON, unless the control plane has it already.
    pub resource: Option<String>,
}

/// What of the options does not make a proxy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("cannot read the Dataplane from {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the Dataplane's template has a fault")]
    Template(#[from] TemplateError),
    #[error("the Dataplane is no YAML")]
    Yaml(#[from] yaml::Error),
    #[error("the Dataplane has to be one YAML document, and there are {0}")]
    Documents(usize),
    #[error("the Dataplane has no {0}, or it is not a text")]
    Field(&'static str),
    #[error(
        "a proxy of type {kind} needs a resource of type {expected}, and this one is a {found}"
    )]
    Type {
        kind: String,
        expected: &'static str,
        found: String,
    },
    #[error("--{0} can't be given together with a Dataplane, which has its own {0}")]
    TwoAnswers(&'static str),
    #[error("--{0} is needed, or a Dataplane with --dataplane-file")]
    Missing(&'static str),
}

impl Proxy {
    /// The proxy that the options describe.
    pub(crate) fn from_options(run: &Run) -> Result<Self, ProxyError> {
        let text = if run.dataplane_file.as_os_str().is_empty() {
            (!run.dataplane.is_empty()).then(|| run.dataplane.clone())
        } else {
            Some(read(&run.dataplane_file)?)
        };
        match text {
            Some(text) => Self::from_resource(run, &text),
            None => Self::by_name(run, pod_name().as_deref()),
        }
    }

    fn from_resource(run: &Run, template: &str) -> Result<Self, ProxyError> {
        for (option, value) in [("name", &run.name), ("mesh", &run.mesh)] {
            if !value.is_empty() {
                return Err(ProxyError::TwoAnswers(option));
            }
        }
        let variables = template::variables(&run.dataplane_vars)?;
        let text = template::render(template, &variables)?;
        let mut documents = yaml::parse(&text)?;
        let resource = match (documents.pop(), documents.len()) {
            (Some(document), 0) => document.value,
            (last, others) => {
                return Err(ProxyError::Documents(others + usize::from(last.is_some())));
            }
        };
        let expected = match run.proxy_type.as_str() {
            "ingress" => "ZoneIngress",
            "egress" => "ZoneEgress",
            _ => "Dataplane",
        };
        let found = field(&resource, "type")?;
        if found != expected {
            return Err(ProxyError::Type {
                kind: run.proxy_type.clone(),
                expected,
                found: found.to_owned(),
            });
        }
        let mesh = match expected {
            "Dataplane" => field(&resource, "mesh")?.to_owned(),
            _ => String::new(),
        };
        Ok(Self {
            mesh,
            name: field(&resource, "name")?.to_owned(),
            kind: run.proxy_type.clone(),
            resource: Some(resource.to_string()),
        })
    }

    fn by_name(run: &Run, pod: Option<&str>) -> Result<Self, ProxyError> {
        let name = match (run.name.as_str(), pod) {
            ("", Some(pod)) => pod.to_owned(),
            ("", None) => return Err(ProxyError::Missing("name")),
            (name, _) => name.to_owned(),
        };
        let mesh = match run.proxy_type.as_str() {
            "dataplane" if run.mesh.is_empty() => return Err(ProxyError::Missing("mesh")),
            "dataplane" => run.mesh.clone(),
            _ => String::new(),
        };
        Ok(Self {
            mesh,
            name,
            kind: run.proxy_type.clone(),
            resource: None,
        })
    }
}

/// The name of a pod's Dataplane, in a pod.
fn pod_name() -> Option<String> {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    Some(format!("{}.{}", set("POD_NAME")?, set("POD_NAMESPACE")?))
}

fn read(path: &Path) -> Result<String, ProxyError> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    text.map_err(|source| ProxyError::Read {
        path: path.to_owned(),
        source,
    })
}

fn field<'a>(resource: &'a Value, name: &'static str) -> Result<&'a str, ProxyError> {
    resource
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .ok_or(ProxyError::Field(name))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    const GATEWAY: &str = "
type: Dataplane
mesh: default
name: '{{ name }}'
networking:
  address: 10.0.0.7
  gateway: {type: BUILTIN, tags: {kuma.io/service: edge}}
";

    fn options(flags: &[&str]) -> Run {
        match Cli::parse_from(["meridian-dp", "run"].iter().chain(flags)).command {
            Command::Run(run) => *run,
            other => panic!("{other:?}"),
        }
    }

    fn refused(flags: &[&str]) -> String {
        Proxy::from_options(&options(flags))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_resource_gives_mesh_name_and_itself_as_json() {
        let options = options(&["--dataplane", GATEWAY, "-v", "name=edge-1"]);
        let proxy = Proxy::from_options(&options).unwrap();
        assert_eq!(
            (proxy.mesh.as_str(), proxy.name.as_str()),
            ("default", "edge-1")
        );
        let resource: Value = serde_json::from_str(&proxy.resource.unwrap()).unwrap();
        assert_eq!(
            resource["networking"]["gateway"]["tags"]["kuma.io/service"],
            "edge"
        );
        assert_eq!(resource["name"], "edge-1");
    }

    #[test]
    fn a_file_wins_over_inline_text() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), GATEWAY.replace("{{ name }}", "from-file")).unwrap();
        let path = file.path().to_str().unwrap();
        let options = options(&["--dataplane", GATEWAY, "-d", path]);
        assert_eq!(Proxy::from_options(&options).unwrap().name, "from-file");
    }

    #[test]
    fn a_known_dataplane_is_given_by_name() {
        let proxy = Proxy::from_options(&options(&["--name=edge", "--mesh=default"])).unwrap();
        assert_eq!(proxy.resource, None);
        assert_eq!(
            (proxy.mesh.as_str(), proxy.name.as_str()),
            ("default", "edge")
        );
        let pod = Proxy::by_name(&options(&["--mesh=default"]), Some("edge-0.demo")).unwrap();
        assert_eq!(pod.name, "edge-0.demo");
        let ingress = Proxy::by_name(&options(&["--proxy-type=ingress", "--name=zi"]), None);
        assert_eq!(ingress.unwrap().mesh, "");
    }

    #[test]
    fn contradictions_and_gaps_are_refused_in_words() {
        for (flags, expected) in [
            (
                &["--name=a", "--dataplane", GATEWAY][..],
                "--name can't be given together",
            ),
            (
                &["--mesh=a", "--dataplane", GATEWAY],
                "--mesh can't be given together",
            ),
            (&["--dataplane", GATEWAY], "template has a fault"),
            (&["--dataplane", "{"], "no YAML"),
            (
                &["--dataplane", "a: 1\n---\nb: 2"],
                "one YAML document, and there are 2",
            ),
            (&["--dataplane", "[1]"], "has no type"),
            (
                &["--dataplane", "{type: Dataplane, name: a}"],
                "has no mesh",
            ),
            (
                &["--dataplane", "{type: Dataplane, mesh: m, name: 7}"],
                "has no name",
            ),
            (
                &["--dataplane", "{type: Mesh, name: m}"],
                "needs a resource of type Dataplane",
            ),
            (
                &[
                    "--proxy-type=egress",
                    "--dataplane",
                    "{type: Mesh, name: m}",
                ],
                "of type ZoneEgress",
            ),
            (
                &["-d", "/nonexistent"],
                "cannot read the Dataplane from /nonexistent",
            ),
            (&["--mesh=default"], "--name is needed"),
            (&["--name=edge"], "--mesh is needed"),
        ] {
            let error = refused(flags);
            assert!(error.contains(expected), "{flags:?}: {error}");
        }
    }
}
