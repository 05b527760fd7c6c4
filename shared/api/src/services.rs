//! `ServiceInsight`s as clients see them: one item for each service, though one resource of a
//! mesh has all of them.

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use mesh_model::{MeshName, Resource, ResourceType, Spec, json as dialect};
use mesh_proto::mesh::ServiceInsight;
use mesh_proto::mesh::service_insight::{Service, service};
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::page::Page;
use crate::read;
use crate::request::Request;
use crate::respond;

/// The DNS zone of services inside of meshes, and the port that stands for all of theirs.
const ADDRESS: (&str, u16) = ("mesh", 80);

/// `GET` of a collection of services, of one mesh or of all.
pub(crate) fn list(request: &Request<'_>, mesh_name: Option<&str>) -> Result<Response, ApiError> {
    let snapshot = request.context.store.snapshot();
    let mesh = mesh_name
        .map(|name| read::mesh(&snapshot, name))
        .transpose()?;
    let page = Page::parse(&request.query)?;
    let types = types(request.query.first("type"))?;
    let name = request.query.first("name").unwrap_or_default();
    let insights: Vec<&Arc<Resource>> = match &mesh {
        Some(mesh) => of_mesh(&snapshot, mesh).into_iter().collect(),
        None => snapshot.list(ResourceType::ServiceInsight).collect(),
    };
    let mut total = 0;
    let mut items = Vec::new();
    for insight in insights {
        for (service, content) in insight.decode::<ServiceInsight>().services {
            let is_wanted = service.contains(name)
                && types
                    .as_ref()
                    .is_none_or(|types| types.contains(&content.service_type()));
            if !is_wanted {
                continue;
            }
            if total >= page.offset && items.len() < page.size {
                items.push(show(insight, &service, content));
            }
            total += 1;
        }
    }
    Ok(read::page(request, page, total, items))
}

/// `GET` of one service. One that nobody has heard of is shown without proxies, as clients that
/// ask for a service before it starts expect.
pub(crate) fn item(
    request: &Request<'_>,
    mesh_name: &str,
    service: &str,
) -> Result<Response, ApiError> {
    let snapshot = request.context.store.snapshot();
    let mesh = read::mesh(&snapshot, mesh_name)?;
    let insight = of_mesh(&snapshot, &mesh).ok_or_else(|| ApiError::not_found(read::TITLE))?;
    let content = insight
        .decode::<ServiceInsight>()
        .services
        .remove(service)
        .unwrap_or_default();
    let shown = show(insight, service, content);
    Ok(respond::json(StatusCode::OK, &shown))
}

/// The insight of a mesh: there is one, whatever its name here.
fn of_mesh<'a>(snapshot: &'a mesh_store::Snapshot, mesh: &MeshName) -> Option<&'a Arc<Resource>> {
    snapshot
        .list_in_mesh(ResourceType::ServiceInsight, mesh)
        .next()
}

/// The kinds of services that are asked for; `None` for all.
fn types(asked: Option<&str>) -> Result<Option<Vec<service::Type>>, ApiError> {
    let Some(asked) = asked.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let types = asked.split(',').map(|text| {
        service::Type::from_str_name(&text.to_lowercase()).ok_or_else(|| {
            ApiError::bad_request(format!(
                "there is no type of service {text:?}: they are internal, external, \
                 gateway_delegated and gateway_builtin"
            ))
        })
    });
    types.collect::<Result<_, _>>().map(Some)
}

fn show(insight: &Resource, service: &str, mut content: Service) -> Value {
    let proxies = content.dataplanes.get_or_insert_default();
    proxies.total = proxies.online + proxies.offline;
    if content.service_type() == service::Type::Internal {
        content.address_port = format!("{service}.{}:{}", ADDRESS.0, ADDRESS.1);
    }
    let mut shown = Map::new();
    for (key, value) in [
        ("type", json!(ResourceType::ServiceInsight.name())),
        ("mesh", json!(insight.key().mesh_str())),
        ("name", json!(service)),
        ("creationTime", json!(insight.created().to_string())),
        ("modificationTime", json!(insight.modified().to_string())),
    ] {
        shown.insert(key.to_owned(), value);
    }
    let alone = ServiceInsight {
        services: [(service.to_owned(), content)].into(),
    };
    let spec = Spec::encode(ResourceType::ServiceInsight, &alone);
    let mut fields = dialect::encode_spec(&spec);
    if let Some(Value::Object(content)) = fields.get_mut("services").map(|s| s[service].take()) {
        shown.extend(content);
    }
    Value::Object(shown)
}
