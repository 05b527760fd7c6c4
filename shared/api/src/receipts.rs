//! `GET /meridian/receipts/…`: where a resource is, in which zones and in which Envoys.

use axum::response::Response;
use http::StatusCode;
use mesh_model::ResourceType;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::read;
use crate::request::Request;
use crate::respond;

/// Where a resource stands with each zone.
pub(crate) async fn show(
    request: &Request<'_>,
    ty: ResourceType,
    mesh: Option<&str>,
    name: &str,
) -> Result<Response, ApiError> {
    let snapshot = request.context.store.snapshot();
    let mesh = mesh.map(|name| read::mesh(&snapshot, name)).transpose()?;
    request.user.require_type(ty)?;
    let resource = read::key(ty, mesh, name)
        .and_then(|key| snapshot.get(&key).cloned())
        .ok_or_else(|| ApiError::not_found(read::TITLE))?;
    let receipts = request.context.receipts.as_ref().ok_or_else(|| {
        ApiError::bad_request(
            "this control plane has no zones to ask; ask the global control plane",
        )
    })?;
    let zones = receipts.receipts(&resource).await;
    let is_live = zones.iter().all(|zone| zone["isDone"] == true);
    Ok(respond::json(
        StatusCode::OK,
        &json!({
            "type": ty.name(),
            "mesh": resource.key().mesh().map(|mesh| Value::from(mesh.as_str())),
            "name": name,
            "storedAt": resource.modified().to_string(),
            "isLive": is_live,
            "zones": zones,
        }),
    ))
}
