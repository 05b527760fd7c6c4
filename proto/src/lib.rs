//! The messages and services of KDS, of its resources, of xDS and of health discovery, generated
//! from `protos/`; no logic.
//!
//! Field numbers are Kuma's (2.5 to 2.14) and Envoy's. Maps are ordered, so that encoding is
//! deterministic. Messages are also available by name through [`descriptors`], which is what the
//! JSON dialect is built on.

use std::fmt;
use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

/// `google.protobuf.Any` whose value is shared bytes.
///
/// The wire is that of the well-known type; the value is not copied when a message that holds it
/// is cloned.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
#[prost(skip_debug)]
pub struct Any {
    /// `type.googleapis.com/<full message name>`, or empty for JSON payloads of KDS.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: bytes::Bytes,
}

#[allow(
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    clippy::all,
    clippy::doc_markdown,
    clippy::large_futures,
    clippy::allow_attributes_without_reason,
    rustdoc::all,
    reason = "generated code"
)]
mod generated {
    pub mod envoy {
        pub mod config {
            pub mod core {
                pub mod v3 {
                    include!(concat!(env!("OUT_DIR"), "/envoy.config.core.v3.rs"));
                }
            }
            pub mod endpoint {
                pub mod v3 {
                    include!(concat!(env!("OUT_DIR"), "/envoy.config.endpoint.v3.rs"));
                }
            }
        }
        pub mod service {
            pub mod discovery {
                pub mod v3 {
                    include!(concat!(env!("OUT_DIR"), "/envoy.service.discovery.v3.rs"));
                }
            }
            pub mod health {
                pub mod v3 {
                    include!(concat!(env!("OUT_DIR"), "/envoy.service.health.v3.rs"));
                }
            }
        }
    }
    pub mod meridian {
        pub mod kds {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/meridian.kds.v1.rs"));
            }
        }
    }
    pub mod google {
        pub mod rpc {
            include!(concat!(env!("OUT_DIR"), "/google.rpc.rs"));
        }
    }
    pub mod kuma {
        pub mod mesh {
            pub mod v1alpha1 {
                include!(concat!(env!("OUT_DIR"), "/kuma.mesh.v1alpha1.rs"));
            }
        }
        pub mod system {
            pub mod v1alpha1 {
                include!(concat!(env!("OUT_DIR"), "/kuma.system.v1alpha1.rs"));
            }
        }
    }
}

pub use generated::envoy::config::core::v3 as core;
pub use generated::envoy::config::endpoint::v3 as endpoint;
pub use generated::envoy::service::discovery::v3 as discovery;
pub use generated::envoy::service::health::v3 as health;
pub use generated::google::rpc;
pub use generated::kuma::mesh::v1alpha1 as mesh;
pub use generated::kuma::system::v1alpha1 as system;
pub use generated::meridian::kds::v1 as link;

impl fmt::Debug for Any {
    /// Without its value: a private key may be in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Any({}, {} bytes)", self.type_url, self.value.len())
    }
}

/// What stands for private text in `Debug`.
const REDACTED: &str = "[redacted]";

impl fmt::Debug for system::Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secret").field(&REDACTED).finish()
    }
}

impl fmt::Debug for system::DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DataSource").field(&self.r#type).finish()
    }
}

impl fmt::Debug for system::data_source::Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => f.debug_tuple("Secret").field(name).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Inline(_) => f.debug_tuple("Inline").field(&REDACTED).finish(),
            Self::InlineString(_) => f.debug_tuple("InlineString").field(&REDACTED).finish(),
        }
    }
}

/// Descriptors of every message in this crate, for code that handles messages by name.
pub fn descriptors() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(
            include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin")).as_slice(),
        )
        .expect("the build wrote a descriptor set of its own")
    });
    &POOL
}
