//! From a request to its answer: cleaning the path, finding the author, routing, negotiating,
//! dispatching.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, LOCATION};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use mesh_model::ResourceType;
use tokio::sync::RwLock;
use tokio::time::Instant;

use crate::context::{Context, Mode};
use crate::error::ApiError;
use crate::path::{self, Query};
use crate::request::Request;
use crate::route::{self, Route, Target};
use crate::{
    acceptance, auth, cors, fixed, negotiate, proxy, read, receipts, respond, services, tokens,
    write,
};

#[derive(Debug)]
struct Api {
    context: Context,
    meshes: RwLock<()>,
}

/// The admin API. Expects [`PeerAddr`](mesh_runtime::serve::PeerAddr) and
/// [`Scheme`](mesh_runtime::serve::Scheme) among the extensions of each request; without them
/// nobody is local.
pub fn router(context: Context) -> Router {
    let api = Arc::new(Api {
        context,
        meshes: RwLock::new(()),
    });
    Router::new().fallback(answer).with_state(api)
}

async fn answer(State(api): State<Arc<Api>>, request: axum::extract::Request) -> Response {
    let begun = Instant::now();
    let metrics = &api.context.metrics;
    let _in_flight = metrics.begin();
    let (parts, body) = request.into_parts();
    if let Some(response) = redirect(&parts) {
        return response;
    }
    let path = parts.uri.path();
    let route = route::find(path, &api.context.settings.base_path);
    let template = route
        .as_ref()
        .map_or("", |r| r.template.as_str())
        .to_owned();
    let response = answer_routed(&api, &parts, route, body).await;
    metrics.answered(
        &template,
        &parts.method,
        response.status(),
        response.body().size_hint().lower(),
        begun.elapsed(),
    );
    response
}

async fn answer_routed(api: &Api, parts: &Parts, route: Option<Route>, body: Body) -> Response {
    let context = &api.context;
    let user = match auth::authenticate(context, parts) {
        Ok(user) => user,
        Err(error) => return error.into_response(),
    };
    if let Some(response) = cors::preflight(&context.settings, parts, route.as_ref()) {
        return response;
    }
    let result = match route {
        None => Err(ApiError::NoPath),
        Some(route) if !route.allows(&parts.method) => Err(ApiError::NoMethod(route.allowed())),
        Some(route) => match negotiate::check(&parts.method, &parts.headers) {
            Err(error) => Err(error),
            Ok(()) => {
                let request = Request {
                    context,
                    guard: &api.meshes,
                    parts,
                    path: parts.uri.path(),
                    query: Query::parse(parts.uri.query().unwrap_or_default()),
                    route,
                    user,
                };
                dispatch(&request, body).await
            }
        },
    };
    let mut response = result.unwrap_or_else(IntoResponse::into_response);
    if let Some(origin) = cors::allowed_origin(&context.settings, parts) {
        cors::allow(&mut response, origin);
    }
    response
}

async fn dispatch(request: &Request<'_>, body: Body) -> Result<Response, ApiError> {
    let context = request.context;
    match &request.route.target {
        Target::Index => Ok(fixed::index(context)),
        Target::Config => Ok(fixed::config(context)),
        Target::WhoAmI => Ok(fixed::who_am_i(request)),
        Target::Policies => Ok(fixed::policies(context)),
        Target::Resources => Ok(fixed::resources(context)),
        Target::GlobalInsight => Ok(fixed::global_insight(context)),
        Target::GlobalInsights => Ok(fixed::global_insights(context)),
        Target::ZoneStatus => Ok(fixed::zone_status(context)),
        Target::Links => Ok(fixed::links(context)),
        Target::Findings => Ok(fixed::findings(context)),
        Target::DataplaneToken => tokens::dataplane(request, &collect(request, body).await?),
        Target::ZoneToken => tokens::zone(request, &collect(request, body).await?),
        Target::UserToken => tokens::user(request, &collect(request, body).await?),
        Target::AcceptCluster => match context.mode {
            Mode::FederatedZone { .. } => {
                acceptance::accept(request, &collect(request, body).await?).await
            }
            Mode::Global => Err(ApiError::NoPath),
        },
        Target::Kri { kri } => read::by_kri(request, kri),
        Target::Proxy {
            ty,
            mesh,
            name,
            ask,
        } => proxy::ask(request, *ty, mesh.as_deref(), name, *ask).await,
        Target::Receipts { ty, mesh, name } => {
            receipts::show(request, *ty, mesh.as_deref(), name).await
        }
        Target::Selected { ty, mesh, name } => read::selected(request, *ty, mesh, name),
        Target::List {
            ty: ResourceType::ServiceInsight,
            mesh,
            ..
        } => services::list(request, mesh.as_deref()),
        Target::List {
            ty,
            mesh,
            is_overview,
        } => read::list(request, *ty, mesh.as_deref(), *is_overview),
        Target::Item {
            ty,
            mesh,
            name,
            is_overview,
        } => {
            let mesh = mesh.as_deref();
            match request.parts.method {
                Method::PUT => {
                    write::require_writable(request, *ty)?;
                    let body = collect(request, body).await?;
                    write::put(request, *ty, mesh, name, body).await
                }
                Method::DELETE => {
                    write::require_writable(request, *ty)?;
                    write::delete(request, *ty, mesh, name).await
                }
                _ => match (ty, mesh) {
                    (ResourceType::ServiceInsight, Some(mesh)) => {
                        services::item(request, mesh, name)
                    }
                    _ => read::item(request, *ty, mesh, name, *is_overview),
                },
            }
        }
    }
}

/// Reads a body, as far as it may be long.
async fn collect(request: &Request<'_>, body: Body) -> Result<Bytes, ApiError> {
    let limit = request.context.settings.max_body;
    let too_large = || {
        ApiError::problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Request too large",
            format!("the body is longer than {limit} bytes, which is the most that is accepted"),
        )
    };
    let announced = request
        .parts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| usize::try_from(length).map_or(true, |l| l > limit)) {
        return Err(too_large());
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(ApiError::bad_request(format!(
            "the body cannot be read: {error}"
        ))),
    }
}

/// Sends callers of unclean paths to the clean one.
fn redirect(request: &Parts) -> Option<Response> {
    let clean = path::cleaned(request.uri.path())?;
    let location = match request.uri.query() {
        Some(query) => format!("{clean}?{query}"),
        None => clean,
    };
    let link = location
        .replace('&', "&amp;")
        .replace('"', "&#34;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let body = format!("<a href=\"{link}\">Temporary Redirect</a>.\n\n");
    let mut response = respond::typed(
        StatusCode::TEMPORARY_REDIRECT,
        "text/html; charset=utf-8",
        body,
    );
    response
        .headers_mut()
        .insert(LOCATION, HeaderValue::try_from(location).ok()?);
    Some(response)
}
