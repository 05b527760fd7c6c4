//! The proxy that a translation is for.

use std::sync::Arc;

use mesh_model::{Key, Resource, ZoneName};

/// A builtin gateway proxy: its Dataplane, and the settings of the zone that shape its
/// configuration.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// The Dataplane. A [`crate::Translator`] follows the view's newer versions of it.
    pub dataplane: Arc<Resource>,
    /// The zone that the proxy is in, if it has a name.
    pub zone: Option<ZoneName>,
    /// Settings of the control plane.
    pub settings: Settings,
}

impl Proxy {
    /// A proxy with default settings.
    pub fn new(dataplane: Arc<Resource>, zone: Option<ZoneName>) -> Self {
        Self {
            dataplane,
            zone,
            settings: Settings::default(),
        }
    }

    /// The key of its Dataplane.
    pub fn key(&self) -> &Key {
        self.dataplane.key()
    }
}

/// What an operator of the control plane may choose about every gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The body of the 404 answer of a hostname without routes.
    pub no_routes_page: String,
    /// The `server` header of responses.
    pub server_name: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            no_routes_page: "This is a Meridian gateway. No routes match this hostname.\n"
                .to_owned(),
            // Dashboards and clients that look for it go on working.
            server_name: "Kuma Gateway".to_owned(),
        }
    }
}
