//! `POST /bootstrap`: an agent asks how its Envoy has to start.
//!
//! [`envoy`] makes the answer, purely; this module checks the request, looks up what it refers
//! to, and speaks HTTP. It writes nothing: a Dataplane is registered when its Envoy opens a
//! stream, and the token is checked then too. The registrar only learns that a new agent is there.
//!
//! **Invariant:** statuses and the shape of bodies are what agents from 2.5 to 2.14 act on: a
//! 4xx other than 404 ends an agent with the body as its reason, everything else is retried.

mod certificate;
pub mod envoy;
mod refusal;
pub mod request;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mesh_model::{Key, MeshName, ResourceName, ResourceType, json, validate};
use mesh_proto::mesh::Dataplane;
use mesh_proto::mesh::dataplane::networking::gateway::GatewayType;
use mesh_store::{SharedStore, Snapshot};
use serde_json::{Value, json};
use tokio::sync::watch;

pub use certificate::{NotACertificate, ServerCertificate};
use envoy::{ControlPlane, Params};
use refusal::Refusal;
use request::Request;

use super::registration::Registrar;

/// How long we try to resolve our own host name before Envoy does it alone.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the handler works with.
#[derive(Debug)]
pub struct Context {
    /// Where Dataplanes and meshes are looked up.
    pub store: SharedStore,
    /// The certificate of the server that this handler runs in.
    pub certificate: watch::Receiver<ServerCertificate>,
    /// Whether a request has to carry a token, or say where one lies.
    pub token_required: bool,
    /// What all bootstraps have in common.
    pub params: Params,
    /// Who is told of the agents that were answered.
    pub registrar: Arc<Registrar>,
}

/// The routes of the data-plane server that are not gRPC.
pub fn router(context: Arc<Context>) -> Router {
    let refuse = || async { Refusal::NotARequest };
    let bootstrap = post(handle).fallback(refuse);
    Router::new()
        .route("/bootstrap", bootstrap)
        .fallback(|| async { (StatusCode::NOT_FOUND, "404 page not found\n") })
        .with_state(context)
}

async fn handle(
    State(context): State<Arc<Context>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match answer(&context, &uri, &headers, &body).await {
        Ok(response) => response,
        Err(refusal) => {
            tracing::debug!(%refusal, "refused a bootstrap");
            refusal.into_response()
        }
    }
}

async fn answer(
    context: &Context,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Refusal> {
    let request = Request::parse(body).ok_or(Refusal::NotARequest)?;
    let host = xds_host(context, uri, headers)?;
    let dataplane = check(context, &request)?;
    let certificate = context.certificate.borrow().clone();
    let ca = match request.ca_cert.as_str() {
        "" => certificate.pem(),
        ca => ca,
    };
    match certificate::has_ca(ca) {
        Ok(true) => {}
        Ok(false) => return Err(Refusal::NotACa),
        Err(error) => return Err(Refusal::unusable("caCert", error)),
    }
    let control_plane = ControlPlane {
        host: &host,
        is_ipv4_only: is_ipv4_only(&host, context.params.xds_port).await,
        ca: ca.as_bytes(),
    };
    let bootstrap = envoy::bootstrap(&request, &dataplane, control_plane, &context.params);
    if let Some(key) = key(&request) {
        context.registrar.expect(&key);
    }
    tracing::info!(
        mesh = request.mesh,
        gateway.name = request.name,
        agent = request.version.kuma_dp.version,
        "gave {} its bootstrap",
        request.name
    );
    Ok(respond(headers, &dataplane, &bootstrap))
}

/// Checks all of the request but its CA, and finds the Dataplane that it is for.
fn check(context: &Context, request: &Request) -> Result<Dataplane, Refusal> {
    let proxy_type = request.proxy_type();
    if !matches!(proxy_type, "dataplane" | "ingress" | "egress") {
        return Err(Refusal::unusable("proxyType", proxy_type));
    }
    let has_token = !request.dataplane_token.is_empty() || !request.dataplane_token_path.is_empty();
    if context.token_required && !has_token {
        return Err(Refusal::TokenRequired);
    }
    if proxy_type != "dataplane" {
        return Err(Refusal::not_a_gateway(proxy_type));
    }

    let store = context.store.snapshot();
    if request.dataplane_resource.is_empty() {
        let dataplane = stored(&store, request).ok_or(Refusal::Unknown)?;
        return builtin_gateway(dataplane);
    }
    let dataplane = supplied(&request.dataplane_resource)?;
    // The name of a mesh follows the rules of every resource's name.
    let mesh = ResourceName::parse(&request.mesh).ok();
    let mesh = mesh.map(|mesh| Key::global(ResourceType::Mesh, mesh));
    if mesh.is_none_or(|mesh| store.get(&mesh).is_none()) {
        let error = format!("mesh: mesh {:?} does not exist", request.mesh);
        return Err(Refusal::Invalid(error));
    }
    builtin_gateway(dataplane)
}

/// The Dataplane that is in the store already.
fn stored(store: &Snapshot, request: &Request) -> Option<Dataplane> {
    store.get(&key(request)?).map(|resource| resource.decode())
}

/// The Dataplane that Envoy's node will name.
fn key(request: &Request) -> Option<Key> {
    let mesh = MeshName::parse(&request.mesh).ok()?;
    let name = ResourceName::parse(&request.name).ok()?;
    Some(Key::in_mesh(ResourceType::Dataplane, mesh, name))
}

/// The Dataplane that came with the request, valid.
fn supplied(text: &str) -> Result<Dataplane, Refusal> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Refusal::unusable("dataplaneResource", error))?;
    let document = json::parse_document(&value)
        .map_err(|error| Refusal::unusable("dataplaneResource", error))?;
    if document.ty != ResourceType::Dataplane {
        return Err(Refusal::unusable("dataplaneResource", document.ty));
    }
    let violations: Vec<_> = validate::spec(document.ty, &document.spec)
        .iter()
        .map(ToString::to_string)
        .collect();
    if !violations.is_empty() {
        return Err(Refusal::Invalid(violations.join("; ")));
    }
    Ok(document.spec.decode())
}

fn builtin_gateway(dataplane: Dataplane) -> Result<Dataplane, Refusal> {
    let gateway = dataplane
        .networking
        .as_ref()
        .and_then(|networking| networking.gateway.as_ref());
    match gateway.map(|gateway| gateway.r#type()) {
        Some(GatewayType::Builtin) => Ok(dataplane),
        Some(GatewayType::Delegated) => Err(Refusal::not_a_gateway("delegated gateway")),
        None => Err(Refusal::not_a_gateway("sidecar")),
    }
}

/// The host by which Envoy will reach us: the one that the agent used, unless configured.
fn xds_host(context: &Context, uri: &Uri, headers: &HeaderMap) -> Result<String, Refusal> {
    if let Some(host) = &context.params.xds_host {
        return Ok(host.clone());
    }
    // HTTP/2 has the authority in the URI, HTTP/1.1 in the header.
    let authority = uri.authority().map(|authority| authority.as_str());
    let from_header = || headers.get(header::HOST)?.to_str().ok();
    let host = without_port(authority.or_else(from_header).unwrap_or_default());
    let certificate = context.certificate.borrow();
    if certificate.covers(host) {
        Ok(host.to_owned())
    } else {
        Err(Refusal::NotCovered {
            host: host.to_owned(),
            covered: certificate.covered(),
        })
    }
}

/// The host of an authority, without the brackets of an IPv6 address.
fn without_port(authority: &str) -> &str {
    if let Some((address, _)) = authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return address;
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Whether a name resolves, here, to IPv4 addresses alone.
async fn is_ipv4_only(host: &str, port: u16) -> bool {
    if host.parse::<IpAddr>().is_ok() {
        return false;
    }
    let lookup = tokio::net::lookup_host((host, port));
    match tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await {
        Ok(Ok(addresses)) => {
            let addresses: Vec<_> = addresses.collect();
            !addresses.is_empty() && addresses.iter().all(|address| address.is_ipv4())
        }
        _ => false,
    }
}

fn respond(headers: &HeaderMap, dataplane: &Dataplane, bootstrap: &Value) -> Response {
    // JSON is YAML as it is.
    let text = bootstrap.to_string();
    let accept = headers.get(header::ACCEPT).map(|value| value.as_bytes());
    if accept != Some(b"application/json") {
        return ([(header::CONTENT_TYPE, "text/x-yaml")], text).into_response();
    }
    let address = dataplane
        .networking
        .as_ref()
        .map_or("", |networking| networking.address.as_str());
    // Each generation of agents reads one part of `networking` and ignores the other.
    let body = json!({
        "bootstrap": BASE64.encode(text),
        "kumaSidecarConfiguration": {
            "networking": {
                "isUsingTransparentProxy": false,
                "corefileTemplate": null,
                "address": address,
            },
            "metrics": {"aggregate": []},
        },
    });
    axum::Json(body).into_response()
}

#[cfg(test)]
#[path = "bootstrap/handler_tests.rs"]
mod tests;
