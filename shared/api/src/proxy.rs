//! What Envoys say of themselves: `GET …/{name}/xds`, `…/stats` and `…/clusters`.

use axum::response::Response;
use http::StatusCode;
use mesh_model::ResourceType;
use mesh_runtime::proxy_admin::{Format, Operation};

use crate::context::Mode;
use crate::error::ApiError;
use crate::read;
use crate::request::Request;
use crate::respond;
use crate::route::Ask;

const TITLE: &str = "Could not execute admin operation";

/// Asks the proxy of a resource.
pub(crate) async fn ask(
    request: &Request<'_>,
    ty: ResourceType,
    mesh: Option<&str>,
    name: &str,
    ask: Ask,
) -> Result<Response, ApiError> {
    let snapshot = request.context.store.snapshot();
    let mesh = mesh.map(|name| read::mesh(&snapshot, name)).transpose()?;
    let key = read::key(ty, mesh, name)
        .filter(|key| snapshot.get(key).is_some())
        .ok_or_else(|| ApiError::not_found(not_found(ty)))?;
    let operation = operation(request, ask)?;
    let unable = |why: String| {
        let status = match request.context.mode {
            Mode::Global => StatusCode::BAD_REQUEST,
            Mode::FederatedZone { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::problem(status, TITLE, why)
    };
    let Some(proxies) = &request.context.proxies else {
        return Err(unable(
            "this control plane has no way to proxies".to_owned(),
        ));
    };
    let answer = proxies.ask(&key, operation).await;
    let answer = answer.map_err(|error| unable(error.to_string()))?;
    Ok(respond::typed(
        StatusCode::OK,
        operation.content_type(),
        answer,
    ))
}

fn not_found(ty: ResourceType) -> &'static str {
    match ty {
        ResourceType::ZoneIngress => "Could not get zone ingress resource",
        ResourceType::ZoneEgress => "Could not get zone egress resource",
        _ => "Could not get dataplane resource",
    }
}

fn operation(request: &Request<'_>, ask: Ask) -> Result<Operation, ApiError> {
    Ok(match ask {
        Ask::ConfigDump => Operation::ConfigDump {
            include_eds: flag(request, "include_eds", false)?,
        },
        Ask::Stats => Operation::Stats {
            format: format(request)?,
            used_only: flag(request, "usedonly", true)?,
        },
        Ask::Clusters => Operation::Clusters {
            format: format(request)?,
        },
    })
}

fn flag(request: &Request<'_>, name: &'static str, default: bool) -> Result<bool, ApiError> {
    match request.query.first(name) {
        None => Ok(default),
        Some("" | "true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(ApiError::bad_request(format!(
            "{name} is true or false, not {other:?}"
        ))),
    }
}

fn format(request: &Request<'_>) -> Result<Format, ApiError> {
    match request.query.first("format") {
        None | Some("" | "text") => Ok(Format::Text),
        Some("json") => Ok(Format::Json),
        Some(other) => Err(ApiError::bad_request(format!(
            "format is text or json, not {other:?}"
        ))),
    }
}
