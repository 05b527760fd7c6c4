//! Reading resources: one, a list, with or without insights.

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use mesh_model::tags::{self, Tags};
use mesh_model::validate::Violation;
use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType};
use mesh_proto::mesh::{Dataplane, MeshGateway, MeshGatewayRoute, Selector};
use mesh_store::Snapshot;
use serde_json::{Value, json};

use crate::document::{self, NoInsight};
use crate::error::ApiError;
use crate::filter::{self, Filter};
use crate::page::Page;
use crate::request::Request;
use crate::respond;

pub(crate) const TITLE: &str = "Could not retrieve a resource";

/// The mesh of a path, which must exist.
pub(crate) fn mesh(snapshot: &Snapshot, name: &str) -> Result<MeshName, ApiError> {
    let absent = || ApiError::not_found("Failed to retrieve Mesh");
    let mesh = MeshName::parse(name).map_err(|_no_such_name| absent())?;
    let key = ResourceName::parse(name).map_err(|_no_such_name| absent())?;
    snapshot
        .get(&Key::global(ResourceType::Mesh, key))
        .map(|_| mesh)
        .ok_or_else(absent)
}

/// The key of an item's path; `None` when no resource can have it.
pub(crate) fn key(ty: ResourceType, mesh: Option<MeshName>, name: &str) -> Option<Key> {
    Key::try_new(ty, mesh, ResourceName::parse(name).ok()?)
}

/// `GET` of one resource.
pub(crate) fn item(
    request: &Request<'_>,
    ty: ResourceType,
    mesh_name: Option<&str>,
    name: &str,
    is_overview: bool,
) -> Result<Response, ApiError> {
    let snapshot = request.context.store.snapshot();
    let mesh = mesh_name.map(|name| mesh(&snapshot, name)).transpose()?;
    request.user.require_type(ty)?;
    let resource = key(ty, mesh, name)
        .and_then(|key| snapshot.get(&key).cloned())
        .ok_or_else(|| ApiError::not_found(TITLE))?;
    let shown = if is_overview {
        document::overview(&resource, &snapshot, NoInsight::Empty)
    } else {
        in_format(request, &resource)?
    };
    Ok(respond::json(StatusCode::OK, &shown))
}

fn in_format(request: &Request<'_>, resource: &Resource) -> Result<Value, ApiError> {
    match request.query.first("format") {
        None | Some("universal") => Ok(document::plain(resource)),
        Some("k8s" | "kubernetes") => Ok(document::kubernetes(
            resource,
            request.query.first("namespace"),
        )),
        Some(other) => Err(ApiError::invalid(
            TITLE,
            vec![Violation::new(
                "",
                format!("format is k8s, kubernetes or universal, not {other:?}"),
            )],
        )),
    }
}

/// `GET` of a collection.
pub(crate) fn list(
    request: &Request<'_>,
    ty: ResourceType,
    mesh_name: Option<&str>,
    is_overview: bool,
) -> Result<Response, ApiError> {
    let snapshot = request.context.store.snapshot();
    let mesh = mesh_name.map(|name| mesh(&snapshot, name)).transpose()?;
    request.user.require_type(ty)?;
    let page = Page::parse(&request.query)?;
    let filter = Filter::parse(&request.query, ty, &request.route.template)?;
    let wanted = |resource: &&Arc<Resource>| filter.accepts(resource);
    let show = |resource: &Arc<Resource>| {
        if is_overview {
            document::overview(resource, &snapshot, NoInsight::Omit)
        } else {
            document::plain(resource)
        }
    };
    // One pass: what is on the page is shown, the rest is only counted.
    let mut total = 0;
    let mut items = Vec::new();
    let mut visit = |resource: &Arc<Resource>| {
        if total >= page.offset && items.len() < page.size {
            items.push(show(resource));
        }
        total += 1;
    };
    match &mesh {
        Some(mesh) => snapshot
            .list_in_mesh(ty, mesh)
            .filter(wanted)
            .for_each(&mut visit),
        None => snapshot.list(ty).filter(wanted).for_each(&mut visit),
    }
    Ok(self::page(request, page, total, items))
}

/// A page of a list, with the place of the next one.
pub(crate) fn page(request: &Request<'_>, page: Page, total: usize, items: Vec<Value>) -> Response {
    let next = page.next(total).map(|offset| {
        let query = request.query.with("offset", &offset.to_string());
        format!("{}{}?{query}", request.origin(), request.path)
    });
    respond::json(
        StatusCode::OK,
        &json!({ "total": total, "items": items, "next": next }),
    )
}

/// `GET /_kri/{kri}`: a resource by the name that means the same on every control plane.
pub(crate) fn by_kri(request: &Request<'_>, kri: &str) -> Result<Response, ApiError> {
    let parts: Vec<&str> = kri.split('_').collect();
    let ["kri", short, mesh, zone, _namespace, name, _section] = parts.as_slice() else {
        return Err(ApiError::bad_request(format!("{kri:?} is not a KRI")));
    };
    let ty = ResourceType::ALL
        .into_iter()
        .find(|ty| ty.describe().short_name == *short && !short.is_empty())
        .ok_or_else(|| {
            ApiError::bad_request(format!("no resource type has the short name {short:?}"))
        })?;
    request.user.require_type(ty)?;
    let snapshot = request.context.store.snapshot();
    let zone_label = |r: &Resource| r.label(mesh_model::labels::ZONE).unwrap_or("").to_owned();
    let found = snapshot
        .list(ty)
        .find(|r| {
            r.key().mesh_str() == *mesh && r.display_name() == *name && zone_label(r) == *zone
        })
        .ok_or_else(|| ApiError::not_found(TITLE))?;
    Ok(respond::json(StatusCode::OK, &document::plain(found)))
}

/// `GET …/{name}/dataplanes`: the gateway Dataplanes that a MeshGateway or its route selects.
pub(crate) fn selected(
    request: &Request<'_>,
    ty: ResourceType,
    mesh_name: &str,
    name: &str,
) -> Result<Response, ApiError> {
    let snapshot = request.context.store.snapshot();
    let mesh = mesh(&snapshot, mesh_name)?;
    let resource = key(ty, Some(mesh.clone()), name).and_then(|key| snapshot.get(&key).cloned());
    let selectors = match (&resource, ty) {
        (Some(resource), ResourceType::MeshGateway) => resource.decode::<MeshGateway>().selectors,
        (Some(resource), _) => resource.decode::<MeshGatewayRoute>().selectors,
        (None, ResourceType::MeshGateway) => {
            return Err(ApiError::not_found("Could not find MeshGateway"));
        }
        (None, _) => Vec::new(),
    };
    let items: Vec<Value> = snapshot
        .list_in_mesh(ResourceType::Dataplane, &mesh)
        .filter(|resource| {
            let tags = gateway_tags(&resource.decode());
            tags.is_some_and(|tags| match ty {
                ResourceType::MeshGateway => is_selected(&selectors, &tags),
                // A route selects listeners, whose tags are those of their proxy and more.
                _ => listeners(&snapshot, &mesh, &tags)
                    .chain([tags.clone()])
                    .any(|tags| is_selected(&selectors, &tags)),
            })
        })
        .map(|r| json!({ "dataplane": { "mesh": mesh.as_str(), "name": r.key().name().as_str() } }))
        .collect();
    Ok(respond::json(
        StatusCode::OK,
        &json!({ "total": items.len(), "items": items }),
    ))
}

/// The tags of a builtin gateway's proxy.
fn gateway_tags(dataplane: &Dataplane) -> Option<Tags> {
    let gateway = dataplane.networking.as_ref()?.gateway.as_ref()?;
    filter::is_builtin(gateway).then(|| gateway.tags.clone())
}

/// The tags of every listener that a proxy with these tags may get: its own, overridden by those
/// of the gateway, overridden by those of the listener.
fn listeners(snapshot: &Snapshot, mesh: &MeshName, proxy: &Tags) -> impl Iterator<Item = Tags> {
    snapshot
        .list_in_mesh(ResourceType::MeshGateway, mesh)
        .map(|gateway| gateway.decode::<MeshGateway>())
        .filter(|gateway| is_selected(&gateway.selectors, proxy))
        .flat_map(|gateway| {
            let mut shared = proxy.clone();
            shared.extend(gateway.tags);
            gateway
                .conf
                .unwrap_or_default()
                .listeners
                .into_iter()
                .map(move |listener| {
                    let mut tags = shared.clone();
                    tags.extend(listener.tags);
                    tags
                })
        })
}

fn is_selected(selectors: &[Selector], tags: &Tags) -> bool {
    selectors
        .iter()
        .any(|selector| tags::matches(&selector.r#match, tags))
}
