//! Something between a zone and its global that says other things than it was told.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{Stream, StreamExt as _};
use mesh_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_proto::link::link_client::LinkClient;
use mesh_proto::link::link_server::{Link, LinkServer};
use mesh_proto::link::{Heartbeat, Receipt, ReceiptRequest};
use mesh_proto::mesh::kds_sync_service_client::KdsSyncServiceClient;
use mesh_proto::mesh::kds_sync_service_server::{KdsSyncService, KdsSyncServiceServer};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

/// What is done to the next response that it does something to.
type Lie = fn(&mut DeltaDiscoveryResponse) -> bool;

/// Stands for the global. What a zone is told passes through `lie` until that did something.
#[derive(Clone)]
pub(crate) struct Tamper {
    pub(crate) address: SocketAddr,
    global: Channel,
    down: Arc<Mutex<Option<Lie>>>,
    up: Arc<Mutex<Option<Lie>>>,
    /// Whether the zone is kept from hearing what the global says on the up stream.
    is_held: watch::Sender<bool>,
    /// The type of which the zone is kept from hearing on the down stream.
    held_type: watch::Sender<Option<&'static str>>,
}

impl Tamper {
    pub(crate) async fn start(global: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{global}")).unwrap();
        let tamper = Self {
            address: listener.local_addr().unwrap(),
            global: endpoint.connect().await.unwrap(),
            down: Arc::default(),
            up: Arc::default(),
            is_held: watch::Sender::new(false),
            held_type: watch::Sender::default(),
        };
        let sync = KdsSyncServiceServer::new(tamper.clone());
        let link = LinkServer::new(tamper.clone());
        tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(sync)
                .add_service(link)
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
        });
        tamper
    }

    /// Tells the zone something else, once.
    pub(crate) fn lie_down(&self, lie: Lie) {
        *self.down.lock() = Some(lie);
    }

    /// Tells the global something else, once.
    pub(crate) fn lie_up(&self, lie: Lie) {
        *self.up.lock() = Some(lie);
    }

    /// Keeps what the global says on the up stream, or lets it through.
    pub(crate) fn hold_up(&self, is_held: bool) {
        self.is_held.send_replace(is_held);
    }

    /// Keeps responses of a type, or lets all through.
    pub(crate) fn hold_down(&self, held_type: Option<&'static str>) {
        self.held_type.send_replace(held_type);
    }

    pub(crate) fn has_lied(&self) -> bool {
        self.down.lock().is_none() && self.up.lock().is_none()
    }
}

fn told(lie: &Mutex<Option<Lie>>, mut response: DeltaDiscoveryResponse) -> DeltaDiscoveryResponse {
    let mut lie = lie.lock();
    if let Some(change) = *lie
        && change(&mut response)
    {
        *lie = None;
    }
    response
}

/// Passes a request stream on; its end and its errors end the call.
fn onward<M, R>(
    request: Request<Streaming<M>>,
    pass: impl Fn(M) -> R,
) -> Request<impl Stream<Item = R>> {
    let (metadata, extensions, stream) = request.into_parts();
    let stream = stream
        .take_while(|message| std::future::ready(message.is_ok()))
        .filter_map(|message| std::future::ready(message.ok()))
        .map(pass);
    Request::from_parts(metadata, extensions, stream)
}

type Answers<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

#[async_trait]
impl KdsSyncService for Tamper {
    type GlobalToZoneSyncStream = Answers<DeltaDiscoveryResponse>;

    async fn global_to_zone_sync(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::GlobalToZoneSyncStream>, Status> {
        let mut client = KdsSyncServiceClient::new(self.global.clone());
        let answers = client.global_to_zone_sync(onward(request, |m| m)).await?;
        let lie = Arc::clone(&self.down);
        let mut held_type = self.held_type.subscribe();
        let mut answers = answers.into_inner();
        let (pass, passed) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                tokio::select! {
                    answer = answers.next() => match answer {
                        Some(Ok(response)) => held.push(response),
                        Some(Err(status)) => _ = pass.send(Err(status)),
                        None => return,
                    },
                    changed = held_type.changed() => if changed.is_err() {
                        return;
                    },
                }
                let ty = *held_type.borrow();
                for response in std::mem::take(&mut held) {
                    if ty == Some(response.type_url.as_str()) {
                        held.push(response);
                    } else if pass.send(Ok(told(&lie, response))).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(UnboundedReceiverStream::new(passed).boxed()))
    }

    type ZoneToGlobalSyncStream = Answers<DeltaDiscoveryRequest>;

    async fn zone_to_global_sync(
        &self,
        request: Request<Streaming<DeltaDiscoveryResponse>>,
    ) -> Result<Response<Self::ZoneToGlobalSyncStream>, Status> {
        let mut client = KdsSyncServiceClient::new(self.global.clone());
        let lie = Arc::clone(&self.up);
        let request = onward(request, move |response| told(&lie, response));
        let answers = client.zone_to_global_sync(request).await?;
        let is_held = self.is_held.subscribe();
        let answers = answers.into_inner().then(move |answer| {
            let mut is_held = is_held.clone();
            async move {
                drop(is_held.wait_for(|is_held| !is_held).await);
                answer
            }
        });
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
        let mut client = LinkClient::new(self.global.clone());
        let answers = client.receipts(onward(request, |m| m)).await?;
        Ok(Response::new(answers.into_inner().boxed()))
    }

    type HeartbeatsStream = Answers<Heartbeat>;

    async fn heartbeats(
        &self,
        request: Request<Streaming<Heartbeat>>,
    ) -> Result<Response<Self::HeartbeatsStream>, Status> {
        let mut client = LinkClient::new(self.global.clone());
        let answers = client.heartbeats(onward(request, |m| m)).await?;
        Ok(Response::new(answers.into_inner().boxed()))
    }
}
