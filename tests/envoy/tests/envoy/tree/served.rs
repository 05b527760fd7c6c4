//! An Envoy without a control plane that serves tables, and a client that sends bytes as they are:
//! other clients would put the paths in order first.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Context as _;
use mesh_harness::process::Process;
use mesh_harness::{DEADLINE, envoy, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::tables::Table;

/// A running Envoy.
pub(super) struct Served {
    /// Where the list and the tree of each table are, by position.
    places: Vec<[Place; 2]>,
    first: u64,
    _process: Process,
    _files: TempDir,
}

/// Where a table is served.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place(SocketAddr);

/// What says which route was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// 0 if the connection was closed instead.
    pub(super) status: u16,
    pub(super) location: String,
    body: String,
    /// Whether Envoy closes the connection after it.
    is_last: bool,
}

impl Served {
    /// Starts it with tables, the seed of the first of which is `first`, and those of the others
    /// follow.
    pub(super) async fn start(tables: &[Table], first: u64) -> anyhow::Result<Self> {
        let files = tempfile::tempdir()?;
        let config = files.path().join("envoy.json");
        tokio::fs::write(&config, bootstrap(tables)?.to_string()).await?;
        let admin_file = files.path().join("admin");
        let mut command = Command::new(envoy());
        command
            .arg("--config-path")
            .arg(&config)
            .arg("--admin-address-path")
            .arg(&admin_file)
            .args(["--concurrency", "1", "--use-dynamic-base-id"])
            .args(["--log-level", "error"]);
        let process = Process::start_command(&mut command, [])?;
        let ports = eventually("Envoy serves the tables", async || {
            let ports = ports(&admin_file).await;
            let log = process.log().await;
            let ports = ports.with_context(|| log)?;
            anyhow::ensure!(ports.len() == 2 * tables.len(), "{} listeners", ports.len());
            anyhow::Ok(ports)
        })
        .await;
        let place = |table: usize, variant: usize| {
            let at = ports.get(&name(table, variant));
            at.copied().map(Place).context("a listener for each")
        };
        let places = (0..tables.len()).map(|n| Ok([place(n, 0)?, place(n, 1)?]));
        Ok(Self {
            places: places.collect::<anyhow::Result<_>>()?,
            first,
            _process: process,
            _files: files,
        })
    }

    /// Where the table of a seed is, as a list and as a tree.
    pub(super) fn places(&self, seed: u64) -> [Place; 2] {
        self.places[usize::try_from(seed - self.first).expect("it is one of these")]
    }
}

fn name(table: usize, variant: usize) -> String {
    format!("{table}-{}", ["list", "tree"][variant])
}

/// One configuration with the listeners of all tables.
fn bootstrap(tables: &[Table]) -> anyhow::Result<Value> {
    let mut listeners = Vec::new();
    let mut runtime = Value::Null;
    for (number, table) in tables.iter().enumerate() {
        for (variant, config) in table.both().into_iter().enumerate() {
            let mut listener = config["static_resources"]["listeners"][0].clone();
            anyhow::ensure!(listener.is_object(), "no listener: {config}");
            listener["name"] = json!(name(number, variant));
            listener["address"] =
                json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
            listeners.push(listener);
            runtime = config["layered_runtime"].clone();
        }
    }
    Ok(json!({
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {"listeners": listeners},
        "layered_runtime": runtime,
    }))
}

/// The listeners of an Envoy by name.
async fn ports(admin_file: &std::path::Path) -> anyhow::Result<BTreeMap<String, SocketAddr>> {
    let admin = tokio::fs::read_to_string(admin_file).await?;
    mesh_runtime::tls::install_crypto_provider();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("http://{admin}/listeners?format=json");
    let answer: Value = client.get(url).send().await?.json().await?;
    let statuses = answer["listener_statuses"].as_array();
    let of = |status: &Value| {
        let port = status["local_address"]["socket_address"]["port_value"].as_u64()?;
        let at = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).ok()?));
        Some((status["name"].as_str()?.to_owned(), at))
    };
    Ok(statuses.into_iter().flatten().filter_map(of).collect())
}

impl Place {
    /// The answer to each request, one after the other.
    pub(super) async fn ask(self, requests: &[Vec<u8>]) -> anyhow::Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut kept = None;
        for request in requests {
            let mut stream = match kept.take() {
                Some(stream) => stream,
                None => TcpStream::connect(self.0).await?,
            };
            let answer = exchange(&mut stream, request);
            let answer = tokio::time::timeout(DEADLINE, answer)
                .await
                .with_context(|| format!("no answer to {}", String::from_utf8_lossy(request)))??;
            if !answer.is_last {
                kept = Some(stream);
            }
            answers.push(answer);
        }
        Ok(answers)
    }
}

/// The answer to a request; Envoy may close the connection instead.
async fn exchange(stream: &mut TcpStream, request: &[u8]) -> anyhow::Result<Answer> {
    stream.write_all(request).await?;
    let mut buffer = Vec::new();
    loop {
        if let Some(answer) = parse(&buffer)? {
            return Ok(answer);
        }
        if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
            return Ok(Answer {
                status: 0,
                location: String::new(),
                body: String::new(),
                is_last: true,
            });
        }
    }
}

/// The answer in a buffer, if all of it is there.
fn parse(buffer: &[u8]) -> anyhow::Result<Option<Answer>> {
    let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&buffer[..end])?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let header = |wanted: &str| {
        let mut fields = lines.clone().filter_map(|line| line.split_once(": "));
        fields
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value)
    };
    let length = header("content-length").map_or(Ok(0), str::parse::<usize>)?;
    let (start, end) = (end + 4, end + 4 + length);
    let Some(body) = buffer.get(start..end) else {
        return Ok(None);
    };
    Ok(Some(Answer {
        status: status.context("a status")?.parse()?,
        location: header("location").unwrap_or_default().to_owned(),
        body: String::from_utf8_lossy(body).into_owned(),
        is_last: header("connection") == Some("close"),
    }))
}
