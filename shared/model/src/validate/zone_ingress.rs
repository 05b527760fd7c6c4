//! `ZoneIngress`.

use mesh_proto::mesh::ZoneIngress;

use super::Violations;
use super::hostname::{check_address, covers_loopback};
use super::tags::{self, Rules};

const SERVICE_TAGS: Rules<'_> = Rules {
    is_selector: false,
    is_required: false,
    needs_service: true,
    forbidden: &[],
};

pub(super) fn check(ingress: &ZoneIngress, found: &mut Violations) {
    let default = Default::default();
    let networking = ingress.networking.as_ref().unwrap_or(&default);
    let admin = networking.admin.as_ref().map_or(0, |admin| admin.port);
    if admin != 0
        && (admin == networking.port && covers_loopback(&networking.address)
            || admin == networking.advertised_port
                && covers_loopback(&networking.advertised_address))
    {
        found.add("networking.admin.port", "must differ from port");
    }
    if networking.advertised_address.is_empty() && networking.advertised_port != 0 {
        found.add(
            "networking.advertisedAddress",
            "has to be defined with advertisedPort",
        );
    }
    if !networking.advertised_address.is_empty() && networking.advertised_port == 0 {
        found.add(
            "networking.advertisedPort",
            "has to be defined with advertisedAddress",
        );
    }
    // The doubled step is in the places that users know.
    if !networking.address.is_empty() {
        check_address(found, "networking.address.address", &networking.address);
    }
    if !networking.advertised_address.is_empty() {
        check_address(
            found,
            "networking.advertisedAddress.address",
            &networking.advertised_address,
        );
    }
    found.port("networking.port", networking.port);
    if networking.advertised_port != 0 {
        found.port("networking.advertisedPort", networking.advertised_port);
    }
    for (i, service) in ingress.available_services.iter().enumerate() {
        let path = format!("availableService[{i}].tags");
        tags::check(found, &path, &service.tags, SERVICE_TAGS);
    }
}
