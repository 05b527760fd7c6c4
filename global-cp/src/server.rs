//! The whole control plane: what it listens on, what runs inside, how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use mesh_api::{Context, Metrics, Mode, Reports, Settings};
use mesh_model::{ResourceType, ZoneName};
use mesh_runtime::config::Config;
use mesh_runtime::serve::{self, Options};
use mesh_runtime::shutdown::{self, Shutdown, Trigger};
use mesh_runtime::{clock, diagnostics, instance, tls};
use mesh_store::{Change, SharedStore};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;

use crate::defaults::{self, Wanted};
use crate::insights;
use crate::policy::Rules;
use crate::startup::{self, Listeners};
use crate::sync::{self, Sync};

/// Where a control plane can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The admin API in the clear; none when switched off.
    pub http: Option<SocketAddr>,
    /// The admin API over TLS; none when switched off.
    pub https: Option<SocketAddr>,
    /// Health and metrics.
    pub diagnostics: SocketAddr,
    /// Zones.
    pub kds: SocketAddr,
}

/// A running global control plane. Dropping it ends it at once; [`GlobalCp::stop`] is kinder.
#[derive(Debug)]
pub struct GlobalCp {
    addresses: Addresses,
    store: SharedStore,
    tasks: JoinSet<()>,
    trigger: Trigger,
}

/// Runs a global control plane until `shutdown`.
///
/// # Errors
/// When it cannot start, or a part of it ends by itself.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut running = GlobalCp::start(config).await?;
    let failed = tokio::select! {
        () = shutdown.wait() => None,
        error = running.failed() => Some(error),
    };
    running.stop().await;
    match failed {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

impl GlobalCp {
    /// Starts everything. When it returns, every port is bound (0 took a free one) and served.
    ///
    /// # Errors
    /// When the store or a certificate cannot be opened, or a port cannot be bound.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        tracing::info!(config = %config.to_json(), "configuration");
        let (store, disk) = startup::open_store(&config).await?;
        let listeners = Listeners::bind(&config)?;
        let (http, https, diagnostics) = listeners.addresses()?;
        let identities = startup::load_identities(&config).await?;
        let wanted = Wanted {
            mesh: !config.defaults.skip_mesh_creation,
            admin_token: config.api_server.authn.tokens.bootstrap_admin_token,
        };
        defaults::ensure(store.as_ref(), wanted, clock::now()).await?;

        let (trigger, shutdown) = shutdown::channel();
        let mut tasks = JoinSet::new();
        let kds = &config.multizone.global.kds;
        let kds_metrics = mesh_kds::Metrics::default();
        let turned_away = Counter::default();
        let sync = Sync::start(
            sync::Settings {
                store: Arc::clone(&store),
                listener: listeners.kds,
                tls: identities.kds,
                max_message: usize::try_from(kds.max_msg_size)?,
                insights: sync::InsightSettings {
                    instance_id: instance::instance_id().to_owned(),
                    subscription_limit: usize::try_from(config.metrics.zone.subscription_limit)?,
                    compacts: config.metrics.zone.compact_finished_subscriptions,
                    flush_interval: kds.zone_insight_flush_interval,
                    idle_timeout: config.metrics.zone.idle_timeout,
                },
                health: sync::Health {
                    interval: kds.zone_health_check.poll_interval,
                    timeout: kds.zone_health_check.timeout,
                },
                metrics: kds_metrics.clone(),
                auth: sync::auth_of(kds),
                turned_away: turned_away.clone(),
            },
            &mut tasks,
            shutdown.clone(),
        )
        .await
        .context("cannot serve zones")?;
        let addresses = Addresses {
            http,
            https,
            diagnostics,
            kds: sync.address(),
        };
        let reports = sync.reports();
        let proxies = sync.proxies(Arc::clone(&store));
        let receipts = sync.receipts(Arc::clone(&store));
        tasks.spawn(insights::keep(Arc::clone(&store), shutdown.clone()));
        tasks.spawn(evict_deleted_zones(
            Arc::clone(&store),
            sync,
            shutdown.clone(),
        ));

        let metrics = Metrics::new();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        kds_metrics.register(&mut registry);
        registry.register(
            "kds_connections_turned_away",
            "Connections closed because no call was let in in time, or too many from one address",
            turned_away,
        );
        mesh_store::register_metrics(&mut registry, Arc::clone(&store), disk);
        let router = mesh_api::router(Context {
            proxies: Some(proxies),
            receipts: Some(receipts),
            ..context(&config, Arc::clone(&store), metrics, reports)
        });
        if let Some(listener) = listeners.http {
            let router = router.clone();
            let options = Options::default();
            tasks.spawn(serve::serve(
                listener,
                None,
                router,
                options,
                shutdown.clone(),
            ));
        }
        if let (Some(listener), Some(identity)) = (listeners.https, identities.api) {
            let tls = Some(tls::server_config(&identity));
            tasks.spawn(identity.follow(shutdown.clone(), |_| ()));
            let options = Options::default();
            tasks.spawn(serve::serve(
                listener,
                tls,
                router,
                options,
                shutdown.clone(),
            ));
        }
        let is_ready = Arc::new(AtomicBool::new(false));
        let question = Arc::clone(&is_ready);
        let asked = shutdown.clone();
        let router = diagnostics::router(Arc::new(registry), move || {
            question.load(Ordering::Acquire) && !asked.is_triggered()
        });
        let options = Options::default();
        tasks.spawn(serve::serve(
            listeners.diagnostics,
            None,
            router,
            options,
            shutdown,
        ));
        is_ready.store(true, Ordering::Release);
        tracing::info!(
            api.http = ?addresses.http,
            api.https = ?addresses.https,
            diagnostics = %addresses.diagnostics,
            kds = %addresses.kds,
            store.id = %store.id(),
            store.revision = %store.snapshot().revision(),
            "the global control plane is ready"
        );
        Ok(Self {
            addresses,
            store,
            tasks,
            trigger,
        })
    }

    /// Where it can be reached.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its resources.
    pub fn store(&self) -> &SharedStore {
        &self.store
    }

    /// Resolves when a part of it ends although nobody asked for that.
    pub async fn failed(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Err(error)) => anyhow::Error::new(error).context("a part of the process failed"),
            Some(Ok(())) | None => anyhow::anyhow!("a part of the process ended by itself"),
        }
    }

    /// Ends it: streams and requests come to their end, then the store is closed.
    pub async fn stop(mut self) {
        self.trigger.trigger();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a part of the process failed while it was stopping");
            }
        }
        let store = self.store;
        // Closing a store waits for the disk.
        if let Err(error) = tokio::task::spawn_blocking(move || drop(store)).await {
            tracing::error!(%error, "closing the store failed");
        }
        tracing::info!("the global control plane has stopped");
    }
}

/// The largest resource for which a message to a zone has room, beside its envelope and what
/// else a message says.
fn largest_resource(max_message: u32) -> usize {
    const ROOM: usize = 64 << 10;
    let max = usize::try_from(max_message).unwrap_or(usize::MAX);
    max.saturating_sub(ROOM).max(max / 2)
}

fn context(config: &Config, store: SharedStore, metrics: Metrics, reports: Reports) -> Context {
    let api = &config.api_server;
    let proxies = &config.dp_server.authn;
    Context {
        store,
        mode: Mode::Global,
        admission: Arc::new(Rules {
            deletes_what_is_in_use: config.store.unsafe_delete,
        }),
        settings: Settings {
            localhost_is_admin: api.authn.localhost_is_admin,
            issues_dataplane_tokens: proxies.dp_proxy.dp_token.enable_issuer,
            issues_zone_tokens: proxies.zone_proxy.zone_token.enable_issuer,
            issues_user_tokens: api.authn.tokens.enable_issuer,
            base_path: api.base_path.clone(),
            cors_allowed_domains: api.cors_allowed_domains.clone(),
            max_resource: Some(largest_resource(config.multizone.global.kds.max_msg_size)),
            ..Settings::default()
        },
        config: config.to_json(),
        hostname: instance::hostname(),
        instance_id: instance::instance_id().to_owned(),
        now: clock::now,
        metrics,
        reports,
        receipts: None,
        proxies: None,
    }
}

/// Ends the streams of zones that were deleted while they were connected.
async fn evict_deleted_zones(store: SharedStore, sync: Sync, shutdown: Shutdown) {
    let mut states = store.watch();
    let mut seen = states.borrow_and_update().clone();
    loop {
        tokio::select! {
            () = shutdown.wait() => return,
            // The store is kept here, so it does not close.
            _ = states.changed() => {}
        }
        let now = states.borrow_and_update().clone();
        for change in now.changes_since(&seen) {
            if let Change::Deleted { old } = &change
                && old.key().ty() == ResourceType::Zone
                && let Ok(zone) = ZoneName::parse(old.key().name().as_str())
            {
                tracing::info!(zone.name = %zone, "the zone was deleted: ending its streams");
                sync.evict(&zone);
            }
        }
        seen = now;
    }
}
