//! What translation makes of its golden inputs is what Envoy takes: the oldest release that
//! gateways run on, and the newest.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _};
use mesh_envoy_binary::{NEWEST_VERSION, OLDEST_VERSION, install_version};
use mesh_harness::Certificate;
use mesh_model::json::parse_document;
use mesh_model::{Key, MeshName, Resource, ResourceName, Timestamp};
use serde_json::Value;
use tokio::process::Command;
use zone_translate::{Proxy, ZoneView, render, translate};

#[tokio::test(flavor = "multi_thread")]
async fn every_golden_configuration_is_accepted() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut files = Vec::new();
    for (name, configuration) in configurations()? {
        let file = folder.path().join(format!("{name}.json"));
        std::fs::write(&file, configuration.to_string())?;
        files.push(file);
    }
    assert!(files.len() > 20, "{files:?}");
    for version in [OLDEST_VERSION, NEWEST_VERSION] {
        let install = || install_version(version, &mut |step| eprintln!("{step}"));
        let envoy = tokio::task::spawn_blocking(install).await??;
        let runs = files.iter().map(|file| validate(&envoy, file));
        let refused: Vec<Option<String>> = futures_util::stream::iter(runs)
            .buffer_unordered(2)
            .try_collect()
            .await?;
        let refused: Vec<String> = refused.into_iter().flatten().collect();
        assert!(refused.is_empty(), "Envoy {version}: {refused:#?}");
    }
    Ok(())
}

/// What Envoy says of a configuration that it refuses.
async fn validate(envoy: &Path, file: &Path) -> anyhow::Result<Option<String>> {
    let output = Command::new(envoy)
        .args(["--mode", "validate", "--log-level", "error", "-c"])
        .arg(file)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr);
    let refused = format!("{}: {said}", file.display());
    Ok((!output.status.success()).then_some(refused))
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
