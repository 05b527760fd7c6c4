//! Stands for a stock zone: an ADS server that speaks state of the world and serves what one was
//! recorded to (`stock_zone.json`), less what the test does not need.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use mesh_proto::Any;
use mesh_proto::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use mesh_proto::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use mesh_runtime::serve::{self, Options};
use mesh_runtime::shutdown::Shutdown;
use mesh_runtime::tls::{self, Identity};
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

type Resources = BTreeMap<String, Vec<Any>>;

/// The server. Dropping it ends it and all connections at once.
pub(super) struct StockZone {
    /// The certificate that it shows.
    pub(super) certificate: String,
    identity: Identity,
    _files: TempDir,
    serving: Option<JoinHandle<()>>,
}

impl StockZone {
    pub(super) fn new() -> anyhow::Result<Self> {
        let files = tempfile::tempdir()?;
        let identity = Identity::load_or_create(files.path())?;
        Ok(Self {
            certificate: identity.cert_pem().to_string(),
            identity,
            _files: files,
            serving: None,
        })
    }

    /// Serves `stock_zone.json` with these texts replaced.
    pub(super) async fn start(
        &mut self,
        at: SocketAddr,
        replaced: &[(&str, String)],
    ) -> anyhow::Result<()> {
        let mut text = include_str!("stock_zone.json").to_owned();
        for (from, to) in replaced {
            text = text.replace(from, to);
        }
        let resources = Arc::new(encode(&serde_json::from_str(&text)?)?);
        let service = AggregatedDiscoveryServiceServer::new(Service { resources });
        let router = Routes::new(service).into_axum_router();
        let listener = TcpListener::bind(at).await?;
        let tls = Some(tls::server_config(&self.identity));
        let options = Options::default();
        let serving = serve::serve(listener, tls, router, options, Shutdown::never());
        self.serving = Some(tokio::spawn(serving));
        Ok(())
    }

    /// Ends it, and all connections.
    pub(super) async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }
}

/// Encodes resources by the messages that we know of Envoy; fields that we never write are left
/// out.
fn encode(resources: &Value) -> anyhow::Result<Resources> {
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../zone-cp/translate/protos");
    let mut files = Vec::new();
    collect(&protos, &mut files)?;
    let descriptors = protox::compile(&files, [&protos])?;
    let pool = DescriptorPool::from_file_descriptor_set(descriptors)?;
    let any = pool
        .get_message_by_name("google.protobuf.Any")
        .context("no descriptor of Any")?;
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let mut encoded = Resources::new();
    for (type_url, resources) in resources.as_object().into_iter().flatten() {
        for resource in resources.as_array().into_iter().flatten() {
            let message =
                DynamicMessage::deserialize_with_options(any.clone(), resource, &options)?;
            let message = Any::decode(message.encode_to_vec().as_slice())?;
            encoded.entry(type_url.clone()).or_default().push(message);
        }
    }
    Ok(encoded)
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, into)?;
        } else {
            into.push(path);
        }
    }
    Ok(())
}

struct Service {
    resources: Arc<Resources>,
}

#[async_trait::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let (tx, rx) = mpsc::channel(16);
        let resources = Arc::clone(&self.resources);
        tokio::spawn(answer(resources, request.into_inner(), tx));
        Ok(Response::new(ReceiverStream::new(rx)))
    }

    async fn delta_aggregated_resources(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// Answers each type, and again when more names of it are asked for.
async fn answer(
    resources: Arc<Resources>,
    mut requests: Streaming<DiscoveryRequest>,
    answers: mpsc::Sender<Result<DiscoveryResponse, Status>>,
) {
    let mut answered: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut nonce = 0_u32;
    while let Ok(Some(request)) = requests.message().await {
        if let Some(error) = request.error_detail {
            eprintln!("Envoy refuses what a stock zone serves: {}", error.message);
            continue;
        }
        let names: BTreeSet<String> = request.resource_names.into_iter().collect();
        let known = answered.get(&request.type_url);
        if known.is_some_and(|known| names.is_subset(known)) {
            continue;
        }
        nonce += 1;
        let response = DiscoveryResponse {
            version_info: "0d3f7c52-6b0e-4f7e-9d3a-5b7f2c1a9e10".to_owned(),
            resources: resources
                .get(&request.type_url)
                .cloned()
                .unwrap_or_default(),
            type_url: request.type_url.clone(),
            nonce: nonce.to_string(),
            control_plane: None,
        };
        answered.insert(request.type_url, names);
        if answers.send(Ok(response)).await.is_err() {
            return;
        }
    }
}
