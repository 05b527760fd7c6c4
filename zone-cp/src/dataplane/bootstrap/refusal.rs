//! Why a bootstrap is refused, and what the agent is told.

use std::fmt;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A reason not to answer with a bootstrap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The body is no JSON object with the fields of a request.
    #[error("the body is no bootstrap request")]
    NotARequest,
    /// There is neither a token nor the path of one.
    #[error(
        "Dataplane Token is required. Generate token using 'kumactl generate dataplane-token > \
         /path/file' and provide it via --dataplane-token-file=/path/file argument to Kuma DP"
    )]
    TokenRequired,
    /// The agent came by a host that the server's certificate does not cover, so its Envoy
    /// would refuse to connect.
    #[error(
        "this control plane was reached as {host:?}, which its certificate does not cover (it \
         covers {}); use one of these in --cp-address, or give the control plane a certificate \
         for {host:?}",
        covered.join(", ")
    )]
    NotCovered {
        /// The host in the request.
        host: String,
        /// What the certificate covers.
        covered: Vec<String>,
    },
    /// The certificate to verify us with cannot verify anything.
    #[error(
        "the certificate given to verify the control plane with is not a CA; give the agent, \
         with --ca-cert-file, the certificate of the CA that issued the control plane's"
    )]
    NotACa,
    /// The Dataplane is not in the store and did not come with the request.
    #[error("there is no such Dataplane")]
    Unknown,
    /// The resource breaks rules; the text lists them.
    #[error("{0}")]
    Invalid(String),
    /// Something in the request has no meaning.
    #[error("{0}")]
    Unusable(String),
}

impl Refusal {
    /// Something in the request has no meaning.
    pub(super) fn unusable(what: &str, why: impl fmt::Display) -> Self {
        Self::Unusable(format!("{what}: {why}"))
    }

    /// A proxy of a kind that is not served here.
    pub(super) fn not_a_gateway(kind: &str) -> Self {
        Self::Invalid(format!(
            "networking.gateway.type: this control plane runs builtin gateways (type BUILTIN) \
             only, and this proxy is of the kind {kind}"
        ))
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotARequest | Self::NotCovered { .. } | Self::NotACa => StatusCode::BAD_REQUEST,
            Self::TokenRequired | Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::Unusable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            // Agents tell an empty 404, which passes, from that of a server without this path.
            Self::NotARequest | Self::Unknown | Self::Unusable(_) => self.status().into_response(),
            _ => (
                self.status(),
                [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
                self.to_string(),
            )
                .into_response(),
        }
    }
}
