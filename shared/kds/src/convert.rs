//! Between the messages of the wire and those of the delta engine.

use std::collections::BTreeMap;

use mesh_delta::{Item, Name, Nonce, Request, Response};
use mesh_model::ResourceType;
use mesh_proto::mesh::KumaResource;
use mesh_proto::{Any, core, discovery, rpc};
use prost::Message as _;

use crate::intake::{Arrived, Delivery};
use crate::kind::Kind;
use crate::wire;

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
        rejected: Vec::new(),
    }
}

/// A request as it travels. Every request carries a node: a stock peer dies of one without.
pub(crate) fn request_to_wire(
    request: Request<Kind>,
    node: core::Node,
) -> discovery::DeltaDiscoveryRequest {
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
            message: shortened(message),
            ..Default::default()
        }),
        resume: None,
    }
}

/// A NACK's text for people: beyond this it helps nobody, and a message has a limit.
fn shortened(mut text: String) -> String {
    const MOST: usize = 16 << 10;
    if text.len() > MOST {
        let end = (0..=MOST)
            .rev()
            .find(|i| text.is_char_boundary(*i))
            .unwrap_or(0);
        text.truncate(end);
        text.push_str(" …");
    }
    text
}

/// A response as it travels.
pub(crate) fn response_to_wire(
    response: Response<Kind>,
    identifier: &str,
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
        has_more: false,
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
