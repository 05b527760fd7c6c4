//! What can be asked of a proxy through its control plane: Envoy's own account of itself.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use mesh_model::Key;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Lines, as Envoy writes them for people.
    #[default]
    Text,
    /// JSON.
    Json,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The whole configuration, as JSON.
    ConfigDump {
        /// With endpoints, which change all the time.
        include_eds: bool,
    },
    /// Counters, gauges and histograms.
    Stats {
        /// The form.
        format: Format,
        /// Only what was written since the start.
        used_only: bool,
    },
    /// Upstream hosts and how they fare.
    Clusters {
        /// The form.
        format: Format,
    },
}

impl Operation {
    /// Path and query on Envoy's admin interface.
    /// <https://www.envoyproxy.io/docs/envoy/latest/operations/admin>
    pub fn target(self) -> &'static str {
        match self {
            Self::ConfigDump { include_eds: false } => "/config_dump",
            Self::ConfigDump { include_eds: true } => "/config_dump?include_eds",
            Self::Stats { format, used_only } => match (format, used_only) {
                (Format::Text, false) => "/stats",
                (Format::Text, true) => "/stats?usedonly",
                (Format::Json, false) => "/stats?format=json",
                (Format::Json, true) => "/stats?format=json&usedonly",
            },
            Self::Clusters { format } => match format {
                Format::Text => "/clusters",
                Format::Json => "/clusters?format=json",
            },
        }
    }

    /// The type of an answer's content.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::ConfigDump { .. }
            | Self::Stats {
                format: Format::Json,
                ..
            }
            | Self::Clusters {
                format: Format::Json,
            } => "application/json",
            Self::Stats { .. } | Self::Clusters { .. } => "text/plain",
        }
    }
}

/// Why there is no answer; the text is for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AskError(pub String);

/// A way to proxies.
#[async_trait]
pub trait AskProxy: fmt::Debug + Send + Sync + 'static {
    /// Asks the proxy of a Dataplane, `ZoneIngress` or `ZoneEgress`, by its key on this control
    /// plane.
    ///
    /// # Errors
    /// When there is no such proxy, no way to it, or it does not answer in time or properly.
    async fn ask(&self, proxy: &Key, operation: Operation) -> Result<Bytes, AskError>;
}
