//! Whether a caller may speak for a zone: what its token says, and what speaks against it.
//!
//! A pure judgement over a snapshot of the store, where the signing keys of zone tokens and the
//! list of revoked ones are. Who is let in is remembered by [`super::door`].

use std::collections::BTreeSet;

use mesh_model::{Key, ResourceName, ResourceType, Timestamp, Version, ZoneName};
use mesh_proto::system::Secret;
use mesh_runtime::tokens::{
    self, Mismatch, Revocations, Scope, SigningKey, TokenError, VerifyingKey, ZoneClaims, names,
};
use mesh_store::Snapshot;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::peer::AUTHORIZATION;

/// What is asked of zones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ZoneAuth {
    /// Nothing: who reaches the port speaks for any zone.
    #[default]
    Off,
    /// A zone token with the scope `cp`.
    Token {
        /// Zones that may come without one. One that comes with a token is held to it.
        exempt: Exempt,
    },
}

/// Zones that may come without a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exempt {
    /// Those with these names.
    Named(BTreeSet<ZoneName>),
    /// All of them.
    All,
}

impl Exempt {
    fn has(&self, zone: &ZoneName) -> bool {
        match self {
            Self::Named(names) => names.contains(zone),
            Self::All => true,
        }
    }
}

/// What a call brought.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presented<'a> {
    /// No token.
    Nothing,
    /// A token, which may be any text.
    Token(&'a str),
    /// Something else than one token.
    Unreadable,
}

impl<'a> Presented<'a> {
    /// From the metadata of a call.
    pub(crate) fn of(metadata: &'a MetadataMap) -> Self {
        let mut values = metadata.get_all(AUTHORIZATION).iter();
        let (value, more) = (values.next(), values.next());
        let Some(value) = value else {
            return Self::Nothing;
        };
        let Ok(text) = value.to_str() else {
            return Self::Unreadable;
        };
        if more.is_some() {
            return Self::Unreadable;
        }
        let text = text.trim();
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        let token = if scheme.eq_ignore_ascii_case("bearer") {
            rest.trim()
        } else {
            text
        };
        if token.is_empty() {
            Self::Nothing
        } else {
            Self::Token(token)
        }
    }
}

/// Why a caller does not speak for a zone. The text is for whoever runs the zone, and never has
/// the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It brought no token.
    #[error(
        "the global wants a zone token and zone {zone:?} presented none: make one with 'meridian \
         generate zone-token --zone {zone} --scope cp --valid-for 8760h' at the global and give it \
         to the zone with KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH, a file; a zone that cannot \
         have one is let in if the global lists it in \
         KUMA_MULTIZONE_GLOBAL_KDS_ALLOW_UNAUTHENTICATED_ZONES"
    )]
    Missing {
        /// The zone that it named.
        zone: ZoneName,
    },
    /// It brought no token, and the zone is connected with one.
    #[error(
        "zone {zone:?} is connected with a zone token, and this call has none: two zones cannot \
         have one name; {}",
        hint(zone)
    )]
    Proven {
        /// The zone that it named.
        zone: ZoneName,
    },
    /// What it brought is not one token.
    #[error("the metadata \"authorization\" must have one value, a zone token in ASCII")]
    Unreadable,
    /// It is no valid token.
    #[error("zone {zone:?} is refused: {source}; {}", hint(zone))]
    Invalid {
        /// The zone that it named.
        zone: ZoneName,
        /// What is wrong.
        source: TokenError,
    },
    /// It is for something else.
    #[error("zone {zone:?} is refused: {source}; {}", hint(zone))]
    Other {
        /// The zone that it named.
        zone: ZoneName,
        /// What is different.
        source: Mismatch,
    },
}

fn hint(zone: &ZoneName) -> String {
    format!(
        "make one with 'meridian generate zone-token --zone {zone} --scope cp --valid-for 8760h' \
         at the global"
    )
}

impl Refusal {
    /// One word, for metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Missing { .. } | Self::Proven { .. } => "missing",
            Self::Unreadable => "unreadable",
            Self::Invalid { source, .. } => match source {
                TokenError::Algorithm { .. } => "algorithm",
                TokenError::NoKeyId { .. } | TokenError::UnknownKey { .. } => "unknown_key",
                TokenError::Signature { .. } => "signature",
                TokenError::Expired { .. } => "expired",
                TokenError::NotYetValid { .. } => "not_yet_valid",
                TokenError::Revoked { .. } => "revoked",
                _ => "malformed",
            },
            Self::Other { source, .. } => match source {
                Mismatch::Scope { .. } => "scope",
                _ => "other_zone",
            },
        }
    }

    /// The status with which a call is refused, or a stream ends.
    pub(crate) fn to_status(&self) -> Status {
        let text = self.to_string();
        match self {
            Self::Missing { .. }
            | Self::Proven { .. }
            | Self::Unreadable
            | Self::Invalid { .. } => Status::unauthenticated(text),
            Self::Other { .. } => Status::permission_denied(text),
        }
    }
}

/// Why a caller was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody asked.
    Unasked,
    /// It is one of those that need no token.
    Exempt,
    /// Its token was verified.
    Proven(Proof),
}

/// What the verification of a token rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    /// From then on it is worth nothing.
    pub(crate) expires: Option<Timestamp>,
    key_id: String,
    evidence: Evidence,
}

/// The secrets that a verification looked at: as long as they are the same, so is its result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Evidence {
    keys: Vec<Option<Version>>,
    revocations: Option<Version>,
}

impl Evidence {
    fn of(snapshot: &Snapshot, key_id: &str) -> Self {
        let version = |name: &str| {
            let secret = snapshot.get(&secret_key(name)?)?;
            Some(secret.version())
        };
        let keys = names::secret_names(names::ZONE_KEY, key_id);
        Self {
            keys: keys.iter().map(|name| version(name)).collect(),
            revocations: version(names::ZONE_REVOCATIONS),
        }
    }
}

impl Proof {
    /// Whether nothing has happened that speaks against the token.
    pub(crate) fn holds(&self, snapshot: &Snapshot, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
            && self.evidence == Evidence::of(snapshot, &self.key_id)
    }
}

impl ZoneAuth {
    /// Whether a caller that brought `presented` may speak for `zone`.
    pub(crate) fn check(
        &self,
        snapshot: &Snapshot,
        zone: &ZoneName,
        presented: Presented<'_>,
        now: Timestamp,
    ) -> Result<Standing, Refusal> {
        let Self::Token { exempt } = self else {
            return Ok(Standing::Unasked);
        };
        let token = match presented {
            Presented::Token(token) => token,
            Presented::Nothing if exempt.has(zone) => return Ok(Standing::Exempt),
            Presented::Nothing => return Err(Refusal::Missing { zone: zone.clone() }),
            Presented::Unreadable => return Err(Refusal::Unreadable),
        };
        let revoked = data(snapshot, names::ZONE_REVOCATIONS)
            .map(|content| Revocations::parse(&content))
            .unwrap_or_default();
        let key = |key_id: &str| verifying_key(snapshot, key_id);
        let verified =
            tokens::verify::<ZoneClaims>(token, now, key, &revoked).map_err(|source| {
                Refusal::Invalid {
                    zone: zone.clone(),
                    source,
                }
            })?;
        let fits = verified.claims.check(zone.as_str(), Scope::ControlPlane);
        fits.map_err(|source| Refusal::Other {
            zone: zone.clone(),
            source,
        })?;
        Ok(Standing::Proven(Proof {
            expires: verified.expires,
            evidence: Evidence::of(snapshot, &verified.key_id),
            key_id: verified.key_id,
        }))
    }
}

/// Whether a change of this resource may speak for or against a token.
pub(crate) fn concerns(key: &Key) -> bool {
    let name = key.name().as_str();
    key.ty() == ResourceType::GlobalSecret
        && (name.starts_with(names::ZONE_KEY) || name == names::ZONE_REVOCATIONS)
}

fn verifying_key(snapshot: &Snapshot, key_id: &str) -> Option<VerifyingKey> {
    let content = names::secret_names(names::ZONE_KEY, key_id)
        .iter()
        .find_map(|name| data(snapshot, name))?;
    Some(SigningKey::parse(&content).ok()?.public())
}

fn data(snapshot: &Snapshot, name: &str) -> Option<Vec<u8>> {
    let secret = snapshot.get(&secret_key(name)?)?;
    secret.decode::<Secret>().data
}

fn secret_key(name: &str) -> Option<Key> {
    let name = ResourceName::parse(name).ok()?;
    Some(Key::global(ResourceType::GlobalSecret, name))
}

#[cfg(test)]
pub(super) mod tests;
