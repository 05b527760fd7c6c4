//! A relay between zones and their global that says other things than it was told, to show that
//! this is noticed; and one that hides what ours can do beyond Kuma's protocol.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::{Stream, StreamExt as _};
use hyper_util::rt::TokioIo;
use mesh_kds::peer::{FEATURE_HEARTBEAT, FEATURES};
use mesh_proto::core::Node;
use mesh_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_proto::link::link_client::LinkClient;
use mesh_proto::link::link_server::{Link, LinkServer};
use mesh_proto::link::{Heartbeat, Receipt, ReceiptRequest};
use mesh_proto::mesh::kds_sync_service_client::KdsSyncServiceClient;
use mesh_proto::mesh::kds_sync_service_server::{KdsSyncService, KdsSyncServiceServer};
use parking_lot::Mutex;
use prost_types::value::Kind as ValueKind;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

use super::hosts::{self, PORT};
use super::ledger::GLOBAL;
use super::wire::{Trace, Watched};
use super::{Mischief, Without};
use crate::dice::Dice;

/// Its name.
pub(super) const RELAY: &str = "relay";
/// What ours announce begins so.
const OURS: &str = "meridian";

/// What it does to what it is told.
#[derive(Debug, Clone)]
pub(super) struct Tamper {
    pub(super) trace: Arc<Trace>,
    pub(super) mischief: Mischief,
    pub(super) without: Without,
    /// Whether it does it now.
    pub(super) is_active: Arc<AtomicBool>,
    pub(super) dice: Arc<Mutex<Dice>>,
}

/// Runs the relay until its host crashes.
pub(super) async fn run(tamper: Tamper) -> turmoil::Result {
    let sync = KdsSyncServiceServer::new(tamper.clone());
    let link = LinkServer::new(tamper.clone());
    let routes = tonic::service::Routes::new(sync).add_service(link);
    let router = routes.prepare().into_axum_router();
    hosts::listen(RELAY, &tamper.trace, router).await
}

impl Tamper {
    async fn global(&self) -> Result<Channel, Status> {
        let trace = Arc::clone(&self.trace);
        let connector = tower::service_fn(move |_: http::Uri| {
            let trace = Arc::clone(&trace);
            async move {
                let stream = turmoil::net::TcpStream::connect((GLOBAL, PORT)).await?;
                let who = RELAY.into();
                Ok::<_, std::io::Error>(TokioIo::new(Watched { stream, trace, who }))
            }
        });
        let connected = Endpoint::from_static("http://global:5685")
            .connect_with_connector(connector)
            .await;
        connected.map_err(|error| Status::unavailable(error.to_string()))
    }

    fn is_at_it(&self, mischief: Mischief) -> bool {
        self.mischief == mischief && self.is_active.load(Ordering::Relaxed)
    }

    fn hides(&self, feature: &str) -> bool {
        match self.without {
            Without::Nothing => false,
            Without::Heartbeats => feature == FEATURE_HEARTBEAT,
            Without::Everything => feature.starts_with(OURS),
        }
    }

    fn hide_in_metadata(&self, metadata: &mut MetadataMap) {
        let features = metadata.get_all(FEATURES);
        let kept: Vec<_> = (features.iter())
            .filter(|feature| feature.to_str().is_ok_and(|f| !self.hides(f)))
            .cloned()
            .collect();
        metadata.remove(FEATURES);
        for feature in kept {
            metadata.append(FEATURES, feature);
        }
    }

    fn hide_in_node(&self, node: &mut Option<Node>) {
        let metadata = node.as_mut().and_then(|node| node.metadata.as_mut());
        let features = metadata.and_then(|metadata| metadata.fields.get_mut("features"));
        if let Some(ValueKind::ListValue(list)) = features.and_then(|f| f.kind.as_mut()) {
            list.values.retain(|value| match &value.kind {
                Some(ValueKind::StringValue(feature)) => !self.hides(feature),
                _ => true,
            });
        }
    }

    fn lie_down(&self, mut response: DeltaDiscoveryResponse) -> DeltaDiscoveryResponse {
        if self.is_at_it(Mischief::LosesRemovals) && self.dice.lock().percent(60) {
            response.removed_resources.clear();
        }
        response
    }

    fn lie_up(&self, mut request: DeltaDiscoveryRequest) -> DeltaDiscoveryRequest {
        self.hide_in_node(&mut request.node);
        if self.is_at_it(Mischief::ForgetsHeld) {
            request.resume = None;
        }
        request
    }

    /// Passes a request stream on; its end and its errors end the call.
    fn onward<M: Send + 'static>(
        &self,
        request: Request<Streaming<M>>,
        pass: impl Fn(M) -> M + Send + 'static,
    ) -> Request<impl Stream<Item = M> + Send + 'static> {
        let (mut metadata, extensions, stream) = request.into_parts();
        self.hide_in_metadata(&mut metadata);
        let stream = stream
            .take_while(|message| std::future::ready(message.is_ok()))
            .filter_map(|message| std::future::ready(message.ok()))
            .map(pass);
        Request::from_parts(metadata, extensions, stream)
    }
}

type Answers<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

#[async_trait]
impl KdsSyncService for Tamper {
    type GlobalToZoneSyncStream = Answers<DeltaDiscoveryResponse>;

    async fn global_to_zone_sync(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::GlobalToZoneSyncStream>, Status> {
        let mut client = KdsSyncServiceClient::new(self.global().await?);
        let (down, up) = (self.clone(), self.clone());
        let request = self.onward(request, move |request| up.lie_up(request));
        let answers = client.global_to_zone_sync(request).await?.into_inner();
        let answers = answers.map(move |answer| answer.map(|response| down.lie_down(response)));
        Ok(Response::new(answers.boxed()))
    }

    type ZoneToGlobalSyncStream = Answers<DeltaDiscoveryRequest>;

    async fn zone_to_global_sync(
        &self,
        request: Request<Streaming<DeltaDiscoveryResponse>>,
    ) -> Result<Response<Self::ZoneToGlobalSyncStream>, Status> {
        let mut client = KdsSyncServiceClient::new(self.global().await?);
        let (down, up) = (self.clone(), self.clone());
        let request = self.onward(request, move |response| down.lie_down(response));
        let answers = client.zone_to_global_sync(request).await?.into_inner();
        let answers = answers.map(move |answer| answer.map(|request| up.lie_up(request)));
        Ok(Response::new(answers.boxed()))
    }
}

#[async_trait]
impl Link for Tamper {
    type ReceiptsStream = Answers<ReceiptRequest>;

    async fn receipts(
        &self,
        request: Request<Streaming<Receipt>>,
    ) -> Result<Response<Self::ReceiptsStream>, Status> {
        let mut client = LinkClient::new(self.global().await?);
        let answers = client.receipts(self.onward(request, |m| m)).await?;
        Ok(Response::new(answers.into_inner().boxed()))
    }

    type HeartbeatsStream = Answers<Heartbeat>;

    async fn heartbeats(
        &self,
        request: Request<Streaming<Heartbeat>>,
    ) -> Result<Response<Self::HeartbeatsStream>, Status> {
        let mut client = LinkClient::new(self.global().await?);
        let answers = client.heartbeats(self.onward(request, |m| m)).await?;
        Ok(Response::new(answers.into_inner().boxed()))
    }
}
