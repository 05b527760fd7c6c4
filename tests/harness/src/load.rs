//! Steady requests, and what became of each.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::eventually;

/// How long a client waits between its requests, so that it measures a gateway and not the
/// machine.
const PAUSE: Duration = Duration::from_millis(3);
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
        let tally = Arc::new(Mutex::new(Tally::default()));
        let is_stopped = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let client = Client {
                url: format!("http://{at}{path}"),
                host: host.to_owned(),
                tally: Arc::clone(&tally),
                is_stopped: Arc::clone(&is_stopped),
            };
            tasks.spawn(client.run());
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
    url: String,
    host: String,
    tally: Arc<Mutex<Tally>>,
    is_stopped: Arc<AtomicBool>,
}

impl Client {
    async fn run(self) {
        while !self.is_stopped.load(Ordering::Relaxed) {
            let http = reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(10))
                .build()
                .expect("a client without TLS");
            for _ in 0..REQUESTS_PER_CONNECTION {
                let start = Instant::now();
                let outcome = self.ask(&http).await;
                self.count(outcome, start.elapsed());
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    fn count(&self, outcome: String, took: Duration) {
        let mut tally = self.tally.lock();
        *tally.counts.entry(outcome).or_default() += 1;
        tally.slowest = tally.slowest.max(took);
    }

    async fn ask(&self, http: &reqwest::Client) -> String {
        let answer = async {
            let response = http
                .get(&self.url)
                .header("host", &self.host)
                .send()
                .await?;
            let status = response.status().as_u16();
            let backend = response.headers().get("x-backend").cloned();
            response.bytes().await?;
            let backend = backend.as_ref().and_then(|name| name.to_str().ok());
            Ok(match backend {
                Some(name) => format!("{status} {name}"),
                None => status.to_string(),
            })
        };
        answer
            .await
            .unwrap_or_else(|error: reqwest::Error| format!("{:#}", anyhow::Error::new(error)))
    }
}
