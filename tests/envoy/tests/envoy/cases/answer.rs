//! What a request has to get.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context as _, bail, ensure};
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::Value;

use super::ask::{Answer, Ask};
use super::case::{Case, Request};
use super::world::World;

/// The gateway's tags, as backends are told.
const TAGS: &str = "&kuma.io/service=edge-gateway&&kuma.io/zone=zone-1&";

/// Shares are random; what is not shared out is exact.
const PERCENT_OFF: u64 = 12;

/// What is expected: all that is written, and no more.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Expected {
    /// An answer with this status that no backend gave.
    Status(u16),
    /// The answer 200 of this backend.
    Backend(String),
    Fields(Box<Fields>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fields {
    status: Option<u16>,
    /// Who answered.
    backend: Option<String>,
    /// The path with its query, the method and the version of HTTP that the backend saw; path and
    /// method are those that were asked, if nothing is said.
    path: Option<String>,
    method: Option<String>,
    http: Option<String>,
    /// Headers that the backend saw; several of one name are joined with commas, and a `*` at the
    /// end of a value stands for anything.
    #[serde(default)]
    seen: BTreeMap<String, String>,
    /// Headers that it did not see.
    #[serde(default)]
    unseen: Vec<String>,
    /// Headers of the answer.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Headers that it has not.
    #[serde(default)]
    without: Vec<String>,
    /// The header `location`.
    location: Option<String>,
    body: Option<String>,
    /// The name of the certificate that the server showed.
    certificate: Option<String>,
    /// The connection is refused, or closed without an answer.
    #[serde(default)]
    closed: bool,
    /// With `times`: how many percent each backend answers.
    #[serde(default)]
    shares: BTreeMap<String, u64>,
    /// With `parallel`: how many get the answer 200.
    answered: Option<usize>,
    /// How often each backend gets a copy.
    #[serde(default)]
    mirrored: BTreeMap<String, u64>,
}

impl Request {
    /// Sends it and looks at what comes back.
    pub(crate) async fn holds(
        &self,
        case: &Case,
        world: &World,
        gateway: IpAddr,
    ) -> anyhow::Result<()> {
        let fields = match &self.gets {
            Expected::Fields(fields) => fields,
            Expected::Status(status) => {
                let answer = self.ask.send(case, gateway).await?;
                same("status", answer.status, *status)?;
                return same("backend", answer.header("x-backend"), None);
            }
            Expected::Backend(backend) => &Fields {
                backend: Some(backend.clone()),
                ..Fields::default()
            },
        };
        if !fields.shares.is_empty() {
            return self.shares(&fields.shares, case, gateway).await;
        }
        if let Some(expected) = fields.answered {
            let parallel = self.ask.parallel.context("answered without parallel")?;
            let all = join_all((0..parallel).map(|_| self.ask.send(case, gateway))).await;
            let answered = all
                .into_iter()
                .flatten()
                .filter(|answer| answer.status == 200);
            return same("answered", answered.count(), expected);
        }
        let answer = match self.ask.send(case, gateway).await {
            Err(_) if fields.closed => return Ok(()),
            Ok(answer) if fields.closed => bail!("it answers {answer:?}"),
            answer => answer?,
        };
        fields.check(&answer, case, world)?;
        if fields.backend.is_some() {
            fields.check_untold(&self.ask, &answer, case)?;
        }
        for (backend, expected) in &fields.mirrored {
            // The copy may be on its way still; the caller asks again.
            let backend = world
                .http
                .get(backend.as_str())
                .context("no such backend")?;
            let wait = async {
                while backend.counted(&answer.id) < *expected {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            };
            let _ = tokio::time::timeout(std::time::Duration::from_secs(5), wait).await;
            same("copies", backend.counted(&answer.id), *expected)?;
        }
        Ok(())
    }

    async fn shares(
        &self,
        expected: &BTreeMap<String, u64>,
        case: &Case,
        gateway: IpAddr,
    ) -> anyhow::Result<()> {
        let times = self.ask.times.context("shares without times")?;
        let mut got: BTreeMap<String, u64> = BTreeMap::new();
        for _ in 0..times {
            let answer = self.ask.send(case, gateway).await?;
            let by = match answer.header("x-backend") {
                Some(backend) => backend,
                // What TCP backends say begins with their name.
                None if answer.status == 0 => {
                    answer.body.split(':').next().unwrap_or_default().to_owned()
                }
                None => answer.status.to_string(),
            };
            *got.entry(by).or_default() += 1;
        }
        for (backend, percent) in expected {
            let count = got.remove(backend).unwrap_or_default();
            let is_exact = matches!(percent, 0 | 100);
            let off = (count * 100 / u64::from(times)).abs_diff(*percent);
            ensure!(
                off <= if is_exact { 0 } else { PERCENT_OFF },
                "{backend} answers {count} of {times}, expected are {percent} %"
            );
        }
        ensure!(got.is_empty(), "others answer too: {got:?}");
        Ok(())
    }
}

impl Fields {
    fn check(&self, answer: &Answer, case: &Case, world: &World) -> anyhow::Result<()> {
        if let Some(status) = self.status {
            same("status", answer.status, status)?;
        } else if self.backend.is_some() {
            same("status", answer.status, 200)?;
        }
        if let Some(backend) = &self.backend {
            same(
                "backend",
                answer.header("x-backend").as_ref(),
                Some(backend),
            )?;
        }
        let echo: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        for (field, expected) in [
            ("path", &self.path),
            ("method", &self.method),
            ("http", &self.http),
        ] {
            if let Some(expected) = expected {
                same(field, echo[field].as_str(), Some(expected.as_str()))?;
            }
        }
        for (name, expected) in &self.seen {
            alike(name, seen(&echo, name), &case.with_ports(expected))?;
        }
        for name in &self.unseen {
            same(name, seen(&echo, name), None)?;
        }
        for (name, expected) in &self.headers {
            same(name, answer.header(name).as_ref(), Some(expected))?;
        }
        for name in &self.without {
            same(name, answer.header(name), None)?;
        }
        if let Some(expected) = &self.location {
            let expected = case.with_ports(expected);
            same("location", answer.header("location"), Some(expected))?;
        }
        if let Some(body) = &self.body {
            same("body", &answer.body, body)?;
        }
        if let Some(expected) = &self.certificate {
            let shown = answer
                .certificate
                .as_ref()
                .and_then(|shown| world.name_of(shown));
            same("certificate", shown, Some(expected.as_str()))?;
        }
        Ok(())
    }

    /// What a backend sees unless the case says otherwise: what was asked, with nothing but the
    /// headers of a proxy added.
    fn check_untold(&self, ask: &Ask, answer: &Answer, case: &Case) -> anyhow::Result<()> {
        let echo: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let (method, path) = ask.method_and_path();
        if self.method.is_none() {
            same("method", echo["method"].as_str().unwrap_or(method), method)?;
        }
        if self.path.is_none() && !answer.body.is_empty() {
            same("path", echo["path"].as_str(), Some(path))?;
        }
        let scheme = if case.protocol(ask.port) == "HTTPS" {
            "https"
        } else {
            "http"
        };
        let host = case.with_ports(ask.host());
        let usual = [
            ("host", host.as_str()),
            ("x-forwarded-proto", scheme),
            // Instead of a loopback address Envoy says one of the machine's.
            ("x-forwarded-for", "*"),
            ("x-envoy-internal", "true"),
            ("x-kuma-tags", TAGS),
        ];
        for (name, expected) in usual {
            let is_told = self.seen.contains_key(name) || self.unseen.iter().any(|n| n == name);
            if !is_told && !answer.body.is_empty() {
                alike(name, seen(&echo, name), expected)?;
            }
        }
        Ok(())
    }
}

/// The values of a header that an echoing backend saw, joined.
fn seen(echo: &Value, name: &str) -> Option<String> {
    let values = echo["seen"][name.to_ascii_lowercase()].as_array()?;
    let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
    Some(values.join(","))
}

/// What is expected may end with a `*` for anything.
fn alike(what: &str, got: Option<String>, expected: &str) -> anyhow::Result<()> {
    match expected.strip_suffix('*') {
        Some(start) if got.as_deref().is_some_and(|got| got.starts_with(start)) => Ok(()),
        _ => same(what, got.as_deref(), Some(expected)),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> anyhow::Result<()> {
    ensure!(
        got == expected,
        "{what} is {got:?}, expected is {expected:?}"
    );
    Ok(())
}
