//! ExternalService.

use mesh_proto::mesh::ExternalService;
use mesh_proto::mesh::external_service::networking::Tls;
use mesh_proto::system::DataSource;
use mesh_proto::system::data_source;

use super::tags::{self as tag_rules, PROTOCOLS, Rules, is_protocol};
use super::{EMPTY, Violations};
use crate::external_service::Address;
use crate::tags;

const TAGS: Rules<'_> = Rules {
    is_selector: false,
    is_required: true,
    needs_service: true,
    forbidden: &[],
};

pub(super) fn check(service: &ExternalService, found: &mut Violations) {
    let mut host = None;
    match &service.networking {
        None => found.add("networking", "should have networking"),
        Some(networking) => {
            match Address::parse(&networking.address) {
                Ok(address) => host = Some(address.host),
                Err(why) if networking.address.is_empty() => {
                    found.add("networking.address", why.to_string());
                    return check_tags(service, None, found);
                }
                Err(why) => found.add("networking.address", why.to_string()),
            }
            if let Some(tls) = &networking.tls {
                check_tls(tls, found);
            }
        }
    }
    check_tags(service, host.as_deref(), found);
}

fn check_tls(tls: &Tls, found: &mut Violations) {
    let path = "networking.tls";
    if tls.server_name.as_deref() == Some("") {
        found.add(format!("{path}.serverName"), EMPTY);
    }
    for (name, source) in [
        ("caCert", &tls.ca_cert),
        ("clientCert", &tls.client_cert),
        ("clientKey", &tls.client_key),
    ] {
        if source.as_ref().is_some_and(is_empty) {
            found.add(
                format!("{path}.{name}"),
                "must name a secret, or have its content inline",
            );
        }
    }
}

fn is_empty(source: &DataSource) -> bool {
    match &source.r#type {
        None => true,
        Some(
            data_source::Type::Secret(text)
            | data_source::Type::File(text)
            | data_source::Type::InlineString(text),
        ) => text.is_empty(),
        Some(data_source::Type::Inline(bytes)) => bytes.is_empty(),
    }
}

fn check_tags(service: &ExternalService, host: Option<&str>, found: &mut Violations) {
    tag_rules::check(found, "tags", &service.tags, TAGS);
    let place = |key: &str| format!("tags[{key:?}]");
    if let Some(protocol) = service.tags.get(tags::PROTOCOL)
        && !protocol.is_empty()
        && !is_protocol(protocol)
    {
        found.add(
            place(tags::PROTOCOL),
            format!("unknown protocol, must be one of {}", PROTOCOLS.join(", ")),
        );
    }
    // Proxies beside workloads answer both names: the same twice would be ambiguous.
    if host.is_some() && service.tags.get(tags::SERVICE).map(String::as_str) == host {
        found.add(
            place(tags::SERVICE),
            "must not be the host of networking.address",
        );
    }
}
