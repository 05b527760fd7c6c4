//! The tables of all zones and all Dataplanes, with `kumactl`'s columns.

use mesh_model::{ResourceType, Timestamp};
use mesh_runtime::clock;
use serde_json::Value;

use super::{Dataplanes, Zones};
use crate::client::{Listing, Server, Window};
use crate::output::{self, Format};
use crate::overview::{Overview, count};
use crate::table::{Table, ago};

pub(super) async fn zones(args: &Zones) -> anyhow::Result<()> {
    let server = Server::connect(&args.connection)?;
    let path = Server::collection(ResourceType::Zone, None) + "/_overview";
    let listing = server.list(&path, Window::default()).await?;
    print(args.output, &listing, zone_table)
}

pub(super) async fn dataplanes(args: &Dataplanes) -> anyhow::Result<()> {
    let server = Server::connect(&args.connection)?;
    let mesh = (!args.all_meshes).then_some(args.mesh.as_str());
    let path = Server::collection(ResourceType::Dataplane, mesh) + "/_overview";
    let mut listing = server.list(&path, Window::default()).await?;
    if args.gateway {
        listing
            .items
            .retain(|item| Overview::dataplane(item).is_gateway());
        listing.total = listing.items.len();
    }
    print(args.output, &listing, dataplane_table)
}

fn print(
    format: Format,
    listing: &Listing,
    table: fn(&[Value], Timestamp) -> Table,
) -> anyhow::Result<()> {
    match format {
        Format::Table => output::line(table(&listing.items, clock::now()))?,
        Format::Yaml | Format::Json => output::structured(format, &listing.to_json())?,
    }
    Ok(())
}

fn zone_table(items: &[Value], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "NAME",
        "STATUS",
        "LAST CONNECTED AGO",
        "LAST UPDATED AGO",
        "TOTAL UPDATES",
        "TOTAL ERRORS",
        "ZONE-CP VERSION",
        "BACKEND",
    ]);
    for item in items {
        let zone = Overview::zone(item);
        let last = zone.last();
        table.push([
            zone.name().to_owned(),
            zone.status().text().to_owned(),
            ago(now, last["connectTime"].as_str()),
            ago(now, last["status"]["lastUpdateTime"].as_str()),
            zone.sum("responsesSent").to_string(),
            zone.sum("responsesRejected").to_string(),
            text(&last["version"]["kumaCp"]["version"]),
            backend(last),
        ]);
    }
    table
}

/// Where the zone keeps its resources: inside the JSON text of its configuration.
fn backend(subscription: &Value) -> String {
    subscription["config"]
        .as_str()
        .and_then(|config| serde_json::from_str::<Value>(config).ok())
        .map(|config| text(&config["store"]["type"]))
        .unwrap_or_default()
}

fn dataplane_table(items: &[Value], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "MESH",
        "NAME",
        "TAGS",
        "STATUS",
        "LAST CONNECTED AGO",
        "LAST UPDATED AGO",
        "TOTAL UPDATES",
        "TOTAL ERRORS",
        "CERT REGENERATED AGO",
        "CERT EXPIRATION",
        "CERT REGENERATIONS",
        "CERT BACKEND",
        "SUPPORTED CERT BACKENDS",
        "KUMA-DP VERSION",
        "ENVOY VERSION",
        "NOTES",
        "FINDINGS",
    ]);
    for item in items {
        let proxy = Overview::dataplane(item);
        let last = proxy.last();
        let mtls = &proxy.insight()["mTLS"];
        let supported: Vec<_> = mtls["supportedBackends"]
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .collect();
        table.push([
            proxy.mesh().to_owned(),
            proxy.name().to_owned(),
            proxy.tags_text(),
            proxy.status().text().to_owned(),
            ago(now, last["connectTime"].as_str()),
            ago(now, last["status"]["lastUpdateTime"].as_str()),
            proxy.sum("responsesSent").to_string(),
            proxy.sum("responsesRejected").to_string(),
            ago(now, mtls["lastCertificateRegeneration"].as_str()),
            expiration(&mtls["certificateExpirationTime"]),
            count(&mtls["certificateRegenerations"]).to_string(),
            match text(&mtls["issuedBackend"]) {
                none if none.is_empty() => "-".to_owned(),
                backend => backend,
            },
            supported.join(","),
            text(&last["version"]["kumaDp"]["version"]),
            text(&last["version"]["envoy"]["version"]),
            proxy.notes(),
            proxy.findings().len().to_string(),
        ]);
    }
    table
}

/// `2026-03-01 10:00:00`, or `-`.
fn expiration(time: &Value) -> String {
    match time.as_str().and_then(|text| text.get(..19)) {
        Some(text) => text.replace('T', " "),
        None => "-".to_owned(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_zone_sums_up_its_streams() {
        let zone = json!({
            "name": "zone-1", "zone": {"enabled": true},
            "zoneInsight": {"subscriptions": [
                {"connectTime": "2026-03-01T09:00:00Z", "disconnectTime": "2026-03-01T09:30:00Z",
                 "status": {"total": {"responsesSent": "90"}}},
                {"connectTime": "2026-03-01T09:59:00Z", "config": "{\"store\":{\"type\":\"memory\"}}",
                 "status": {"lastUpdateTime": "2026-03-01T09:59:21Z",
                            "total": {"responsesSent": "7", "responsesRejected": "1"}},
                 "version": {"kumaCp": {"version": "2.14.3"}}},
            ]},
        });
        let table = zone_table(&[zone], "2026-03-01T10:00:00Z".parse().unwrap()).to_string();
        let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            row,
            [
                "zone-1", "Online", "1m", "39s", "97", "1", "2.14.3", "memory"
            ]
        );
    }

    #[test]
    fn any_answer_makes_a_table() {
        let now = Timestamp::EPOCH;
        for item in [
            json!(null),
            json!({"zoneInsight": {"subscriptions": [{"config": "{"}]}}),
        ] {
            assert_eq!(
                zone_table(std::slice::from_ref(&item), now)
                    .to_string()
                    .lines()
                    .count(),
                2
            );
            assert_eq!(dataplane_table(&[item], now).to_string().lines().count(), 2);
        }
    }
}
