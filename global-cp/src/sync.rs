//! The KDS server: zones connect here, take what the global owns and report what they own.

mod zone_book;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::Links;
use mesh_kds::LinkStatus;
use mesh_kds::peer::{CpVersion, NodeInfo, own_features};
use mesh_kds::server::{Config, Server, ZoneAuth};
use mesh_model::ZoneName;
use mesh_runtime::serve::{self, Options};
use mesh_runtime::shutdown::Shutdown;
use mesh_runtime::{tls, version};
use mesh_store::SharedStore;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::zone_book::ZoneBook;

/// What the server is made of.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The global's resources.
    pub(crate) store: SharedStore,
    /// This process.
    pub(crate) instance_id: String,
    /// Where zones connect.
    pub(crate) listener: TcpListener,
    /// `None` for plaintext.
    pub(crate) tls: Option<tls::Identity>,
    /// The largest message to send or take, in bytes.
    pub(crate) max_message: usize,
    /// How many subscriptions of a zone are kept.
    pub(crate) subscription_limit: usize,
    /// How long the counters of a zone may wait before they are written.
    pub(crate) flush_interval: Duration,
    /// What is counted.
    pub(crate) metrics: mesh_kds::Metrics,
    /// Who may speak for a zone.
    pub(crate) auth: ZoneAuth,
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
            instance_id,
            listener,
            tls,
            max_message,
            subscription_limit,
            flush_interval,
            metrics,
            auth,
        } = settings;
        let address = listener.local_addr()?;
        let book = Arc::new(ZoneBook::new(
            Arc::clone(&store),
            &instance_id,
            subscription_limit,
            flush_interval,
        ));
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
            node,
            max_message,
            metrics,
            auth,
        };
        let server = Server::new(config, shutdown.clone());
        let router = server.routes().into_axum_router();
        let tls = tls.as_ref().map(tls::server_config);
        tasks.spawn(serve::serve(
            listener,
            tls,
            router,
            Options::default(),
            shutdown.clone(),
        ));
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

    /// Where the connections of zones stand, now and whenever it is asked.
    pub(crate) fn links(&self) -> Links {
        let server = self.server.clone();
        Links::new(move || {
            let links = server.links();
            links.iter().map(LinkStatus::to_json).collect()
        })
    }

    /// Ends the streams of a zone that was deleted; it may connect again.
    pub(crate) fn evict(&self, zone: &ZoneName) {
        self.server.evict(zone);
    }
}
