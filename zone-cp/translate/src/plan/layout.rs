//! From the listeners of a gateway to the ports of a plan.
//!
//! A listener that cannot be offered is left out by itself and reported; those that follow on its
//! port stay. Where a port's listeners contradict one another, the first one counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_delta::Name;
use mesh_model::tags::{self, Tags};
use mesh_proto::mesh::MeshGateway;
use mesh_proto::mesh::mesh_gateway::Listener;
use mesh_proto::mesh::mesh_gateway::listener::Protocol as Written;
use mesh_proto::mesh::mesh_gateway::tls::{Conf, Mode};

use super::{HostListener, Plan, Port, Protocol, Tls};
use crate::certificate::{Offers, Place};
use crate::finding::Finding;
use crate::host::Hostname;
use crate::view::{Decoded, MeshView};

/// What is wrong with a field of a listener, such as `.port`.
type Refused = (&'static str, String);

impl Plan {
    /// Groups the gateway's listeners by port.
    pub(super) fn lay_out(
        &mut self,
        view: &MeshView,
        gateway: &Decoded<MeshGateway>,
        address: IpAddr,
    ) {
        let resource = &gateway.resource;
        let service = self.tags.get(tags::SERVICE).cloned().unwrap_or_default();
        let mut ports: BTreeMap<u32, Port> = BTreeMap::new();
        let mut offers = Offers::default();
        let listeners = gateway.spec.conf.iter().flat_map(|conf| &conf.listeners);
        for (index, listener) in listeners.enumerate() {
            let mut report = |(field, message): Refused| {
                let path = format!("conf.listeners[{index}]{field}");
                self.findings.push(Finding::about(resource, path, message));
            };
            let (protocol, hostname) = match check(listener, ports.get(&listener.port)) {
                Ok(checked) => checked,
                Err(refused) => {
                    report(refused);
                    continue;
                }
            };
            ignored(listener, protocol, &hostname).for_each(&mut report);
            let port = ports.entry(listener.port).or_insert_with(|| Port {
                name: Name::from(format!(
                    "{}:{protocol}:{}",
                    resource.key().name(),
                    listener.port
                )),
                address,
                number: listener.port,
                protocol,
                service: service.clone(),
                connection_limit: 0,
                listeners: Vec::new(),
            });
            // Whichever listener of the port says it; two that differ do not pass validation.
            let limit = listener.resources.map_or(0, |r| r.connection_limit);
            if port.connection_limit == 0 {
                port.connection_limit = limit;
            }
            let tls = match mode(listener, protocol) {
                Ok(Mode::Passthrough) => Tls::Passthrough,
                Ok(Mode::None) => Tls::None,
                Ok(Mode::Terminate) => {
                    let resolved = listener.tls.as_ref().map(|block| {
                        let place = Place {
                            gateway: resource,
                            port: listener.port,
                            hostname: &hostname,
                            path: &format!("conf.listeners[{index}].tls"),
                        };
                        offers.resolve(view, block, place)
                    });
                    let resolved = resolved.unwrap_or_default();
                    self.findings.extend(resolved.findings);
                    Tls::Terminate(resolved.names)
                }
                Err(refused) => {
                    report(refused);
                    Tls::Terminate(Vec::new())
                }
            };
            let mut tags = self.tags.clone();
            tags.extend(gateway.spec.tags.clone());
            tags.extend(listener.tags.clone());
            port.listeners.push(HostListener {
                hostname,
                tags: Arc::new(tags),
                shares_tags_with_http: false,
                tls,
            });
        }
        self.ports = ports.into_values().collect();
        self.secrets = offers.into_secrets();
        self.compare_tags();
    }

    /// Finds out which TCP listeners would share clusters with HTTP listeners.
    fn compare_tags(&mut self) {
        let (http, tcp): (Vec<&mut Port>, Vec<&mut Port>) =
            self.ports.iter_mut().partition(|p| p.protocol.is_http());
        let http: BTreeSet<&Tags> = http
            .iter()
            .flat_map(|port| port.listeners.iter().map(|listener| &*listener.tags))
            .collect();
        for listener in tcp.into_iter().flat_map(|port| &mut port.listeners) {
            listener.shares_tags_with_http = http.contains(&*listener.tags);
        }
    }
}

/// The protocol and hostname of a listener that we can offer beside those before it on its port,
/// or the field that prevents it.
fn check(listener: &Listener, port: Option<&Port>) -> Result<(Protocol, Hostname), Refused> {
    if listener.cross_mesh {
        return Err((
            ".crossMesh",
            "cross-mesh listeners are not supported yet; this listener is left out".to_owned(),
        ));
    }
    let protocol = match listener.protocol() {
        Written::Http => Protocol::Http,
        Written::Https => Protocol::Https,
        Written::Tcp => Protocol::Tcp,
        Written::Tls => Protocol::Tls,
        Written::None => {
            let message = "a listener has a protocol: HTTP, HTTPS, TCP or TLS; this one is left \
                           out";
            return Err((".protocol", message.to_owned()));
        }
    };
    if listener.port == 0 || listener.port > u32::from(u16::MAX) {
        return Err((".port", format!("{} is not a port", listener.port)));
    }
    let hostname = Hostname::parse(&listener.hostname).ok_or_else(|| {
        let message = format!(
            "{:?} is not a hostname; this listener is left out",
            listener.hostname
        );
        (".hostname", message)
    })?;
    let Some(port) = port else {
        return Ok((protocol, hostname));
    };
    if port.protocol != protocol {
        let message = format!(
            "another listener on port {} speaks {}, and a port has one protocol; this listener is \
             left out",
            listener.port, port.protocol
        );
        return Err((".protocol", message));
    }
    if port
        .listeners
        .iter()
        .any(|other| other.hostname == hostname)
    {
        let message = format!(
            "another listener on port {} has the hostname {hostname}; it stays",
            listener.port
        );
        return Err((".hostname", message));
    }
    Ok((protocol, hostname))
}

/// What is written of a listener and means nothing with its protocol.
fn ignored(
    listener: &Listener,
    protocol: Protocol,
    hostname: &Hostname,
) -> impl Iterator<Item = Refused> {
    let is_plain = matches!(protocol, Protocol::Http | Protocol::Tcp);
    let tls = (is_plain && listener.tls.is_some()).then(|| {
        let message = format!(
            "a listener of protocol {protocol} does not speak TLS; the protocol for that is {}",
            if protocol == Protocol::Http {
                Protocol::Https
            } else {
                Protocol::Tls
            }
        );
        (".tls", message)
    });
    let named = protocol == Protocol::Tcp && *hostname != Hostname::any();
    let named = named.then(|| {
        let message = format!(
            "TCP connections name no host, so this listener gets all of them, not those for \
             {hostname} alone"
        );
        (".hostname", message)
    });
    let passes_through = |block: &&Conf| block.mode() == Mode::Passthrough;
    let block = listener.tls.as_ref().filter(passes_through);
    let unused = block.filter(|block| !is_plain && !block.certificates.is_empty());
    let unused = unused.map(|_| {
        let message = "TLS is passed through to the backends, so these certificates are not used";
        (".tls.certificates", message.to_owned())
    });
    tls.into_iter().chain(named).chain(unused)
}

/// What a listener does with TLS; [`Mode::None`] where its protocol knows none.
fn mode(listener: &Listener, protocol: Protocol) -> Result<Mode, Refused> {
    let block = listener.tls.as_ref();
    let mode = block.map_or(Mode::None, |block| block.mode());
    match (protocol, mode) {
        (Protocol::Http | Protocol::Tcp, _) => return Ok(Mode::None),
        (Protocol::Https, Mode::Passthrough) => {
            let message = "an HTTPS listener terminates TLS; to pass it through, use the protocol \
                           TLS. Nobody is served here";
            return Err((".tls.mode", message.to_owned()));
        }
        (Protocol::Https | Protocol::Tls, Mode::None) => {
            let (field, what) = match block {
                None => (".tls", "a tls block"),
                Some(_) => (".tls.mode", "a TLS mode"),
            };
            let message =
                format!("a listener of protocol {protocol} needs {what}; nobody is served here");
            return Err((field, message));
        }
        (Protocol::Https | Protocol::Tls, _) => {}
    }
    if mode == Mode::Terminate && block.is_some_and(|block| block.certificates.is_empty()) {
        let message = "terminating TLS needs a certificate; nobody is served here";
        return Err((".tls.certificates", message.to_owned()));
    }
    Ok(mode)
}
