//! What each kind of token says, and what it allows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

/// The claims of one kind of token; beside them a token has the registered ones.
pub trait Claims: Serialize + DeserializeOwned {
    /// The kind in messages: `dataplane`, `user`, `zone`.
    const KIND: &'static str;
}

/// Lets one Dataplane, or all that fit, connect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DataplaneClaims {
    /// Name of the Dataplane; empty means any.
    pub name: String,
    /// Its mesh; empty means the one whose key signed.
    pub mesh: String,
    /// Allowed values of each tag; tags not listed here are free.
    #[serde(deserialize_with = "null_is_default")]
    pub tags: BTreeMap<String, Vec<String>>,
    /// `dataplane` or empty; says what the token was meant for and is not enforced.
    #[serde(rename = "Type")]
    pub kind: String,
    /// The Dataplane's label `kuma.io/workload`; empty means any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workload: String,
}

impl Claims for DataplaneClaims {
    const KIND: &'static str = "dataplane";
}

/// Says who calls the admin API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UserClaims {
    /// Name of the user.
    pub name: String,
    /// Groups that the user is in.
    #[serde(deserialize_with = "null_is_default")]
    pub groups: Vec<String>,
}

impl Claims for UserClaims {
    const KIND: &'static str = "user";
}

/// Lets the ingress, the egress or the control plane of a zone connect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ZoneClaims {
    /// Name of the zone; empty means any.
    pub zone: String,
    /// Some of `ingress`, `egress` and `cp`; others are ignored.
    #[serde(deserialize_with = "null_is_default")]
    pub scope: Vec<String>,
}

impl Claims for ZoneClaims {
    const KIND: &'static str = "zone";
}

/// What a zone token can be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A `ZoneIngress`.
    Ingress,
    /// A `ZoneEgress`.
    Egress,
    /// The zone's control plane, towards the global one.
    ControlPlane,
}

impl Scope {
    /// All of them: a token with full scope.
    pub const ALL: [Self; 3] = [Self::Ingress, Self::Egress, Self::ControlPlane];

    /// The text in the claim.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::ControlPlane => "cp",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A Dataplane that wants to connect.
#[derive(Debug, Clone)]
pub struct Proxy<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its mesh.
    pub mesh: &'a str,
    /// Every value of each tag, over all its inbounds and its gateway.
    pub tags: &'a BTreeMap<String, BTreeSet<String>>,
    /// Its label `kuma.io/workload`.
    pub workload: Option<&'a str>,
}

/// How the resource differs from what the token allows; says both sides.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// Another name, mesh, zone or workload.
    #[error("the token is for the {what} {allowed:?}, not for {actual:?}")]
    Field {
        /// `name`, `mesh`, `zone`, `workload`.
        what: &'static str,
        /// In the token.
        allowed: String,
        /// In the resource; empty if it has none.
        actual: String,
    },
    /// A tag of the token that the Dataplane lacks.
    #[error(
        "the token requires the tag {tag:?} with one of {allowed:?}, which the Dataplane lacks"
    )]
    TagMissing {
        /// The tag.
        tag: String,
        /// Its values in the token.
        allowed: Vec<String>,
    },
    /// A value that the token does not list.
    #[error("the Dataplane has the tag {tag:?} with {actual:?}; the token allows {allowed:?}")]
    TagValue {
        /// The tag.
        tag: String,
        /// The value that is too much.
        actual: String,
        /// Values in the token.
        allowed: Vec<String>,
    },
    /// Not meant for this kind of proxy, or not for a control plane.
    #[error("the token's scope {allowed:?} does not include {wanted}")]
    Scope {
        /// In the token.
        allowed: Vec<String>,
        /// What wants to connect.
        wanted: Scope,
    },
    /// A control plane with a token that is good for every zone.
    #[error("the token names no zone, which that of a control plane has to")]
    AnyZone,
}

impl DataplaneClaims {
    /// Whether `proxy` may connect with this token.
    ///
    /// # Errors
    ///
    /// The first difference, in the order mesh, name, tags, workload.
    pub fn check(&self, proxy: &Proxy<'_>) -> Result<(), Mismatch> {
        check_field("mesh", &self.mesh, proxy.mesh)?;
        check_field("name", &self.name, proxy.name)?;
        for (tag, allowed) in &self.tags {
            let values = proxy.tags.get(tag).filter(|values| !values.is_empty());
            let Some(values) = values else {
                return Err(Mismatch::TagMissing {
                    tag: tag.clone(),
                    allowed: allowed.clone(),
                });
            };
            if let Some(actual) = values.iter().find(|value| !allowed.contains(value)) {
                return Err(Mismatch::TagValue {
                    tag: tag.clone(),
                    actual: actual.clone(),
                    allowed: allowed.clone(),
                });
            }
        }
        check_field(
            "workload",
            &self.workload,
            proxy.workload.unwrap_or_default(),
        )
    }
}

impl ZoneClaims {
    /// Whether an ingress, an egress or the control plane of `zone` may connect with this token.
    ///
    /// A control plane writes in the name of its zone, so its token has to name it.
    ///
    /// # Errors
    ///
    /// The first difference, in the order scope, zone.
    pub fn check(&self, zone: &str, wanted: Scope) -> Result<(), Mismatch> {
        if !self.scope.iter().any(|scope| scope == wanted.as_str()) {
            return Err(Mismatch::Scope {
                allowed: self.scope.clone(),
                wanted,
            });
        }
        if wanted == Scope::ControlPlane && self.zone.is_empty() {
            return Err(Mismatch::AnyZone);
        }
        check_field("zone", &self.zone, zone)
    }
}

fn check_field(what: &'static str, allowed: &str, actual: &str) -> Result<(), Mismatch> {
    if allowed.is_empty() || allowed == actual {
        return Ok(());
    }
    Err(Mismatch::Field {
        what,
        allowed: allowed.to_owned(),
        actual: actual.to_owned(),
    })
}

/// Go writes an empty list or map as null.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
        let set = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), set(v)))
            .collect()
    }

    fn claims(json: &str) -> DataplaneClaims {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn empty_claims_allow_everything_and_set_ones_must_equal() {
        let tags = tags(&[("kuma.io/service", &["edge"])]);
        let edge = Proxy {
            name: "edge-1",
            mesh: "default",
            tags: &tags,
            workload: None,
        };
        claims("{}").check(&edge).unwrap();
        claims(r#"{"Name":"edge-1","Mesh":"default","Tags":null}"#)
            .check(&edge)
            .unwrap();
        let text = |json| claims(json).check(&edge).unwrap_err().to_string();
        assert_eq!(
            text(r#"{"Name":"edge-2"}"#),
            r#"the token is for the name "edge-2", not for "edge-1""#
        );
        assert!(text(r#"{"Mesh":"other"}"#).contains("mesh"));
        assert!(text(r#"{"Workload":"web"}"#).contains("workload"));
        let web = Proxy {
            workload: Some("web"),
            ..edge
        };
        claims(r#"{"Workload":"web"}"#).check(&web).unwrap();
    }

    #[test]
    fn every_value_of_a_listed_tag_must_be_allowed() {
        let both = tags(&[("kuma.io/service", &["cart", "web"]), ("version", &["1"])]);
        let proxy = Proxy {
            name: "a",
            mesh: "m",
            tags: &both,
            workload: None,
        };
        claims(r#"{"Tags":{"kuma.io/service":["web","cart","more"]}}"#)
            .check(&proxy)
            .unwrap();
        assert!(matches!(
            claims(r#"{"Tags":{"kuma.io/service":["web"]}}"#).check(&proxy),
            Err(Mismatch::TagValue { actual, .. }) if actual == "cart"
        ));
        assert!(matches!(
            claims(r#"{"Tags":{"team":["x"]}}"#).check(&proxy),
            Err(Mismatch::TagMissing { tag, .. }) if tag == "team"
        ));
    }

    #[test]
    fn zone_token_is_good_for_its_scope_and_zone() {
        let token: ZoneClaims =
            serde_json::from_str(r#"{"Zone":"eu","Scope":["egress"]}"#).unwrap();
        token.check("eu", Scope::Egress).unwrap();
        assert!(matches!(
            token.check("eu", Scope::Ingress),
            Err(Mismatch::Scope { .. })
        ));
        assert!(matches!(
            token.check("us", Scope::Egress),
            Err(Mismatch::Field { .. })
        ));
        let any: ZoneClaims = serde_json::from_str(r#"{"Scope":["ingress","egress"]}"#).unwrap();
        any.check("us", Scope::Ingress).unwrap();
    }

    #[test]
    fn the_token_of_a_control_plane_names_its_zone() {
        let token = |json| serde_json::from_str::<ZoneClaims>(json).unwrap();
        let own = token(r#"{"Zone":"eu","Scope":["cp"]}"#);
        own.check("eu", Scope::ControlPlane).unwrap();
        assert_eq!(
            own.check("us", Scope::ControlPlane)
                .unwrap_err()
                .to_string(),
            r#"the token is for the zone "eu", not for "us""#
        );
        let proxies = token(r#"{"Zone":"eu","Scope":["ingress","egress"]}"#);
        assert!(matches!(
            proxies.check("eu", Scope::ControlPlane),
            Err(Mismatch::Scope { .. })
        ));
        let any = token(r#"{"Scope":["cp"]}"#);
        assert_eq!(any.check("eu", Scope::ControlPlane), Err(Mismatch::AnyZone));
    }
}
