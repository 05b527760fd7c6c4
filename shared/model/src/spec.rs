//! Specs and statuses: encoded content that is known to be of its type.
//!
//! Both stay the bytes that arrived. Whoever needs their fields decodes them; whoever sends them
//! on sends the same bytes, so fields that this release does not know survive, and so does the
//! spelling of numbers in JSON.

use std::fmt;

use bytes::Bytes;
use mesh_proto::{mesh, system};

use crate::resource_type::ResourceType;

/// A message that is the spec of one or more resource types.
pub trait SpecMessage: prost::Message + Default + 'static {
    /// The types whose spec it is.
    const TYPES: &'static [ResourceType];
}

macro_rules! spec_messages {
    (json: [$($json:ident),+ $(,)?]; $($message:ty: [$($ty:ident),+]);+ $(;)?) => {
        $(impl SpecMessage for $message {
            const TYPES: &'static [ResourceType] = &[$(ResourceType::$ty),+];
        })+

        /// Decodes `bytes` as the spec of `ty`, to see whether it is one.
        fn check(ty: ResourceType, bytes: &[u8]) -> Result<(), Cause> {
            match ty {
                $($(ResourceType::$ty)|+ => {
                    <$message as prost::Message>::decode(bytes)?;
                    Ok(())
                })+
                $(ResourceType::$json)|+ => object(bytes).map(drop),
            }
        }

        /// Decodes `bytes` as the spec of `ty` and encodes that again. Of a message: fields in
        /// order, maps sorted, unknown fields gone. Of JSON: the same without white space.
        fn canonical(ty: ResourceType, bytes: &[u8]) -> Result<Vec<u8>, Cause> {
            match ty {
                $($(ResourceType::$ty)|+ => {
                    let message = <$message as prost::Message>::decode(bytes)?;
                    Ok(prost::Message::encode_to_vec(&message))
                })+
                $(ResourceType::$json)|+ => Ok(compact(object(bytes)?)),
            }
        }
    };
}

spec_messages! {
    json: [
        MeshService, MeshExternalService, MeshMultiZoneService, HostnameGenerator, MeshAccessLog,
        MeshCircuitBreaker, MeshFaultInjection, MeshHealthCheck, MeshHTTPRoute,
        MeshLoadBalancingStrategy, MeshMetric, MeshPassthrough, MeshProxyPatch, MeshRateLimit,
        MeshRetry, MeshTCPRoute, MeshTimeout, MeshTLS, MeshTrace, MeshTrafficPermission,
        MeshIdentity, MeshTrust, MeshOpenTelemetryBackend, MeshZoneAddress, Workload,
    ];
    mesh::Mesh: [Mesh];
    mesh::MeshGateway: [MeshGateway];
    mesh::MeshGatewayRoute: [MeshGatewayRoute];
    mesh::ExternalService: [ExternalService];
    mesh::CircuitBreaker: [CircuitBreaker];
    mesh::FaultInjection: [FaultInjection];
    mesh::HealthCheck: [HealthCheck];
    mesh::ProxyTemplate: [ProxyTemplate];
    mesh::RateLimit: [RateLimit];
    mesh::Retry: [Retry];
    mesh::Timeout: [Timeout];
    mesh::TrafficLog: [TrafficLog];
    mesh::TrafficPermission: [TrafficPermission];
    mesh::TrafficRoute: [TrafficRoute];
    mesh::TrafficTrace: [TrafficTrace];
    mesh::VirtualOutbound: [VirtualOutbound];
    mesh::ServiceInsight: [ServiceInsight];
    mesh::Dataplane: [Dataplane];
    mesh::DataplaneInsight: [DataplaneInsight];
    mesh::ZoneIngress: [ZoneIngress];
    mesh::ZoneIngressInsight: [ZoneIngressInsight];
    mesh::ZoneEgress: [ZoneEgress];
    mesh::ZoneEgressInsight: [ZoneEgressInsight];
    system::Secret: [Secret, GlobalSecret];
    system::Config: [Config];
    system::Zone: [Zone];
    system::ZoneInsight: [ZoneInsight];
}

/// Why bytes are not of their type.
#[derive(Debug, Clone, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Message(#[from] prost::DecodeError),
    #[error("nothing where a JSON object is needed; an empty one is {{}}")]
    Empty,
    #[error("not JSON: {0}")]
    Json(String),
    #[error("JSON, but no object")]
    NoObject,
}

/// The bytes are not the spec of their type.
#[derive(Debug, Clone, thiserror::Error)]
#[error("not an encoded {ty}")]
pub struct DecodeSpecError {
    /// The type whose spec was expected.
    pub ty: ResourceType,
    #[source]
    source: Cause,
}

/// The bytes are not a status.
#[derive(Debug, Clone, thiserror::Error)]
#[error("not a status")]
pub struct DecodeStatusError(#[source] Cause);

/// `bytes` as text that is known to be one JSON object, nested no deeper than can be read again.
fn object(bytes: &[u8]) -> Result<&str, Cause> {
    if bytes.is_empty() {
        return Err(Cause::Empty);
    }
    let text = std::str::from_utf8(bytes).map_err(|error| Cause::Json(error.to_string()))?;
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(_)) => Ok(text),
        Ok(_) => Err(Cause::NoObject),
        Err(error) => Err(Cause::Json(error.to_string())),
    }
}

/// JSON without the white space between its parts; nothing else changes, not even the spelling of
/// numbers.
fn compact(json: &str) -> Vec<u8> {
    let (mut in_string, mut is_escaped) = (false, false);
    json.bytes()
        .filter(|byte| {
            if in_string {
                in_string = is_escaped || *byte != b'"';
                is_escaped = !is_escaped && *byte == b'\\';
                return true;
            }
            in_string = *byte == b'"';
            !matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
        })
        .collect()
}

/// An encoded spec that is known to decode as the spec of its type: the type's message, or a JSON
/// object.
#[derive(Clone, PartialEq, Eq)]
pub struct Spec {
    ty: ResourceType,
    bytes: Bytes,
}

impl fmt::Debug for Spec {
    /// Without its bytes: some specs hold private keys, as a Secret does, and a gateway may.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spec({}, {} bytes)", self.ty, self.bytes.len())
    }
}

impl Spec {
    /// Encodes a message as the spec of type `ty`.
    ///
    /// # Panics
    /// When `M` is not the message of `ty`: that is a mistake in the calling code.
    pub fn encode<M: SpecMessage>(ty: ResourceType, message: &M) -> Self {
        assert!(
            M::TYPES.contains(&ty),
            "the message is not the spec of {ty}"
        );
        Self {
            ty,
            bytes: message.encode_to_vec().into(),
        }
    }

    /// Takes bytes that a peer or a file gave, as they are.
    ///
    /// # Errors
    /// When they do not decode as the message of `ty`, or are no JSON object where it has none.
    pub fn parse(ty: ResourceType, bytes: Bytes) -> Result<Self, DecodeSpecError> {
        check(ty, &bytes).map_err(|source| DecodeSpecError { ty, source })?;
        Ok(Self { ty, bytes })
    }

    /// The spec of a type whose specs are JSON.
    ///
    /// # Panics
    /// When those of `ty` are not: that is a mistake in the calling code.
    pub fn from_json(
        ty: ResourceType,
        fields: &serde_json::Map<String, serde_json::Value>,
    ) -> Self {
        assert!(ty.is_json(), "the spec of {ty} is no JSON");
        let json = serde_json::to_vec(fields).expect("a JSON object in memory can be written");
        Self {
            ty,
            bytes: json.into(),
        }
    }

    /// The fields of a JSON spec, in the order in which they were given; `None` for a message.
    pub fn json(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        self.ty.is_json().then(|| fields(&self.bytes))
    }

    /// Takes bytes in any valid encoding and keeps the canonical one. Of a message: fields in
    /// order, maps sorted, unknown fields gone. Of JSON: the same without white space.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_canonical(ty: ResourceType, bytes: &[u8]) -> Result<Self, DecodeSpecError> {
        let bytes = canonical(ty, bytes).map_err(|source| DecodeSpecError { ty, source })?;
        Ok(Self {
            ty,
            bytes: bytes.into(),
        })
    }

    /// The same spec in its canonical encoding; see [`Self::parse_canonical`].
    pub fn to_canonical(&self) -> Self {
        Self::parse_canonical(self.ty, &self.bytes)
            .expect("a Spec was decoded once when it was made")
    }

    /// The type whose spec this is.
    pub fn ty(&self) -> ResourceType {
        self.ty
    }

    /// The encoded message, or the text of the JSON object.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The decoded message.
    ///
    /// # Panics
    /// When `M` is not the message of this spec's type: that is a mistake in the calling code.
    pub fn decode<M: SpecMessage>(&self) -> M {
        assert!(
            M::TYPES.contains(&self.ty),
            "the message is not the spec of {}",
            self.ty
        );
        M::decode(self.bytes.as_ref()).expect("a Spec was decoded once when it was made")
    }
}

/// What control planes say of a resource beside its spec: a JSON object, kept as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Status(Bytes);

impl Status {
    /// Takes bytes that a peer or a file gave, as they are.
    ///
    /// # Errors
    /// When they are no JSON object.
    pub fn parse(bytes: Bytes) -> Result<Self, DecodeStatusError> {
        object(&bytes).map_err(DecodeStatusError)?;
        Ok(Self(bytes))
    }

    /// The text of the JSON object.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Its fields, in the order in which they were given.
    pub fn json(&self) -> serde_json::Map<String, serde_json::Value> {
        fields(&self.0)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({} bytes)", self.0.len())
    }
}

fn fields(bytes: &[u8]) -> serde_json::Map<String, serde_json::Value> {
    serde_json::from_slice(bytes).expect("it was read once when it was made")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout(text: &str) -> Result<Spec, DecodeSpecError> {
        Spec::parse(
            ResourceType::MeshTimeout,
            Bytes::copy_from_slice(text.as_bytes()),
        )
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        assert!(Spec::parse(ResourceType::Mesh, Bytes::from_static(b"\xff\xff")).is_err());
    }

    #[test]
    fn unknown_fields_survive_because_the_bytes_are_kept() {
        // Field 1000, varint 7.
        let bytes = Bytes::from_static(&[0xc0, 0x3e, 0x07]);
        let spec = Spec::parse(ResourceType::Mesh, bytes.clone()).unwrap();
        assert_eq!(spec.bytes(), &bytes);
    }

    #[test]
    fn the_types_that_the_table_says_are_json_are_read_as_json() {
        for ty in ResourceType::ALL {
            let is_json = Spec::parse(ty, Bytes::from_static(b"{}")).is_ok();
            let takes_nothing = Spec::parse(ty, Bytes::new()).is_ok();
            assert_eq!(
                (is_json, takes_nothing),
                (ty.is_json(), !ty.is_json()),
                "{ty}"
            );
        }
    }

    #[test]
    fn what_is_no_json_object_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "an empty one is {}"),
            (" ", "not JSON"),
            ("null", "no object"),
            ("[]", "no object"),
            ("\"{}\"", "no object"),
            ("{\"a\":}", "not JSON"),
            ("{} {}", "not JSON"),
            ("{\"a\":1e999}", "not JSON"),
            (
                &format!("{{\"a\":{}{}}}", "[".repeat(500), "]".repeat(500)),
                "not JSON",
            ),
        ] {
            let error = timeout(text).unwrap_err();
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.contains(reason), "{text:?}: {source}");
        }
        let not_utf8 = Spec::parse(
            ResourceType::MeshTimeout,
            Bytes::from_static(b"{\"\xff\":1}"),
        );
        assert!(not_utf8.is_err());
        assert!(Status::parse(Bytes::new()).is_err());
    }

    #[test]
    fn json_keeps_its_spelling_and_loses_only_white_space_when_made_canonical() {
        let text =
            "{ \"z\" : 12345678901234567890123 ,\n\"a\":[-0.0,1e2 , 1.50],\t\"q\\\" \\\\\": \" \"}";
        let spec = timeout(text).unwrap();
        assert_eq!(spec.bytes(), text.as_bytes());
        let canonical = spec.to_canonical();
        assert_eq!(
            canonical.bytes(),
            &b"{\"z\":12345678901234567890123,\"a\":[-0.0,1e2,1.50],\"q\\\" \\\\\":\" \"}"[..]
        );
        assert_eq!(canonical.to_canonical(), canonical);
        assert_eq!(canonical.json(), spec.json());
    }
}
