//! Steady requests, and what became of each.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{TlsClient, eventually};

/// How long a client waits between its requests, so that it measures a gateway and not the
/// machine.
const PAUSE: Duration = Duration::from_millis(3);
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// After this many requests a client opens a new connection, as new clients do all the time.
const REQUESTS_PER_CONNECTION: usize = 20;

/// How many requests had which outcome: `200 cart-1`, `404`, or an error's text.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    counts: BTreeMap<String, u64>,
    /// The longest that a request took.
    pub slowest: Duration,
}

impl Tally {
    /// All requests.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Requests whose outcome is none of `expected`; an expected text is the start of an outcome.
    pub fn other_than(&self, expected: &[&str]) -> u64 {
        let is_other = |outcome: &str| !expected.iter().any(|start| outcome.starts_with(start));
        let other = self.counts.iter().filter(|(text, _)| is_other(text));
        other.map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests, the slowest {:?}:",
            self.total(),
            self.slowest
        )?;
        for (outcome, count) in &self.counts {
            write!(f, "\n  {count:>7} × {outcome}")?;
        }
        Ok(())
    }
}

/// Clients that ask a gateway over and over until they are stopped.
#[derive(Debug)]
pub struct Load {
    tally: Arc<Mutex<Tally>>,
    clients: JoinSet<()>,
    is_stopped: Arc<AtomicBool>,
}

impl Load {
    /// Starts `clients` clients that ask `at` for `path` under `host`.
    pub fn start(at: SocketAddr, host: &str, path: &str, clients: usize) -> Self {
        Self::start_each(clients, |_| Client {
            via: Via::Http(format!("http://{at}{path}")),
            host: host.to_owned(),
        })
    }

    /// The same over TLS. Every second client keeps its connection for good, and an answer that
    /// does not come on it is an outcome of its own.
    pub fn start_tls(tls: &TlsClient, host: &str, path: &str, clients: usize) -> Self {
        Self::start_each(clients, |number| Client {
            via: Via::Tls {
                tls: tls.clone(),
                path: path.to_owned(),
                is_kept: number % 2 == 0,
            },
            host: host.to_owned(),
        })
    }

    fn start_each(clients: usize, client: impl Fn(usize) -> Client) -> Self {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let is_stopped = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..clients {
            let run = Run {
                tally: Arc::clone(&tally),
                is_stopped: Arc::clone(&is_stopped),
            };
            tasks.spawn(client(number).run(run));
        }
        Self {
            tally,
            clients: tasks,
            is_stopped,
        }
    }

    /// What became of the requests so far.
    pub fn so_far(&self) -> Tally {
        self.tally.lock().clone()
    }

    /// Waits until `count` more requests have had their outcome.
    ///
    /// # Panics
    /// When they have not in time.
    pub async fn go_on_for(&self, count: u64) {
        let goal = self.so_far().total() + count;
        eventually("requests flow", async || match self.so_far() {
            tally if tally.total() >= goal => Ok(()),
            tally => Err(tally),
        })
        .await;
    }

    /// Stops the clients, each after the request that it is at; what became of all.
    pub async fn stop(mut self) -> Tally {
        self.is_stopped.store(true, Ordering::Relaxed);
        while self.clients.join_next().await.is_some() {}
        self.tally.lock().clone()
    }
}

struct Client {
    via: Via,
    host: String,
}

enum Via {
    /// The URL.
    Http(String),
    Tls {
        tls: TlsClient,
        path: String,
        is_kept: bool,
    },
}

struct Run {
    tally: Arc<Mutex<Tally>>,
    is_stopped: Arc<AtomicBool>,
}

impl Run {
    fn is_on(&self) -> bool {
        !self.is_stopped.load(Ordering::Relaxed)
    }

    /// Counts a request, and waits until it is time for the next.
    async fn count(&self, outcome: String, took: Duration) {
        {
            let mut tally = self.tally.lock();
            *tally.counts.entry(outcome).or_default() += 1;
            tally.slowest = tally.slowest.max(took);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Client {
    async fn run(self, run: Run) {
        match &self.via {
            Via::Http(url) => self.over_http(url, &run).await,
            Via::Tls { tls, path, is_kept } => self.over_tls(tls, path, *is_kept, &run).await,
        }
    }

    async fn over_http(&self, url: &str, run: &Run) {
        while run.is_on() {
            let http = reqwest::Client::builder()
                .no_proxy()
                .timeout(PATIENCE)
                .build()
                .expect("a client without TLS");
            for _ in 0..REQUESTS_PER_CONNECTION {
                let start = Instant::now();
                let outcome = self.ask(&http, url).await;
                run.count(outcome, start.elapsed()).await;
            }
        }
    }

    async fn over_tls(&self, tls: &TlsClient, path: &str, is_kept: bool, run: &Run) {
        while run.is_on() {
            let start = Instant::now();
            let mut connection = match in_time(tls.connect()).await {
                Ok(connection) => connection,
                Err(error) => {
                    let outcome = format!("cannot connect: {error:#}");
                    run.count(outcome, start.elapsed()).await;
                    continue;
                }
            };
            let mut left = REQUESTS_PER_CONNECTION;
            while run.is_on() && (is_kept || left > 0) {
                left = left.saturating_sub(1);
                let start = Instant::now();
                match in_time(connection.get(&self.host, path)).await {
                    Ok(response) => {
                        let outcome = outcome(response.status(), response.headers());
                        run.count(outcome, start.elapsed()).await;
                    }
                    Err(error) => {
                        let outcome = format!("the connection broke: {error:#}");
                        run.count(outcome, start.elapsed()).await;
                        break;
                    }
                }
            }
        }
    }

    async fn ask(&self, http: &reqwest::Client, url: &str) -> String {
        let answer = async {
            let response = http.get(url).header("host", &self.host).send().await?;
            let outcome = outcome(response.status(), response.headers());
            response.bytes().await?;
            Ok(outcome)
        };
        answer
            .await
            .unwrap_or_else(|error: reqwest::Error| format!("{:#}", anyhow::Error::new(error)))
    }
}

async fn in_time<T>(what: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(PATIENCE, what).await?
}

/// `200 cart-1`: the status, and who answered.
fn outcome(status: StatusCode, headers: &HeaderMap) -> String {
    let backend = headers.get("x-backend");
    match backend.and_then(|name| name.to_str().ok()) {
        Some(name) => format!("{} {name}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}
