//! Recorded openings of KDS connections between stock control planes.
//!
//! One JSON object a line: who spoke on which call, with the call's metadata or a message's bytes
//! in base64. `kuma-2.14.jsonl` has a 2.14 global and a 2.14 zone, the mixed ones say so. What
//! the global owned: a mesh with a builtin CA, a gateway `edge`, a route `first`; the zone had or
//! got a Dataplane `echo-1` and in some a gateway Dataplane `gw-1`. Long configurations in nodes
//! are shortened.
//!
//! `changes/` has the responses that came later on the same connection: in the zone a Dataplane, an
//! ingress and an egress are made, on the global the route changes, a second route, a Timeout, a
//! Secret and a second Mesh with its defaults are made, the second route goes; then the zone's first
//! Dataplane. Of the recording with a 2.5 global and a 2.14 zone there are none.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mesh_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_proto::mesh::KumaResource;
use prost::Message;
use serde_json::Value;

pub(crate) const DOWN: &str = "GlobalToZoneSync";
pub(crate) const UP: &str = "ZoneToGlobalSync";

/// One recording.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) name: &'static str,
    lines: Vec<Value>,
    /// What was said on the connection later: responses with changes.
    changes: Vec<Value>,
}

/// All recordings.
pub(crate) fn all() -> Vec<Recording> {
    let files = [
        (
            "kuma-2.5",
            include_str!("../recorded/kds/kuma-2.5.jsonl"),
            include_str!("../recorded/kds/changes/kuma-2.5.jsonl"),
        ),
        (
            "kuma-2.14",
            include_str!("../recorded/kds/kuma-2.14.jsonl"),
            include_str!("../recorded/kds/changes/kuma-2.14.jsonl"),
        ),
        (
            "global-2.14-zone-2.5",
            include_str!("../recorded/kds/global-2.14-zone-2.5.jsonl"),
            include_str!("../recorded/kds/changes/global-2.14-zone-2.5.jsonl"),
        ),
        (
            "global-2.5-zone-2.14",
            include_str!("../recorded/kds/global-2.5-zone-2.14.jsonl"),
            "",
        ),
    ];
    let parse = |text: &str| {
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    files
        .into_iter()
        .map(|(name, opening, changes)| Recording {
            name,
            lines: parse(opening),
            changes: parse(changes),
        })
        .collect()
}

impl Recording {
    /// Whether the global was a 2.14 one.
    pub(crate) fn is_global_new(&self) -> bool {
        matches!(self.name, "kuma-2.14" | "global-2.14-zone-2.5")
    }

    /// Whether both were of one release.
    pub(crate) fn is_mixed(&self) -> bool {
        self.is_global_new() != self.is_zone_new()
    }

    /// Whether the zone was a 2.14 one.
    pub(crate) fn is_zone_new(&self) -> bool {
        matches!(self.name, "kuma-2.14" | "global-2.5-zone-2.14")
    }

    /// The metadata with which the zone opened a call.
    pub(crate) fn metadata(&self, method: &str) -> Vec<(String, String)> {
        let opened = self
            .lines
            .iter()
            .find(|line| line["method"] == method && line["metadata"].is_array())
            .expect("each recording opens each call");
        let pairs = opened["metadata"].as_array().unwrap().iter();
        pairs
            .map(|pair| {
                let text = |i: usize| pair[i].as_str().unwrap().to_owned();
                (text(0), text(1))
            })
            .collect()
    }

    /// What `who` said on a call, in order.
    pub(crate) fn said<M: Message + Default>(&self, method: &str, who: &str) -> Vec<M> {
        messages(&self.lines, method, who)
    }

    /// The responses with changes that `who` sent on a call after that, in order.
    pub(crate) fn changes(&self, method: &str, who: &str) -> Vec<DeltaDiscoveryResponse> {
        messages(&self.changes, method, who)
    }

    /// Requests with which `who` subscribed.
    pub(crate) fn subscriptions(&self, method: &str, who: &str) -> Vec<DeltaDiscoveryRequest> {
        let mut requests: Vec<DeltaDiscoveryRequest> = self.said(method, who);
        requests.retain(|request| request.response_nonce.is_empty());
        requests
    }

    /// An ACK that `who` sent.
    pub(crate) fn ack(&self, method: &str, who: &str) -> DeltaDiscoveryRequest {
        let requests: Vec<DeltaDiscoveryRequest> = self.said(method, who);
        let is_ack = |request: &DeltaDiscoveryRequest| !request.response_nonce.is_empty();
        requests.into_iter().find(is_ack).expect("every peer ACKed")
    }

    /// The first response of each type on a call.
    pub(crate) fn first_responses(
        &self,
        method: &str,
        who: &str,
    ) -> BTreeMap<String, DeltaDiscoveryResponse> {
        let responses: Vec<DeltaDiscoveryResponse> = self.said(method, who);
        let mut first = BTreeMap::new();
        for response in responses {
            first.entry(response.type_url.clone()).or_insert(response);
        }
        first
    }
}

fn messages<M: Message + Default>(lines: &[Value], method: &str, who: &str) -> Vec<M> {
    lines
        .iter()
        .filter(|line| line["method"] == method && line["dir"] == who)
        .filter_map(|line| line["b64"].as_str())
        .map(|text| M::decode(&*BASE64_STANDARD.decode(text).unwrap()).unwrap())
        .collect()
}

/// A resource in a response, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sent {
    pub(crate) name: String,
    pub(crate) mesh: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) spec_type: String,
    pub(crate) spec: Vec<u8>,
    pub(crate) version: String,
}

/// The resources of a response by name.
pub(crate) fn resources(response: &DeltaDiscoveryResponse) -> BTreeMap<String, Sent> {
    response
        .resources
        .iter()
        .map(|resource| {
            let any = resource.resource.as_ref().expect("a payload");
            assert!(any.type_url.ends_with("/kuma.mesh.v1alpha1.KumaResource"));
            let envelope = KumaResource::decode(any.value.clone()).expect("an envelope");
            let meta = envelope.meta.expect("a meta");
            let spec = envelope.spec.expect("a spec");
            let sent = Sent {
                name: meta.name.clone(),
                mesh: meta.mesh.clone(),
                labels: meta.labels.into_iter().collect(),
                spec_type: spec.type_url,
                spec: spec.value.to_vec(),
                version: resource.version.clone(),
            };
            // 2.5 leaves the name on the stream empty; where there is one, this is its form.
            let name = format!("{}.{}", meta.name, meta.mesh);
            assert!(resource.name.is_empty() || resource.name == name);
            (name, sent)
        })
        .collect()
}

/// The same by what a resource is called where it was made: in a mixed recording stock's older
/// side names things in the old way, and ours, which is no older, in the new one.
pub(crate) fn resources_by_display_name(
    response: &DeltaDiscoveryResponse,
) -> BTreeMap<String, Sent> {
    let named = resources(response).into_values().map(|sent| {
        let display = sent.labels.get(mesh_model::labels::DISPLAY_NAME);
        let name = display.unwrap_or(&sent.name);
        (format!("{name}.{}", sent.mesh), sent)
    });
    named.collect()
}

/// Which fields of a request are set; of the node's metadata, which keys.
pub(crate) fn shape(request: &DeltaDiscoveryRequest) -> Vec<String> {
    let DeltaDiscoveryRequest {
        node,
        type_url,
        resource_names_subscribe,
        resource_names_unsubscribe,
        initial_resource_versions,
        response_nonce,
        error_detail,
        resume,
    } = request;
    let mut shape = Vec::new();
    let mut note = |is_set: bool, field: &str| {
        if is_set {
            shape.push(field.to_owned());
        }
    };
    if let Some(node) = node {
        note(!node.id.is_empty(), "node.id");
        note(!node.cluster.is_empty(), "node.cluster");
        let mut keys: Vec<&String> = node.metadata.iter().flat_map(|m| m.fields.keys()).collect();
        keys.sort();
        for key in keys {
            note(true, &format!("node.metadata.{key}"));
        }
    }
    note(resume.is_some(), "resume");
    note(!type_url.is_empty(), "type_url");
    for name in resource_names_subscribe {
        note(true, &format!("subscribe {name}"));
    }
    note(!resource_names_unsubscribe.is_empty(), "unsubscribe");
    note(!initial_resource_versions.is_empty(), "initial versions");
    note(!response_nonce.is_empty(), "nonce");
    note(error_detail.is_some(), "error");
    shape
}
