//! Where a resource is: in which zones, and in which of their Envoys.

use std::fmt::Write as _;

use mesh_model::{ResourceType, Timestamp};
use reqwest::StatusCode;
use serde_json::Value;

use crate::client::Server;
use crate::table::ago;
use crate::words;

/// Asks a global where a resource is.
pub(crate) async fn ask(
    server: &Server,
    ty: ResourceType,
    mesh: &str,
    name: &str,
) -> anyhow::Result<Value> {
    let path = format!("/meridian/receipts{}", Server::item(ty, Some(mesh), name));
    match server.get(&path).await {
        Ok(receipt) => Ok(receipt),
        Err(error) if error.refused_with(StatusCode::NOT_FOUND) => {
            Err(words::absent(ty, Some(mesh), name))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether it is in every zone's Envoys, as far as can be known.
pub(crate) fn is_live(receipt: &Value) -> bool {
    receipt["isLive"] == true
}

/// All that is known, a line for each zone and proxy.
pub(crate) fn describe(receipt: &Value, now: Timestamp) -> String {
    let mut out = String::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut line = |indent: usize, left: &str, right: &str| {
        writeln!(
            out,
            "{:indent$}{left:<width$}  {right}",
            "",
            width = 28 - indent
        )
        .expect("writing to a String cannot fail");
    };
    let called = match receipt["mesh"].as_str() {
        Some(mesh) => format!(
            "{} {mesh}/{}",
            text(&receipt["type"]),
            text(&receipt["name"])
        ),
        None => format!("{} {}", text(&receipt["type"]), text(&receipt["name"])),
    };
    line(
        0,
        &called,
        &format!("stored {}", since(now, &receipt["storedAt"])),
    );
    let zones = receipt["zones"].as_array();
    for zone in zones.into_iter().flatten() {
        line(2, &text(&zone["zone"]), &of_zone(zone, now));
        let proxies = zone["proxies"].as_array();
        for proxy in proxies.into_iter().flatten() {
            line(4, &text(&proxy["name"]), &of_proxy(proxy, now));
        }
    }
    if zones.is_none_or(Vec::is_empty) {
        line(2, "no zones", "");
    }
    out
}

fn of_zone(zone: &Value, now: Timestamp) -> String {
    let reason = zone["reason"].as_str().unwrap_or_default();
    match zone["state"].as_str().unwrap_or_default() {
        "live" => format!("live; {}", path(zone, now)),
        "stored" => path(zone, now),
        "accepted" => format!(
            "accepted{}; a stock zone does not say what its Envoys have",
            at(" at ", &zone["acceptedAt"], "")
        ),
        "underWay" => format!("on its way{}", at(", sent at ", &zone["sentAt"], "")),
        "refused" => format!("not there: {reason}"),
        "notForZone" => "not for this zone".to_owned(),
        "silent" => format!("connected, and does not answer: {reason}"),
        "offline" => match zone["since"].as_str() {
            Some(_) => format!("offline {}", since(now, &zone["since"])),
            None => "offline".to_owned(),
        },
        other => other.to_owned(),
    }
}

/// How it came into a zone of ours.
fn path(zone: &Value, now: Timestamp) -> String {
    let sent = at("sent at ", &zone["sentAt"], ", ");
    format!("{sent}in the zone {}", since(now, &zone["storedAt"]))
}

/// A time that is known, with what comes before and after it.
fn at(before: &str, at: &Value, after: &str) -> String {
    let at = at.as_str();
    at.map_or(String::new(), |at| format!("{before}{at}{after}"))
}

fn of_proxy(proxy: &Value, now: Timestamp) -> String {
    let refused = proxy["refused"].as_str().unwrap_or_default();
    match (proxy["isLive"] == true, refused) {
        (true, _) if proxy["liveAt"].is_string() => {
            format!("live {}", since(now, &proxy["liveAt"]))
        }
        (true, _) => "live for long".to_owned(),
        (false, "") => "not yet".to_owned(),
        (false, why) => format!("goes without: {why}"),
    }
}

/// `since 2026-12-01T12:00:00.123Z (5s)`.
fn since(now: Timestamp, at: &Value) -> String {
    match at.as_str() {
        Some(at) => format!("since {at} ({})", ago(now, Some(at))),
        None => String::new(),
    }
}

/// Who is being waited for, in a few words.
pub(crate) fn missing(receipt: &Value, now: Timestamp) -> Vec<String> {
    let mut missing = Vec::new();
    for zone in receipt["zones"].as_array().into_iter().flatten() {
        if zone["isDone"] == true {
            continue;
        }
        let name = zone["zone"].as_str().unwrap_or_default();
        let proxies = zone["proxies"].as_array().into_iter().flatten();
        let waiting: Vec<_> = proxies.filter(|proxy| proxy["isLive"] != true).collect();
        if waiting.is_empty() {
            missing.push(format!("zone {name}: {}", of_zone(zone, now)));
        }
        for proxy in waiting {
            let proxy_name = proxy["name"].as_str().unwrap_or_default();
            missing.push(format!(
                "zone {name}, {proxy_name}: {}",
                of_proxy(proxy, now)
            ));
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_state_has_words() {
        let at = |seconds| Timestamp::from_unix_seconds(seconds).to_string();
        let receipt = json!({
            "type": "MeshGatewayRoute", "mesh": "default", "name": "shop",
            "storedAt": at(0), "isLive": false,
            "zones": [
                {"zone": "a", "state": "live", "storedAt": at(1), "isDone": true, "proxies": [
                    {"name": "edge-1", "isLive": true, "liveAt": at(2), "refused": ""},
                    {"name": "edge-2", "isLive": true, "liveAt": null, "refused": ""},
                ]},
                {"zone": "b", "state": "stored", "sentAt": at(0), "storedAt": at(1), "isDone": false, "proxies": [
                    {"name": "edge-3", "isLive": false, "liveAt": null, "refused": ""},
                    {"name": "edge-4", "isLive": false, "liveAt": null, "refused": "bad regex"},
                ]},
                {"zone": "c", "state": "offline", "since": at(0), "isDone": false},
                {"zone": "d", "state": "refused", "reason": "too large", "isDone": false},
                {"zone": "e", "state": "accepted", "acceptedAt": at(3), "isDone": true},
                {"zone": "f", "state": "underWay", "isDone": false},
                {"zone": "g", "state": "underWay", "sentAt": at(4), "isDone": false},
            ],
        });
        let now = Timestamp::from_unix_seconds(5);
        let described = describe(&receipt, now);
        let line = |n: usize| described.lines().nth(n).unwrap().trim_end();
        assert!(line(0).starts_with("MeshGatewayRoute default/shop  stored since 1970-"));
        assert!(line(0).ends_with("(5s)"));
        assert!(line(1).starts_with("  a") && line(1).contains("live; in the zone since 1970-"));
        assert!(line(2).starts_with("    edge-1") && line(2).ends_with("(3s)"));
        assert!(line(3).ends_with("live for long"));
        assert!(line(5).ends_with("not yet"));
        assert!(line(6).ends_with("goes without: bad regex"));
        assert!(line(7).contains("offline since 1970-"));
        assert!(line(8).ends_with("not there: too large"));
        assert!(line(4).contains("sent at 1970-01-01T00:00:00Z, in the zone since 1970-"));
        assert!(line(9).ends_with(
            "accepted at 1970-01-01T00:00:03Z; a stock zone does not say what its Envoys have"
        ));
        assert!(line(10).ends_with("on its way"));
        assert!(line(11).ends_with("on its way, sent at 1970-01-01T00:00:04Z"));
        let missing = missing(&receipt, now);
        assert_eq!(missing.len(), 6, "{missing:?}");
        assert_eq!(missing[0], "zone b, edge-3: not yet");
        assert_eq!(missing[1], "zone b, edge-4: goes without: bad regex");
        assert_eq!(missing[3], "zone d: not there: too large");
    }
}
