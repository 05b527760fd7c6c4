use mesh_model::{Key, MeshName, ResourceName, ResourceType, Spec, Timestamp};
use serde_json::{Value, json};

use super::*;

fn external(spec: Value) -> External {
    let fields = spec.as_object().unwrap();
    let ty = ResourceType::ExternalService;
    let spec: Spec = mesh_model::json::decode_spec(ty, fields).unwrap().spec;
    let mesh = MeshName::parse("default").unwrap();
    let key = Key::in_mesh(ty, mesh, ResourceName::parse("es").unwrap());
    let epoch = Timestamp::EPOCH;
    External::new(&Arc::new(Resource::new(
        key,
        BTreeMap::new(),
        spec,
        epoch,
        epoch,
    )))
}

#[test]
fn one_of_a_zone_is_for_proxies_of_that_zone() {
    let site = |zone: Option<&str>| Site {
        zone: zone.map(|zone| ZoneName::parse(zone).unwrap()),
        is_ipv6: false,
    };
    let of = |zone: &str| external(json!({"tags": {"kuma.io/service": "a", "kuma.io/zone": zone}}));
    let anywhere = external(json!({"tags": {"kuma.io/service": "a"}}));
    assert!(of("east").is_of(&site(Some("east"))));
    assert!(!of("west").is_of(&site(Some("east"))));
    assert!(of("west").is_of(&site(None)));
    assert!(anywhere.is_of(&site(Some("east"))));
}

#[test]
fn addresses_beside_names_are_reached_whatever_their_family() {
    let family = |addresses: &[&str]| {
        let externals: Vec<External> = addresses
            .iter()
            .map(|address| external(json!({"networking": {"address": address}})))
            .collect();
        let selected: Vec<&External> = externals.iter().collect();
        let policy = crate::policy::Policies.cluster(&Tags::new(), &Tags::new());
        let secrets = SecretView::default();
        let site = Site::default();
        let bytes = encode(
            "a-1",
            "a",
            Protocol::Http1,
            &policy,
            &selected,
            &secrets,
            &site,
        );
        let cluster = envoy::cluster::Cluster::decode(bytes).unwrap();
        cluster.dns_lookup_family()
    };
    let name = "api.example.com:443";
    assert_eq!(family(&[name]), DnsLookupFamily::V4Only);
    assert_eq!(family(&[name, "192.0.2.1:443"]), DnsLookupFamily::V4Only);
    let of_ipv6 = family(&[name, "[2001:db8::1]:443"]);
    assert_eq!(of_ipv6, DnsLookupFamily::V4Preferred);
}

#[test]
fn server_names_are_the_configured_one_or_the_hosts_name() {
    for (address, configured, wanted) in [
        ("API.example.com.:443", json!(null), Ok("api.example.com")),
        ("api.example.com:443", json!("x.org"), Ok("x.org")),
        ("192.0.2.1:443", json!("x.org"), Ok("x.org")),
        ("192.0.2.1:443", json!(null), Ok("")),
        (
            "192.0.2.1:443",
            json!("x".repeat(256)),
            Err("networking.tls.serverName"),
        ),
    ] {
        let tls = json!({"enabled": true, "serverName": configured});
        let service = external(json!({"networking": {"address": address, "tls": tls}}));
        let reach = service.reach(&SecretView::default());
        let found = reach.map(|reach| reach.tls.unwrap().sni);
        match wanted {
            Ok(name) => assert_eq!(found.unwrap(), name),
            Err(path) => assert_eq!(found.unwrap_err().0, path),
        }
    }
}

#[test]
fn private_keys_do_not_show() {
    let pair = rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
    let key = pair.signing_key.serialize_pem();
    let service = external(json!({
        "networking": {"address": "a.example:443", "tls": {
            "enabled": true,
            "clientCert": {"inlineString": pair.cert.pem()},
            "clientKey": {"inlineString": key},
        }},
    }));
    let context = service.reach(&SecretView::default()).unwrap().tls.unwrap();
    let sent = context.encode_to_vec();
    let secret = key.lines().nth(1).unwrap();
    assert!(String::from_utf8_lossy(&sent).contains(secret));
    assert!(!format!("{context:?}").contains(secret));
    assert!(!format!("{service:?}").contains(secret));
    let mut view = ExternalView::default();
    view.put(&service.resource);
    assert!(!format!("{view:?}").contains(secret));
}
