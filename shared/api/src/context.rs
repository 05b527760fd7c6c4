//! What the router needs to know about the control plane that serves it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use mesh_model::{Resource, ResourceType, Timestamp, ZoneName};
use mesh_runtime::proxy_admin::AskProxy;
use mesh_store::SharedStore;
use serde_json::Value;

use crate::admission::Admission;
use crate::metrics::Metrics;

/// Where a control plane stands in its fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Owns the policies; zones own the inventory.
    Global,
    /// Takes policies from a global control plane and owns the inventory of its zone.
    FederatedZone {
        /// The zone.
        zone: ZoneName,
    },
}

impl Mode {
    /// The zone, on a zone's control plane.
    pub fn zone(&self) -> Option<&ZoneName> {
        match self {
            Self::Global => None,
            Self::FederatedZone { zone } => Some(zone),
        }
    }

    /// Whether resources of a type may be written over this control plane's API.
    pub fn may_write(&self, ty: ResourceType) -> bool {
        let d = ty.describe();
        if d.is_read_only || d.collections.is_empty() {
            return false;
        }
        let is_of_zones_only = d.ways.up && !d.ways.down;
        match self {
            Self::Global => !is_of_zones_only,
            // A zone may have secrets of its own beside those it was given; what does not travel
            // may be written anywhere.
            Self::FederatedZone { .. } => d.ways.up || !d.ways.any() || d.is_admin_only,
        }
    }
}

/// What the operator configured about the API.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether requests from the loopback interface are an administrator's.
    pub localhost_is_admin: bool,
    /// Whether `POST /tokens/dataplane` issues tokens.
    pub issues_dataplane_tokens: bool,
    /// Whether `POST /tokens/zone` issues tokens.
    pub issues_zone_tokens: bool,
    /// Whether `POST /tokens/user` issues tokens.
    pub issues_user_tokens: bool,
    /// Prefix of every path except `/tokens/user`; `/` for none.
    pub base_path: String,
    /// Origins that browsers may call from; `.*` is any, none switches CORS off.
    pub cors_allowed_domains: Vec<String>,
    /// The most bytes of a request's body.
    pub max_body: usize,
    /// The most bytes, encoded, of a resource that is sent to zones: a message has to hold it.
    pub max_resource: Option<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            localhost_is_admin: true,
            issues_dataplane_tokens: true,
            issues_zone_tokens: true,
            issues_user_tokens: true,
            base_path: "/".to_owned(),
            cors_allowed_domains: Vec::new(),
            max_body: 32 << 20,
            max_resource: None,
        }
    }
}

/// What the control plane says of its connections to others, asked anew for each request. The
/// default says nothing.
#[derive(Clone)]
pub struct Report(Arc<dyn Fn() -> Vec<Value> + Send + Sync>);

impl Report {
    /// What `ask` says, one object for each item.
    pub fn new(ask: impl Fn() -> Vec<Value> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// What is to be said now.
    pub(crate) fn ask(&self) -> Vec<Value> {
        (self.0)()
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new(Vec::new)
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Report")
    }
}

/// What the control plane says of synchronisation.
#[derive(Debug, Clone, Default)]
pub struct Reports {
    /// Connections to other control planes of ours, for `GET /meridian/links`.
    pub links: Report,
    /// What peers lack of what they are offered, and why, for `GET /meridian/findings`.
    pub findings: Report,
}

/// Tells where a resource of this control plane is.
#[async_trait]
pub trait Receipts: fmt::Debug + Send + Sync + 'static {
    /// Where it stands with each zone, for `GET /meridian/receipts/…`: objects with `zone`,
    /// `state` and `isDone`.
    async fn receipts(&self, resource: &Arc<Resource>) -> Vec<Value>;
}

/// What the router needs to know about the control plane that serves it.
#[derive(Debug)]
pub struct Context {
    /// Where resources are.
    pub store: SharedStore,
    /// Where the control plane stands in its fleet.
    pub mode: Mode,
    /// The control plane's own rules.
    pub admission: Arc<dyn Admission>,
    /// What the operator configured about the API.
    pub settings: Settings,
    /// The effective configuration, secrets masked, for `GET /config`.
    pub config: Value,
    /// The name of the host.
    pub hostname: String,
    /// The name of this process, new at every start.
    pub instance_id: String,
    /// The clock.
    pub now: fn() -> Timestamp,
    /// Where requests are counted.
    pub metrics: Metrics,
    /// How synchronisation goes.
    pub reports: Reports,
    /// Tells where resources are, if anybody does.
    pub receipts: Option<Arc<dyn Receipts>>,
    /// The way to proxies, if there is one.
    pub proxies: Option<Arc<dyn AskProxy>>,
}
