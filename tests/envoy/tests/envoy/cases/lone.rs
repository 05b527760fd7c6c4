//! An Envoy without a control plane, with what `meridian render` prints.

use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use mesh_harness::process::{Process, binary};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// It runs until it is dropped.
pub(crate) struct Envoy {
    pub(crate) process: Process,
    /// What `meridian render` said beside the configuration.
    pub(crate) findings: Vec<String>,
    _files: tempfile::TempDir,
}

impl Envoy {
    /// Starts one for the only gateway among documents.
    pub(crate) async fn start(documents: &[Value]) -> anyhow::Result<Self> {
        Self::start_changed(documents, |_| {}).await
    }

    /// Starts one with a configuration that a test has changed.
    pub(crate) async fn start_changed(
        documents: &[Value],
        change: impl FnOnce(&mut Value),
    ) -> anyhow::Result<Self> {
        Self::start_with(&mesh_harness::envoy(), documents, change).await
    }

    /// Starts one of another version.
    pub(crate) async fn start_of(envoy: &Path, documents: &[Value]) -> anyhow::Result<Self> {
        Self::start_with(envoy, documents, |_| {}).await
    }

    async fn start_with(
        envoy: &Path,
        documents: &[Value],
        change: impl FnOnce(&mut Value),
    ) -> anyhow::Result<Self> {
        let (configuration, findings) = render(documents).await?;
        let mut configuration: Value = serde_json::from_str(&configuration)?;
        change(&mut configuration);
        let files = tempfile::tempdir()?;
        let file = files.path().join("envoy.json");
        std::fs::write(&file, configuration.to_string())?;
        let mut command = Command::new(envoy);
        command.args(["--disable-hot-restart", "--concurrency", "1"]);
        command
            .args(["--log-level", "warning", "--config-path"])
            .arg(&file);
        Ok(Self {
            process: Process::start_command(&mut command, [])?,
            findings,
            _files: files,
        })
    }
}

/// What a user would pipe into `meridian render`, and what they would see.
async fn render(documents: &[Value]) -> anyhow::Result<(String, Vec<String>)> {
    let input = documents.iter().map(ToString::to_string);
    let input = input.collect::<Vec<_>>().join("\n---\n");
    let mut child = Command::new(binary("meridian")?)
        .args(["render", "-f", "-", "--with-keys", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("it was just piped")?;
    let (_, output) = tokio::try_join!(
        async move { stdin.write_all(input.as_bytes()).await },
        child.wait_with_output()
    )?;
    let stderr = String::from_utf8(output.stderr)?;
    anyhow::ensure!(output.status.success(), "meridian render: {stderr}");
    let findings = stderr.lines().map(str::to_owned).collect();
    Ok((String::from_utf8(output.stdout)?, findings))
}
