//! The proxy that a translation is for.

use std::ops::RangeInclusive;
use std::sync::Arc;

use mesh_model::{Key, Resource, ZoneName};

use crate::admin::Admin;
use crate::tree::Limits;

/// The releases of Envoy whose `VirtualHost.matcher` was tested. Envoy marks the field as work in
/// progress, so later ones get the list until they were tested, too.
const TREES: RangeInclusive<(u32, u32)> = (1, 36)..=(1, 40);

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
    /// The release of its Envoy, major and minor, if it said that. What not every release can do
    /// is offered to those that can.
    pub envoy_version: Option<(u32, u32)>,
    /// The listener before its admin interface, if there is to be one.
    pub admin: Option<Arc<Admin>>,
}

impl Proxy {
    /// A proxy with default settings, and an Envoy of any release.
    pub fn new(dataplane: Arc<Resource>, zone: Option<ZoneName>) -> Self {
        Self {
            dataplane,
            zone,
            settings: Settings::default(),
            envoy_version: None,
            admin: None,
        }
    }

    /// When virtual hosts are trees; `None`: never.
    pub(crate) fn trees(&self) -> Option<Limits> {
        let is_tested = self
            .envoy_version
            .is_some_and(|version| TREES.contains(&version));
        let threshold = self.settings.route_tree_threshold.filter(|_| is_tested)?;
        Some(Limits {
            threshold,
            bucket: self.settings.route_tree_bucket,
            growth: self.settings.route_tree_growth,
        })
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
    /// Envoy gets the routes of a virtual host with more than so many as a tree over the path
    /// instead of a list, if its release is one of those that this was tested with. `None`: never.
    pub route_tree_threshold: Option<usize>,
    /// The most routes that Envoy goes through at the end of a look-up in the tree.
    pub route_tree_bucket: usize,
    /// A tree has at most so many times the routes of the list, or else Envoy gets the list: in the
    /// tree, routes whose paths are short or regular expressions are repeated.
    pub route_tree_growth: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            no_routes_page: "This is a Meridian gateway. No routes match this hostname.\n"
                .to_owned(),
            // Dashboards and clients that look for it go on working.
            server_name: "Kuma Gateway".to_owned(),
            route_tree_threshold: Some(128),
            route_tree_bucket: 64,
            route_tree_growth: 2,
        }
    }
}
