//! ADS on the wire, in both dialects: requests as the engine reads them, and responses in pieces.
//!
//! A route configuration has megabytes. Encoding it into one buffer, as a codec does, takes
//! longer than finding out what changed; so a response is framed by hand, and large payloads go to
//! the connection as they are kept. Framing: gRPC's length-prefixed messages
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>) around protobuf
//! (<https://protobuf.dev/programming-guides/encoding/>).

use std::convert::Infallible;

use axum::body::Body;
use axum::response::Response;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::StreamBody;
use hyper::body::Frame;
use mesh_delta::{Item, Nonce, Request, Response as DeltaResponse, WorldRequest, WorldResponse};
use mesh_proto::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::Status;
use zone_translate::EnvoyType;

/// A response, framed and in pieces.
pub(super) type Pieces = Vec<Bytes>;

/// Pieces of a payload from this size on are passed on without being copied.
const SHARED: usize = 4096;

/// Field numbers
/// (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto>).
mod field {
    pub(super) const RESOURCES: u32 = 2;
    pub(super) const TYPE_URL: u32 = 4;
    pub(super) const NONCE: u32 = 5;
    pub(super) const REMOVED_RESOURCES: u32 = 6;
    pub(super) const CONTROL_PLANE: u32 = 7;

    pub(super) mod resource {
        pub(in super::super) const VERSION: u32 = 1;
        pub(in super::super) const RESOURCE: u32 = 2;
        pub(in super::super) const NAME: u32 = 3;
    }
    pub(super) mod world {
        pub(in super::super) const VERSION_INFO: u32 = 1;
        pub(in super::super) const RESOURCES: u32 = 2;
        pub(in super::super) const TYPE_URL: u32 = 4;
        pub(in super::super) const NONCE: u32 = 5;
        pub(in super::super) const CONTROL_PLANE: u32 = 6;
    }
    pub(super) mod any {
        pub(in super::super) const TYPE_URL: u32 = 1;
        pub(in super::super) const VALUE: u32 = 2;
    }
    pub(super) mod control_plane {
        pub(in super::super) const IDENTIFIER: u32 = 1;
    }
}

/// A request as the delta engine reads it.
pub(super) fn from_wire(ty: EnvoyType, request: &DeltaDiscoveryRequest) -> Request<EnvoyType> {
    let names = |names: &[String]| names.iter().map(|n| n.as_str().into()).collect();
    Request {
        ty,
        subscribe: names(&request.resource_names_subscribe),
        unsubscribe: names(&request.resource_names_unsubscribe),
        initial_versions: request
            .initial_resource_versions
            .iter()
            .map(|(name, version)| (name.as_str().into(), version.as_str().into()))
            .collect(),
        nonce: Nonce::parse(&request.response_nonce),
        error: request
            .error_detail
            .as_ref()
            .map(|status| status.message.clone()),
        rejected: Vec::new(),
    }
}

/// A state-of-the-world request as the engine reads it.
pub(super) fn from_world(ty: EnvoyType, request: &DiscoveryRequest) -> WorldRequest<EnvoyType> {
    let names = request.resource_names.iter();
    let version = &request.version_info;
    WorldRequest {
        ty,
        names: names.map(|name| name.as_str().into()).collect(),
        version: (!version.is_empty()).then(|| version.as_str().into()),
        nonce: Nonce::parse(&request.response_nonce),
        error: request
            .error_detail
            .as_ref()
            .map(|status| status.message.clone()),
    }
}

/// A `DeltaDiscoveryResponse` as a gRPC message. An error if it is larger than gRPC can frame.
pub(super) fn to_wire(
    response: &DeltaResponse<EnvoyType>,
    identifier: &str,
) -> Result<Pieces, Status> {
    let type_url = response.ty.type_url();
    let nonce = response.nonce.to_string();
    let resource_len = |name: &str, item: &Item<EnvoyType>| {
        string_len(field::resource::VERSION, &item.version)
            + field_len(field::resource::RESOURCE, any_len(type_url, item))
            + string_len(field::resource::NAME, name)
    };
    let control_plane_len = string_len(field::control_plane::IDENTIFIER, identifier);
    let resources: usize = response
        .resources
        .iter()
        .map(|(name, item)| field_len(field::RESOURCES, resource_len(name, item)))
        .sum();
    let removed: usize = response
        .removed
        .iter()
        .map(|name| field_len(field::REMOVED_RESOURCES, name.len()))
        .sum();
    let length = resources
        + string_len(field::TYPE_URL, type_url)
        + string_len(field::NONCE, &nonce)
        + removed
        + field_len(field::CONTROL_PLANE, control_plane_len);
    let mut writer = Writer::framed(length)?;
    for (name, item) in &response.resources {
        writer.header(field::RESOURCES, resource_len(name, item));
        writer.string(field::resource::VERSION, &item.version);
        writer.any(field::resource::RESOURCE, type_url, item);
        writer.string(field::resource::NAME, name);
    }
    writer.string(field::TYPE_URL, type_url);
    writer.string(field::NONCE, &nonce);
    for name in &response.removed {
        writer.header(field::REMOVED_RESOURCES, name.len());
        writer.small.put_slice(name.as_bytes());
    }
    writer.header(field::CONTROL_PLANE, control_plane_len);
    writer.string(field::control_plane::IDENTIFIER, identifier);
    Ok(writer.finish())
}

/// A `DiscoveryResponse` as a gRPC message. An error if it is larger than gRPC can frame.
pub(super) fn world_to_wire(
    response: &WorldResponse<EnvoyType>,
    identifier: &str,
) -> Result<Pieces, Status> {
    let type_url = response.ty.type_url();
    let nonce = response.nonce.to_string();
    let control_plane_len = string_len(field::control_plane::IDENTIFIER, identifier);
    let resources: usize = response
        .resources
        .iter()
        .map(|(_, item)| field_len(field::world::RESOURCES, any_len(type_url, item)))
        .sum();
    let length = string_len(field::world::VERSION_INFO, &response.version)
        + resources
        + string_len(field::world::TYPE_URL, type_url)
        + string_len(field::world::NONCE, &nonce)
        + field_len(field::world::CONTROL_PLANE, control_plane_len);
    let mut writer = Writer::framed(length)?;
    writer.string(field::world::VERSION_INFO, &response.version);
    for (_, item) in &response.resources {
        writer.any(field::world::RESOURCES, type_url, item);
    }
    writer.string(field::world::TYPE_URL, type_url);
    writer.string(field::world::NONCE, &nonce);
    writer.header(field::world::CONTROL_PLANE, control_plane_len);
    writer.string(field::control_plane::IDENTIFIER, identifier);
    Ok(writer.finish())
}

/// A small encoded message as a gRPC message.
pub(super) fn framed(message: &[u8]) -> Result<Pieces, Status> {
    let mut writer = Writer::framed(message.len())?;
    writer.small.put_slice(message);
    Ok(writer.finish())
}

/// A gRPC response whose body is a stream of messages that ends with a status.
pub(super) fn respond(
    messages: impl Stream<Item = Result<Pieces, Status>> + Send + 'static,
) -> Response {
    let frames = messages.flat_map(|message| {
        let frames: Vec<Frame<Bytes>> = match message {
            Ok(pieces) => pieces.into_iter().map(Frame::data).collect(),
            Err(status) => vec![Frame::trailers(trailers(&status))],
        };
        stream::iter(frames.into_iter().map(Ok::<_, Infallible>))
    });
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    response
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // A message that no header can hold; the code says enough.
        let code = HeaderValue::from(status.code() as i32);
        trailers.insert(Status::GRPC_STATUS, code);
    }
    trailers
}

fn field_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

/// An empty string is not written.
fn string_len(tag: u32, text: &str) -> usize {
    match text.len() {
        0 => 0,
        length => field_len(tag, length),
    }
}

fn any_len(type_url: &str, item: &Item<EnvoyType>) -> usize {
    let value = match item.payload.len() {
        0 => 0,
        length => field_len(field::any::VALUE, length),
    };
    string_len(field::any::TYPE_URL, type_url) + value
}

/// Collects what is small and keeps what is large as it is.
#[derive(Default)]
struct Writer {
    pieces: Pieces,
    small: BytesMut,
}

impl Writer {
    /// Begins a message of this length that is not compressed.
    fn framed(length: usize) -> Result<Self, Status> {
        let framed = u32::try_from(length).map_err(|_too_large| {
            Status::resource_exhausted(format!(
                "a response of {length} bytes is too large for gRPC"
            ))
        })?;
        let mut writer = Self::default();
        writer.small.put_u8(0);
        writer.small.put_u32(framed);
        Ok(writer)
    }

    fn any(&mut self, tag: u32, type_url: &str, item: &Item<EnvoyType>) {
        self.header(tag, any_len(type_url, item));
        self.string(field::any::TYPE_URL, type_url);
        if !item.payload.is_empty() {
            self.header(field::any::VALUE, item.payload.len());
            item.payload.pieces().iter().for_each(|p| self.piece(p));
        }
    }

    fn header(&mut self, tag: u32, length: usize) {
        encode_key(tag, WireType::LengthDelimited, &mut self.small);
        encode_varint(length as u64, &mut self.small);
    }

    fn string(&mut self, tag: u32, text: &str) {
        if !text.is_empty() {
            self.header(tag, text.len());
            self.small.put_slice(text.as_bytes());
        }
    }

    fn piece(&mut self, piece: &Bytes) {
        if piece.len() < SHARED {
            self.small.put_slice(piece);
        } else {
            self.flush();
            self.pieces.push(piece.clone());
        }
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
    }

    fn finish(mut self) -> Pieces {
        self.flush();
        self.pieces
    }
}

#[cfg(test)]
mod tests {
    use mesh_delta::{Name, Payload};
    use mesh_proto::discovery::{DeltaDiscoveryResponse, DiscoveryResponse, Resource};
    use mesh_proto::{Any, core};
    use prost::Message as _;

    use super::*;

    #[test]
    fn what_is_framed_is_what_prost_would_encode() {
        let large = Bytes::from(vec![7; 3 * SHARED]);
        let pieces = [
            Bytes::from_static(b"small"),
            large.clone(),
            large.slice(1..SHARED),
        ];
        let resources = [
            ("pieces", Payload::from_iter(pieces)),
            ("one", Payload::from(large.clone())),
            ("empty", Payload::default()),
        ];
        let response = DeltaResponse {
            ty: EnvoyType::Route,
            nonce: Nonce::parse("300").unwrap(),
            resources: resources
                .map(|(name, payload)| (Name::from(name), Item::new("v1", payload)))
                .into(),
            removed: vec![Name::from("gone"), Name::from("")],
            is_complete: false,
            position: None,
        };
        let framed = to_wire(&response, "instance").unwrap();
        assert!(
            framed.iter().any(|piece| piece.as_ptr() == large.as_ptr()),
            "what is large is not copied"
        );

        let expected = DeltaDiscoveryResponse {
            system_version_info: String::new(),
            resources: response
                .resources
                .iter()
                .map(|(name, item)| Resource {
                    version: item.version.to_string(),
                    resource: Some(Any {
                        type_url: EnvoyType::Route.type_url().to_owned(),
                        value: item.payload.to_bytes(),
                    }),
                    name: name.to_string(),
                })
                .collect(),
            type_url: EnvoyType::Route.type_url().to_owned(),
            nonce: response.nonce.to_string(),
            removed_resources: vec!["gone".to_owned(), String::new()],
            control_plane: Some(core::ControlPlane {
                identifier: "instance".to_owned(),
            }),
            ..DeltaDiscoveryResponse::default()
        };
        let expected = expected.encode_to_vec();
        let framed = framed.concat();
        let length = u32::try_from(expected.len()).unwrap().to_be_bytes();
        assert_eq!(framed[..5], [&[0], length.as_slice()].concat());
        assert_eq!(framed[5..], expected);
    }

    #[test]
    fn what_is_framed_for_state_of_the_world_is_what_prost_would_encode() {
        let large = Bytes::from(vec![7; 2 * SHARED]);
        let resources = [
            ("large", Payload::from(large)),
            ("empty", Payload::default()),
        ];
        let response = WorldResponse {
            ty: EnvoyType::Cluster,
            version: "v7".into(),
            nonce: Nonce::parse("12").unwrap(),
            resources: resources
                .map(|(name, payload)| (Name::from(name), Item::new("v1", payload)))
                .into(),
            changes: 2,
        };
        let expected = DiscoveryResponse {
            version_info: "v7".to_owned(),
            resources: response
                .resources
                .iter()
                .map(|(_, item)| Any {
                    type_url: EnvoyType::Cluster.type_url().to_owned(),
                    value: item.payload.to_bytes(),
                })
                .collect(),
            type_url: EnvoyType::Cluster.type_url().to_owned(),
            nonce: "12".to_owned(),
            control_plane: Some(core::ControlPlane {
                identifier: "instance".to_owned(),
            }),
        };
        let framed = world_to_wire(&response, "instance").unwrap().concat();
        assert_eq!(framed[5..], expected.encode_to_vec());
    }
}
