//! A zone that opens a stream, asks for everything, and never reads.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use mesh_kds::Kind;
use mesh_proto::core::Node;
use mesh_proto::discovery::DeltaDiscoveryRequest;
use mesh_proto::mesh::kds_sync_service_client::KdsSyncServiceClient;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;

use super::hosts::PORT;
use super::ledger::GLOBAL;
use super::wire::Trace;

/// Its name.
pub(super) const MUTE: &str = "mute";

/// How much fits into its windows.
pub(super) const WINDOW: u32 = 64 << 10;

/// Opens its stream after a while, and holds it as long as it may.
pub(super) async fn run(after: Duration, trace: Arc<Trace>) -> turmoil::Result {
    tokio::time::sleep(after).await;
    let connector = tower::service_fn(move |_: http::Uri| {
        let trace = Arc::clone(&trace);
        async move {
            let stream = turmoil::net::TcpStream::connect((GLOBAL, PORT)).await?;
            let who = MUTE.into();
            Ok::<_, std::io::Error>(TokioIo::new(super::wire::Watched { stream, trace, who }))
        }
    });
    let endpoint = Endpoint::from_static("http://global:5685")
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    let Ok(channel) = endpoint.connect_with_connector(connector).await else {
        return std::future::pending().await;
    };
    let (ask, asked) = tokio::sync::mpsc::channel(64);
    for kind in Kind::down() {
        let request = DeltaDiscoveryRequest {
            node: Some(Node {
                id: MUTE.to_owned(),
                ..Node::default()
            }),
            type_url: kind.to_string(),
            resource_names_subscribe: vec!["*".to_owned()],
            ..DeltaDiscoveryRequest::default()
        };
        ask.send(request).await?;
    }
    let mut request = tonic::Request::new(tokio_stream::wrappers::ReceiverStream::new(asked));
    let metadata = request.metadata_mut();
    metadata.insert("client-id", MetadataValue::from_static(MUTE));
    metadata.insert("kds-version", MetadataValue::from_static("v3"));
    metadata.insert("version", MetadataValue::from_static("2.14.3"));
    metadata.insert("features", MetadataValue::from_static("hash-suffix"));
    let mut client = KdsSyncServiceClient::new(channel);
    let answers = client.global_to_zone_sync(request).await;
    std::future::pending::<()>().await;
    drop((answers, ask));
    Ok(())
}
