//! A bare delta ADS server with an Envoy of its own: what Envoy needs by itself.
//!
//! The server knows nothing but the bytes that it was given and when to send them, in the clear.
//! The Envoy is the one that gateways run, with the bootstrap that the zone makes, except for the
//! address of its ADS server.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use futures_util::{Stream, StreamExt as _};
use mesh_proto::Any;
use mesh_proto::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use mesh_proto::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    Resource as WireResource,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use crate::ads::{ROUTES, Resources};

/// What a server serves, by type.
type Everything = BTreeMap<String, Resources>;
type Outbox = mpsc::UnboundedSender<Result<DeltaDiscoveryResponse, Status>>;

/// A running server and its Envoy. Dropping it ends both.
#[derive(Debug)]
pub(crate) struct Bare {
    outbox: watch::Receiver<Option<Outbox>>,
    server: JoinHandle<()>,
    _envoy: Child,
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Bare {
    /// Starts a server of `everything` and an Envoy with this bootstrap, made to ask the server.
    pub(crate) async fn start(
        dir: &Path,
        everything: Everything,
        mut bootstrap: Value,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        redirect(&mut bootstrap, listener.local_addr()?.port())?;
        let (sender, outbox) = watch::channel(None);
        let service = AggregatedDiscoveryServiceServer::new(Server {
            everything: Arc::new(everything),
            outbox: sender,
        });
        let server = tonic::transport::Server::builder()
            .add_service(service.max_encoding_message_size(usize::MAX))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move {
            server.await.expect("a bare server runs until it is ended");
        });
        let config = dir.join("bare.json");
        std::fs::write(&config, bootstrap.to_string())?;
        let envoy = Command::new(mesh_harness::envoy())
            .arg("--config-path")
            .arg(config)
            .args(["--disable-hot-restart", "--log-level", "off"])
            .args(["--drain-time-s", "30", "--drain-strategy", "immediate"])
            .args(["--concurrency", "1"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start Envoy")?;
        let mut bare = Self {
            outbox,
            server,
            _envoy: envoy,
        };
        bare.outbox.wait_for(Option::is_some).await?;
        Ok(bare)
    }

    /// Sends route configurations; when.
    pub(crate) fn push(&self, routes: Resources) -> anyhow::Result<Instant> {
        let outbox = self.outbox.borrow().clone().context("Envoy is connected")?;
        let response = response(ROUTES, &routes, |_| true);
        let start = Instant::now();
        outbox.send(Ok(response))?;
        Ok(start)
    }
}

/// Has a bootstrap's `ads_cluster` lead to a port of this host, in the clear.
fn redirect(bootstrap: &mut Value, port: u16) -> anyhow::Result<()> {
    let clusters = bootstrap["staticResources"]["clusters"]
        .as_array_mut()
        .context("a bootstrap has clusters")?;
    let ads = clusters
        .iter_mut()
        .find(|cluster| cluster["name"] == "ads_cluster")
        .context("one of them is for ADS")?;
    let address = json!({"socketAddress": {"address": "127.0.0.1", "portValue": port}});
    *ads = json!({
        "name": "ads_cluster",
        "type": "STATIC",
        "connectTimeout": "1s",
        "typedExtensionProtocolOptions": ads["typedExtensionProtocolOptions"],
        "loadAssignment": {
            "clusterName": "ads_cluster",
            "endpoints": [{"lbEndpoints": [{"endpoint": {"address": address}}]}],
        },
    });
    Ok(())
}

fn response(ty: &str, all: &Resources, wanted: impl Fn(&str) -> bool) -> DeltaDiscoveryResponse {
    let resources = all.iter().filter(|(name, _)| wanted(name));
    let resources = resources.map(|(name, (version, bytes))| WireResource {
        version: version.clone(),
        resource: Some(Any {
            type_url: ty.to_owned(),
            value: bytes.clone(),
        }),
        name: name.clone(),
    });
    DeltaDiscoveryResponse {
        resources: resources.collect(),
        type_url: ty.to_owned(),
        nonce: "1".to_owned(),
        ..DeltaDiscoveryResponse::default()
    }
}

#[derive(Debug)]
struct Server {
    everything: Arc<Everything>,
    outbox: watch::Sender<Option<Outbox>>,
}

type AdsStream = Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send>>;

#[async_trait]
impl AggregatedDiscoveryService for Server {
    type DeltaAggregatedResourcesStream = AdsStream;
    type StreamAggregatedResourcesStream =
        Pin<Box<dyn Stream<Item = Result<DiscoveryResponse, Status>> + Send>>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented(
            "Envoy's bootstrap asks for the delta method",
        ))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let mut inbound = request.into_inner();
        let (tx, rx) = mpsc::unbounded_channel();
        self.outbox.send_replace(Some(tx.clone()));
        let everything = Arc::clone(&self.everything);
        tokio::spawn(async move {
            while let Ok(Some(request)) = inbound.message().await {
                let names = &request.resource_names_subscribe;
                // What answers a response and asks for nothing new is an ACK.
                if names.is_empty() && !request.response_nonce.is_empty() {
                    continue;
                }
                let is_wanted =
                    |name: &str| names.is_empty() || names.iter().any(|n| n == name || n == "*");
                let none = Resources::new();
                let all = everything.get(&request.type_url).unwrap_or(&none);
                let answer = response(&request.type_url, all, is_wanted);
                if tx.send(Ok(answer)).is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(UnboundedReceiverStream::new(rx).boxed()))
    }
}
