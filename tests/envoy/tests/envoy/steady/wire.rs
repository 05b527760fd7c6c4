//! Backends and clients that cost so little that two cores carry thousands of requests a second:
//! HTTP/1.1 by hand over kept connections, without bodies.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

/// After this many requests a client opens a new connection, as new clients do all the time.
const PER_CONNECTION: u32 = 50;
/// A gateway that takes longer has lost the request.
const PATIENCE: Duration = Duration::from_secs(10);

/// A service's endpoint, which answers everything with its name in `x-backend`.
pub(super) struct Endpoint {
    name: String,
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Endpoint {
    pub(super) async fn start(name: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let answer = format!("HTTP/1.1 200 OK\r\nx-backend: {name}\r\ncontent-length: 0\r\n\r\n");
        let answer: Arc<[u8]> = answer.into_bytes().into();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&answer)));
            }
        });
        Ok(Self {
            name: name.to_owned(),
            address,
            _serving: serving,
        })
    }

    pub(super) fn dataplane(&self, service: &str) -> Value {
        json!({
            "type": "Dataplane", "mesh": "default", "name": self.name,
            "networking": {
                "address": self.address.ip().to_string(),
                "inbound": [{
                    "port": self.address.port(),
                    "tags": {"kuma.io/service": service, "kuma.io/protocol": "http"},
                }],
            },
        })
    }
}

async fn serve(mut stream: TcpStream, answer: Arc<[u8]>) -> io::Result<()> {
    let mut received = Vec::new();
    while head(&mut stream, &mut received).await?.is_some() {
        stream.write_all(&answer).await?;
    }
    Ok(())
}

/// Reads up to the end of a head. `None` if the stream ends before it begins.
async fn head(stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = received.split_off(end + 4);
            let head = std::mem::replace(received, rest);
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
        let mut buffer = [0; 2048];
        match stream.read(&mut buffer).await? {
            0 if received.is_empty() => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => received.extend_from_slice(&buffer[..count]),
        }
    }
}

/// What became of the requests for one thing: `200 cart`, `404`, `no listener`, or what broke.
pub(super) type Outcomes = BTreeMap<String, u64>;

/// Steady requests for some paths.
pub(super) struct Steady {
    outcomes: Vec<Arc<Mutex<Outcomes>>>,
    is_stopped: Arc<AtomicBool>,
    clients: JoinSet<()>,
    began: Instant,
}

/// What clients ask for.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) at: SocketAddr,
    pub(super) host: &'static str,
    pub(super) path: &'static str,
}

impl Steady {
    /// Starts clients for each of `asks`, which send a request every `every`, if they can.
    pub(super) fn start(asks: &[Ask], clients: usize, every: Duration) -> Self {
        let outcomes: Vec<_> = asks.iter().map(|_| Arc::default()).collect();
        let is_stopped = Arc::new(AtomicBool::new(false));
        let mut running = JoinSet::new();
        for (ask, outcomes) in asks.iter().zip(&outcomes) {
            for _ in 0..clients {
                let client = Client {
                    ask: ask.clone(),
                    outcomes: Arc::clone(outcomes),
                    is_stopped: Arc::clone(&is_stopped),
                };
                running.spawn(client.run(every));
            }
        }
        Self {
            outcomes,
            is_stopped,
            clients: running,
            began: Instant::now(),
        }
    }

    /// Stops the clients, each after the request that it is at: what became of all requests, in
    /// the order of the asks, and how many there were in a second.
    pub(super) async fn stop(mut self) -> (Vec<Outcomes>, f64) {
        self.is_stopped.store(true, Ordering::Relaxed);
        while self.clients.join_next().await.is_some() {}
        let outcomes: Vec<_> = self.outcomes.iter().map(|one| one.lock().clone()).collect();
        let all: u64 = outcomes.iter().flat_map(BTreeMap::values).sum();
        let seconds = self.began.elapsed().as_secs_f64();
        let rate = f64::from(u32::try_from(all).unwrap_or(u32::MAX)) / seconds;
        (outcomes, rate)
    }
}

struct Client {
    ask: Ask,
    outcomes: Arc<Mutex<Outcomes>>,
    is_stopped: Arc<AtomicBool>,
}

impl Client {
    async fn run(self, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let Ask { at, host, path } = self.ask;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        while !self.is_stopped.load(Ordering::Relaxed) {
            let mut stream = match TcpStream::connect(at).await {
                Ok(stream) => stream,
                Err(_) => {
                    self.count("no listener".to_owned());
                    ticks.tick().await;
                    continue;
                }
            };
            for number in 0..PER_CONNECTION {
                ticks.tick().await;
                if self.is_stopped.load(Ordering::Relaxed) {
                    return;
                }
                let asked = ask(&mut stream, request.as_bytes());
                let answer = match tokio::time::timeout(PATIENCE, asked).await {
                    Ok(Ok(Some(head))) => head,
                    // The gateway closed a connection that was idle, or one that nobody took
                    // because its listener went: no request was lost.
                    Ok(Ok(None)) => {
                        if number == 0 {
                            self.count("no listener".to_owned());
                        }
                        break;
                    }
                    Ok(Err(error)) if number == 0 && is_reset(&error) => {
                        self.count("no listener".to_owned());
                        break;
                    }
                    Ok(Err(error)) => {
                        self.count(format!("the connection broke: {error}"));
                        break;
                    }
                    Err(_) => {
                        self.count(format!("no answer within {PATIENCE:?}"));
                        break;
                    }
                };
                self.count(outcome(&answer));
                if answer.contains("connection: close") || !answer.contains("content-length: 0") {
                    break;
                }
            }
        }
    }

    fn count(&self, outcome: String) {
        *self.outcomes.lock().entry(outcome).or_default() += 1;
    }
}

fn is_reset(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset)
}

async fn ask(stream: &mut TcpStream, request: &[u8]) -> io::Result<Option<String>> {
    stream.write_all(request).await?;
    head(stream, &mut Vec::new()).await
}

/// `200 cart`: the status, and who answered.
fn outcome(head: &str) -> String {
    let status = head.split(' ').nth(1).unwrap_or_default();
    let backend = head
        .lines()
        .find_map(|line| line.strip_prefix("x-backend: "));
    match backend {
        Some(backend) => format!("{status} {backend}"),
        None => status.to_owned(),
    }
}
