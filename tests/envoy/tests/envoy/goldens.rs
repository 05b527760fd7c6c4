//! What translation makes of its golden inputs is what Envoy takes: the oldest release that
//! gateways run on, and the newest.
//!
//! Starting an Envoy costs more than checking a configuration, so each checks many at once: with
//! listeners on other ports and under other names, and apart from those that have another cluster
//! of the same name. Where it refuses them, each is checked alone to find which it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use mesh_envoy_binary::{NEWEST_VERSION, OLDEST_VERSION, install_version};
use mesh_harness::Certificate;
use mesh_model::json::parse_document;
use mesh_model::{Key, MeshName, Resource, ResourceName, Timestamp};
use serde_json::{Value, json};
use tokio::process::Command;
use zone_translate::{Proxy, ZoneView, render, translate};

#[tokio::test(flavor = "multi_thread")]
async fn every_golden_configuration_is_accepted() -> anyhow::Result<()> {
    let configurations = configurations()?;
    assert!(configurations.len() > 40, "{}", configurations.len());
    let batches = batches(&configurations);
    for version in [OLDEST_VERSION, NEWEST_VERSION] {
        let install = || install_version(version, &mut |step| eprintln!("{step}"));
        let envoy = tokio::task::spawn_blocking(install).await??;
        for batch in &batches {
            let Some(refused) = validate(&envoy, &batch.configuration()).await? else {
                continue;
            };
            for (name, configuration) in &batch.cases {
                let refused = validate(&envoy, configuration).await?;
                assert_eq!(refused, None, "Envoy {version} refuses {name}");
            }
            panic!(
                "Envoy {version} refuses {:?}: {refused}",
                batch.cases.keys()
            );
        }
    }
    Ok(())
}

/// Cases that one Envoy can check at once.
#[derive(Default)]
struct Batch<'a> {
    cases: BTreeMap<&'a str, &'a Value>,
    clusters: BTreeMap<&'a str, &'a Value>,
}

fn batches(configurations: &[(String, Value)]) -> Vec<Batch<'_>> {
    let mut batches: Vec<Batch<'_>> = Vec::new();
    for (name, configuration) in configurations {
        let mut all = batches.iter_mut();
        match all.find(|batch| batch.agrees_with(configuration)) {
            Some(batch) => batch.add(name, configuration),
            None => {
                let mut batch = Batch::default();
                batch.add(name, configuration);
                batches.push(batch);
            }
        }
    }
    batches
}

impl<'a> Batch<'a> {
    /// Whether its clusters and those of a configuration can be in one Envoy.
    fn agrees_with(&self, configuration: &Value) -> bool {
        let is_alike = |(name, cluster)| self.clusters.get(name).is_none_or(|c| *c == cluster);
        clusters(configuration).all(is_alike)
    }

    fn add(&mut self, case: &'a str, configuration: &'a Value) {
        self.clusters.extend(clusters(configuration));
        self.cases.insert(case, configuration);
    }

    fn configuration(&self) -> Value {
        let (mut listeners, mut layers) = (Vec::new(), Vec::new());
        for configuration in self.cases.values() {
            for listener in each(&configuration["static_resources"]["listeners"]) {
                let mut listener = listener.clone();
                let number = listeners.len();
                listener["name"] = json!(format!("{} {number}", listener["name"]));
                listener["address"]["socket_address"]["port_value"] = json!(10_000 + number);
                listeners.push(listener);
            }
            for layer in each(&configuration["layered_runtime"]["layers"]) {
                let mut layer = layer.clone();
                layer["name"] = json!(format!("{} {}", layer["name"], layers.len()));
                layers.push(layer);
            }
        }
        let clusters: Vec<&Value> = self.clusters.values().copied().collect();
        json!({
            "static_resources": {"listeners": listeners, "clusters": clusters},
            "layered_runtime": {"layers": layers},
        })
    }
}

fn clusters(configuration: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let clusters = each(&configuration["static_resources"]["clusters"]);
    clusters.filter_map(|cluster| Some((cluster["name"].as_str()?, cluster)))
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// What Envoy says of a configuration that it refuses.
async fn validate(envoy: &Path, configuration: &Value) -> anyhow::Result<Option<String>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("envoy.json");
    std::fs::write(&file, configuration.to_string())?;
    let output = Command::new(envoy)
        .args(["--mode", "validate", "--log-level", "error", "-c"])
        .arg(file)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((!output.status.success()).then_some(said))
}

/// The static configuration of each case that has a gateway.
fn configurations() -> anyhow::Result<Vec<(String, Value)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../zone-cp/translate/tests/golden");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(root)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    cases.sort();
    let certificates = [
        Certificate::rsa(&["*.example.com"]).secret("rsa"),
        Certificate::ecdsa(&["*.example.com"]).secret("ecdsa"),
    ];
    let mut configurations = Vec::new();
    for case in cases {
        let name = case.file_name().context("a case has a name")?;
        let text = std::fs::read_to_string(case.join("input.yaml"))?;
        let documents = mesh_runtime::yaml::parse(&text)?;
        let documents = documents.into_iter().map(|document| document.value);
        let documents: Vec<Value> = documents.chain(certificates.clone()).collect();
        let mut view = ZoneView::default();
        let mut gateway = None;
        for document in &documents {
            let resource = Arc::new(resource(document)?);
            view.put(&resource);
            if document["networking"]["gateway"].is_object() {
                gateway = Some(resource);
            }
        }
        let proxy = Proxy::new(gateway.context("a case has a gateway")?, None);
        let snapshot = translate(&view, &proxy).snapshot;
        let configuration = render::bootstrap_with_keys(&snapshot);
        configurations.push((name.to_string_lossy().into_owned(), configuration));
    }
    Ok(configurations)
}

fn resource(document: &Value) -> anyhow::Result<Resource> {
    let parsed = parse_document(document)?;
    let mesh = parsed.mesh.as_deref().map(MeshName::parse).transpose()?;
    let key = Key::try_new(parsed.ty, mesh, ResourceName::parse(&parsed.name)?);
    let key = key.context("the mesh fits the type")?;
    let at = Timestamp::EPOCH;
    Ok(Resource::new(key, parsed.labels, parsed.spec, at, at))
}
