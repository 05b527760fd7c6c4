//! The zone control plane as a whole: what is started, in which order, and how it ends.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mesh_api::{Context as ApiContext, Metrics, Mode, Report, Reports, Settings as ApiSettings};
use mesh_kds::LinkStatus;
use mesh_kds::client::{self, Client, State, Target, Token};
use mesh_kds::peer::{CpVersion, NodeInfo, own_features};
use mesh_model::ZoneName;
use mesh_runtime::backoff::Backoff;
use mesh_runtime::config::{Config, ProxyAuthentication, StoreType};
use mesh_runtime::proxy_admin::AskProxy;
use mesh_runtime::serve::{self, Options};
use mesh_runtime::shutdown::{self, Shutdown, Trigger};
use mesh_runtime::tls::{self, Identity, Trust};
use mesh_runtime::{clock, diagnostics, instance, version};
use mesh_store::{Disk, Memory, Role, SharedStore};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use zone_translate::Settings as GatewaySettings;

use crate::admission::ZoneRules;
use crate::dataplane::admin::{AdminAuthority, Asker, Places};
use crate::dataplane::ads::{self, Ads};
use crate::dataplane::auth::ProxyAuth;
use crate::dataplane::bootstrap::envoy::Params;
use crate::dataplane::bootstrap::{self, ServerCertificate};
use crate::dataplane::certificates::Certificates;
use crate::dataplane::live::Live;
use crate::dataplane::refused::RefusedRoutes;
use crate::dataplane::registration::Registrar;
use crate::dataplane::server;
use crate::inventory::insight::InsightBook;
use crate::metrics::Metrics as ProxyMetrics;

/// How long gateways wait after the last word of the control plane at shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// Where a zone control plane listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The admin API over HTTP, if it is on.
    pub api_http: Option<SocketAddr>,
    /// The admin API over HTTPS, if it is on.
    pub api_https: Option<SocketAddr>,
    /// Bootstrap and ADS.
    pub data_plane: SocketAddr,
    /// Health and metrics.
    pub diagnostics: SocketAddr,
}

/// A running zone control plane.
#[derive(Debug)]
pub struct ZoneCp {
    addresses: Addresses,
    certificate: String,
    store: SharedStore,
    global: Option<watch::Receiver<State>>,
    tasks: JoinSet<()>,
    shutdown: Shutdown,
}

/// Runs a zone control plane until `shutdown`.
///
/// # Errors
/// When it cannot start, or a part of it ends by itself.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    ZoneCp::start(config, shutdown).await?.run().await
}

impl ZoneCp {
    /// Starts everything. The store is loaded and all ports are bound when this returns.
    ///
    /// # Errors
    /// What could not be opened, bound or read, and what to do about it.
    pub async fn start(config: Config, shutdown: Shutdown) -> anyhow::Result<Self> {
        tls::install_crypto_provider();
        let (store, disk) = open_store(&config).await?;
        Starting {
            disk,
            zone: config.multizone.zone.name.clone(),
            instance_id: instance::instance_id().to_owned(),
            store,
            tasks: JoinSet::new(),
            shutdown,
            config,
        }
        .start()
        .await
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The certificate chain of the data-plane server, as PEM: what agents verify it with.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The zone's resources.
    pub fn store(&self) -> &SharedStore {
        &self.store
    }

    /// Where the connection to the global stands; `None` for a zone that runs alone.
    pub fn global(&self) -> Option<watch::Receiver<State>> {
        self.global.clone()
    }

    /// Runs until shutdown and until everything has ended.
    ///
    /// # Errors
    /// When a part ends before shutdown, which none should.
    pub async fn run(mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a part of the control plane panicked")?;
            if !self.shutdown.is_triggered() {
                bail!("a part of the control plane ended by itself");
            }
        }
        Ok(())
    }
}

/// What the parts are started from.
struct Starting {
    config: Config,
    zone: ZoneName,
    instance_id: String,
    store: SharedStore,
    /// The store again, if it is on disk.
    disk: Option<Arc<Disk>>,
    tasks: JoinSet<()>,
    shutdown: Shutdown,
}

impl Starting {
    async fn start(mut self) -> anyhow::Result<ZoneCp> {
        let identity = identity(
            self.config.dp_server_tls_files(),
            &self.config.general.work_dir,
        )?;
        let limit = self.config.metrics.dataplane.subscription_limit;
        let insights = Arc::new(InsightBook::new(
            Arc::clone(&self.store),
            &self.instance_id,
            to_usize(limit),
            self.config.xds_server.dataplane_status_flush_interval,
        ));
        insights
            .close_leftovers()
            .await
            .context("cannot close the insights of the last run")?;

        let mut registry = Registry::default();
        mesh_store::register_metrics(&mut registry, Arc::clone(&self.store), self.disk.take());
        let authority = self.admin_authority().await;
        let places = Arc::new(Places::default());
        let live = Arc::new(Live::default());
        let proxies = Arc::new(Asker::new(
            Arc::clone(&self.store),
            self.zone.clone(),
            Arc::clone(&places),
            self.config.bootstrap_server.params.admin_port,
            authority.clone(),
        ));
        let data_plane = self.start_data_plane(
            &identity,
            insights,
            (places, Arc::clone(&live), authority),
            &mut registry,
        )?;
        let (global, reports) = self.start_sync(&mut registry, proxies.clone(), live)?;
        let (api_http, api_https) = self.start_api(&mut registry, reports, proxies)?;
        let diagnostics = self.start_diagnostics(registry)?;

        let addresses = Addresses {
            api_http,
            api_https,
            data_plane,
            diagnostics,
        };
        tracing::info!(
            zone.name = %self.zone,
            store = %self.store.id(),
            revision = %self.store.snapshot().revision(),
            ?addresses,
            "zone {} is up",
            self.zone
        );
        Ok(ZoneCp {
            addresses,
            certificate: identity.cert_pem().to_string(),
            store: self.store,
            global,
            tasks: self.tasks,
            shutdown: self.shutdown,
        })
    }

    /// The port for proxies: bootstrap, ADS, goodbyes.
    fn start_data_plane(
        &mut self,
        identity: &Identity,
        insights: Arc<InsightBook>,
        (places, live, authority): (Arc<Places>, Arc<Live>, Option<Arc<AdminAuthority>>),
        registry: &mut Registry,
    ) -> anyhow::Result<SocketAddr> {
        let metrics = ProxyMetrics::default();
        metrics.register(registry);
        let settings = &self.config.dp_server;
        let listener = bind(serve::all_interfaces(settings.port), "KUMA_DP_SERVER_PORT")?;
        let address = listener.local_addr()?;
        let auth = match settings.authn.dp_proxy.type_ {
            ProxyAuthentication::DpToken => ProxyAuth::Token,
            ProxyAuthentication::None => ProxyAuth::Off,
        };
        let registrar = Arc::new(
            Registrar::new(
                Arc::clone(&self.store),
                self.zone.clone(),
                auth,
                self.shutdown.clone(),
            )
            .with_delay(self.config.xds_server.dataplane_deregistration_delay),
        );
        registrar.await_leftovers();
        let certificates = Arc::new(Certificates::open(
            &self.config.general.work_dir.join("gateway-certificates"),
        ));
        self.tasks
            .spawn(Arc::clone(&certificates).run(self.shutdown.clone()));
        let refused_routes = Arc::new(RefusedRoutes::open(
            &self.config.general.work_dir.join("refused-routes.json"),
        ));
        self.tasks
            .spawn(Arc::clone(&refused_routes).run(self.shutdown.clone()));
        let ads = Ads::new(
            ads::Config {
                certificates,
                refused_routes,
                places,
                live,
                authority,
                store: Arc::clone(&self.store),
                zone: self.zone.clone(),
                instance_id: self.instance_id.clone(),
                registrar: Arc::clone(&registrar),
                insights: Arc::clone(&insights),
                settings: gateway_settings(&self.config),
                metrics,
            },
            self.shutdown.clone(),
        );
        let certificate = self.follow_certificate(identity)?;
        let params = &self.config.bootstrap_server.params;
        let bootstrap = bootstrap::Context {
            store: Arc::clone(&self.store),
            certificate,
            token_required: auth == ProxyAuth::Token,
            registrar: Arc::clone(&registrar),
            params: Params {
                admin_address: params.admin_address.to_string(),
                admin_port: params.admin_port,
                xds_host: Some(params.xds_host.clone()).filter(|host| !host.is_empty()),
                xds_port: if params.xds_port == 0 {
                    address.port()
                } else {
                    params.xds_port
                },
                xds_connect_timeout: params.xds_connect_timeout,
                max_downstream_connections: u64::from(
                    self.config.proxy.gateway.global_downstream_max_connections,
                ),
                ..Params::default()
            },
        };
        let router = server::router(&ads, bootstrap, Arc::clone(&registrar));
        let options = Options {
            drain_deadline: DRAIN,
            ..Options::default()
        };
        let tls = Some(tls::server_config(identity));
        self.tasks.spawn(serve::serve(
            listener,
            tls,
            router,
            options,
            self.shutdown.clone(),
        ));

        // The last word of a stream is written before the book is closed.
        let (closed, book_shutdown): (Trigger, Shutdown) = shutdown::channel();
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            shutdown.wait().await;
            ads.drained().await;
            registrar.drained().await;
            closed.trigger();
        });
        self.tasks.spawn(insights.run(book_shutdown));
        Ok(address)
    }

    /// Follows the certificate of the data-plane server, for it and for what agents are told.
    fn follow_certificate(
        &mut self,
        identity: &Identity,
    ) -> anyhow::Result<watch::Receiver<ServerCertificate>> {
        let first = ServerCertificate::from_pem(&identity.cert_pem())
            .ok()
            .context("the certificate of the data-plane server is not a PEM certificate")?;
        let certificate = watch::Sender::new(first);
        let followed = certificate.subscribe();
        let on_change = move |pem: &str| match ServerCertificate::from_pem(pem) {
            Ok(next) => drop(certificate.send_replace(next)),
            Err(error) => tracing::warn!(%error, "agents are told of the certificate before"),
        };
        let following = identity.clone().follow(self.shutdown.clone(), on_change);
        self.tasks.spawn(following);
        Ok(followed)
    }

    /// The authority for the admin interfaces of Envoys. Without it a zone serves all the same.
    async fn admin_authority(&self) -> Option<Arc<AdminAuthority>> {
        let dir = self.config.general.work_dir.join("envoy-admin");
        match AdminAuthority::open(&self.store, dir, clock::now()).await {
            Ok(authority) => Some(Arc::new(authority)),
            Err(error) => {
                tracing::warn!(
                    "no config dumps, stats and clusters of Envoys on other machines: {error:#}"
                );
                None
            }
        }
    }

    /// The connection to the global, for a zone that has one.
    fn start_sync(
        &mut self,
        registry: &mut Registry,
        proxies: Arc<dyn AskProxy>,
        live: Arc<Live>,
    ) -> anyhow::Result<(Option<watch::Receiver<State>>, Reports)> {
        let settings = &self.config.multizone.zone;
        let Some(address) = &settings.global_address else {
            tracing::info!("no global address (multizone.zone.globalAddress): the zone runs alone");
            return Ok((None, Reports::default()));
        };
        let tls = address.is_tls().then(|| global_tls(settings)).transpose()?;
        let metrics = mesh_kds::Metrics::default();
        metrics.register(registry);
        let client = Client::new(client::Config {
            metrics,
            zone: self.zone.clone(),
            target: Target {
                host: address.host().to_owned(),
                port: address.port(),
                tls,
                max_message: to_usize(settings.kds.max_msg_size),
            },
            store_id: self.store.id().0,
            store: Arc::clone(&self.store),
            node: NodeInfo {
                id: self.zone.to_string(),
                version: CpVersion {
                    version: version::KUMA_VERSION.to_owned(),
                    git_tag: version::GIT_TAG.to_owned(),
                    git_commit: version::GIT_COMMIT.to_owned(),
                    build_date: version::BUILD_DATE.to_owned(),
                },
                config: self.config.to_json().to_string(),
                features: own_features(),
                instance_id: self.instance_id.clone(),
                store_id: None,
            },
        });
        let client = client.with_proxies(proxies).with_receipts(live);
        let client = match zone_token(settings) {
            Some(token) => client.with_token(token),
            None => client,
        };
        let client = match &settings.kds.root_ca_file {
            Some(file) if address.is_tls() && !settings.kds.tls_skip_verify => {
                client.with_root_ca(file.clone())
            }
            _ => client,
        };
        let client = Arc::new(client);
        let state = client.state();
        let (asked, lacking) = (Arc::clone(&client), Arc::clone(&client));
        let reports = Reports {
            links: Report::new(move || {
                let link = asked.link();
                link.iter().map(LinkStatus::to_json).collect()
            }),
            findings: Report::new(move || {
                let lacks = lacking.lacks();
                lacks.iter().map(|lack| lack.to_json(None)).collect()
            }),
        };
        let shutdown = self.shutdown.clone();
        self.tasks
            .spawn(async move { client.run(Backoff::reconnect(), shutdown).await });
        Ok((Some(state), reports))
    }

    /// The admin API, on HTTP and HTTPS.
    fn start_api(
        &mut self,
        registry: &mut Registry,
        reports: Reports,
        proxies: Arc<dyn AskProxy>,
    ) -> anyhow::Result<(Option<SocketAddr>, Option<SocketAddr>)> {
        let settings = self.config.api_server.clone();
        let issuers = &self.config.dp_server.authn;
        let metrics = Metrics::new();
        metrics.register(registry);
        let context = ApiContext {
            store: Arc::clone(&self.store),
            mode: Mode::FederatedZone {
                zone: self.zone.clone(),
            },
            admission: Arc::new(ZoneRules::new(self.zone.clone())),
            settings: ApiSettings {
                localhost_is_admin: settings.authn.localhost_is_admin,
                issues_dataplane_tokens: issuers.dp_proxy.dp_token.enable_issuer,
                issues_zone_tokens: issuers.zone_proxy.zone_token.enable_issuer,
                issues_user_tokens: settings.authn.tokens.enable_issuer,
                base_path: settings.base_path.clone(),
                cors_allowed_domains: settings.cors_allowed_domains.clone(),
                ..ApiSettings::default()
            },
            config: self.config.to_json(),
            hostname: instance::hostname(),
            instance_id: self.instance_id.clone(),
            now: clock::now,
            metrics,
            reports,
            receipts: None,
            proxies: Some(proxies),
        };
        let router = mesh_api::router(context);
        let mut http = None;
        if settings.http.enabled {
            let at = SocketAddr::new(settings.http.interface, settings.http.port);
            let listener = bind(at, "KUMA_API_SERVER_HTTP_PORT")?;
            http = Some(listener.local_addr()?);
            let options = Options::default();
            self.tasks.spawn(serve::serve(
                listener,
                None,
                router.clone(),
                options,
                self.shutdown.clone(),
            ));
        }
        let mut https = None;
        if settings.https.enabled {
            let identity = identity(self.config.api_tls_files(), &self.config.general.work_dir)?;
            let at = SocketAddr::new(settings.https.interface, settings.https.port);
            let listener = bind(at, "KUMA_API_SERVER_HTTPS_PORT")?;
            https = Some(listener.local_addr()?);
            let tls = Some(tls::server_config(&identity));
            self.tasks
                .spawn(identity.follow(self.shutdown.clone(), |_| ()));
            let options = Options::default();
            self.tasks.spawn(serve::serve(
                listener,
                tls,
                router,
                options,
                self.shutdown.clone(),
            ));
        }
        Ok((http, https))
    }

    fn start_diagnostics(&mut self, registry: Registry) -> anyhow::Result<SocketAddr> {
        let port = self.config.diagnostics.server_port;
        let listener = bind(serve::all_interfaces(port), "KUMA_DIAGNOSTICS_SERVER_PORT")?;
        let address = listener.local_addr()?;
        // Everything else is up when this is: the store was loaded before any port was bound.
        let shutdown = self.shutdown.clone();
        let router = diagnostics::router(Arc::new(registry), move || !shutdown.is_triggered());
        let options = Options::default();
        self.tasks.spawn(serve::serve(
            listener,
            None,
            router,
            options,
            self.shutdown.clone(),
        ));
        Ok(address)
    }
}

async fn open_store(config: &Config) -> anyhow::Result<(SharedStore, Option<Arc<Disk>>)> {
    match config.store.type_ {
        StoreType::Memory => Ok((Arc::new(Memory::new()), None)),
        StoreType::Sled => {
            let dir = config.general.work_dir.join("zone");
            let opened = tokio::task::spawn_blocking(move || Disk::open(&dir, Role::Zone)).await?;
            let disk = Arc::new(opened?);
            Ok((disk.clone(), Some(disk)))
        }
    }
}

fn identity(files: Option<(&Path, &Path)>, work_dir: &Path) -> anyhow::Result<Identity> {
    Ok(match files {
        Some((certificate, key)) => Identity::load(certificate, key)?,
        None => Identity::load_or_create(work_dir)?,
    })
}

/// How the zone shows the global who it is.
fn zone_token(settings: &mesh_runtime::config::Zone) -> Option<Token> {
    let auth = &settings.kds.auth;
    let token = match &auth.cp_token_path {
        Some(path) => Token::File(path.clone()),
        None if auth.cp_token_inline.is_empty() => return None,
        None => Token::Inline(auth.cp_token_inline.clone()),
    };
    if settings
        .global_address
        .as_ref()
        .is_some_and(|at| !at.is_tls())
    {
        tracing::warn!(
            "the zone token travels in the clear: whoever listens can speak for this zone; use \
             grpcs:// in multizone.zone.globalAddress"
        );
    }
    Some(token)
}

fn global_tls(settings: &mesh_runtime::config::Zone) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let trust = match &settings.kds.root_ca_file {
        _ if settings.kds.tls_skip_verify => Trust::SkipVerify,
        None => Trust::System,
        Some(file) => {
            let pem = std::fs::read(file).with_context(|| {
                format!(
                    "multizone.zone.kds.rootCaFile: cannot read {}",
                    file.display()
                )
            })?;
            Trust::Ca(pem)
        }
    };
    Ok(tls::client_config(&trust, &[tls::ALPN_H2])?)
}

fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    Ok(serve::bind_for(address, setting)?)
}

fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// What the configuration says about every gateway.
fn gateway_settings(config: &Config) -> GatewaySettings {
    let wanted = &config.meridian.gateway;
    let mut settings = GatewaySettings {
        route_tree_threshold: usize::try_from(wanted.route_tree_threshold)
            .ok()
            .filter(|threshold| *threshold > 0),
        ..GatewaySettings::default()
    };
    if !wanted.no_routes_page.is_empty() {
        settings.no_routes_page.clone_from(&wanted.no_routes_page);
    }
    settings
}
