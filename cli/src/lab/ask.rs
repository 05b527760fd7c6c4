//! `meridian lab ask`: waits for gateways to answer, and shows what they say.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use futures_util::future::try_join_all;
use mesh_runtime::tls::{self, Trust};
use reqwest::StatusCode;
use tokio::time::Instant;

use super::wait::until;
use crate::output;
use crate::table::Table;

/// How long a gateway that answers nothing may take for it; the next attempt is a new one.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Ask URLs until each answers with status 200, and show the answers and how long it took
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  meridian lab ask http://127.0.1.1:8080/cart/42 http://127.0.2.1:8080/cart/42")]
pub(super) struct Args {
    /// What to ask
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::new()?;
    let started = Instant::now();
    let answers = try_join_all(args.urls.iter().map(async |url| {
        let text = until(&format!("{url} answers"), async || client.ask(url).await).await?;
        anyhow::Ok((url, text, started.elapsed()))
    }))
    .await?;
    let mut table = Table::new(&["REQUEST", "ANSWER", "AFTER"]);
    for (url, text, after) in answers {
        table.push([url.clone(), text, milliseconds(after)]);
    }
    output::line(table)?;
    Ok(ExitCode::SUCCESS)
}

/// As tables show a time.
pub(super) fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// Asks as a user's client would.
#[derive(Debug)]
pub(super) struct Client(reqwest::Client);

impl Client {
    pub(super) fn new() -> anyhow::Result<Self> {
        // Only for plain HTTP: without it the system's certificates would be needed.
        let tls = tls::client_config(&Trust::SkipVerify, &[])?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .tls_backend_preconfigured(rustls::ClientConfig::clone(&tls))
            .build()?;
        Ok(Self(client))
    }

    /// An answer with status 200.
    pub(super) async fn ask(&self, url: &str) -> anyhow::Result<String> {
        let response = self.0.get(url).send().await?;
        ensure!(response.status() == StatusCode::OK, "{}", response.status());
        Ok(response.text().await?.trim_end().to_owned())
    }

    /// An answer that says that there is no such route.
    pub(super) async fn has_no_route(&self, url: &str) -> anyhow::Result<()> {
        let status = self.0.get(url).send().await?.status();
        ensure!(status == StatusCode::NOT_FOUND, "{status}");
        Ok(())
    }
}
