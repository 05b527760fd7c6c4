//! What several tests use: raw calls of KDS, and routes that travel.

use std::pin::Pin;
use std::time::Duration;

use mesh_harness::{DEADLINE, Zone, eventually};
use mesh_proto::core::Node;
use mesh_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_proto::mesh::kds_sync_service_client::KdsSyncServiceClient;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataKey, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

/// Both halves of a call, whichever way it goes.
pub(crate) struct Call<Out, In> {
    pub(crate) tx: mpsc::Sender<Out>,
    pub(crate) rx: Streaming<In>,
}

impl<Out, In> Call<Out, In> {
    pub(crate) async fn say(&self, message: Out) {
        assert!(self.tx.send(message).await.is_ok(), "the call is open");
    }

    /// The next message, in time.
    pub(crate) async fn hear(&mut self) -> Result<Option<In>, Status> {
        match tokio::time::timeout(DEADLINE, self.rx.message()).await {
            Ok(message) => message,
            Err(_) => panic!("nothing came within {DEADLINE:?}"),
        }
    }

    /// The status with which the peer ends the call.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            match self.hear().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok(""),
                Err(status) => return status,
            }
        }
    }
}

pub(crate) type Down = Call<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
pub(crate) type Up = Call<DeltaDiscoveryResponse, DeltaDiscoveryRequest>;

/// The metadata of a zone of ours.
pub(crate) fn metadata(zone: &str) -> Vec<(String, String)> {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    vec![
        pair("client-id", zone),
        pair("kds-version", "v3"),
        pair("features", "zone-ping-health"),
        pair("features", "hash-suffix"),
    ]
}

pub(crate) fn request<M>(message: M, metadata: &[(String, String)]) -> Request<M> {
    let mut request = Request::new(message);
    for (name, value) in metadata {
        let name = MetadataKey::from_bytes(name.as_bytes()).unwrap();
        let value = MetadataValue::try_from(value.as_str()).unwrap();
        request.metadata_mut().append(name, value);
    }
    request
}

/// A raw client of a global that takes plaintext.
pub(crate) async fn connect(global: std::net::SocketAddr) -> KdsSyncServiceClient<Channel> {
    let channel = Channel::from_shared(format!("http://{global}"))
        .unwrap()
        .connect_timeout(Duration::from_secs(5))
        .connect()
        .await
        .expect("the global listens");
    KdsSyncServiceClient::new(channel)
}

/// A channel to a server that is verified as `tls` says.
pub(crate) async fn tls_channel(
    to: std::net::SocketAddr,
    tls: std::sync::Arc<rustls::ClientConfig>,
) -> anyhow::Result<Channel> {
    let connector = tower::service_fn(move |_: http::Uri| {
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::clone(&tls));
        async move {
            let tcp = tokio::net::TcpStream::connect(to).await?;
            let name = rustls::pki_types::ServerName::from(to.ip());
            let stream = connector.connect(name, tcp).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    });
    let endpoint = Channel::from_shared(format!("https://{to}"))?;
    Ok(endpoint.connect_with_connector(connector).await?)
}

/// Opens GlobalToZoneSync; `first` is in the channel before the call.
pub(crate) async fn down(
    client: &mut KdsSyncServiceClient<Channel>,
    metadata: &[(String, String)],
    first: Vec<DeltaDiscoveryRequest>,
) -> Result<Down, Status> {
    let (tx, rx) = mpsc::channel(256);
    for message in first {
        tx.send(message).await.unwrap();
    }
    let call = client.global_to_zone_sync(request(ReceiverStream::new(rx), metadata));
    let rx = call.await?.into_inner();
    Ok(Call { tx, rx })
}

/// Opens ZoneToGlobalSync.
pub(crate) async fn up(
    client: &mut KdsSyncServiceClient<Channel>,
    metadata: &[(String, String)],
) -> Result<Up, Status> {
    let (tx, rx) = mpsc::channel(256);
    let call = client.zone_to_global_sync(request(ReceiverStream::new(rx), metadata));
    let rx = call.await?.into_inner();
    Ok(Call { tx, rx })
}

/// A subscription to a type, by a node without metadata.
pub(crate) fn subscription(zone: &str, type_url: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(node(zone)),
        type_url: type_url.to_owned(),
        resource_names_subscribe: vec!["*".to_owned()],
        ..DeltaDiscoveryRequest::default()
    }
}

pub(crate) fn node(zone: &str) -> Node {
    Node {
        id: zone.to_owned(),
        ..Node::default()
    }
}

/// The ACK of a response.
pub(crate) fn ack(zone: &str, response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(node(zone)),
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..DeltaDiscoveryRequest::default()
    }
}

/// A stream of messages of a server.
pub(crate) type ServerStream<M> =
    Pin<Box<dyn futures_util::Stream<Item = Result<M, Status>> + Send>>;

/// A route on every gateway of the service `edge-gateway`.
pub(crate) fn route(name: &str) -> Value {
    json!({
        "type": "MeshGatewayRoute", "mesh": "default", "name": name,
        "selectors": [{"match": {"kuma.io/service": "edge-gateway"}}],
        "conf": {"http": {"rules": [{
            "matches": [{"path": {"match": "PREFIX", "value": "/"}}],
            "backends": [{"weight": 1, "destination": {"kuma.io/service": "cart"}}],
        }]}},
    })
}

/// Waits until a zone has a route.
pub(crate) async fn has_route(zone: &Zone, name: &str) {
    eventually(&format!("route {name} in {}", zone.name), async || {
        let list = zone.api.get("/meshes/default/meshgatewayroutes").await?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let shown = items.iter().any(|item| item.to_string().contains(name));
        anyhow::ensure!(shown, "{list:#}");
        Ok(())
    })
    .await;
}
