//! What a translator has to report, put together from its parts.

use mesh_model::ResourceType;
use mesh_proto::mesh::MeshGatewayRoute;
use mesh_proto::mesh::mesh_gateway_route::conf;

use super::Translator;
use crate::external::Site;
use crate::finding::{Finding, MAX_FINDINGS};
use crate::order::Position;
use crate::route;
use crate::table::Table;
use crate::view::{Decoded, MeshView};

impl Translator {
    /// Everything to report, up to the limit: what Envoy refuses, about the gateway, then routes and their services,
    /// then what is never reached.
    pub(super) fn findings(&self, now: &MeshView) -> Vec<Finding> {
        let repetition = self.plan.gateway.iter().flat_map(|gateway| {
            let tables = self.tables.values();
            let all = tables.flat_map(|t| t.unrepeated().map(|hostname| (&t.name, hostname)));
            all.map(move |(port, hostname)| {
                Finding::about(
                    gateway,
                    "conf.listeners",
                    format!(
                        "{port} would repeat too many routes for {hostname} for the more exact \
                         hostnames that other routes name, so those hostnames serve neither these \
                         routes nor those for wider hostnames; let routes name fewer hostnames, or \
                         a wildcard"
                    ),
                )
            })
        });
        let routes = self.reported.iter().flat_map(|name| {
            let placed = &self.routes[name];
            let route = now.routes.get(name).map(Decoded::new);
            let unknown = route.map(|route| unknown_services(&route, now, self.clusters.site()));
            let unknown = unknown.into_iter().flatten();
            placed.findings.iter().cloned().chain(unknown)
        });
        let shadows = self.tables.values().flat_map(Table::shadowed);
        let shadows = shadows.filter_map(|(hidden, first)| shadow(hidden, first, now));
        let endpoints = self.clusters.findings();
        self.held_findings()
            .chain(self.plan.findings.iter().cloned())
            .chain(repetition)
            .chain(routes)
            .chain(endpoints)
            .chain(shadows)
            .take(MAX_FINDINGS)
            .collect()
    }
}

/// A finding for each service of a route that neither a Dataplane nor an ExternalService offers.
fn unknown_services(
    route: &Decoded<MeshGatewayRoute>,
    now: &MeshView,
    site: &Site,
) -> Vec<Finding> {
    let Some(conf) = route::conf(route) else {
        return Vec::new();
    };
    let outcome = match conf {
        conf::Route::Http(_) => "requests sent there get 503",
        conf::Route::Tcp(_) => "connections sent there are closed",
    };
    route::services(conf)
        .into_iter()
        .filter(|(service, _)| !now.has_service(service, site))
        .map(|(service, path)| {
            let message = format!(
                "no Dataplane or ExternalService offers the service {service:?}; {outcome}"
            );
            Finding::about(&route.resource, path, message)
        })
        .collect()
}

/// What to say about an entry that another one hides, if its author would want to know.
fn shadow(hidden: &Position, first: &Position, now: &MeshView) -> Option<Finding> {
    // A prefix beside an exact match of the same path is how one writes an exception.
    let is_exception = hidden.is_implied.0 && !first.is_implied.0;
    let is_same_rule = hidden.source == first.source && hidden.rule == first.rule;
    if is_exception || is_same_rule {
        return None;
    }
    let resource = now.routes.get(&hidden.source.name)?;
    Some(Finding::about(
        resource,
        format!(
            "conf.http.rules[{}].matches[{}]",
            hidden.rule, hidden.matching
        ),
        format!(
            "never reached: rule {} of {} {} matches the same requests and comes first",
            first.rule,
            ResourceType::MeshGatewayRoute,
            first.source.display_name
        ),
    ))
}
