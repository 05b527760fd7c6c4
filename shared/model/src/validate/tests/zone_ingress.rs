use serde_json::json;

use super::check_table;
use crate::resource_type::ResourceType::ZoneIngress;

#[test]
fn each_rule() {
    let advertised = |address: &str, port: u32| {
        [
            ("/networking/advertisedAddress", json!(address)),
            ("/networking/advertisedPort", json!(port)),
        ]
    };
    check_table(
        ZoneIngress,
        &json!({"networking": {"address": "10.0.0.1", "port": 10001}}),
        &[
            ("advertised", &advertised("ingress.example.com", 10002), &[]),
            (
                "advertised nowhere",
                &advertised("", 10002),
                &["networking.advertisedAddress"],
            ),
            (
                "advertised at no port",
                &advertised("10.0.0.2", 0),
                &["networking.advertisedPort"],
            ),
            (
                "advertised at a wrong port",
                &advertised("10.0.0.2", 65536),
                &["networking.advertisedPort"],
            ),
            (
                "advertised at any address",
                &advertised("0.0.0.0", 1),
                &["networking.advertisedAddress.address"],
            ),
            (
                "not an address",
                &[("/networking/address", json!("a_b"))],
                &["networking.address.address"],
            ),
            (
                "port",
                &[("/networking/port", json!(0))],
                &["networking.port"],
            ),
            (
                "no networking",
                &[("/networking", json!(null))],
                &["networking.port"],
            ),
            (
                "admin port",
                &[
                    ("/networking/address", json!("127.0.0.1")),
                    ("/networking/admin", json!({"port": 10001})),
                ],
                &["networking.admin.port"],
            ),
            (
                "available services",
                &[(
                    "/availableServices",
                    json!([{"tags": {"kuma.io/service": "a"}}, {"tags": {"a": ""}}]),
                )],
                &[
                    "availableService[1].tags[\"a\"]",
                    "availableService[1].tags",
                ],
            ),
        ],
    );
}
