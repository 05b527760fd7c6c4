//! One Dataplane: where it is, how it does, what it has to say.

use std::fmt::Write as _;

use mesh_model::{ResourceType, Timestamp};
use mesh_runtime::clock;
use serde_json::Value;

use super::One;
use crate::client::{Server, Window};
use crate::output::{self, Format};
use crate::overview::{Overview, count};
use crate::table::ago;
use crate::words;

pub(super) async fn show(args: &One) -> anyhow::Result<()> {
    let server = Server::connect(&args.connection)?;
    let item = find(&server, args).await?;
    match args.output {
        Format::Table => output::text(&describe(&item, clock::now()))?,
        Format::Yaml | Format::Json => output::structured(args.output, &item)?,
    }
    Ok(())
}

/// By name, else by the name that its author gave it: a global control plane adds to names.
pub(super) async fn find(server: &Server, args: &One) -> anyhow::Result<Value> {
    let One { name, mesh, .. } = args;
    let ty = ResourceType::Dataplane;
    let path = Server::item(ty, Some(mesh), name) + "/_overview";
    if let Some(item) = server.find(&path).await? {
        return Ok(item);
    }
    let path = Server::collection(ty, Some(mesh)) + "/_overview";
    let mut items = server.list(&path, Window::default()).await?.items;
    items.retain(|item| Overview::dataplane(item).display_name() == name);
    match items.len() {
        0 => Err(words::absent(ty, Some(mesh), name)),
        1 => Ok(items.remove(0)),
        _ => {
            let names: Vec<_> = items
                .iter()
                .map(|item| Overview::dataplane(item).name())
                .collect();
            anyhow::bail!(
                "several Dataplanes are called {name:?}; give one of {}",
                names.join(", ")
            )
        }
    }
}

fn describe(item: &Value, now: Timestamp) -> String {
    let proxy = Overview::dataplane(item);
    let last = proxy.last();
    let mut out = String::new();
    let mut line = |key: &str, value: &str| {
        if !value.is_empty() {
            writeln!(out, "{key:<16}{value}").expect("writing to a String cannot fail");
        }
    };
    let version = |program: &str| {
        let version = &last["version"][program]["version"];
        version.as_str().unwrap_or_default().to_owned()
    };
    line("Dataplane:", &format!("{}/{}", proxy.mesh(), proxy.name()));
    line("Zone:", &proxy.zone_name());
    line("Address:", proxy.address());
    line("Tags:", &proxy.tags_text());
    line("Status:", proxy.status().text());
    line("Notes:", &proxy.notes());
    line("Connected:", &since(now, &last["connectTime"]));
    line("Disconnected:", &since(now, &last["disconnectTime"]));
    line(
        "Last update:",
        &since(now, &last["status"]["lastUpdateTime"]),
    );
    let sum = |counter| proxy.sum(counter);
    line(
        "Updates:",
        &format!(
            "{} sent, {} accepted, {} refused",
            sum("responsesSent"),
            sum("responsesAcknowledged"),
            sum("responsesRejected")
        ),
    );
    let per_type: Vec<_> = ["cds", "eds", "lds", "rds"]
        .into_iter()
        .filter_map(|ty| {
            let refused = count(&last["status"][ty]["responsesRejected"]);
            (refused > 0).then(|| format!("{refused} of {}", ty.to_uppercase()))
        })
        .collect();
    line("Refused now:", &per_type.join(", "));
    line("meridian-dp:", &version("kumaDp"));
    line("Envoy:", &version("envoy"));
    let findings = proxy.findings();
    if findings.is_empty() {
        out.push_str("\nno findings\n");
        return out;
    }
    out.push_str("\nFindings:\n");
    for finding in findings {
        writeln!(out, "  {finding}").expect("writing to a String cannot fail");
    }
    out
}

fn since(now: Timestamp, time: &Value) -> String {
    match time.as_str() {
        Some(text) => format!("{} ago ({text})", ago(now, Some(text))),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_gateway_says_how_it_is() {
        let item = json!({
            "mesh": "default", "name": "gw-1", "labels": {"kuma.io/zone": "east"},
            "dataplane": {"networking": {"address": "127.0.1.1",
                "gateway": {"tags": {"kuma.io/service": "edge"}}}},
            "dataplaneInsight": {
                "subscriptions": [{"connectTime": "2026-03-01T09:59:00Z",
                    "status": {"total": {"responsesSent": "5", "responsesRejected": "1"},
                               "rds": {"responsesRejected": "1"}},
                    "version": {"envoy": {"version": "1.36.2"}}}],
                "findings": [{"type": "MeshGatewayRoute", "name": "shop",
                    "field": "conf.http.rules[0].backends[0]", "message": "no such service"}],
            },
        });
        let text = describe(&item, "2026-03-01T10:00:00Z".parse().unwrap());
        for line in [
            "Dataplane:      default/gw-1",
            "Zone:           east",
            "Status:         Online",
            "Connected:      1m ago (2026-03-01T09:59:00Z)",
            "Updates:        5 sent, 0 accepted, 1 refused",
            "Refused now:    1 of RDS",
            "Envoy:          1.36.2",
            "  MeshGatewayRoute shop: conf.http.rules[0].backends[0]: no such service",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(describe(&json!({}), Timestamp::EPOCH).contains("no findings"));
    }
}
