//! Which MeshGateway a Dataplane gets, and what its listeners are.
//!
//! A plan holds all that routes and listeners need to know of gateway and Dataplane. While it
//! stays equal, nothing that was made from it has to be made again.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_delta::Name;
use mesh_model::Resource;
use mesh_model::tags::{self, Rank, Tags};
use mesh_proto::mesh::dataplane::networking::gateway::GatewayType;
use mesh_proto::mesh::mesh_gateway::Listener;
use mesh_proto::mesh::mesh_gateway::listener::Protocol;
use mesh_proto::mesh::{Dataplane, MeshGateway};

use crate::certificate::Offered;
use crate::finding::Finding;
use crate::host::Hostname;
use crate::view::{Decoded, MeshView};

/// The listeners of one proxy.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Plan {
    /// The chosen gateway; findings about its listeners as a whole are about this resource.
    pub(crate) gateway: Option<Arc<Resource>>,
    /// The gateway tags of the Dataplane.
    pub(crate) tags: Tags,
    /// The same as the header that tells them to backends.
    pub(crate) tags_header: Arc<str>,
    /// By number.
    pub(crate) ports: Vec<Port>,
    /// The certificates of all listeners, by the names that they ask for.
    pub(crate) secrets: BTreeMap<Name, Offered>,
    pub(crate) findings: Vec<Finding>,
}

/// One Envoy listener: all listeners of the gateway on one port.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Port {
    /// `<gateway name in the zone>:HTTP:<port>`.
    pub(crate) name: Name,
    pub(crate) address: IpAddr,
    pub(crate) number: u32,
    /// The Dataplane's service.
    pub(crate) service: String,
    /// 0: none.
    pub(crate) connection_limit: u32,
    /// Listeners with distinct hostnames, in the gateway's order.
    pub(crate) listeners: Vec<HostListener>,
}

impl Port {
    /// `<listener>:*`, one for all hostnames of the port.
    pub(crate) fn route_config_name(&self) -> Name {
        Name::from(format!("{}:*", self.name))
    }
}

/// One listener of the gateway.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HostListener {
    pub(crate) hostname: Hostname,
    /// Tags of the Dataplane, overridden by the gateway's, overridden by the listener's.
    pub(crate) tags: Tags,
}

impl Plan {
    /// The plan for a Dataplane.
    pub(crate) fn new(view: &MeshView, dataplane: &Resource) -> Self {
        let networking = dataplane
            .decode::<Dataplane>()
            .networking
            .unwrap_or_default();
        let mut plan = Self::default();
        let builtin = networking
            .gateway
            .filter(|gateway| gateway.r#type() == GatewayType::Builtin);
        let Some(gateway) = builtin else {
            plan.findings.push(Finding::about(
                dataplane,
                "networking.gateway",
                "only Dataplanes with a gateway of type BUILTIN get a configuration",
            ));
            return plan;
        };
        plan.tags = gateway.tags;
        plan.tags_header = tags_header(&plan.tags).into();
        let Ok(address) = networking.address.parse::<IpAddr>() else {
            plan.findings.push(Finding::about(
                dataplane,
                "networking.address",
                format!(
                    "{:?} is not an IP address, so nothing can listen there",
                    networking.address
                ),
            ));
            return plan;
        };
        let Some(gateway) = plan.choose(view) else {
            plan.findings.push(Finding::about(
                dataplane,
                "networking.gateway.tags",
                "no MeshGateway selects this Dataplane, so it has no listeners",
            ));
            return plan;
        };
        plan.gateway = Some(Arc::clone(&gateway.resource));
        plan.lay_out(gateway, address);
        plan
    }

    /// Whether routes compiled for one plan are as they would be for the other.
    pub(crate) fn routes_alike(&self, other: &Self) -> bool {
        self.tags_header == other.tags_header
            && self.tags.get(tags::SERVICE) == other.tags.get(tags::SERVICE)
            && self.ports.len() == other.ports.len()
            && self.ports.iter().zip(&other.ports).all(|(a, b)| {
                a.name == b.name && a.number == b.number && a.listeners == b.listeners
            })
    }

    /// The gateway with the most specific selector; then the older, then the smaller name.
    fn choose<'a>(&mut self, view: &'a MeshView) -> Option<&'a Decoded<MeshGateway>> {
        let mut candidates: Vec<(Rank, &Decoded<MeshGateway>)> = view
            .gateways
            .values()
            .filter_map(|gateway| {
                let rank = gateway
                    .spec
                    .selectors
                    .iter()
                    .filter(|selector| tags::matches(&selector.r#match, &self.tags))
                    .map(|selector| Rank::of(&selector.r#match))
                    .max()?;
                Some((rank, &**gateway))
            })
            .collect();
        candidates.sort_by_key(|(rank, gateway)| {
            let resource = &gateway.resource;
            (
                Reverse(*rank),
                gateway.age,
                resource.display_name(),
                resource.key(),
            )
        });
        let (rank, chosen) = *candidates.first()?;
        for (_, other) in candidates[1..].iter().filter(|(other, _)| *other == rank) {
            self.findings.push(Finding::about(
                &other.resource,
                "selectors",
                format!(
                    "MeshGateway {} selects the same Dataplanes just as specifically and is older \
                     or comes first by name; they get that one",
                    chosen.resource.display_name()
                ),
            ));
        }
        Some(chosen)
    }

    /// Groups the gateway's listeners by port.
    fn lay_out(&mut self, gateway: &Decoded<MeshGateway>, address: IpAddr) {
        let resource = &gateway.resource;
        let service = self.tags.get(tags::SERVICE).cloned().unwrap_or_default();
        let mut ports: BTreeMap<u32, Port> = BTreeMap::new();
        let listeners = gateway.spec.conf.iter().flat_map(|conf| &conf.listeners);
        for (index, listener) in listeners.enumerate() {
            let path = |field: &str| format!("conf.listeners[{index}]{field}");
            let hostname = match check(listener) {
                Ok(hostname) => hostname,
                Err((field, message)) => {
                    self.findings
                        .push(Finding::about(resource, path(field), message));
                    continue;
                }
            };
            let port = ports.entry(listener.port).or_insert_with(|| Port {
                name: Name::from(format!("{}:HTTP:{}", resource.key().name(), listener.port)),
                address,
                number: listener.port,
                service: service.clone(),
                connection_limit: 0,
                listeners: Vec::new(),
            });
            if port
                .listeners
                .iter()
                .any(|other| other.hostname == hostname)
            {
                self.findings.push(Finding::about(
                    resource,
                    path(".hostname"),
                    format!(
                        "another listener on port {} has the hostname {hostname}; it stays",
                        listener.port
                    ),
                ));
                continue;
            }
            // Whichever listener of the port says it; two that differ do not pass validation.
            let limit = listener.resources.map_or(0, |r| r.connection_limit);
            if port.connection_limit == 0 {
                port.connection_limit = limit;
            }
            let mut tags = self.tags.clone();
            tags.extend(gateway.spec.tags.clone());
            tags.extend(listener.tags.clone());
            port.listeners.push(HostListener { hostname, tags });
        }
        self.ports = ports.into_values().collect();
    }
}

/// The hostname of a listener that we can offer, or the field that prevents it.
fn check(listener: &Listener) -> Result<Hostname, (&'static str, String)> {
    if listener.cross_mesh {
        return Err((
            ".crossMesh",
            "cross-mesh listeners are not supported yet".to_owned(),
        ));
    }
    if listener.protocol() != Protocol::Http {
        let message = format!(
            "the protocol {} is not supported yet; this listener is left out",
            listener.protocol().as_str_name()
        );
        return Err((".protocol", message));
    }
    if listener.port == 0 || listener.port > u32::from(u16::MAX) {
        return Err((".port", format!("{} is not a port", listener.port)));
    }
    Hostname::parse(&listener.hostname).ok_or_else(|| {
        let message = format!(
            "{:?} is not a hostname; this listener is left out",
            listener.hostname
        );
        (".hostname", message)
    })
}

/// Tags in the form in which proxies read them: `&key=value&` for each.
fn tags_header(tags: &Tags) -> String {
    let mut text = String::new();
    for (key, value) in tags {
        write!(text, "&{key}={value}&").expect("writing to a String cannot fail");
    }
    text
}
