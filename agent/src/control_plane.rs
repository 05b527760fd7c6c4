//! The control plane, as the agent sees it: a bootstrap at the start, a goodbye at the end.

use std::error::Error;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mesh_runtime::backoff::Backoff;
use mesh_runtime::tls::{self, TlsError, Trust};
use reqwest::header::{ACCEPT, AUTHORIZATION};
use reqwest::{Response, StatusCode, Url};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::args::Run;
use crate::proxy::Proxy;
use crate::token::Token;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A goodbye that takes longer is not worth waiting for: the control plane notices by itself.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// The first pause between two attempts; they grow to `--retry-backoff`.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// No pause is longer, whatever is asked for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// A client of the control plane's data-plane server.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    client: reqwest::Client,
    base: String,
    ca: String,
    longest_pause: Duration,
    give_up_after: Duration,
}

/// Options that lead to no control plane.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("--cp-address {0:?} is no http:// or https:// URL")]
    Url(String),
    #[error("cannot read the CA from {}", path.display())]
    Ca {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot set up TLS towards the control plane")]
    Tls(#[from] TlsError),
    #[error("cannot set up a client for the control plane")]
    Client(#[from] reqwest::Error),
}

/// No bootstrap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BootstrapError {
    /// The control plane will not change its mind.
    #[error("the control plane refuses this proxy ({status}): {reason}")]
    Refused { status: StatusCode, reason: String },
    /// It answered with something else.
    #[error("the control plane's answer has no bootstrap in it")]
    NotABootstrap,
    /// It could not be reached, or had nothing for us, for too long.
    #[error("no bootstrap from {base} within {tried:?}: {reason}")]
    GaveUp {
        base: String,
        tried: Duration,
        reason: String,
    },
}

/// How one attempt went wrong.
enum Failure {
    Final(BootstrapError),
    Passing(String),
}

impl ControlPlane {
    /// The control plane that the options name.
    pub(crate) fn from_options(run: &Run) -> Result<Self, AddressError> {
        let url = Url::parse(&run.cp_address)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| AddressError::Url(run.cp_address.clone()))?;
        let ca = if run.ca_cert.is_empty() && !run.ca_cert_file.as_os_str().is_empty() {
            let path = &run.ca_cert_file;
            fs::read_to_string(path).map_err(|source| AddressError::Ca {
                path: path.clone(),
                source,
            })?
        } else {
            run.ca_cert.clone()
        };
        let trust = match ca.as_str() {
            _ if run.skip_verify => Trust::SkipVerify,
            "" => Trust::System,
            pem => Trust::Ca(pem.as_bytes().to_vec()),
        };
        let mut builder = reqwest::Client::builder().timeout(REQUEST_TIMEOUT);
        if url.scheme() == "https" {
            let config = tls::client_config(&trust, &[b"http/1.1"])?;
            builder = builder.tls_backend_preconfigured((*config).clone());
        }
        Ok(Self {
            client: builder.build()?,
            base: url.as_str().trim_end_matches('/').to_owned(),
            ca,
            longest_pause: run.retry_backoff.clamp(FIRST_PAUSE, LONGEST_PAUSE),
            give_up_after: run.retry_max_duration,
        })
    }

    /// PEM of the CA that was given; empty without one.
    pub(crate) fn ca(&self) -> &str {
        &self.ca
    }

    /// Asks for a bootstrap until there is one, the control plane refuses for good, or the time
    /// is up. Dropping the future is safe.
    pub(crate) async fn bootstrap(&self, request: &Value) -> Result<String, BootstrapError> {
        let started = Instant::now();
        let mut backoff = Backoff::new(FIRST_PAUSE, self.longest_pause)
            .expect("the longest pause is clamped to what a backoff takes");
        let mut told = String::new();
        loop {
            let reason = match self.ask(request).await {
                Ok(bootstrap) => return Ok(bootstrap),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(reason)) => reason,
            };
            let pause = backoff.next_delay();
            let tried = started.elapsed();
            if tried + pause > self.give_up_after {
                let base = self.base.clone();
                return Err(BootstrapError::GaveUp {
                    base,
                    tried,
                    reason,
                });
            }
            if reason != told {
                tracing::warn!(
                    address = self.base,
                    "no bootstrap yet, trying again: {reason}"
                );
                told = reason;
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn ask(&self, request: &Value) -> Result<String, Failure> {
        let response = self
            .client
            .post(format!("{}/bootstrap", self.base))
            .header(ACCEPT, "application/json")
            .json(request)
            .send()
            .await
            .map_err(|error| Failure::Passing(chain(&error)))?;
        if response.status() != StatusCode::OK {
            return Err(refusal(response).await);
        }
        let body = response
            .bytes()
            .await
            .map_err(|error| Failure::Passing(chain(&error)))?;
        read_bootstrap(&body).ok_or(Failure::Final(BootstrapError::NotABootstrap))
    }

    /// Says goodbye, so that the Dataplane is gone at once rather than when its absence is
    /// noticed. A control plane that doesn't know this request, or this Dataplane, is fine.
    pub(crate) async fn deregister(&self, proxy: &Proxy, token: Option<&Token>) {
        let mut request = self
            .client
            .post(format!("{}/deregister", self.base))
            .timeout(GOODBYE_TIMEOUT)
            .json(&json!({"mesh": proxy.mesh, "name": proxy.name}));
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, &token.text);
        }
        match request.send().await {
            Ok(response) if response.status().is_success() => {
                tracing::info!("deregistered from the control plane");
            }
            Ok(response) if response.status() == StatusCode::NOT_FOUND => {}
            Ok(response) => {
                let status = response.status();
                tracing::warn!(%status, "the control plane refused to deregister: {status}");
            }
            Err(error) => tracing::warn!("could not deregister: {}", chain(&error)),
        }
    }
}

async fn refusal(response: Response) -> Failure {
    let status = response.status();
    let body = response.text().await.unwrap_or_default();
    let body = body.trim();
    if status.is_client_error() && status != StatusCode::NOT_FOUND {
        return Failure::Final(BootstrapError::Refused {
            status,
            reason: match body {
                "" => "without a reason".to_owned(),
                body => body.to_owned(),
            },
        });
    }
    Failure::Passing(match (status, body) {
        (StatusCode::NOT_FOUND, "") => "it doesn't know this Dataplane yet".to_owned(),
        (StatusCode::NOT_FOUND, _) => "there is no data-plane server at this address".to_owned(),
        (_, "") => format!("it answers {status}"),
        (_, body) => format!("it answers {status}: {body}"),
    })
}

fn read_bootstrap(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let bytes = BASE64.decode(body.get("bootstrap")?.as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

/// An error with its causes, and what to do about it where that is known.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let source_text = source.to_string();
        if !text.contains(&source_text) {
            text = format!("{text}: {source_text}");
        }
        next = source.source();
    }
    match tls::explain(error) {
        Some(advice) => format!("{text} ({advice})"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_bootstrap_is_noticed() {
        let good = json!({"bootstrap": BASE64.encode("admin: {}"), "future": 1}).to_string();
        assert_eq!(
            read_bootstrap(good.as_bytes()).as_deref(),
            Some("admin: {}")
        );
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"bootstrap": "%"}"#,
            r#"{"bootstrap": "//8="}"#,
        ] {
            assert_eq!(read_bootstrap(body.as_bytes()), None, "{body}");
        }
    }
}
