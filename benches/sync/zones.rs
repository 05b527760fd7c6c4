//! Zones in this process: the KDS client of a zone control plane, over a socket and TLS, with a
//! store each.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use mesh_kds::client::{self, Client, Target, Token};
use mesh_kds::peer::{NodeInfo, own_features};
use mesh_model::{Key, MeshName, ResourceName, ResourceType, ZoneName};
use mesh_runtime::backoff::Backoff;
use mesh_runtime::shutdown::{self, Trigger};
use mesh_runtime::tls::{self, Trust};
use mesh_store::{Change, Disk, Memory, Role, SharedStore, Snapshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long anything may take before a bench gives up.
const DEADLINE: Duration = Duration::from_secs(300);

/// A zone that follows the global.
#[derive(Debug)]
pub(crate) struct Zone {
    /// What it holds.
    pub(crate) store: SharedStore,
    trigger: Trigger,
    task: JoinHandle<()>,
}

/// Where zones keep what they hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Keep<'a> {
    /// In memory.
    Memory,
    /// On disk, below this directory.
    Disk(&'a Path),
}

impl Zone {
    /// A zone of this number, which connects at once.
    pub(crate) async fn start(
        number: usize,
        global: &crate::global::Global,
        at: SocketAddr,
        keep: Keep<'_>,
    ) -> anyhow::Result<Self> {
        let name = format!("zone-{number}");
        let store: SharedStore = match keep {
            Keep::Memory => Arc::new(Memory::new()),
            Keep::Disk(dir) => {
                let dir = dir.join(&name);
                let opened = tokio::task::spawn_blocking(move || Disk::open(&dir, Role::Zone));
                Arc::new(opened.await??)
            }
        };
        let tls = tls::client_config(&Trust::Ca(global.ca()?), &[tls::ALPN_H2])?;
        let token = global.admin().zone_token(&name).await?;
        let client = Client::new(client::Config {
            zone: ZoneName::parse(&name).context("a name")?,
            target: Target {
                host: "localhost".to_owned(),
                port: at.port(),
                tls: Some(tls),
                max_message: 10 << 20,
            },
            node: NodeInfo {
                id: name,
                features: own_features(),
                instance_id: format!("bench-{number}"),
                ..NodeInfo::default()
            },
            store_id: store.id().0,
            store: Arc::clone(&store),
            metrics: mesh_kds::Metrics::default(),
        })
        .with_token(Token::Inline(token.into()));
        let (trigger, shutdown) = shutdown::channel();
        let task = tokio::spawn(async move {
            client.run(Backoff::reconnect(), shutdown).await;
        });
        Ok(Self {
            store,
            trigger,
            task,
        })
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.trigger.trigger();
        self.task.await?;
        Ok(())
    }

    /// Waits until it holds so many routes.
    pub(crate) async fn holds(&self, routes: usize) -> anyhow::Result<Instant> {
        self.reaches(|snapshot| snapshot.list(ResourceType::MeshGatewayRoute).count() == routes)
            .await
    }

    /// Waits for a state of its store, and says when it was there.
    pub(crate) async fn reaches(
        &self,
        is_there: impl Fn(&Snapshot) -> bool,
    ) -> anyhow::Result<Instant> {
        let mut states = self.store.watch();
        let wait = states.wait_for(is_there);
        let reached = tokio::time::timeout(DEADLINE, wait).await;
        drop(reached.context("a zone does not follow")??);
        Ok(Instant::now())
    }
}

/// The key of a route by the name that its global gave it, as zones hold it.
pub(crate) fn held_route(name: &str) -> Key {
    let hashed = mesh_model::hash_suffix::hashed_name("default", name, &[]);
    Key::in_mesh(
        ResourceType::MeshGatewayRoute,
        MeshName::parse("default").expect("a name"),
        ResourceName::parse(&hashed).expect("a name"),
    )
}

/// So many zones at once.
pub(crate) async fn start(
    count: usize,
    global: &crate::global::Global,
    at: SocketAddr,
    keep: Keep<'_>,
) -> anyhow::Result<Vec<Zone>> {
    let mut zones = Vec::with_capacity(count);
    for number in 0..count {
        zones.push(Zone::start(number, global, at, keep).await?);
    }
    Ok(zones)
}

/// Waits until all zones hold so many routes, and says when the last one did.
pub(crate) async fn all_hold(zones: &[Zone], routes: usize) -> anyhow::Result<Instant> {
    let mut last = Instant::now();
    for zone in zones {
        last = last.max(zone.holds(routes).await?);
    }
    Ok(last)
}

/// Counts what zones remove while it exists.
#[derive(Debug)]
pub(crate) struct Removals {
    count: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Removals {
    /// Watches these zones.
    pub(crate) fn watch(zones: &[Zone]) -> Self {
        let count = Arc::new(AtomicUsize::new(0));
        let watch = |zone: &Zone| {
            let count = Arc::clone(&count);
            let mut states = zone.store.watch();
            tokio::spawn(async move {
                let mut seen = states.borrow_and_update().clone();
                while states.changed().await.is_ok() {
                    let now = states.borrow_and_update().clone();
                    let gone = now
                        .changes_since(&seen)
                        .filter(|change| matches!(change, Change::Deleted { .. }))
                        .count();
                    count.fetch_add(gone, Ordering::Relaxed);
                    seen = now;
                }
            })
        };
        let tasks = zones.iter().map(watch).collect();
        Self { count, tasks }
    }

    /// How many there were.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Removals {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
