//! Between the messages of the wire and those of the delta engine.

use std::collections::BTreeMap;

use mesh_delta::{
    Content, Digest, Item, Name, Nonce, Part, Rejection, Request, Response, ResumeError,
};
use mesh_model::ResourceType;
use mesh_proto::mesh::KumaResource;
use mesh_proto::{Any, core, discovery, link, rpc};
use prost::Message as _;

use crate::intake::{Arrived, Delivery};
use crate::kind::Kind;
use crate::wire;

const REJECTIONS_TYPE_URL: &str = "type.googleapis.com/meridian.kds.v1.Rejections";
/// The longest text of a NACK, in bytes.
const LONGEST_TEXT: usize = 16 << 10;
/// The longest reason in a list of rejections.
const LONGEST_REASON: usize = 1 << 10;
/// The largest list of rejections: half of what every peer takes in a message.
const LARGEST_LIST: usize = 5 << 20;
/// What a resource needs in a message beside its name, version and content.
const ENVELOPE: usize = wire::ENVELOPE_TYPE_URL.len() + 32;

/// A request as the delta engine reads it.
pub(crate) fn request_from_wire(
    kind: Kind,
    wire: &discovery::DeltaDiscoveryRequest,
) -> Request<Kind> {
    let nonce = Nonce::parse(&wire.response_nonce);
    let error = wire
        .error_detail
        .as_ref()
        .map(|status| status.message.clone());
    let rejections = wire.error_detail.iter().flat_map(|status| &status.details);
    let rejections = rejections
        .filter(|detail| detail.type_url == REJECTIONS_TYPE_URL)
        .filter_map(|detail| link::Rejections::decode(detail.value.clone()).ok())
        .flat_map(|list| list.rejections);
    // A NACK of a stock receiver repeats its wildcard; it subscribes to nothing new.
    let is_first = nonce.is_none();
    Request {
        ty: kind,
        // On KDS there is no other subscription than to everything.
        subscribe: if is_first {
            vec![mesh_delta::WILDCARD.into()]
        } else {
            Vec::new()
        },
        unsubscribe: Vec::new(),
        initial_versions: wire
            .initial_resource_versions
            .iter()
            .map(|(name, version)| (name.as_str().into(), version.as_str().into()))
            .collect::<BTreeMap<_, _>>(),
        nonce,
        error,
        rejected: rejections
            .map(|one| Rejection {
                name: one.name.into(),
                version: (!one.version.is_empty()).then(|| one.version.into()),
                reason: one.reason,
            })
            .collect(),
    }
}

/// How a NACK is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nacks {
    /// As one text, for stock peers.
    Text,
    /// With a list of what was refused, for peers that announced that they read it.
    Listed,
}

/// A request as it travels. Every request carries a node: a stock peer dies of one without.
pub(crate) fn request_to_wire(
    request: Request<Kind>,
    node: core::Node,
    nacks: Nacks,
) -> discovery::DeltaDiscoveryRequest {
    let details = match nacks {
        Nacks::Listed if !request.rejected.is_empty() => rejections(&request.rejected),
        Nacks::Listed | Nacks::Text => None,
    };
    let names = |names: Vec<Name>| names.iter().map(ToString::to_string).collect();
    let mut subscribe: Vec<String> = names(request.subscribe);
    if request.error.is_some() {
        subscribe = vec![mesh_delta::WILDCARD.to_owned()];
    }
    discovery::DeltaDiscoveryRequest {
        node: Some(node),
        type_url: request.ty.to_string(),
        resource_names_subscribe: subscribe,
        resource_names_unsubscribe: names(request.unsubscribe),
        initial_resource_versions: request
            .initial_versions
            .iter()
            .map(|(name, version)| (name.to_string(), version.to_string()))
            .collect(),
        response_nonce: request.nonce.map(|n| n.to_string()).unwrap_or_default(),
        error_detail: request.error.map(|message| rpc::Status {
            message: shortened(message, LONGEST_TEXT),
            details: details.into_iter().collect(),
            ..Default::default()
        }),
        resume: None,
    }
}

/// The list of what was refused; `None` if it would fit no message. Then the sender finds out by
/// halves, as with a stock peer.
fn rejections(rejected: &[Rejection]) -> Option<Any> {
    let rejections = rejected.iter().map(|one| link::Rejection {
        name: one.name.to_string(),
        version: one.version.as_deref().unwrap_or_default().to_owned(),
        reason: shortened(one.reason.clone(), LONGEST_REASON),
    });
    let list = link::Rejections {
        rejections: rejections.collect(),
    };
    let value = list.encode_to_vec();
    (value.len() <= LARGEST_LIST).then(|| Any {
        type_url: REJECTIONS_TYPE_URL.to_owned(),
        value: value.into(),
    })
}

/// A text for people: beyond some length it helps nobody, and a message has a limit.
pub(crate) fn shortened(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push_str(" …");
    }
    text
}

/// Splits a response for a peer that takes chunks: each has about `size` bytes at most, unless
/// one resource alone has more. The last one is not followed by others.
pub(crate) fn chunks(response: Response<Kind>, size: usize) -> Vec<Response<Kind>> {
    let Response {
        ty,
        nonce,
        resources,
        removed,
        is_complete,
        position,
    } = response;
    let empty = || Response {
        ty,
        nonce: nonce.clone(),
        resources: Vec::new(),
        removed: Vec::new(),
        is_complete,
        position,
    };
    let mut chunks = Vec::new();
    let mut next = empty();
    let mut used = 0;
    let mut make_room = |next: &mut Response<Kind>, used: &mut usize, more: usize| {
        if *used > 0 && *used + more > size {
            chunks.push(std::mem::replace(next, empty()));
            *used = 0;
        }
        *used += more;
    };
    for (name, item) in resources {
        let length = item.payload.len() + item.version.len() + name.len() + ENVELOPE;
        make_room(&mut next, &mut used, length);
        next.resources.push((name, item));
    }
    for name in removed {
        make_room(&mut next, &mut used, name.len() + 4);
        next.removed.push(name);
    }
    chunks.push(next);
    chunks
}

/// What a holder says of parts, in requests of up to about `size` bytes.
pub(crate) fn parts_to_wire(parts: Vec<Part>, size: usize) -> Vec<link::Resume> {
    let mut messages = vec![link::Resume::default()];
    let mut used = 0;
    for part in parts {
        let mut wire = link::Part {
            prefix: part.prefix.to_string(),
            ..link::Part::default()
        };
        match part.content {
            Content::Below(digests) => {
                wire.digests = digests.iter().flat_map(|d| d.to_bytes()).collect();
            }
            Content::Listed(list) => {
                wire.is_listed = true;
                let held = list.into_iter().map(|(name, version)| link::Held {
                    name: name.to_string(),
                    version: version.to_string(),
                });
                wire.held = held.collect();
            }
        }
        let length = wire.encoded_len() + 4;
        if used > 0 && used + length > size {
            messages.push(link::Resume::default());
            used = 0;
        }
        used += length;
        if let Some(last) = messages.last_mut() {
            last.parts.push(wire);
        }
    }
    messages
}

/// What a holder said of a part.
pub(crate) fn part_from_wire(wire: link::Part) -> Result<Part, String> {
    let prefix = wire
        .prefix
        .parse()
        .map_err(|error: ResumeError| error.to_string())?;
    let content = if wire.is_listed {
        let held = wire.held.into_iter();
        Content::Listed(
            held.map(|one| (one.name.into(), one.version.into()))
                .collect(),
        )
    } else {
        let digests: Option<Vec<Digest>> = wire
            .digests
            .chunks(Digest::LENGTH)
            .map(Digest::from_bytes)
            .collect();
        let below = digests.and_then(|digests| digests.try_into().ok());
        Content::Below(below.map(Box::new).ok_or_else(|| {
            format!(
                "the digests below part {:?} are not 16 of 16 bytes",
                wire.prefix
            )
        })?)
    };
    Ok(Part { prefix, content })
}

/// A response as it travels; with `has_more` it is a part of one.
pub(crate) fn response_to_wire(
    response: Response<Kind>,
    identifier: &str,
    has_more: bool,
) -> discovery::DeltaDiscoveryResponse {
    let resources = response
        .resources
        .into_iter()
        .map(|(name, item)| discovery::Resource {
            version: item.version.to_string(),
            resource: Some(Any {
                type_url: wire::ENVELOPE_TYPE_URL.to_owned(),
                value: item.payload.to_bytes(),
            }),
            name: name.to_string(),
        });
    discovery::DeltaDiscoveryResponse {
        system_version_info: String::new(),
        resources: resources.collect(),
        type_url: response.ty.to_string(),
        nonce: response.nonce.to_string(),
        removed_resources: response.removed.iter().map(ToString::to_string).collect(),
        control_plane: Some(core::ControlPlane {
            identifier: identifier.to_owned(),
        }),
        resume: None,
        has_more,
    }
}

/// A response that cannot even be taken apart.
#[derive(Debug, thiserror::Error)]
#[error("a response of type {type_url:?} has no nonce")]
pub(crate) struct NoNonce {
    type_url: String,
}

/// A response as the delta engine reads it.
pub(crate) fn response_from_wire(
    kind: Kind,
    wire: discovery::DeltaDiscoveryResponse,
) -> Result<Response<Kind>, NoNonce> {
    let nonce = Nonce::parse(&wire.nonce).ok_or_else(|| NoNonce {
        type_url: wire.type_url.clone(),
    })?;
    let resources = wire.resources.into_iter().map(|resource| {
        let payload = resource.resource.map(|any| any.value).unwrap_or_default();
        let name = if resource.name.is_empty() {
            envelope_name(&payload)
        } else {
            resource.name
        };
        let item = Item {
            version: resource.version.into(),
            payload: payload.into(),
            needs: [].into(),
        };
        (Name::from(name), item)
    });
    Ok(Response {
        ty: kind,
        nonce,
        resources: resources.collect(),
        removed: wire
            .removed_resources
            .iter()
            .map(|n| Name::from(n.as_str()))
            .collect(),
        is_complete: false,
        position: None,
    })
}

/// The stream name of an envelope, which senders up to Kuma 2.10 do not write beside it; empty
/// for what is no envelope.
fn envelope_name(payload: &[u8]) -> String {
    KumaResource::decode(payload)
        .ok()
        .and_then(|envelope| envelope.meta)
        .map(|meta| format!("{}.{}", meta.name, meta.mesh))
        .unwrap_or_default()
}

/// What a response means to a store.
pub(crate) fn delivery(
    ty: ResourceType,
    is_complete: bool,
    upserts: Vec<(Name, Item<Kind>)>,
    removed: Vec<Name>,
) -> Delivery {
    let arrived = upserts
        .into_iter()
        .map(|(name, item)| Arrived {
            name,
            content: wire::decode(ty, item.payload.to_bytes()),
        })
        .collect();
    Delivery {
        ty,
        is_complete,
        arrived,
        removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateways() -> Kind {
        Kind::of(ResourceType::MeshGateway).unwrap()
    }

    fn nonce() -> Nonce {
        Nonce::parse("7").unwrap()
    }

    #[test]
    fn a_response_in_chunks_says_the_same_in_messages_of_a_size() {
        let payload = vec![1_u8; 1000];
        let item = |n: u32| {
            (
                format!("r{n}.default").into(),
                Item::new("v1", payload.clone()),
            )
        };
        let response = Response {
            ty: gateways(),
            nonce: nonce(),
            resources: (0..1000).map(item).collect(),
            removed: (0..1000)
                .map(|n| format!("gone{n}.default").into())
                .collect(),
            is_complete: true,
            position: None,
        };
        let size = 64 << 10;
        let chunks = chunks(response.clone(), size);
        assert!(chunks.len() > 10, "{}", chunks.len());
        let mut whole = Response {
            resources: Vec::new(),
            removed: Vec::new(),
            ..response.clone()
        };
        for chunk in chunks {
            assert_eq!(chunk.nonce, response.nonce);
            let encoded = response_to_wire(chunk.clone(), "global", true).encoded_len();
            assert!(encoded <= size + 100, "{encoded}");
            whole.resources.extend(chunk.resources);
            whole.removed.extend(chunk.removed);
        }
        assert_eq!(whole, response);
        let empty = Response {
            resources: Vec::new(),
            removed: Vec::new(),
            ..response
        };
        assert_eq!(super::chunks(empty.clone(), size), [empty]);
    }

    #[test]
    fn what_was_refused_is_listed_for_peers_that_read_it_only() {
        let mut nack = Request::nack(gateways(), nonce(), "edge.default: no");
        nack.rejected = vec![Rejection {
            name: "edge.default".into(),
            version: Some("v1".into()),
            reason: "no".into(),
        }];
        let wire = request_to_wire(nack.clone(), core::Node::default(), Nacks::Listed);
        assert_eq!(request_from_wire(gateways(), &wire), nack);
        let stock = request_to_wire(nack.clone(), core::Node::default(), Nacks::Text);
        assert!(stock.error_detail.as_ref().unwrap().details.is_empty());
        assert!(request_from_wire(gateways(), &stock).rejected.is_empty());
        // What no message could carry is refused as a whole.
        nack.rejected = (0..5000)
            .map(|n| Rejection {
                name: format!("{n}.default").into(),
                version: None,
                reason: "x".repeat(10_000),
            })
            .collect();
        let wire = request_to_wire(nack, core::Node::default(), Nacks::Listed);
        assert!(wire.encoded_len() <= 6 << 20);
    }
}
