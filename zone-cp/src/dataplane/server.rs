//! The port for proxies: gRPC and HTTP on one TLS port, told apart by content type.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use mesh_model::{Key, MeshName, ResourceName, ResourceType};
use serde::Deserialize;
use tower::ServiceExt as _;

use super::ads::Ads;
use super::bootstrap;
use super::registration::{RegisterError, Registrar};

/// Everything that proxies and their agents may ask.
pub(crate) fn router(
    ads: &Ads,
    bootstrap: bootstrap::Context,
    registrar: Arc<Registrar>,
) -> Router {
    let grpc = ads.routes();
    let goodbyes = Router::new()
        .route("/deregister", post(deregister))
        .with_state(registrar);
    let http = bootstrap::router(Arc::new(bootstrap)).merge(goodbyes);
    Router::new().fallback(move |request: Request| {
        let router = if is_grpc(request.headers()) {
            grpc.clone()
        } else {
            http.clone()
        };
        router.oneshot(request)
    })
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/grpc"))
}

/// Who says goodbye.
#[derive(Debug, Deserialize)]
struct Goodbye {
    mesh: MeshName,
    name: ResourceName,
}

/// `POST /deregister`: an agent that is about to drain its Envoy. Its Dataplane goes at once, so
/// that nobody is sent there; its Envoy keeps its configuration until it exits.
async fn deregister(
    State(registrar): State<Arc<Registrar>>,
    headers: HeaderMap,
    Json(goodbye): Json<Goodbye>,
) -> Response {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = token.map(|text| text.strip_prefix("Bearer ").unwrap_or(text));
    let key = Key::in_mesh(ResourceType::Dataplane, goodbye.mesh, goodbye.name);
    match registrar.deregister(&key, token).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            let status = match &error {
                RegisterError::NotFound { .. } => StatusCode::NOT_FOUND,
                RegisterError::Refused(_) => StatusCode::UNAUTHORIZED,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (status, error.to_string()).into_response()
        }
    }
}
