//! What overviews (a resource with its insight) say, read from JSON that may be anything.

use std::collections::BTreeMap;

use mesh_model::{labels, tags};
use serde_json::Value;

/// The state of a proxy or a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Online,
    Offline,
    PartiallyDegraded,
}

impl Status {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Online => "Online",
            Self::Offline => "Offline",
            Self::PartiallyDegraded => "Partially degraded",
        }
    }
}

/// A Dataplane or Zone with its insight. Absent parts read as `null`, wrong ones as absent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overview<'a> {
    value: &'a Value,
    spec: &'a str,
    insight: &'a str,
}

/// What a proxy's control plane or Envoy had to say about a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) ty: String,
    pub(crate) name: String,
    pub(crate) field: String,
    pub(crate) message: String,
}

impl std::fmt::Display for Finding {
    /// `MeshGatewayRoute shop: conf.http.rules[0]: no such service`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: ", self.ty, self.name)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

impl<'a> Overview<'a> {
    pub(crate) fn dataplane(value: &'a Value) -> Self {
        Self {
            value,
            spec: "dataplane",
            insight: "dataplaneInsight",
        }
    }

    pub(crate) fn zone(value: &'a Value) -> Self {
        Self {
            value,
            spec: "zone",
            insight: "zoneInsight",
        }
    }

    pub(crate) fn name(self) -> &'a str {
        text(&self.value["name"])
    }

    pub(crate) fn mesh(self) -> &'a str {
        text(&self.value["mesh"])
    }

    pub(crate) fn modified(self) -> Option<&'a str> {
        self.value["modificationTime"].as_str()
    }

    pub(crate) fn label(self, key: &str) -> Option<&'a str> {
        self.value["labels"][key].as_str()
    }

    /// The name that its author gave it.
    pub(crate) fn display_name(self) -> &'a str {
        self.label(labels::DISPLAY_NAME).unwrap_or(self.name())
    }

    fn networking(self) -> &'a Value {
        &self.value[self.spec]["networking"]
    }

    fn inbounds(self) -> &'a [Value] {
        list(&self.networking()["inbound"])
    }

    pub(crate) fn is_gateway(self) -> bool {
        self.networking()["gateway"].is_object()
    }

    /// The zone that a proxy is in.
    pub(crate) fn zone_name(self) -> String {
        let tags = self.tags();
        let tag = tags.get(tags::ZONE).and_then(|zones| zones.first());
        match self.label(labels::ZONE) {
            Some(zone) => zone.to_owned(),
            None => tag.cloned().unwrap_or_default(),
        }
    }

    pub(crate) fn address(self) -> &'a str {
        match text(&self.networking()["advertisedAddress"]) {
            "" => text(&self.networking()["address"]),
            address => address,
        }
    }

    /// All values of each tag of a proxy.
    fn tags(self) -> BTreeMap<String, Vec<String>> {
        let mut tags: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let gateway = &self.networking()["gateway"]["tags"];
        let inbounds = self.inbounds().iter().map(|inbound| &inbound["tags"]);
        for (key, value) in inbounds
            .chain([gateway])
            .filter_map(Value::as_object)
            .flatten()
        {
            let values = tags.entry(key.clone()).or_default();
            let value = text(value).to_owned();
            if let Err(at) = values.binary_search(&value) {
                values.insert(at, value);
            }
        }
        tags
    }

    /// `k=v1,v2 k2=v`.
    pub(crate) fn tags_text(self) -> String {
        let tags = self.tags();
        let texts: Vec<_> = tags
            .iter()
            .map(|(key, values)| format!("{key}={}", values.join(",")))
            .collect();
        texts.join(" ")
    }

    pub(crate) fn insight(self) -> &'a Value {
        &self.value[self.insight]
    }

    pub(crate) fn subscriptions(self) -> &'a [Value] {
        list(&self.insight()["subscriptions"])
    }

    /// The last subscription, or `null`.
    pub(crate) fn last(self) -> &'a Value {
        self.subscriptions().last().unwrap_or(&Value::Null)
    }

    /// The sum of a counter over all subscriptions.
    pub(crate) fn sum(self, counter: &str) -> u64 {
        self.subscriptions()
            .iter()
            .map(|s| count(&s["status"]["total"][counter]))
            .fold(0, u64::saturating_add)
    }

    fn is_connected(self) -> bool {
        self.subscriptions()
            .iter()
            .any(|s| s["connectTime"].is_string() && !s["disconnectTime"].is_string())
    }

    pub(crate) fn status(self) -> Status {
        if !self.is_connected() || self.value[self.spec]["enabled"] == false {
            return Status::Offline;
        }
        if self.is_gateway() {
            return Status::Online;
        }
        let inbounds = self.inbounds();
        match inbounds.iter().filter(|inbound| is_ready(inbound)).count() {
            ready if ready == inbounds.len() => Status::Online,
            0 => Status::Offline,
            _ => Status::PartiallyDegraded,
        }
    }

    /// What `kumactl` calls notes: inbounds that are not ready.
    pub(crate) fn notes(self) -> String {
        let notes: Vec<_> = self
            .inbounds()
            .iter()
            .filter(|inbound| !is_ready(inbound))
            .map(|inbound| {
                format!(
                    "inbound[port={},svc={}] is not ready",
                    count(&inbound["port"]),
                    text(&inbound["tags"][tags::SERVICE])
                )
            })
            .collect();
        notes.join(", ")
    }

    pub(crate) fn findings(self) -> Vec<Finding> {
        list(&self.insight()["findings"])
            .iter()
            .map(|finding| {
                let text = |key: &str| text(&finding[key]).to_owned();
                Finding {
                    ty: text("type"),
                    name: text("name"),
                    field: text("field"),
                    message: text("message"),
                }
            })
            .collect()
    }
}

fn is_ready(inbound: &Value) -> bool {
    let state = &inbound["state"];
    // Protobuf's JSON leaves out what is false.
    let is_healthy = inbound["health"]
        .as_object()
        .is_none_or(|health| health.get("ready").is_some_and(|ready| *ready == true));
    state != "NotReady" && state != 1 && is_healthy
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A number, which protobuf's JSON writes as a string when it has 64 bits.
pub(crate) fn count(value: &Value) -> u64 {
    value
        .as_u64()
        .or_else(|| value.as_str()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn dataplane(networking: &Value, subscriptions: &Value) -> Value {
        json!({
            "type": "DataplaneOverview", "mesh": "default", "name": "a-1",
            "labels": {"kuma.io/display-name": "a", "kuma.io/zone": "east"},
            "dataplane": {"networking": networking},
            "dataplaneInsight": {"subscriptions": subscriptions},
        })
    }

    #[test]
    fn a_proxy_is_as_well_as_its_stream_and_its_inbounds() {
        let live = json!([{"connectTime": "2026-03-01T10:00:00Z"}]);
        let dead = json!([{"connectTime": "2026-03-01T10:00:00Z", "disconnectTime": "2026-03-01T10:00:01Z"}]);
        let ready = json!({"inbound": [{"port": 1, "tags": {"kuma.io/service": "a"}}]});
        let half = json!({"inbound": [{"port": 1}, {"port": 2, "state": "NotReady"}]});
        let none = json!({"inbound": [{"port": 2, "health": {}}]});
        let gateway = json!({"gateway": {"tags": {"kuma.io/service": "edge"}}});
        for (networking, subscriptions, expected) in [
            (&ready, &live, Status::Online),
            (&ready, &dead, Status::Offline),
            (&ready, &json!([]), Status::Offline),
            (&half, &live, Status::PartiallyDegraded),
            (&none, &live, Status::Offline),
            (&gateway, &live, Status::Online),
            (&gateway, &json!(7), Status::Offline),
        ] {
            let value = dataplane(networking, subscriptions);
            assert_eq!(Overview::dataplane(&value).status(), expected, "{value}");
        }
    }

    #[test]
    fn anything_can_be_looked_at() {
        for value in [
            json!(null),
            json!([]),
            json!({"dataplane": 1, "dataplaneInsight": "x"}),
        ] {
            let overview = Overview::dataplane(&value);
            assert_eq!(overview.status(), Status::Offline);
            assert_eq!(overview.tags_text(), "");
            assert!(overview.findings().is_empty());
            assert_eq!(overview.sum("responsesSent"), 0);
        }
    }

    #[test]
    fn values_of_a_tag_are_gathered() {
        let networking = json!({"inbound": [
            {"tags": {"kuma.io/service": "b", "v": "1"}},
            {"tags": {"kuma.io/service": "a", "v": "1"}},
        ]});
        let value = dataplane(&networking, &json!([]));
        let overview = Overview::dataplane(&value);
        assert_eq!(overview.tags_text(), "kuma.io/service=a,b v=1");
        assert_eq!(overview.zone_name(), "east");
    }
}
