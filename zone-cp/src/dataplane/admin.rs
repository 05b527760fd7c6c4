//! The way to the admin interfaces of this zone's Envoys.
//!
//! A proxy at 127.0.0.1 is asked in the clear, on its socket or port: its admin interface listens
//! there and nowhere else. Any other proxy is asked over mutual TLS on the listener
//! `kuma:envoy:admin`, which passes nobody else on to the admin interface.

mod authority;
mod redact;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mesh_model::{Key, Resource, ResourceType, ZoneName, labels};
use mesh_proto::mesh::{Dataplane, ZoneEgress, ZoneIngress};
use mesh_runtime::proxy_admin::{AskError, AskProxy, Operation};
use mesh_store::SharedStore;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

pub use self::authority::AdminAuthority;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// The most bytes that are taken of an answer.
const LARGEST: usize = 512 << 20;

/// Where the admin interface of a proxy is, as its bootstrap said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its TCP port, which it listens on unless there is a socket.
    pub port: u16,
    /// Its Unix socket.
    pub socket: Option<PathBuf>,
    /// Where its agent says whether the proxy is ready.
    pub readiness_port: Option<u16>,
}

/// Where the admin interfaces of connected proxies are.
#[derive(Debug, Default)]
pub struct Places(Mutex<BTreeMap<Key, Place>>);

impl Places {
    /// A proxy connected, and said where its admin interface is. Of a proxy that has gone the
    /// place stays known: its Envoy may be there all the same.
    pub(crate) fn note(&self, proxy: &Key, place: Place) {
        self.0.lock().insert(proxy.clone(), place);
    }

    fn get(&self, proxy: &Key) -> Option<Place> {
        self.0.lock().get(proxy).cloned()
    }

    /// Forgets proxies that do not exist any more.
    fn retain(&self, store: &SharedStore) {
        let snapshot = store.snapshot();
        self.0.lock().retain(|key, _| snapshot.get(key).is_some());
    }
}

/// Asks the proxies of this zone.
#[derive(Debug)]
pub struct Asker {
    store: SharedStore,
    zone: ZoneName,
    places: Arc<Places>,
    /// The admin port of proxies that name none.
    default_port: u16,
    /// By what this control plane is known to proxies on other machines.
    authority: Option<Arc<AdminAuthority>>,
}

impl Asker {
    /// Asks proxies of `zone`, which are in `store` and connect as `places` says.
    pub fn new(
        store: SharedStore,
        zone: ZoneName,
        places: Arc<Places>,
        default_port: u16,
        authority: Option<Arc<AdminAuthority>>,
    ) -> Self {
        Self {
            store,
            zone,
            places,
            default_port,
            authority,
        }
    }

    async fn get(&self, proxy: &Key, operation: Operation) -> Result<Bytes, AskError> {
        let resource = self
            .store
            .get(proxy)
            .ok_or_else(|| AskError(format!("zone {} has no {proxy}", self.zone)))?;
        if resource.label(labels::ORIGIN) == Some(labels::ORIGIN_GLOBAL) {
            let owner = resource.label(labels::ZONE).unwrap_or("another");
            return Err(AskError(format!(
                "{proxy} is not of zone {} but of zone {owner}: ask there",
                self.zone
            )));
        }
        let (address, port) = admin(&resource);
        let place = self.places.get(proxy);
        let port = place.as_ref().map(|place| place.port).or(port);
        let port = port.unwrap_or(self.default_port);
        let target = operation.target();
        // On this machine, and where its admin interface is: there is no listener before it.
        if !["127.0.0.1", "::1", "localhost"].contains(&address.as_str()) {
            return self.get_from_afar(&address, port, target).await;
        }
        let socket = place.and_then(|place| place.socket);
        if let Some(socket) = socket.filter(|socket| socket.exists()) {
            let at = socket.display().to_string();
            let stream = in_time(&at, UnixStream::connect(&socket)).await?;
            return fetch(&at, "localhost", target, stream).await;
        }
        let at = format!("127.0.0.1:{port}");
        let stream = in_time(&at, TcpStream::connect(("127.0.0.1", port))).await?;
        fetch(&at, &at, target, stream).await
    }
}

impl Asker {
    /// Asks by way of the proxy's listener for this.
    async fn get_from_afar(
        &self,
        address: &str,
        port: u16,
        target: &str,
    ) -> Result<Bytes, AskError> {
        let at = format!("{address}:{port}");
        let authority = self.authority.as_ref().ok_or_else(|| {
            AskError(format!(
                "there is no authority for the admin interface of Envoy at {at}; see the log of \
                 this zone's start"
            ))
        })?;
        let name = ServerName::try_from(address.to_owned());
        let name = name.map_err(|_none| AskError(format!("{address:?} is no address")))?;
        let connector = tokio_rustls::TlsConnector::from(authority.client());
        let connected = async {
            let stream = TcpStream::connect((address, port)).await?;
            connector.connect(name, stream).await
        };
        let stream = in_time(&at, connected).await?;
        fetch(&at, &at, target, stream).await
    }
}

#[async_trait]
impl AskProxy for Asker {
    async fn ask(&self, proxy: &Key, operation: Operation) -> Result<Bytes, AskError> {
        self.places.retain(&self.store);
        let answer = tokio::time::timeout(PATIENCE, self.get(proxy, operation)).await;
        let answer = answer.map_err(|_elapsed| {
            AskError(format!(
                "the Envoy of {proxy} did not answer within {PATIENCE:?}"
            ))
        })??;
        match operation {
            Operation::ConfigDump { .. } => {
                tokio::task::spawn_blocking(move || redact::config_dump(&answer))
                    .await
                    .map_err(|error| AskError(error.to_string()))?
            }
            Operation::Stats { .. } | Operation::Clusters { .. } => Ok(answer),
        }
    }
}

/// The address of a proxy, and the port of its admin interface if it names one.
fn admin(proxy: &Resource) -> (String, Option<u16>) {
    let (address, admin) = match proxy.key().ty() {
        ResourceType::ZoneIngress => {
            let networking = proxy.decode::<ZoneIngress>().networking.unwrap_or_default();
            (networking.address, networking.admin)
        }
        ResourceType::ZoneEgress => {
            let networking = proxy.decode::<ZoneEgress>().networking.unwrap_or_default();
            (networking.address, networking.admin)
        }
        _ => {
            let networking = proxy.decode::<Dataplane>().networking.unwrap_or_default();
            (networking.address, networking.admin)
        }
    };
    let port = admin.and_then(|admin| u16::try_from(admin.port).ok());
    (address, port.filter(|port| *port != 0))
}

async fn in_time<S>(
    at: &str,
    connected: impl Future<Output = std::io::Result<S>>,
) -> Result<S, AskError> {
    let unreachable = |why: String| {
        AskError(format!(
            "cannot reach Envoy's admin interface at {at}: {why}; is the proxy running?"
        ))
    };
    match tokio::time::timeout(CONNECT, connected).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_elapsed) => Err(unreachable(format!("no connection within {CONNECT:?}"))),
    }
}

/// One request over a connection of its own.
async fn fetch(
    at: &str,
    host: &str,
    target: &str,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<Bytes, AskError> {
    let failed = |error: &dyn std::fmt::Display| {
        AskError(format!(
            "GET {target} of Envoy's admin interface at {at}: {error}"
        ))
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let connection = tokio::spawn(connection);
    let _closed = tokio_util::task::AbortOnDropHandle::new(connection);
    let request = http::Request::get(target)
        .header(http::header::HOST, host)
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| failed(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| failed(&error))?.to_bytes();
    if status.is_success() {
        Ok(body)
    } else {
        let text = String::from_utf8_lossy(&body);
        let text: String = text.trim().chars().take(200).collect();
        Err(failed(&format!("{status}: {text}")))
    }
}
