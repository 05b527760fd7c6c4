//! The table of each type.

use mesh_model::{ResourceType, Timestamp};
use serde_json::Value;

use crate::overview::Overview;
use crate::table::{Table, ago};

/// Whether the table of a type shows what only its overview has.
pub(super) fn needs_overview(ty: ResourceType) -> bool {
    ty.insight().is_some()
}

/// The table of resources of one type.
pub(super) fn table(ty: ResourceType, items: &[Value], now: Timestamp) -> Table {
    match ty {
        ResourceType::Mesh => meshes(items, now),
        ResourceType::Zone => zones(items, now),
        ResourceType::Dataplane => dataplanes(items, now),
        ResourceType::ExternalService => external_services(items, now),
        _ if ty.is_mesh_scoped() => plain(&["MESH", "NAME", "AGE"], items, now),
        _ => plain(&["NAME", "AGE"], items, now),
    }
}

fn plain(header: &[&'static str], items: &[Value], now: Timestamp) -> Table {
    let mut table = Table::new(header);
    for item in items {
        let overview = Overview::dataplane(item);
        table.push(header.iter().map(|column| match *column {
            "MESH" => overview.mesh().to_owned(),
            "NAME" => overview.name().to_owned(),
            _ => ago(now, overview.modified()),
        }));
    }
    table
}

fn meshes(items: &[Value], now: Timestamp) -> Table {
    let mut table = Table::new(&["NAME", "mTLS", "LOCALITY", "ZONEEGRESS", "AGE"]);
    let switch = |value: &Value| if *value == true { "on" } else { "off" }.to_owned();
    for item in items {
        let overview = Overview::dataplane(item);
        let routing = &item["routing"];
        table.push([
            overview.name().to_owned(),
            mtls(&item["mtls"]),
            switch(&routing["localityAwareLoadBalancing"]),
            switch(&routing["zoneEgress"]),
            ago(now, overview.modified()),
        ]);
    }
    table
}

/// `builtin/ca-1`, or `off`.
fn mtls(mtls: &Value) -> String {
    let Some(enabled) = mtls["enabledBackend"]
        .as_str()
        .filter(|name| !name.is_empty())
    else {
        return "off".to_owned();
    };
    let backends = mtls["backends"].as_array();
    let backend = backends.and_then(|list| list.iter().find(|b| b["name"] == *enabled));
    let ty = backend
        .and_then(|b| b["type"].as_str())
        .unwrap_or("unknown");
    format!("{ty}/{enabled}")
}

fn zones(items: &[Value], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "NAME",
        "STATUS",
        "VERSION",
        "TOKEN",
        "LAST CONNECTED AGO",
        "AGE",
    ]);
    for item in items {
        let zone = Overview::zone(item);
        let version = &zone.last()["version"]["kumaCp"]["version"];
        table.push([
            zone.name().to_owned(),
            zone.status().text().to_owned(),
            version.as_str().unwrap_or("-").to_owned(),
            token(zone.last()).to_owned(),
            ago(now, zone.last()["connectTime"].as_str()),
            ago(now, zone.modified()),
        ]);
    }
    table
}

/// Whether the zone showed a token when it connected last; one that did not was let in because it
/// is on the global's list.
fn token(subscription: &Value) -> &'static str {
    if subscription.is_null() {
        "-"
    } else if subscription["authTokenProvided"] == true {
        "yes"
    } else {
        "no"
    }
}

fn dataplanes(items: &[Value], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "MESH", "NAME", "ZONE", "TAGS", "ADDRESS", "STATUS", "FINDINGS", "AGE",
    ]);
    for item in items {
        let proxy = Overview::dataplane(item);
        let zone = proxy.zone_name();
        table.push([
            proxy.mesh().to_owned(),
            proxy.name().to_owned(),
            if zone.is_empty() {
                "-".to_owned()
            } else {
                zone
            },
            proxy.tags_text(),
            proxy.address().to_owned(),
            proxy.status().text().to_owned(),
            proxy.findings().len().to_string(),
            ago(now, proxy.modified()),
        ]);
    }
    table
}

fn external_services(items: &[Value], now: Timestamp) -> Table {
    let mut table = Table::new(&["MESH", "NAME", "TAGS", "ADDRESS", "AGE"]);
    for item in items {
        let overview = Overview::dataplane(item);
        let tags: Vec<_> = item["tags"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        table.push([
            overview.mesh().to_owned(),
            overview.name().to_owned(),
            tags.join(" "),
            item["networking"]["address"]
                .as_str()
                .unwrap_or("-")
                .to_owned(),
            ago(now, overview.modified()),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(ty: ResourceType, item: Value) -> String {
        let now = "2026-03-01T10:00:00Z".parse().unwrap();
        table(ty, &[item], now).to_string()
    }

    #[test]
    fn a_mesh_shows_its_switches() {
        let mesh = json!({
            "name": "shop", "modificationTime": "2026-03-01T09:00:00Z",
            "mtls": {"enabledBackend": "ca-1", "backends": [{"name": "ca-1", "type": "builtin"}]},
            "routing": {"zoneEgress": true},
        });
        assert_eq!(
            shown(ResourceType::Mesh, mesh),
            "NAME   mTLS           LOCALITY   ZONEEGRESS   AGE\n\
             shop   builtin/ca-1   off        on           1h"
        );
    }

    #[test]
    fn an_external_service_shows_where_it_is() {
        let service = json!({
            "mesh": "default", "name": "es1", "modificationTime": "2026-03-01T09:59:43Z",
            "networking": {"address": "example.com:443", "tls": {"enabled": true}},
            "tags": {"kuma.io/protocol": "http", "kuma.io/service": "outside"},
        });
        assert_eq!(
            shown(ResourceType::ExternalService, service),
            "MESH      NAME   TAGS                                            ADDRESS           AGE\n\
             default   es1    kuma.io/protocol=http kuma.io/service=outside   example.com:443   17s"
        );
    }

    #[test]
    fn a_zone_shows_whether_it_is_there() {
        let zone = json!({
            "name": "east", "modificationTime": "2026-03-01T09:00:00Z", "zone": {"enabled": true},
            "zoneInsight": {"subscriptions": [{
                "connectTime": "2026-03-01T09:59:30Z",
                "version": {"kumaCp": {"version": "2.14.3"}},
            }]},
        });
        assert_eq!(
            shown(ResourceType::Zone, zone.clone()),
            "NAME   STATUS   VERSION   TOKEN   LAST CONNECTED AGO   AGE\n\
             east   Online   2.14.3    no      30s                  1h"
        );
        let mut zone = zone;
        zone["zoneInsight"]["subscriptions"][0]["authTokenProvided"] = json!(true);
        assert!(shown(ResourceType::Zone, zone.clone()).contains("2.14.3    yes  "));
        zone["zoneInsight"] = json!({});
        assert!(shown(ResourceType::Zone, zone).contains("Offline   -         -"));
    }

    #[test]
    fn a_dataplane_shows_where_it_is_and_how_it_does() {
        let dataplane = json!({
            "mesh": "default", "name": "gw-1", "modificationTime": "2026-03-01T09:59:00Z",
            "labels": {"kuma.io/zone": "east"},
            "dataplane": {"networking": {
                "address": "127.0.0.1",
                "gateway": {"type": "BUILTIN", "tags": {"kuma.io/service": "edge"}},
            }},
            "dataplaneInsight": {"findings": [{"type": "MeshGatewayRoute"}]},
        });
        assert_eq!(
            shown(ResourceType::Dataplane, dataplane),
            "MESH      NAME   ZONE   TAGS                   ADDRESS     STATUS    FINDINGS   AGE\n\
             default   gw-1   east   kuma.io/service=edge   127.0.0.1   Offline   1          1m"
        );
    }

    #[test]
    fn other_types_show_mesh_name_and_age() {
        let gateway =
            json!({"mesh": "default", "name": "edge", "modificationTime": "2026-03-01T09:59:32Z"});
        assert_eq!(
            shown(ResourceType::MeshGateway, gateway),
            "MESH      NAME   AGE\ndefault   edge   28s"
        );
    }
}
