//! Asking whether a proxy is ready: `health` once, `wait` until it is.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::Instant;

use crate::args::{Health, Wait};

/// Succeeds if the agent on this machine answers that it is ready.
pub(crate) async fn health(args: &Health) -> anyhow::Result<()> {
    let url = format!("http://127.0.0.1:{}/ready", args.readiness_port);
    ask(&client(Duration::from_secs(5))?, &url).await
}

/// Succeeds once the URL answers with success.
pub(crate) async fn wait(args: &Wait) -> anyhow::Result<()> {
    let client = client(args.request_timeout)?;
    let started = Instant::now();
    loop {
        match ask(&client, &args.url).await {
            Ok(()) => return Ok(()),
            Err(error) if started.elapsed() + args.check_frequency > args.timeout => {
                return Err(error.context(format!("not ready within {:?}", args.timeout)));
            }
            Err(_) => tokio::time::sleep(args.check_frequency).await,
        }
    }
}

fn client(timeout: Duration) -> anyhow::Result<reqwest::Client> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(timeout)
        .build();
    client.context("cannot make an HTTP client")
}

async fn ask(client: &reqwest::Client, url: &str) -> anyhow::Result<()> {
    let response = client.get(url).send().await;
    let response = response.with_context(|| format!("no answer from {url}"))?;
    let status = response.status();
    if !status.is_success() {
        let text = response.text().await.unwrap_or_default();
        bail!("{url} answers {status}: {}", text.trim());
    }
    Ok(())
}
