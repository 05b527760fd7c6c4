//! Who is on the other end, as far as it said.
//!
//! Behaviour is chosen by what a peer announced, never by its version number.

mod class;

use mesh_model::{ParseNameError, ZoneName};
use mesh_proto::core::Node;
use prost_types::value::Kind as ValueKind;
use prost_types::{ListValue, Struct, Value};
use tonic::metadata::{MetadataMap, MetadataValue};
use uuid::Uuid;

pub use self::class::{
    FEATURE_MULTI_ZONE_SELECTOR, FEATURE_OPTIONAL_TARGET_REF, FEATURE_PRODUCER_POLICIES,
    FEATURE_ZONE_TOKEN, ZoneClass,
};

/// gRPC metadata: the zone's name.
pub const CLIENT_ID: &str = "client-id";
/// gRPC metadata: the protocol's version, always `v3`.
pub const KDS_VERSION: &str = "kds-version";
/// gRPC metadata, repeated: what the zone can do.
pub const FEATURES: &str = "features";
/// gRPC metadata: the zone's release.
pub const VERSION: &str = "version";
/// gRPC metadata of ours: the identity of the zone's store, so that two zones with one name are
/// told apart from one zone that reconnects.
pub const STORE_ID: &str = "meridian-store-id";

/// gRPC metadata of ours: the largest message, in bytes, that the zone takes on a down stream.
pub const MAX_MESSAGE: &str = "meridian-max-message";

/// gRPC metadata: the zone token, with or without `Bearer` before it.
pub const AUTHORIZATION: &str = "authorization";

/// gRPC metadata of ours: names one connection, so that its calls are known to belong together.
pub const SESSION: &str = "meridian-session";

/// The zone answers health checks; seen in gRPC metadata only.
pub const FEATURE_PING_HEALTH: &str = "zone-ping-health";
/// The peer uses names with a hash suffix and labels (2.6 and later).
pub const FEATURE_HASH_SUFFIX: &str = "hash-suffix";

/// In node features: the peer is a Meridian control plane.
pub const FEATURE_MERIDIAN: &str = "meridian";

/// Ours: a receiver's first request of a type says what it holds, as digests.
pub const FEATURE_RESUME: &str = "meridian-resume";
/// Ours: a response may be spread over several messages.
pub const FEATURE_CHUNKS: &str = "meridian-chunks";
/// Ours: a NACK lists what was refused in `error_detail.details`.
pub const FEATURE_REJECTIONS: &str = "meridian-rejections";

/// Ours: heartbeats are said and answered on a service of their own.
pub const FEATURE_HEARTBEAT: &str = "meridian-heartbeat";

/// Ours: where a resource is, is asked on a stream of its own.
pub const FEATURE_RECEIPTS: &str = "meridian-receipts";

/// The abilities of this release, as zones say them in the metadata of calls.
const OWN_ABILITIES: [&str; 5] = [
    FEATURE_RESUME,
    FEATURE_CHUNKS,
    FEATURE_REJECTIONS,
    FEATURE_HEARTBEAT,
    FEATURE_RECEIPTS,
];

/// What stock control planes of 2.14 announce in their nodes, and ours do as well: of each of these
/// resources all is kept, whether or not it is applied yet.
const KUMA_FEATURES: [&str; 5] = [
    FEATURE_ZONE_TOKEN,
    FEATURE_HASH_SUFFIX,
    FEATURE_MULTI_ZONE_SELECTOR,
    FEATURE_PRODUCER_POLICIES,
    FEATURE_OPTIONAL_TARGET_REF,
];

/// The features that our control planes announce in their nodes.
pub fn own_features() -> Vec<String> {
    KUMA_FEATURES
        .into_iter()
        .chain([FEATURE_MERIDIAN])
        .chain(OWN_ABILITIES)
        .map(str::to_owned)
        .collect()
}

/// What a Meridian control plane can do beyond Kuma's protocol. A stock one can none of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities {
    /// [`FEATURE_RESUME`].
    pub resume: bool,
    /// [`FEATURE_CHUNKS`].
    pub chunks: bool,
    /// [`FEATURE_REJECTIONS`].
    pub rejections: bool,
    /// [`FEATURE_HEARTBEAT`].
    pub heartbeat: bool,
    /// [`FEATURE_RECEIPTS`].
    pub receipts: bool,
}

impl Abilities {
    /// What is announced among `features`.
    pub fn announced<'a>(features: impl IntoIterator<Item = &'a str>) -> Self {
        let mut abilities = Self::default();
        for feature in features {
            match feature {
                FEATURE_RESUME => abilities.resume = true,
                FEATURE_CHUNKS => abilities.chunks = true,
                FEATURE_REJECTIONS => abilities.rejections = true,
                FEATURE_HEARTBEAT => abilities.heartbeat = true,
                FEATURE_RECEIPTS => abilities.receipts = true,
                _ => {}
            }
        }
        abilities
    }
}

/// How resources are named towards a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Naming {
    /// As they are called where they were made (2.5).
    Plain,
    /// With a hash suffix, and the name in the label `kuma.io/display-name` (2.6 and later).
    Hashed,
}

/// Why a call's metadata names no zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// No `client-id`.
    #[error("\"client-id\" is not present in metadata")]
    NoClientId,
    /// A `client-id` that is not text.
    #[error("\"client-id\" in metadata is not text")]
    NotText,
    /// A `client-id` that is not a zone name.
    #[error("\"client-id\" {name:?} in metadata is not a zone name: {source}")]
    NotAZoneName {
        /// What it was.
        name: String,
        /// What is wrong with it.
        source: ParseNameError,
    },
}

/// What a zone says of itself in the metadata of each call.
#[derive(Debug, Clone)]
pub struct ZonePeer {
    /// Its name; everything that it does is under this name.
    pub zone: ZoneName,
    /// How it names what it sends up.
    pub up_naming: Naming,
    /// Its release, if it said so.
    pub version: Option<String>,
    /// The identity of its store, if it is one of ours.
    pub store_id: Option<Uuid>,
    /// The connection that the call is on, if it is one of ours.
    pub session: Option<Uuid>,
    /// The largest message that it takes, if it said so.
    pub max_message: Option<usize>,
    /// What it can do beyond Kuma's protocol.
    pub abilities: Abilities,
    /// Whether it sent exactly one `authorization` value.
    pub has_token: bool,
    /// Whether it says every now and then that it is there.
    pub pings_health: bool,
}

impl ZonePeer {
    /// Reads the metadata of a call.
    ///
    /// # Errors
    /// When `client-id` is missing or no zone name.
    pub fn from_metadata(metadata: &MetadataMap) -> Result<Self, PeerError> {
        let name = metadata.get(CLIENT_ID).ok_or(PeerError::NoClientId)?;
        let name = name.to_str().map_err(|_not_ascii| PeerError::NotText)?;
        let zone = ZoneName::parse(name).map_err(|source| PeerError::NotAZoneName {
            name: name.to_owned(),
            source,
        })?;
        let text = |key| {
            metadata
                .get(key)
                .and_then(|v| v.to_str().ok())
                .map(str::to_owned)
        };
        let features = || {
            metadata
                .get_all(FEATURES)
                .iter()
                .filter_map(|v| v.to_str().ok())
                .flat_map(|v| v.split(','))
                .map(str::trim)
        };
        let is_hashed = features().any(|feature| feature == FEATURE_HASH_SUFFIX);
        Ok(Self {
            zone,
            abilities: Abilities::announced(features()),
            up_naming: if is_hashed {
                Naming::Hashed
            } else {
                Naming::Plain
            },
            version: text(VERSION),
            store_id: text(STORE_ID).and_then(|id| Uuid::parse_str(&id).ok()),
            session: text(SESSION).and_then(|id| Uuid::parse_str(&id).ok()),
            max_message: text(MAX_MESSAGE).and_then(|size| size.parse().ok()),
            has_token: metadata.get_all(AUTHORIZATION).iter().count() == 1,
            pings_health: features().any(|feature| feature == FEATURE_PING_HEALTH),
        })
    }
}

/// What one of our zones says of itself in the metadata of each call.
#[derive(Debug, Clone, Copy)]
pub struct Introduction<'a> {
    /// Its name.
    pub zone: &'a ZoneName,
    /// Its release.
    pub version: &'a str,
    /// The identity of its store.
    pub store_id: Uuid,
    /// The connection that the call is on.
    pub session: Uuid,
    /// The largest message that it takes on a down stream, in bytes.
    pub max_message: usize,
}

impl Introduction<'_> {
    /// Writes it into the metadata of a call.
    ///
    /// # Panics
    /// Never: names, versions and UUIDs are ASCII.
    pub fn write(&self, metadata: &mut MetadataMap) {
        let ascii = |text: &str| {
            MetadataValue::try_from(text).expect("names, versions and UUIDs are visible ASCII")
        };
        metadata.insert(VERSION, ascii(self.version));
        metadata.insert(CLIENT_ID, ascii(self.zone.as_str()));
        metadata.insert(KDS_VERSION, MetadataValue::from_static("v3"));
        metadata.append(FEATURES, MetadataValue::from_static(FEATURE_PING_HEALTH));
        metadata.append(FEATURES, MetadataValue::from_static(FEATURE_HASH_SUFFIX));
        for ability in OWN_ABILITIES {
            metadata.append(FEATURES, MetadataValue::from_static(ability));
        }
        metadata.insert(STORE_ID, ascii(&self.store_id.to_string()));
        metadata.insert(SESSION, ascii(&self.session.to_string()));
        metadata.insert(MAX_MESSAGE, ascii(&self.max_message.to_string()));
    }
}

/// What a control plane says of itself in the node of a first request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// The zone's name, on both streams.
    pub id: String,
    /// Release, tag, commit and build date.
    pub version: CpVersion,
    /// The sender's configuration as JSON with secrets masked; empty from a global.
    pub config: String,
    /// What the sender can do.
    pub features: Vec<String>,
    /// The sender's instance, `<host name>-<4 hex>`.
    pub instance_id: String,
    /// The identity of the sender's store, from a global of ours.
    pub store_id: Option<Uuid>,
}

/// A control plane's release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpVersion {
    /// Such as `2.14.3`.
    pub version: String,
    /// The tag it was built from.
    pub git_tag: String,
    /// The commit it was built from.
    pub git_commit: String,
    /// When it was built.
    pub build_date: String,
}

impl NodeInfo {
    /// Whether this peer is a Meridian control plane.
    pub fn is_meridian(&self) -> bool {
        self.features.iter().any(|f| f == FEATURE_MERIDIAN)
    }

    /// What this peer can do beyond Kuma's protocol.
    pub fn abilities(&self) -> Abilities {
        Abilities::announced(self.features.iter().map(String::as_str))
    }

    /// How this peer wants resources named that are sent to it.
    pub fn naming(&self) -> Naming {
        if self.features.iter().any(|f| f == FEATURE_HASH_SUFFIX) {
            Naming::Hashed
        } else {
            Naming::Plain
        }
    }

    /// As the node of a first request.
    pub fn to_node(&self) -> Node {
        let text = |text: &str| Value {
            kind: Some(ValueKind::StringValue(text.to_owned())),
        };
        let object = |fields: Vec<(&str, Value)>| Value {
            kind: Some(ValueKind::StructValue(Struct {
                fields: fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            })),
        };
        let version = object(vec![
            ("version", text(&self.version.version)),
            ("gitTag", text(&self.version.git_tag)),
            ("gitCommit", text(&self.version.git_commit)),
            ("buildDate", text(&self.version.build_date)),
        ]);
        let features = self.features.iter().map(|f| text(f)).collect();
        let store_id = self.store_id.map(|id| (STORE_ID, text(&id.to_string())));
        let fields = [
            ("version", object(vec![("kumaCp", version)])),
            ("config", text(&self.config)),
            (
                "features",
                Value {
                    kind: Some(ValueKind::ListValue(ListValue { values: features })),
                },
            ),
            ("control-plane-id", text(&self.instance_id)),
        ];
        Node {
            id: self.id.clone(),
            cluster: String::new(),
            metadata: Some(Struct {
                fields: fields
                    .into_iter()
                    .chain(store_id)
                    .map(|(k, v)| (k.to_owned(), v))
                    .collect(),
            }),
            ..Node::default()
        }
    }

    /// From the node of a first request; what is missing or of another shape stays empty.
    pub fn from_node(node: &Node) -> Self {
        let field = |name: &str| node.metadata.as_ref().and_then(|m| m.fields.get(name));
        let version = field("version").and_then(|v| member(v, "kumaCp"));
        let part = |name| {
            version
                .and_then(|v| member(v, name))
                .map(string)
                .unwrap_or_default()
        };
        let features = match field("features").and_then(|v| v.kind.as_ref()) {
            Some(ValueKind::ListValue(list)) => list.values.iter().map(string).collect(),
            _ => Vec::new(),
        };
        Self {
            id: node.id.clone(),
            version: CpVersion {
                version: part("version"),
                git_tag: part("gitTag"),
                git_commit: part("gitCommit"),
                build_date: part("buildDate"),
            },
            config: field("config").map(string).unwrap_or_default(),
            features,
            instance_id: field("control-plane-id").map(string).unwrap_or_default(),
            store_id: field(STORE_ID).and_then(|id| Uuid::parse_str(&string(id)).ok()),
        }
    }
}

fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value.kind.as_ref()? {
        ValueKind::StructValue(object) => object.fields.get(name),
        _ => None,
    }
}

fn string(value: &Value) -> String {
    match &value.kind {
        Some(ValueKind::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_zone_writes_a_global_reads() {
        let mut metadata = MetadataMap::new();
        let zone = ZoneName::parse("east").unwrap();
        let store_id = Uuid::from_u128(7);
        let said = Introduction {
            zone: &zone,
            version: "2.14.3",
            store_id,
            session: Uuid::from_u128(8),
            max_message: 1 << 28,
        };
        said.write(&mut metadata);
        let peer = ZonePeer::from_metadata(&metadata).unwrap();
        assert_eq!(peer.zone, zone);
        assert_eq!(peer.up_naming, Naming::Hashed);
        assert_eq!(peer.store_id, Some(store_id));
        assert_eq!(peer.session, Some(said.session));
        assert_eq!(peer.max_message, Some(1 << 28));
        let own = own_features();
        assert_eq!(
            peer.abilities,
            Abilities::announced(own.iter().map(String::as_str))
        );
        assert!(!peer.has_token);
    }

    #[test]
    fn a_call_without_a_proper_client_id_is_refused() {
        let mut metadata = MetadataMap::new();
        assert_eq!(
            ZonePeer::from_metadata(&metadata).unwrap_err(),
            PeerError::NoClientId
        );
        metadata.insert(CLIENT_ID, MetadataValue::from_static("Not A Zone"));
        assert!(matches!(
            ZonePeer::from_metadata(&metadata).unwrap_err(),
            PeerError::NotAZoneName { .. }
        ));
    }

    #[test]
    fn nodes_round_trip_and_odd_ones_read_as_empty() {
        let info = NodeInfo {
            id: "east".into(),
            version: CpVersion {
                version: "2.14.3".into(),
                ..CpVersion::default()
            },
            config: "{}".into(),
            features: vec![FEATURE_ZONE_TOKEN.into(), FEATURE_HASH_SUFFIX.into()],
            instance_id: "host-1a2b".into(),
            store_id: Some(Uuid::from_u128(7)),
        };
        assert_eq!(NodeInfo::from_node(&info.to_node()), info);
        assert_eq!(info.abilities(), Abilities::default());
        let ours = NodeInfo {
            features: own_features(),
            ..info.clone()
        };
        let abilities = ours.abilities();
        assert!(abilities.resume && abilities.chunks);
        assert!(abilities.rejections && abilities.heartbeat);
        assert_eq!(info.naming(), Naming::Hashed);
        let bare = NodeInfo::from_node(&Node {
            id: "east".into(),
            ..Node::default()
        });
        assert_eq!(bare.naming(), Naming::Plain);
    }
}
