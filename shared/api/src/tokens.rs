//! The endpoints that issue tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use mesh_model::validate::Violation;
use mesh_model::{MeshName, Timestamp, go_duration};
use mesh_runtime::tokens::{self, Claims, DataplaneClaims, UserClaims, ZoneClaims, names};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::ApiError;
use crate::keys;
use crate::request::Request;
use crate::respond;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DataplaneRequest {
    name: Option<String>,
    mesh: Option<String>,
    tags: Option<BTreeMap<String, Vec<String>>>,
    #[serde(rename = "type")]
    kind: Option<String>,
    workload: Option<String>,
    valid_for: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ZoneRequest {
    zone: Option<String>,
    scope: Option<Vec<String>>,
    valid_for: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct UserRequest {
    name: Option<String>,
    groups: Option<Vec<String>>,
    valid_for: Option<String>,
}

/// `POST /tokens/dataplane`.
pub(crate) fn dataplane(request: &Request<'_>, body: &Bytes) -> Result<Response, ApiError> {
    require_issuer(
        request.context.settings.issues_dataplane_tokens,
        "dpServer.authn.dpProxy.dpToken.enableIssuer",
    )?;
    let asked: DataplaneRequest = parse(body)?;
    let mut found = Violations::default();
    let mesh_name = asked.mesh.unwrap_or_default();
    if mesh_name.is_empty() {
        found.add("mesh", "cannot be empty");
    }
    let validity = found.validity(asked.valid_for.as_deref());
    let kind = asked.kind.unwrap_or_default();
    if !matches!(kind.as_str(), "" | "dataplane" | "ingress" | "egress") {
        found.add(
            "type",
            format!("is {kind:?}; there are dataplane, ingress and egress"),
        );
    }
    found.into_result()?;
    request.user.require_admin("generate a dataplane token")?;
    let mut tags = asked.tags.unwrap_or_default();
    tags.values_mut().for_each(|values| values.sort_unstable());
    let claims = DataplaneClaims {
        name: asked.name.unwrap_or_default(),
        mesh: mesh_name.clone(),
        tags,
        kind,
        workload: asked.workload.unwrap_or_default(),
    };
    let mesh = MeshName::parse(&mesh_name).map_err(|_no_such_name| {
        ApiError::problem(
            StatusCode::NOT_FOUND,
            NO_KEY,
            format!("there is no signing key: there is no mesh {mesh_name:?}"),
        )
    })?;
    let prefix = names::dataplane_key(&mesh_name);
    issue(request, &prefix, Some(&mesh), &claims, validity)
}

/// `POST /tokens/zone`.
pub(crate) fn zone(request: &Request<'_>, body: &Bytes) -> Result<Response, ApiError> {
    require_issuer(
        request.context.settings.issues_zone_tokens,
        "dpServer.authn.zoneProxy.zoneToken.enableIssuer",
    )?;
    let asked: ZoneRequest = parse(body)?;
    let zone = asked.zone.unwrap_or_default();
    request
        .user
        .require_admin(format_args!("generate a zone token for zone {zone:?}"))?;
    let mut found = Violations::default();
    if asked.scope.is_none() {
        found.add("scope", "cannot be empty");
    }
    let validity = found.validity(asked.valid_for.as_deref());
    found.into_result()?;
    let claims = ZoneClaims {
        zone,
        scope: asked.scope.unwrap_or_default(),
    };
    issue(request, names::ZONE_KEY, None, &claims, validity)
}

/// `POST /tokens/user`.
pub(crate) fn user(request: &Request<'_>, body: &Bytes) -> Result<Response, ApiError> {
    require_issuer(
        request.context.settings.issues_user_tokens,
        "apiServer.authn.tokens.enableIssuer",
    )?;
    let asked: UserRequest = parse(body)?;
    request.user.require_admin("generate a user token")?;
    let mut found = Violations::default();
    let name = asked.name.unwrap_or_default();
    if name.is_empty() {
        found.add("name", "cannot be empty");
    }
    let text = asked.valid_for.filter(|text| !text.is_empty());
    let validity = found.validity(text.as_deref());
    // A token that opens everything is not made to last for ever by forgetting a field.
    if text.is_none() || validity == 0 {
        found.add("validFor", "cannot be empty or zero");
    }
    found.into_result()?;
    let claims = UserClaims {
        name,
        groups: asked.groups.unwrap_or_default(),
    };
    issue(request, names::USER_KEY, None, &claims, validity)
}

/// Refuses where the operator switched an issuer off.
fn require_issuer(is_on: bool, key: &str) -> Result<(), ApiError> {
    if is_on {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "this control plane is configured not to issue such tokens ({key})"
    )))
}

const NO_KEY: &str = "Signing Key not found";

fn issue<C: Claims>(
    request: &Request<'_>,
    prefix: &str,
    mesh: Option<&MeshName>,
    claims: &C,
    validity: i64,
) -> Result<Response, ApiError> {
    let context = request.context;
    let (serial, key) = keys::signing(&context.store.snapshot(), prefix, mesh)
        .map_err(|error| ApiError::problem(StatusCode::NOT_FOUND, NO_KEY, error.to_string()))?;
    let now = (context.now)();
    // Below zero it has expired already: it ends in the past, from where it lasts no time.
    let from = Timestamp::from_unix_nanos(now.unix_nanos().saturating_add(validity.min(0)));
    let lasts = Duration::from_nanos(u64::try_from(validity).unwrap_or(0));
    let token = tokens::issue(&key, &serial.to_string(), claims, from, lasts).map_err(|error| {
        tracing::error!(%error, "cannot issue a token");
        ApiError::problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Could not issue a token",
            "Internal Server Error",
        )
    })?;
    Ok(respond::typed(StatusCode::OK, "text/plain", token))
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        tracing::debug!(%error, "a request for a token cannot be read");
        ApiError::UnreadableTokenRequest
    })
}

/// What is wrong with a request.
#[derive(Debug, Default)]
struct Violations(Vec<Violation>);

impl Violations {
    fn add(&mut self, field: &str, message: impl Into<String>) {
        self.0.push(Violation::new(field, message));
    }

    /// Nanoseconds; ten years when nothing is said.
    fn validity(&mut self, text: Option<&str>) -> i64 {
        match text {
            None | Some("") => {
                i64::try_from(tokens::DEFAULT_VALIDITY.as_nanos()).unwrap_or(i64::MAX)
            }
            Some(text) => go_duration::parse(text).unwrap_or_else(|error| {
                self.add("validFor", format!("is invalid: {error}"));
                1
            }),
        }
    }

    fn into_result(self) -> Result<(), ApiError> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(ApiError::invalid("Invalid request", self.0))
    }
}
