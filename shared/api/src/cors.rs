//! Calls from web pages of other origins, when the operator allows them (the Fetch standard's
//! CORS protocol).

use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};

use crate::context::Settings;
use crate::route::Route;

/// The origin of a request, if it may call.
pub(crate) fn allowed_origin(settings: &Settings, request: &Parts) -> Option<HeaderValue> {
    let origin = request.headers.get(ORIGIN)?;
    let text = origin.to_str().ok()?;
    settings
        .cors_allowed_domains
        .iter()
        .any(|domain| domain == ".*" || domain.eq_ignore_ascii_case(text))
        .then(|| origin.clone())
}

/// The answer to a browser's question whether it may send a request; `None` for other requests.
pub(crate) fn preflight(
    settings: &Settings,
    request: &Parts,
    route: Option<&Route>,
) -> Option<Response> {
    let wanted = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    if request.method != Method::OPTIONS || settings.cors_allowed_domains.is_empty() {
        return None;
    }
    let mut response = StatusCode::OK.into_response();
    let is_known = |route: &&Route| route.allowed().split(", ").any(|m| wanted == m);
    if let (Some(origin), Some(route)) = (allowed_origin(settings, request), route.filter(is_known))
    {
        allow(&mut response, origin);
        let headers = response.headers_mut();
        headers.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static(route.allowed()),
        );
        headers.insert(
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("authorization, content-type"),
        );
    }
    Some(response)
}

/// Lets a page of this origin read the answer.
pub(crate) fn allow(response: &mut Response, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Access-Control-Allow-Origin"),
    );
}
