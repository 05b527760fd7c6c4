//! Which MeshGateway a Dataplane gets, and what its listeners are.
//!
//! A plan holds all that routes and listeners need to know of gateway and Dataplane. While it
//! stays equal, nothing that was made from it has to be made again.

mod layout;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_delta::Name;
use mesh_model::Resource;
use mesh_model::tags::{self, Rank, Tags};
use mesh_proto::mesh::dataplane::networking::gateway::GatewayType;
use mesh_proto::mesh::{Dataplane, MeshGateway};
use sha2::{Digest as _, Sha256};

use crate::certificate::Offered;
use crate::envoy;
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
    /// `<gateway name in the zone>:<protocol>:<port>`.
    pub(crate) name: Name,
    pub(crate) address: IpAddr,
    pub(crate) number: u32,
    pub(crate) protocol: Protocol,
    /// The Dataplane's service.
    pub(crate) service: String,
    /// 0: none.
    pub(crate) connection_limit: u32,
    /// Listeners with distinct hostnames, in the gateway's order.
    pub(crate) listeners: Vec<HostListener>,
}

/// What a port speaks with its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    /// HTTP inside TLS that ends here.
    Https,
    Tcp,
    /// TCP inside TLS that ends here, or TLS that is passed through.
    Tls,
}

impl Protocol {
    /// Whether it serves HTTP routes; otherwise it serves TCP routes.
    pub(crate) fn is_http(self) -> bool {
        match self {
            Self::Http | Self::Https => true,
            Self::Tcp | Self::Tls => false,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        })
    }
}

impl Port {
    /// The names of the route configurations for its listeners: `<port>:*` for all of an HTTP port,
    /// `<port>:<hostname>` on an HTTPS port, where a client that asked for the certificate of one
    /// listener gets none of the routes of another.
    ///
    /// Where other listeners have some of its hosts to themselves, `:<16 hex digits>` follows, which
    /// say what those are. So a listener that takes hosts over from a wider one, or gives them back,
    /// changes the name there, and with it the filter chain: Envoy ends the chain's connections one
    /// after the other, and until then answers on them from the configuration by the old name. By
    /// the same name, the hosts would be gone from connections that were opened for them.
    pub(crate) fn route_config_names(&self) -> Vec<Name> {
        if self.protocol != Protocol::Https {
            let name = Name::from(format!("{}:*", self.name));
            return vec![name; self.listeners.len()];
        }
        let taken = self.taken_hosts();
        let all = self.listeners.iter();
        all.map(|listener| {
            let hostname = &listener.hostname;
            Name::from(match taken.get(hostname) {
                Some(taken) => format!("{}:{hostname}:{}", self.name, digest(taken)),
                None => format!("{}:{hostname}", self.name),
            })
        })
        .collect()
    }

    /// By the hostname of a listener: those of the listeners next to it within it.
    fn taken_hosts(&self) -> BTreeMap<&Hostname, BTreeSet<&Hostname>> {
        let all: BTreeSet<&Hostname> = self.listeners.iter().map(|at| &at.hostname).collect();
        let mut taken: BTreeMap<&Hostname, BTreeSet<&Hostname>> = BTreeMap::new();
        for hostname in &all {
            let mut wider = std::iter::successors(hostname.parent(), Hostname::parent);
            if let Some(owner) = wider.find_map(|wider| all.get(&wider)) {
                taken.entry(owner).or_default().insert(hostname);
            }
        }
        taken
    }
}

/// 16 hex digits that stand for a set of hostnames.
fn digest(hostnames: &BTreeSet<&Hostname>) -> String {
    let mut hasher = Sha256::new();
    for hostname in hostnames {
        hasher.update(hostname.as_str());
        // No hostname has one.
        hasher.update("\n");
    }
    envoy::hex(&hasher.finalize()[..8])
}

/// One listener of the gateway.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HostListener {
    pub(crate) hostname: Hostname,
    /// Tags of the Dataplane, overridden by the gateway's, overridden by the listener's.
    pub(crate) tags: Arc<Tags>,
    /// Whether it is a TCP listener with the tags of an HTTP listener. Its clusters need other
    /// names then.
    pub(crate) shares_tags_with_http: bool,
    pub(crate) tls: Tls,
}

/// What a listener does with TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Its protocol knows none.
    None,
    Passthrough,
    /// It ends here, with certificates by these names. Without any, nobody is served.
    Terminate(Vec<Name>),
}

impl HostListener {
    /// Whether there is someone whom it can serve.
    pub(crate) fn is_served(&self) -> bool {
        match &self.tls {
            Tls::None | Tls::Passthrough => true,
            Tls::Terminate(certificates) => !certificates.is_empty(),
        }
    }

    /// Whether routes compiled for one are as they would be for the other.
    fn routes_alike(&self, other: &Self) -> bool {
        self.hostname == other.hostname
            && self.tags == other.tags
            && self.shares_tags_with_http == other.shares_tags_with_http
    }
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
        plan.lay_out(view, gateway, address);
        plan
    }

    /// Whether listeners of one plan are as they would be for the other; certificates are offered
    /// by themselves.
    pub(crate) fn listens_alike(&self, other: &Self) -> bool {
        self.gateway == other.gateway
            && self.tags == other.tags
            && self.tags_header == other.tags_header
            && self.ports == other.ports
    }

    /// Whether routes compiled for one plan are as they would be for the other.
    pub(crate) fn routes_alike(&self, other: &Self) -> bool {
        self.tags_header == other.tags_header
            && self.tags.get(tags::SERVICE) == other.tags.get(tags::SERVICE)
            && self.ports.len() == other.ports.len()
            && self.ports.iter().zip(&other.ports).all(|(a, b)| {
                a.name == b.name
                    && a.number == b.number
                    && a.listeners.len() == b.listeners.len()
                    && a.listeners
                        .iter()
                        .zip(&b.listeners)
                        .all(|(a, b)| a.routes_alike(b))
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
}

/// Tags in the form in which proxies read them: `&key=value&` for each.
fn tags_header(tags: &Tags) -> String {
    let mut text = String::new();
    for (key, value) in tags {
        write!(text, "&{key}={value}&").expect("writing to a String cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn names(protocol: Protocol, hostnames: &[&str]) -> Vec<String> {
        let listener = |hostname: &&str| HostListener {
            hostname: Hostname::parse(hostname).unwrap(),
            tags: Arc::default(),
            shares_tags_with_http: false,
            tls: Tls::None,
        };
        let port = Port {
            name: "edge".into(),
            address: Ipv4Addr::LOCALHOST.into(),
            number: 443,
            protocol,
            service: String::new(),
            connection_limit: 0,
            listeners: hostnames.iter().map(listener).collect(),
        };
        let names = port.route_config_names().into_iter();
        names.map(|name| name.to_string()).collect()
    }

    #[test]
    fn route_configurations_are_called_after_listeners_and_the_hosts_that_these_lack() {
        let of = |hostnames: &[&str]| names(Protocol::Https, hostnames);
        assert_eq!(of(&["*.x", "a.y"]), ["edge:*.x", "edge:a.y"]);
        let both = of(&["*", "*.x"]);
        assert!(both[0].starts_with("edge:*:"), "{both:?}");
        assert_eq!(both[1], "edge:*.x");
        // One within the other has hosts of that one.
        let three = of(&["a.x", "*.x", "*"]);
        assert_eq!(three[0], "edge:a.x");
        assert!(three[1].starts_with("edge:*.x:"), "{three:?}");
        assert_eq!(three[2], both[0]);
        // Whatever the order.
        assert_eq!(of(&["a.x", "b.x", "*"])[2], of(&["b.x", "*", "a.x"])[1]);
        assert_ne!(of(&["a.x", "*"])[1], of(&["b.x", "*"])[1]);
        // An HTTP port has one configuration, in which hosts move at once.
        assert_eq!(names(Protocol::Http, &["a.x", "*"]), ["edge:*", "edge:*"]);
    }
}
