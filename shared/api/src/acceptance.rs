//! `POST /accept-cluster` on a zone: an operator tells it to follow another deployment.
//!
//! A zone that meets a global with another `kuma-cluster-id` than the one it follows keeps what
//! it has: following an empty global would delete everything. Only this call lets it go over.

use std::collections::BTreeMap;

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use mesh_model::validate::Violation;
use mesh_model::{Key, Resource, ResourceName, ResourceType, Spec, cluster};
use mesh_proto::system::Config;
use mesh_store::Batch;
use serde::Deserialize;
use uuid::Uuid;

use crate::error::ApiError;
use crate::request::Request;
use crate::respond;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Acceptance {
    cluster_id: String,
}

/// Stores the id that is accepted from now on.
pub(crate) async fn accept(request: &Request<'_>, body: &Bytes) -> Result<Response, ApiError> {
    request
        .user
        .require_admin("the cluster that this zone follows")?;
    let asked: Acceptance = serde_json::from_slice(body).map_err(|error| {
        ApiError::bad_request(format!("the body is not {{\"clusterId\": …}}: {error}"))
    })?;
    if Uuid::parse_str(&asked.cluster_id).is_err() {
        let violation = Violation::new(
            "clusterId",
            "must be a UUID, as GET / on the global shows it",
        );
        return Err(ApiError::invalid(
            "Could not accept a cluster",
            vec![violation],
        ));
    }
    let name = ResourceName::parse(cluster::ACCEPTED_ID).expect("a constant that is a name");
    let key = Key::global(ResourceType::Config, name);
    let now = (request.context.now)();
    let spec = Spec::encode(
        ResourceType::Config,
        &Config {
            config: asked.cluster_id,
        },
    );
    let resource = Resource::new(key, BTreeMap::new(), spec, now, now);
    let batch = Batch::new().put(resource);
    request
        .context
        .store
        .commit(batch)
        .await
        .map_err(|error| ApiError::commit(&error))?;
    Ok(respond::empty_object(StatusCode::OK))
}
