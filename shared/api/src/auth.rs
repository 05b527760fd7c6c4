//! Who is asking, and what only administrators may do.
//!
//! A caller on the loopback interface is an administrator, unless something says that the
//! request was relayed or made by a web page of another origin; anybody else shows a user token
//! or stays anonymous.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::header::{AUTHORIZATION, FORWARDED, HOST, ORIGIN};
use http::request::Parts;
use mesh_model::ResourceType;
use mesh_runtime::serve::PeerAddr;
use mesh_runtime::tokens::{self, UserClaims, names};

use crate::context::Context;
use crate::error::ApiError;
use crate::keys;

const ADMIN: &str = "mesh-system:admin";
const AUTHENTICATED: &str = "mesh-system:authenticated";

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) groups: Vec<String>,
}

impl User {
    fn anonymous() -> Self {
        Self {
            name: "mesh-system:anonymous".to_owned(),
            groups: vec!["mesh-system:unauthenticated".to_owned()],
        }
    }

    fn authenticated(name: &str, mut groups: Vec<String>) -> Self {
        groups.push(AUTHENTICATED.to_owned());
        Self {
            name: name.to_owned(),
            groups,
        }
    }

    /// Whether secrets and tokens are open to the user.
    pub(crate) fn is_admin(&self) -> bool {
        self.name == ADMIN || self.groups.iter().any(|g| g == ADMIN)
    }

    /// Refuses anybody but an administrator; `what` completes "… cannot access".
    pub(crate) fn require_admin(&self, what: impl fmt::Display) -> Result<(), ApiError> {
        if self.is_admin() {
            return Ok(());
        }
        Err(ApiError::denied(format!(
            "user \"{self}\" may not {what}: that takes an administrator"
        )))
    }

    /// Refuses access to resources that only administrators may see.
    pub(crate) fn require_type(&self, ty: ResourceType) -> Result<(), ApiError> {
        if !ty.describe().is_admin_only {
            return Ok(());
        }
        self.require_admin(format_args!("read or write resources of type {ty}"))
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.groups.join(","))
    }
}

/// Finds out who is asking.
///
/// # Errors
/// When a user token was shown and is not valid.
pub(crate) fn authenticate(context: &Context, request: &Parts) -> Result<User, ApiError> {
    if context.settings.localhost_is_admin && is_local(request) {
        return Ok(User::authenticated(ADMIN, vec![ADMIN.to_owned()]));
    }
    let token = request
        .headers
        .get(AUTHORIZATION)
        .and_then(|v| v.as_bytes().strip_prefix(b"Bearer "))
        .filter(|token| !token.is_empty());
    let Some(token) = token else {
        return Ok(User::anonymous());
    };
    let verified = std::str::from_utf8(token).ok().and_then(|token| {
        let snapshot = context.store.snapshot();
        let key = |id: &str| keys::verifying(&snapshot, names::USER_KEY, None, id);
        let revoked = keys::revocations(&snapshot, None, names::USER_REVOCATIONS);
        tokens::verify::<UserClaims>(token, (context.now)(), key, &revoked)
            .inspect_err(|error| tracing::debug!(%error, "a user token was refused"))
            .ok()
    });
    match verified {
        Some(token) => Ok(User::authenticated(&token.claims.name, token.claims.groups)),
        // The index says what this server is, also to somebody whose token has expired.
        None if request.uri.path() == "/" => Ok(User::anonymous()),
        None => Err(ApiError::unauthenticated()),
    }
}

fn is_local(request: &Parts) -> bool {
    let header = |name: &str| request.headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    let is_direct = [FORWARDED.as_str(), "x-forwarded-for", "x-real-ip"]
        .into_iter()
        .all(|name| header(name).is_none());
    let is_own_page = matches!(
        header("sec-fetch-site"),
        None | Some("same-origin" | "none")
    );
    let is_own_origin = match (header(ORIGIN.as_str()), host(request)) {
        (None, _) => true,
        (Some(origin), Some(host)) => origin
            .split_once("://")
            .is_some_and(|(_, o)| o == host && is_loopback(o)),
        (Some(_), None) => false,
    };
    peer(request).is_some_and(|peer| peer.ip().to_canonical().is_loopback())
        && is_direct
        && is_own_page
        && is_own_origin
        && host(request).is_some_and(is_loopback)
}

fn peer(request: &Parts) -> Option<SocketAddr> {
    request.extensions.get::<PeerAddr>().map(|peer| peer.0)
}

/// The host and port that the caller believes to talk to.
pub(crate) fn host(request: &Parts) -> Option<&str> {
    request
        .headers
        .get(HOST)
        .and_then(|v| v.to_str().ok())
        .or_else(|| request.uri.authority().map(http::uri::Authority::as_str))
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost"
        || name
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(peer: &str, headers: &[(&str, &str)]) -> Parts {
        let mut builder = http::Request::get("/who-am-i");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let (mut parts, ()) = builder.body(()).unwrap().into_parts();
        parts.extensions.insert(PeerAddr(peer.parse().unwrap()));
        parts
    }

    #[test]
    fn a_direct_call_over_loopback_is_local() {
        for (peer, host) in [
            ("127.0.0.1:9", "127.0.0.1:5681"),
            ("127.0.0.2:9", "127.0.0.1"),
            ("[::1]:9", "[::1]:5681"),
            ("[::ffff:127.0.0.1]:9", "localhost:5681"),
        ] {
            assert!(is_local(&request(peer, &[("host", host)])), "{peer} {host}");
        }
        let host = ("host", "localhost:5681");
        for own in [
            ("origin", "http://localhost:5681"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
        ] {
            assert!(is_local(&request("127.0.0.1:9", &[host, own])), "{own:?}");
        }
    }

    #[test]
    fn a_relayed_call_or_a_foreign_page_is_not() {
        assert!(!is_local(&request(
            "192.0.2.1:9",
            &[("host", "localhost:5681")]
        )));
        assert!(!is_local(&request(
            "127.0.0.1:9",
            &[("host", "cp.example:5681")]
        )));
        assert!(!is_local(&request("127.0.0.1:9", &[])));
        let host = ("host", "127.0.0.1:5681");
        for foreign in [
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "for=192.0.2.1"),
            ("x-real-ip", "127.0.0.1"),
            ("origin", "http://evil.example"),
            ("origin", "http://127.0.0.1:9999"),
            ("sec-fetch-site", "cross-site"),
        ] {
            assert!(
                !is_local(&request("127.0.0.1:9", &[host, foreign])),
                "{foreign:?}"
            );
        }
    }
}
