//! What runs where: pure, so that documents and tests can rely on it.
//!
//! The global has Kuma's default ports. A zone's are those plus 10,000 times its number:
//! zone-1's API listens on 15681, zone-2's on 25681. Gateways and services of zone n live at
//! 127.0.n.1, so that every zone can have the MeshGateway's port. Everything is below the ports
//! that the kernel hands out to clients.

use std::net::Ipv4Addr;

/// The port of the MeshGateway in the examples.
pub(super) const GATEWAY_PORT: u16 = 8080;

/// Two zones and a global.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) global: Global,
    pub(super) zones: [Zone; 2],
    /// The MeshGateway's listener, on each zone's address.
    pub(super) gateway_port: u16,
}

#[derive(Debug, Clone)]
pub(super) struct Global {
    pub(super) api: u16,
    pub(super) api_https: u16,
    pub(super) kds: u16,
    pub(super) diagnostics: u16,
}

#[derive(Debug, Clone)]
pub(super) struct Zone {
    pub(super) number: u8,
    pub(super) name: String,
    pub(super) api: u16,
    pub(super) api_https: u16,
    pub(super) data_plane: u16,
    pub(super) diagnostics: u16,
    /// Of its gateway and services.
    pub(super) address: Ipv4Addr,
    /// Of the gateway's Envoy.
    pub(super) envoy_admin: u16,
    /// Of the gateway's agent.
    pub(super) readiness: u16,
    pub(super) services: [Service; 2],
}

/// A demo service.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) port: u16,
}

/// A port that the lab takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) address: Ipv4Addr,
    pub(super) port: u16,
    /// What listens there.
    pub(super) owner: String,
}

impl Plan {
    /// `offset` is added to every port.
    pub(super) fn new(offset: u16) -> Self {
        Self {
            global: Global {
                api: 5681 + offset,
                api_https: 5682 + offset,
                kds: 5685 + offset,
                diagnostics: 5680 + offset,
            },
            zones: [1, 2].map(|number| Zone::new(number, offset)),
            gateway_port: GATEWAY_PORT + offset,
        }
    }

    /// Every port, in the order in which they are taken.
    pub(super) fn ports(&self) -> Vec<Port> {
        let any = Ipv4Addr::UNSPECIFIED;
        let mut ports = Vec::new();
        let mut add = |address, port, owner: String| {
            ports.push(Port {
                address,
                port,
                owner,
            })
        };
        add(any, self.global.api, "the global's API".into());
        add(
            any,
            self.global.api_https,
            "the global's API over HTTPS".into(),
        );
        add(any, self.global.kds, "the global's port for zones".into());
        add(
            any,
            self.global.diagnostics,
            "the global's health and metrics".into(),
        );
        for zone in &self.zones {
            let name = &zone.name;
            add(any, zone.api, format!("{name}'s API"));
            add(any, zone.api_https, format!("{name}'s API over HTTPS"));
            add(any, zone.data_plane, format!("{name}'s port for gateways"));
            add(
                any,
                zone.diagnostics,
                format!("{name}'s health and metrics"),
            );
            add(zone.address, self.gateway_port, format!("{name}'s gateway"));
            add(
                Ipv4Addr::LOCALHOST,
                zone.envoy_admin,
                format!("the admin API of {name}'s Envoy"),
            );
            add(
                Ipv4Addr::LOCALHOST,
                zone.readiness,
                format!("{name}'s agent"),
            );
            for service in &zone.services {
                add(
                    zone.address,
                    service.port,
                    format!("{name}'s service {}", service.name),
                );
            }
        }
        ports
    }

    /// The global's admin API.
    pub(super) fn global_api(&self) -> String {
        format!("http://localhost:{}", self.global.api)
    }

    /// The URL of a zone's gateway.
    pub(super) fn gateway(&self, zone: &Zone) -> String {
        format!("http://{}:{}", zone.address, self.gateway_port)
    }
}

impl Zone {
    fn new(number: u8, offset: u16) -> Self {
        let shift = offset + 10_000 * u16::from(number);
        Self {
            number,
            name: format!("zone-{number}"),
            api: 5681 + shift,
            api_https: 5682 + shift,
            data_plane: 5678 + shift,
            diagnostics: 5680 + shift,
            address: Ipv4Addr::new(127, 0, number, 1),
            envoy_admin: 9901 + shift,
            readiness: 9902 + shift,
            services: [
                Service {
                    name: "echo",
                    port: 9001 + offset,
                },
                Service {
                    name: "cart",
                    port: 9002 + offset,
                },
            ],
        }
    }

    /// Its admin API.
    pub(super) fn api_url(&self) -> String {
        format!("http://localhost:{}", self.api)
    }

    /// The name of its gateway's Dataplane.
    pub(super) fn gateway_name(&self) -> String {
        format!("gateway-{}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::lab::ports::MAX_OFFSET;

    #[test]
    fn ports_are_kumas_for_the_global_and_shifted_for_zones() {
        let plan = Plan::new(0);
        assert_eq!(plan.global_api(), "http://localhost:5681");
        assert_eq!((plan.global.api_https, plan.global.kds), (5682, 5685));
        assert_eq!(plan.zones[0].api_url(), "http://localhost:15681");
        assert_eq!(plan.zones[1].api_url(), "http://localhost:25681");
        assert_eq!(plan.gateway(&plan.zones[1]), "http://127.0.2.1:8080");
    }

    #[test]
    fn no_port_is_taken_twice_and_none_runs_over() {
        for offset in [0, 100, u16::try_from(MAX_OFFSET).unwrap()] {
            let ports = Plan::new(offset).ports();
            let places: BTreeSet<_> = ports.iter().map(|port| (port.address, port.port)).collect();
            assert_eq!(places.len(), ports.len());
        }
        let of = |plan: Plan| {
            plan.ports()
                .into_iter()
                .map(|port| (port.address, port.port))
        };
        let first: BTreeSet<_> = of(Plan::new(0)).collect();
        assert!(of(Plan::new(100)).all(|place| !first.contains(&place)));
    }
}
