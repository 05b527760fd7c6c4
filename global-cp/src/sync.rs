//! The KDS server: zones connect here, take what the global owns and report what they own.

mod proxies;
mod receipts;
mod zone_book;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::{Receipts, Report, Reports};
use mesh_kds::LinkStatus;
use mesh_kds::peer::{CpVersion, NodeInfo, own_features};
use mesh_kds::server::{Config, Exempt, Server, Stale, ZoneAuth};
use mesh_model::ZoneName;
use mesh_runtime::config::{GlobalKds, ZoneAuthentication};
use mesh_runtime::proxy_admin::AskProxy;
use mesh_runtime::serve::{self, Options, Strangers};
use mesh_runtime::shutdown::Shutdown;
use mesh_runtime::{tls, version};
use mesh_store::SharedStore;
use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::proxies::Proxies;
use self::receipts::AllZones;
pub(crate) use self::zone_book::Settings as InsightSettings;
use self::zone_book::ZoneBook;

/// What the server is made of.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The global's resources.
    pub(crate) store: SharedStore,
    /// Where zones connect.
    pub(crate) listener: TcpListener,
    /// `None` for plaintext.
    pub(crate) tls: Option<tls::Identity>,
    /// The largest message to send or take, in bytes.
    pub(crate) max_message: usize,
    /// How the insights of zones are kept.
    pub(crate) insights: InsightSettings,
    /// When a zone that does not say that it is there is cut off.
    pub(crate) health: Health,
    /// What is counted.
    pub(crate) metrics: mesh_kds::Metrics,
    /// Who may speak for a zone.
    pub(crate) auth: ZoneAuth,
    /// Counts connections that were closed because nobody said in time, or on too many, which zone
    /// it is.
    pub(crate) turned_away: Counter,
}

/// How long a connection may take until one of its calls is let in, TLS included.
const STRANGER: Duration = Duration::from_secs(10);
/// How many connections that have not come so far one address may have. Zones behind one address
/// that all come back at once, after a restart of the global, take a place each for a moment.
const STRANGERS: usize = 256;
/// A zone has seven or eight calls.
const CALLS: u32 = 32;
/// The metadata of a call is the size of a zone token, and a little more.
const LARGEST_METADATA: u32 = 16 << 10;

/// Health checks of zones; zero is never.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Health {
    /// How often zones are asked to say that they are there, and looked after.
    pub(crate) interval: Duration,
    /// The streams of a zone end that has not for so long.
    pub(crate) timeout: Duration,
}

/// Ends the streams of zones that have promised health checks and make none, until shutdown. They
/// may connect again.
async fn cut_off_silent(health: Health, book: Arc<ZoneBook>, server: Server, shutdown: Shutdown) {
    let mut tick = tokio::time::interval(health.interval);
    loop {
        tokio::select! {
            () = shutdown.wait() => return,
            _ = tick.tick() => {}
        }
        for zone in book.silent(health.timeout) {
            tracing::warn!(
                zone.name = %zone,
                "no health check for {:?}; the zone's streams are ended \
                 (multizone.global.kds.zoneHealthCheck.timeout)",
                health.timeout
            );
            server.evict(&zone);
        }
    }
}

/// What peers may take of this server before it knows who they are, and after.
fn options(turned_away: Counter) -> Options {
    Options {
        handshake_timeout: STRANGER / 2,
        max_header_bytes: LARGEST_METADATA,
        max_concurrent_streams: CALLS,
        strangers: Some(Strangers {
            deadline: STRANGER,
            per_address: STRANGERS,
            turned_away,
        }),
        ..Options::default()
    }
}

/// What the configuration asks of zones.
pub(crate) fn auth_of(kds: &GlobalKds) -> ZoneAuth {
    match kds.auth.type_ {
        ZoneAuthentication::None => {
            tracing::warn!(
                "zones need no token: who reaches the port speaks for any zone \
                 (multizone.global.kds.auth.type)"
            );
            ZoneAuth::Off
        }
        ZoneAuthentication::CpToken => {
            let listed = &kds.allow_unauthenticated_zones;
            let exempt = if listed.iter().any(|name| name == "*") {
                Exempt::All
            } else {
                // The configuration is valid: each is a zone's name.
                let names = listed.iter().filter_map(|name| ZoneName::parse(name).ok());
                Exempt::Named(names.collect())
            };
            ZoneAuth::Token { exempt }
        }
    }
}

/// The running server.
#[derive(Debug)]
pub(crate) struct Sync {
    server: Server,
    address: SocketAddr,
}

impl Sync {
    /// Closes what an earlier run left open and serves zones in tasks of `tasks` until shutdown.
    ///
    /// # Errors
    /// When the store cannot write, or the listener has no address.
    pub(crate) async fn start(
        settings: Settings,
        tasks: &mut JoinSet<()>,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        let Settings {
            store,
            listener,
            tls,
            max_message,
            insights,
            health,
            metrics,
            auth,
            turned_away,
        } = settings;
        let address = listener.local_addr()?;
        let instance_id = insights.instance_id.clone();
        let book = Arc::new(ZoneBook::new(Arc::clone(&store), insights));
        book.close_leftovers().await?;
        let node = NodeInfo {
            id: String::new(),
            version: CpVersion {
                version: version::KUMA_VERSION.to_owned(),
                git_tag: version::GIT_TAG.to_owned(),
                git_commit: version::GIT_COMMIT.to_owned(),
                build_date: version::BUILD_DATE.to_owned(),
            },
            // What a zone may learn of its global's configuration: nothing.
            config: String::new(),
            features: own_features(),
            instance_id,
            store_id: Some(store.id().0),
        };
        let config = Config {
            store,
            book: book.clone(),
            health_interval: health.interval,
            node,
            max_message,
            metrics,
            auth,
        };
        let server = Server::new(config, shutdown.clone());
        let router = server.routes().into_axum_router();
        let server_tls = tls.as_ref().map(tls::server_config);
        if let Some(identity) = tls {
            tasks.spawn(identity.follow(shutdown.clone(), |_| ()));
        }
        tasks.spawn(serve::serve(
            listener,
            server_tls,
            router,
            options(turned_away),
            shutdown.clone(),
        ));
        if !health.timeout.is_zero() {
            let (book, server) = (Arc::clone(&book), server.clone());
            tasks.spawn(cut_off_silent(health, book, server, shutdown.clone()));
        }
        // The last word of a stream is written before the book is closed.
        let (closed, book_shutdown) = mesh_runtime::shutdown::channel();
        let streams = server.clone();
        tasks.spawn(async move {
            shutdown.wait().await;
            streams.drained().await;
            closed.trigger();
        });
        tasks.spawn(book.run(book_shutdown));
        Ok(Self { server, address })
    }

    /// Where zones connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How synchronisation with zones goes, whenever it is asked.
    pub(crate) fn reports(&self) -> Reports {
        let (links, findings) = (self.server.clone(), self.server.clone());
        Reports {
            links: Report::new(move || {
                let links = links.links();
                links.iter().map(LinkStatus::to_json).collect()
            }),
            findings: Report::new(move || {
                let lacks = findings.lacks();
                let lacks = lacks.iter().map(|(zone, lack)| lack.to_json(Some(zone)));
                lacks
                    .chain(findings.stale().iter().map(Stale::to_json))
                    .collect()
            }),
        }
    }

    /// Tells where resources are.
    pub(crate) fn receipts(&self, store: SharedStore) -> Arc<dyn Receipts> {
        Arc::new(AllZones::new(store, self.server.clone()))
    }

    /// The way to the proxies of zones.
    pub(crate) fn proxies(&self, store: SharedStore) -> Arc<dyn AskProxy> {
        Arc::new(Proxies::new(store, self.server.clone()))
    }

    /// Ends the streams of a zone that was deleted; it may connect again.
    pub(crate) fn evict(&self, zone: &ZoneName) {
        self.server.evict(zone);
    }
}
