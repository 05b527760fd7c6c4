//! Errors of the API and their two forms on the wire.
//!
//! Failures of the router are a line of plain text; everything later is a JSON object that keeps
//! its older spelling (`details`, `causes`) beside the newer one, because clients read either.

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use mesh_model::validate::Violation;
use mesh_store::CommitError;
use serde_json::{Map, Value, json};

use crate::respond;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ApiError {
    /// No such path.
    NoPath,
    /// The path does not know the method; it knows these.
    NoMethod(&'static str),
    /// The body is not JSON by its content type.
    UnsupportedMediaType,
    /// The caller accepts no JSON.
    NotAcceptable,
    /// The body of a token request cannot be read; answered without a body.
    UnreadableTokenRequest,
    /// Everything else.
    Problem(Box<Problem>),
}

/// An error with a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The status.
    pub(crate) status: StatusCode,
    /// What was attempted, or the kind of failure.
    pub(crate) title: &'static str,
    /// What is wrong.
    pub(crate) detail: String,
    /// Which parts of the request are wrong.
    pub(crate) violations: Vec<Violation>,
}

impl ApiError {
    /// An error with a JSON body.
    pub(crate) fn problem(
        status: StatusCode,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self::Problem(Box::new(Problem {
            status,
            title,
            detail: detail.into(),
            violations: Vec::new(),
        }))
    }

    /// A request whose parts are wrong.
    pub(crate) fn invalid(title: &'static str, violations: Vec<Violation>) -> Self {
        Self::Problem(Box::new(Problem {
            status: StatusCode::BAD_REQUEST,
            title,
            detail: "Resource is not valid".to_owned(),
            violations,
        }))
    }

    /// A request that cannot be read.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::problem(StatusCode::BAD_REQUEST, "Bad Request", detail)
    }

    /// What the request names does not exist.
    pub(crate) fn not_found(title: &'static str) -> Self {
        Self::problem(StatusCode::NOT_FOUND, title, "Not found")
    }

    /// The caller may not do this.
    pub(crate) fn denied(detail: impl Into<String>) -> Self {
        Self::problem(StatusCode::FORBIDDEN, "Access Denied", detail)
    }

    /// The caller's credentials are not valid.
    pub(crate) fn unauthenticated() -> Self {
        Self::problem(
            StatusCode::UNAUTHORIZED,
            "Invalid authentication data",
            "Unauthenticated",
        )
    }

    /// The store refused a batch.
    pub(crate) fn commit(error: &CommitError) -> Self {
        match error {
            CommitError::Conflict { key } => Self::problem(
                StatusCode::CONFLICT,
                "Conflict",
                format!("{key} was changed by somebody else meanwhile; read it again and repeat"),
            ),
            CommitError::Failed { .. } | CommitError::Closed => Self::problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "Service unavailable",
                error.to_string(),
            ),
        }
    }

    /// The status it is answered with.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NoPath => StatusCode::NOT_FOUND,
            Self::NoMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::UnreadableTokenRequest => StatusCode::BAD_REQUEST,
            Self::Problem(problem) => problem.status,
        }
    }
}

impl Problem {
    fn to_json(&self) -> Value {
        let mut body = Map::new();
        body.insert("type".to_owned(), json!("/std-errors"));
        body.insert("status".to_owned(), json!(self.status.as_u16()));
        body.insert("title".to_owned(), json!(self.title));
        body.insert("detail".to_owned(), json!(self.detail));
        let list = |key: &str| -> Value {
            self.violations
                .iter()
                .map(|v| json!({ "field": v.field, key: v.message }))
                .collect()
        };
        if !self.violations.is_empty() {
            body.insert("invalid_parameters".to_owned(), list("reason"));
        }
        body.insert("details".to_owned(), json!(self.detail));
        if !self.violations.is_empty() {
            body.insert("causes".to_owned(), list("message"));
        }
        Value::Object(body)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let text = match self {
            Self::Problem(problem) => return respond::json(status, &problem.to_json()),
            Self::UnreadableTokenRequest => return status.into_response(),
            Self::NoPath => "404: Page Not Found",
            Self::NoMethod(_) => "405: Method Not Allowed",
            Self::UnsupportedMediaType => "415: Unsupported Media Type",
            Self::NotAcceptable => {
                "406: Not Acceptable\n\nAvailable representations: application/json"
            }
        };
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        if let Self::NoMethod(allowed) = self {
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }
}
