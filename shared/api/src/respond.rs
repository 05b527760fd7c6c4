//! How answers are written: JSON with one space per level and a final newline.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize as _;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value};

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &Value) -> Response {
    let mut body = Vec::with_capacity(256);
    let mut serializer = Serializer::with_formatter(&mut body, PrettyFormatter::with_indent(b" "));
    value
        .serialize(&mut serializer)
        .expect("JSON values have text keys, and memory takes every byte");
    body.push(b'\n');
    typed(status, "application/json", body)
}

/// `{}`: the answer to a write that has nothing to add.
pub(crate) fn empty_object(status: StatusCode) -> Response {
    json(status, &Value::Object(Map::new()))
}

/// An answer of any kind.
pub(crate) fn typed(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<axum::body::Body>,
) -> Response {
    let mut response = (status, body.into()).into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
