//! A delta ADS client that accepts everything at once and keeps the time.
//!
//! It stands for an Envoy that costs nothing: windows as large as Envoy's, one subscription to
//! everything of each type, an ACK for each response. It works on the frames of the body rather
//! than on messages, because the first byte of a large response comes long before its last.

use std::collections::BTreeMap;

use anyhow::Context as _;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::Request;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_proto::core::Node;
use mesh_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_runtime::tls;
use prost::Message as _;
use prost_types::value::Kind;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::fleet::Fleet;

/// As Envoy's (`Http2ProtocolOptions.initial_stream_window_size`).
const WINDOW: u32 = 256 << 20;
const METHOD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// In the order in which Envoy asks.
const TYPES: [&str; 5] = [
    "type.googleapis.com/envoy.service.runtime.v3.Runtime",
    "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    "type.googleapis.com/envoy.config.listener.v3.Listener",
    ROUTES,
];
/// Route configurations.
pub(crate) const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

/// Resources by name, with their versions.
pub(crate) type Resources = BTreeMap<String, (String, Bytes)>;

/// An open stream.
#[derive(Debug)]
pub(crate) struct Ads {
    requests: mpsc::UnboundedSender<Bytes>,
    body: Incoming,
    buffer: BytesMut,
}

/// A response that came.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// When its first bytes were there.
    pub(crate) first: Instant,
    /// When all of it was there.
    pub(crate) last: Instant,
    /// How long it is.
    pub(crate) length: usize,
    /// What it says.
    pub(crate) response: DeltaDiscoveryResponse,
}

impl Arrival {
    /// Whether a resource in it has `text` in its bytes.
    pub(crate) fn contains(&self, text: &str) -> bool {
        let mut payloads = self
            .response
            .resources
            .iter()
            .filter_map(|one| one.resource.as_ref());
        payloads.any(|any| {
            any.value
                .windows(text.len())
                .any(|at| at == text.as_bytes())
        })
    }
}

impl Ads {
    /// Connects as the Envoy of `dataplane`, registering that, and asks for everything.
    pub(crate) async fn open(
        fleet: &Fleet,
        dataplane: &Value,
        token: &str,
    ) -> anyhow::Result<Self> {
        let tcp = TcpStream::connect(fleet.data_plane).await?;
        tcp.set_nodelay(true)?;
        let name = rustls_pki_types::ServerName::try_from("localhost")?;
        let tls = TlsConnector::from(fleet.tls(tls::ALPN_H2)?)
            .connect(name, tcp)
            .await?;
        let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(TokioIo::new(tls))
            .await?;
        tokio::spawn(connection);

        let (requests, receiver) = mpsc::unbounded_channel();
        let body = UnboundedReceiverStream::new(receiver)
            .map(|bytes| Ok::<_, std::convert::Infallible>(Frame::data(bytes)));
        let request = Request::post(format!("https://{}{METHOD}", fleet.data_plane))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", token)
            .body(StreamBody::new(body))?;
        let mut node = Some(node(dataplane)?);
        for ty in TYPES {
            let first = DeltaDiscoveryRequest {
                node: node.take(),
                type_url: ty.to_owned(),
                resource_names_subscribe: vec!["*".to_owned()],
                ..DeltaDiscoveryRequest::default()
            };
            requests.send(frame(&first))?;
        }
        let response = sender.send_request(request).await?;
        anyhow::ensure!(response.status() == 200, "{response:?}");
        Ok(Self {
            requests,
            body: response.into_body(),
            buffer: BytesMut::new(),
        })
    }

    /// Waits for the next response and ACKs it.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Arrival> {
        let mut first = (!self.buffer.is_empty()).then(Instant::now);
        loop {
            if let Some(message) = take_message(&mut self.buffer) {
                let last = Instant::now();
                let length = message.len();
                let response = DeltaDiscoveryResponse::decode(message)?;
                let ack = DeltaDiscoveryRequest {
                    type_url: response.type_url.clone(),
                    response_nonce: response.nonce.clone(),
                    ..DeltaDiscoveryRequest::default()
                };
                self.requests.send(frame(&ack))?;
                return Ok(Arrival {
                    first: first.unwrap_or(last),
                    last,
                    length,
                    response,
                });
            }
            let frame = self.body.frame().await.context("the zone ended it")??;
            first.get_or_insert_with(Instant::now);
            match frame.into_data() {
                Ok(data) => self.buffer.put(data),
                Err(trailers) => anyhow::bail!("the zone ended it: {trailers:?}"),
            }
        }
    }

    /// Waits for route configurations with `text` in them.
    pub(crate) async fn routes_with(&mut self, text: &str) -> anyhow::Result<Arrival> {
        loop {
            let arrival = self.next().await?;
            if arrival.response.type_url == ROUTES && arrival.contains(text) {
                return Ok(arrival);
            }
        }
    }

    /// Reads until the zone has sent each type and a route configuration with `text`; everything
    /// by type.
    pub(crate) async fn everything(
        &mut self,
        text: &str,
    ) -> anyhow::Result<BTreeMap<String, Resources>> {
        let mut found: BTreeMap<String, Resources> = BTreeMap::new();
        let mut is_there = false;
        while !is_there || found.len() < TYPES.len() {
            let arrival = self.next().await?;
            is_there |= arrival.response.type_url == ROUTES && arrival.contains(text);
            let all = found.entry(arrival.response.type_url.clone()).or_default();
            all.extend(resources(arrival.response));
        }
        Ok(found)
    }
}

/// The resources of a response.
pub(crate) fn resources(response: DeltaDiscoveryResponse) -> Resources {
    let one = |one: mesh_proto::discovery::Resource| {
        (
            one.name,
            (one.version, one.resource.unwrap_or_default().value),
        )
    };
    response.resources.into_iter().map(one).collect()
}

fn node(dataplane: &Value) -> anyhow::Result<Node> {
    let name = dataplane["name"].as_str().context("a Dataplane's name")?;
    let resource = prost_types::Value {
        kind: Some(Kind::StringValue(dataplane.to_string())),
    };
    Ok(Node {
        id: format!("default.{name}"),
        metadata: Some(prost_types::Struct {
            fields: [("dataplane.resource".to_owned(), resource)].into(),
        }),
        ..Node::default()
    })
}

/// A message as gRPC frames it: not compressed, length, bytes.
fn frame(message: &DeltaDiscoveryRequest) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(length + 5);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("requests are small"));
    message.encode(&mut bytes).expect("there is room");
    bytes.freeze()
}

/// The next message, if all of it is there.
fn take_message(buffer: &mut BytesMut) -> Option<Bytes> {
    let header = buffer.get(1..5)?;
    let length = u32::from_be_bytes(header.try_into().ok()?) as usize;
    if buffer.len() < length + 5 {
        // Once for the whole message instead of with every frame.
        buffer.reserve(length + 5 - buffer.len());
        return None;
    }
    buffer.advance(5);
    Some(buffer.split_to(length).freeze())
}
