//! Kuma's tokens: JWTs (RFC 7519) signed RS256, for proxies, zone proxies and users.
//!
//! [`issue`] signs [`Claims`] with a [`SigningKey`]; [`verify`] checks signature, dates and
//! revocation. What a token then allows is for its claims to say: [`DataplaneClaims::check`],
//! [`ZoneClaims::check`]. Where keys and revocations are stored is the caller's affair; the
//! names they have there are in [`names`].
//!
//! **Invariant:** nothing here reads a clock or a store, no error or log holds a token or a key,
//! and no other algorithm than RS256 is ever accepted.

use std::collections::BTreeSet;
use std::time::Duration;

use jsonwebtoken::{Algorithm, Header, Validation};
use mesh_model::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

mod claims;
mod keys;
pub mod names;
#[cfg(test)]
mod tests;

pub use claims::{Claims, DataplaneClaims, Mismatch, Proxy, Scope, UserClaims, ZoneClaims};
pub use keys::{KeyError, SigningKey, VerifyingKey};

/// How long a dataplane or zone token is valid if its issuer does not say: ten years.
pub const DEFAULT_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A token is valid this long before it was issued, so that a verifier's clock may be behind.
const BACKDATED_SECONDS: i64 = 5;
/// Longer texts are refused unread. A token of a proxy with many tags has one or two thousand.
const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// Why a token was not issued or not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not three base64url parts with JSON in the first two, or absurdly long.
    #[error("the {kind} token is malformed: {reason}")]
    Malformed {
        /// Kind of token that was expected.
        kind: &'static str,
        /// Which part is wrong.
        reason: &'static str,
    },
    /// Signed in another way, or not at all.
    #[error("the {kind} token is not signed with RS256, which is the only accepted algorithm")]
    Algorithm {
        /// Kind of token that was expected.
        kind: &'static str,
    },
    /// The header has no `kid`.
    #[error("the {kind} token does not name its signing key (header 'kid'); issue a new token")]
    NoKeyId {
        /// Kind of token that was expected.
        kind: &'static str,
    },
    /// No key of that id.
    #[error(
        "there is no signing key with serial number {key_id:?} for this {kind} token; \
         issue a new token, or restore the key"
    )]
    UnknownKey {
        /// Kind of token that was expected.
        kind: &'static str,
        /// The `kid`, shortened if it is long.
        key_id: String,
    },
    /// The signature is not the key's.
    #[error("the {kind} token's signature is not valid for its signing key")]
    Signature {
        /// Kind of token that was expected.
        kind: &'static str,
    },
    /// Signed properly, but the claims are not those of this kind.
    #[error("the {kind} token's claims cannot be read: {reason}")]
    UnreadableClaims {
        /// Kind of token that was expected.
        kind: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Past its `exp`.
    #[error("the {kind} token expired at {at}; issue a new token")]
    Expired {
        /// Kind of token that was expected.
        kind: &'static str,
        /// When.
        at: Timestamp,
    },
    /// Before its `nbf`.
    #[error("the {kind} token is not valid before {at}; check the clocks of issuer and verifier")]
    NotYetValid {
        /// Kind of token that was expected.
        kind: &'static str,
        /// When it will be.
        at: Timestamp,
    },
    /// Its `jti` is in the revocation list.
    #[error("the {kind} token with id {id} is revoked; issue a new token")]
    Revoked {
        /// Kind of token that was expected.
        kind: &'static str,
        /// The `jti`.
        id: String,
    },
    /// The key cannot sign.
    #[error("cannot sign a {kind} token with this key")]
    Sign {
        /// Kind of token to be issued.
        kind: &'static str,
    },
}

/// The claims that every token has (RFC 7519 §4.1), times in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Registered {
    #[serde(
        default,
        deserialize_with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    exp: Option<i64>,
    #[serde(
        default,
        deserialize_with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    nbf: Option<i64>,
    #[serde(
        default,
        deserialize_with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    iat: Option<i64>,
    #[serde(default)]
    jti: String,
}

/// A `NumericDate` may have a fraction; half seconds do not matter to us.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    if let Some(whole) = number.as_i64() {
        return Ok(Some(whole));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates: a time outside i64 seconds is as good as the end of it"
    )]
    Ok(number.as_f64().map(|fraction| fraction.floor() as i64))
}

#[derive(Serialize)]
struct Outgoing<'a, C> {
    #[serde(flatten)]
    claims: &'a C,
    #[serde(flatten)]
    registered: Registered,
}

/// What a verified token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<C> {
    /// The claims of its kind.
    pub claims: C,
    /// Its id (`jti`), by which it can be revoked; may be empty in a foreign token.
    pub id: String,
    /// When it expires; `None` in a foreign token means never.
    pub expires: Option<Timestamp>,
    /// The key that signed it (`kid`).
    pub key_id: String,
}

/// Ids (`jti`) of tokens that are no longer accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations(BTreeSet<String>);

impl Revocations {
    /// From the content of a revocation Secret: ids separated by commas; space and line ends
    /// around them are ignored.
    pub fn parse(data: &[u8]) -> Self {
        let text = String::from_utf8_lossy(data);
        let ids = text.split(',').map(str::trim).filter(|id| !id.is_empty());
        Self(ids.map(str::to_owned).collect())
    }

    /// Whether the token with this id is revoked.
    pub fn contains(&self, id: &str) -> bool {
        self.0.contains(id)
    }
}

/// Signs `claims` as a token that is valid for `validity` from `now` on.
///
/// `key_id` is the serial number of `key` as in the name of its Secret.
///
/// # Errors
///
/// When the key cannot sign.
pub fn issue<C: Claims>(
    key: &SigningKey,
    key_id: &str,
    claims: &C,
    now: Timestamp,
    validity: Duration,
) -> Result<String, TokenError> {
    let now = now.unix_seconds();
    let validity = i64::try_from(validity.as_secs()).unwrap_or(i64::MAX);
    let registered = Registered {
        exp: Some(now.saturating_add(validity)),
        nbf: Some(now - BACKDATED_SECONDS),
        iat: Some(now - BACKDATED_SECONDS),
        jti: uuid::Uuid::new_v4().to_string(),
    };
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(key_id.to_owned());
    jsonwebtoken::encode(&header, &Outgoing { claims, registered }, key.encoding())
        // The crate's error adds nothing: claims always serialise, so it is the key.
        .map_err(|_no_detail| TokenError::Sign { kind: C::KIND })
}

/// Checks signature, dates and revocation of `token`, and reads its claims.
///
/// `key` finds the public key for a key id; the id comes from the token and may be any text, so
/// make names of it with [`names::secret_names`] only. Dates are compared without leeway: issuers
/// backdate by some seconds. A token without `exp` does not expire.
///
/// # Errors
///
/// See [`TokenError`]; its text may be shown to whoever presented the token.
pub fn verify<C: Claims>(
    token: &str,
    now: Timestamp,
    key: impl FnOnce(&str) -> Option<VerifyingKey>,
    revoked: &Revocations,
) -> Result<Verified<C>, TokenError> {
    let kind = C::KIND;
    let token = token.trim();
    let malformed = |reason| TokenError::Malformed { kind, reason };
    if token.is_empty() {
        return Err(malformed("it is empty"));
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err(malformed("it is longer than 64 KiB"));
    }
    let header: RawHeader = part(token, 0).ok_or_else(|| malformed("its header is not JSON"))?;
    if header.alg != "RS256" {
        return Err(TokenError::Algorithm { kind });
    }
    let key_id = match header.kid {
        Some(key_id) if !key_id.is_empty() => key_id,
        _ => return Err(TokenError::NoKeyId { kind }),
    };
    let key = key(&key_id).ok_or_else(|| TokenError::UnknownKey {
        kind,
        key_id: key_id.chars().take(40).collect(),
    })?;

    let mut signature_only = Validation::new(Algorithm::RS256);
    signature_only.required_spec_claims.clear();
    signature_only.validate_exp = false;
    signature_only.validate_aud = false;
    // Claims are read in two steps, so that a bad signature is told apart from foreign claims.
    let body = jsonwebtoken::decode::<serde_json::Value>(token, key.decoding(), &signature_only)
        .map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::InvalidSignature => TokenError::Signature { kind },
            _ => malformed("it is not three base64url parts, or its claims are no JSON object"),
        })?
        .claims;
    let registered: Registered = claims_of(&body, kind)?;
    check_dates(&registered, now, kind)?;
    if revoked.contains(&registered.jti) {
        return Err(TokenError::Revoked {
            kind,
            id: registered.jti,
        });
    }
    Ok(Verified {
        claims: claims_of(&body, kind)?,
        id: registered.jti,
        expires: registered.exp.map(Timestamp::from_unix_seconds),
        key_id,
    })
}

/// Only what is looked at before the signature is checked.
#[derive(Deserialize)]
struct RawHeader {
    alg: String,
    kid: Option<String>,
}

fn part<T: DeserializeOwned>(token: &str, index: usize) -> Option<T> {
    use base64::Engine;
    let text = token.split('.').nth(index)?;
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .ok()?;
    serde_json::from_slice(&json).ok()
}

fn claims_of<T: DeserializeOwned>(
    body: &serde_json::Value,
    kind: &'static str,
) -> Result<T, TokenError> {
    T::deserialize(body).map_err(|error| TokenError::UnreadableClaims {
        kind,
        reason: error.to_string(),
    })
}

fn check_dates(
    registered: &Registered,
    now: Timestamp,
    kind: &'static str,
) -> Result<(), TokenError> {
    let seconds = now.unix_seconds();
    match (registered.exp, registered.nbf) {
        (Some(exp), _) if seconds >= exp => Err(TokenError::Expired {
            kind,
            at: Timestamp::from_unix_seconds(exp),
        }),
        (_, Some(nbf)) if seconds < nbf => Err(TokenError::NotYetValid {
            kind,
            at: Timestamp::from_unix_seconds(nbf),
        }),
        _ => Ok(()),
    }
}
