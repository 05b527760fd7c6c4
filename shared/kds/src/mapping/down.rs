//! From the global to zones.

use std::collections::BTreeMap;

use bytes::Bytes;
use mesh_delta::Item;
use mesh_model::hash_suffix::hashed_name;
use mesh_model::{Resource, ResourceType, Spec, cluster, labels};
use mesh_proto::system;
use serde_json::{Map, Value, json};

use super::{Audience, across, is_kept_here, is_plugin_policy, name_extras};
use crate::kind::Kind;
use crate::peer::{Naming, ZoneClass};
use crate::wire::{self, Outgoing};

/// Prefix of the secrets that sign zone tokens; zones get their public halves.
pub const ZONE_TOKEN_KEY: &str = "zone-token-signing-key";
/// Prefix of the public halves of the secrets that sign zone tokens.
pub const ZONE_TOKEN_PUBLIC_KEY: &str = "zone-token-signing-public-key";
/// Prefix of the secrets that sign the ingress tokens of 2.5; zones get them as they are.
pub const INGRESS_TOKEN_KEY: &str = "zone-ingress-token-signing-key";
/// Global secrets that stay on their control plane.
const LOCAL_GLOBAL_SECRETS: [&str; 4] = [
    "envoy-admin-ca",
    "admin-user-token",
    "inter-cp-ca",
    "user-token-revocations",
];
const USER_TOKEN_KEY: &str = "user-token-signing-key";

/// Why a resource travels to zones.
#[derive(Debug)]
pub(super) enum Travels {
    /// The global owns it.
    Down,
    /// A zone owns it, and others may want it.
    Across(Audience),
}

impl Travels {
    pub(super) fn audience(self) -> Option<Audience> {
        match self {
            Self::Down => None,
            Self::Across(audience) => Some(audience),
        }
    }
}

/// Whether and why a resource travels to zones of a class.
pub(super) fn travels(resource: &Resource, class: ZoneClass) -> Option<Travels> {
    let key = resource.key();
    let name = key.name().as_str();
    if is_kept_here(resource) {
        return None;
    }
    let ways = key.ty().describe().ways;
    let is_of_zone = resource.label(labels::ORIGIN) == Some(labels::ORIGIN_ZONE);
    let goes = match key.ty() {
        ResourceType::Config => name == cluster::ID,
        ResourceType::GlobalSecret => is_secret_for_zones(name, class),
        ResourceType::HostnameGenerator if !class.multi_zone_selectors => {
            ways.down && !is_of_zone && !selects_multi_zone_services(resource)
        }
        ty if is_plugin_policy(ty) && !is_of_zone && !class.optional_target_ref => {
            ways.down && (has_target_ref(resource) || with_target_ref(resource).is_some())
        }
        _ if is_of_zone => return across::audience(resource, class).map(Travels::Across),
        _ => ways.down,
    };
    goes.then_some(Travels::Down)
}

fn is_secret_for_zones(name: &str, class: ZoneClass) -> bool {
    match class.naming {
        Naming::Plain => {
            name.starts_with(INGRESS_TOKEN_KEY)
                || (class.zone_tokens && name.starts_with(ZONE_TOKEN_KEY))
        }
        Naming::Hashed => {
            !LOCAL_GLOBAL_SECRETS.contains(&name) && !name.starts_with(USER_TOKEN_KEY)
        }
    }
}

fn selects_multi_zone_services(generator: &Resource) -> bool {
    let spec = generator.spec().json().unwrap_or_default();
    let selector = spec.get("selector").and_then(Value::as_object);
    selector.is_some_and(|selector| {
        selector
            .get("meshMultiZoneService")
            .is_some_and(|s| !s.is_null())
    })
}

fn has_target_ref(policy: &Resource) -> bool {
    let spec = policy.spec().json().unwrap_or_default();
    spec.get("targetRef")
        .is_some_and(|target| !target.is_null())
}

/// A policy for all proxies, in the form in which releases before 2.9 know it. `None` if it says
/// nothing in a form that they know.
fn with_target_ref(policy: &Resource) -> Option<Bytes> {
    let mut spec = policy.spec().json()?;
    if !["from", "to", "default"]
        .iter()
        .any(|part| spec.contains_key(*part))
    {
        return None;
    }
    spec.remove("targetRef");
    let first = ("targetRef".to_owned(), json!({"kind": "Mesh"}));
    let spec: Map<String, Value> = std::iter::once(first).chain(spec).collect();
    Some(Value::Object(spec).to_string().into())
}

/// What a resource is called towards zones with this naming.
pub(super) fn name(resource: &Resource, naming: Naming) -> String {
    let name = resource.key().name().as_str();
    match resource.key().ty() {
        // Kuma hashes no other type's name towards zones (2.9 and later). A signing key becomes
        // another secret: its public half.
        ResourceType::GlobalSecret if name.starts_with(ZONE_TOKEN_KEY) => {
            name.replacen(ZONE_TOKEN_KEY, ZONE_TOKEN_PUBLIC_KEY, 1)
        }
        ResourceType::Mesh
        | ResourceType::Secret
        | ResourceType::GlobalSecret
        | ResourceType::Config => name.to_owned(),
        _ => match naming {
            Naming::Plain => name.to_owned(),
            Naming::Hashed => hashed_name(
                resource.key().mesh_str(),
                resource.display_name(),
                &name_extras(resource.label(labels::ZONE), resource),
            ),
        },
    }
}

/// The name and content of a resource that travels.
pub(super) fn encode(resource: &Resource, class: ZoneClass) -> Option<(String, Item<Kind>)> {
    let key = resource.key();
    let name = name(resource, class.naming);
    let mut sent = BTreeMap::clone(resource.labels());
    sent.insert(labels::ORIGIN.to_owned(), labels::ORIGIN_GLOBAL.to_owned());
    if name != key.name().as_str() {
        sent.entry(labels::DISPLAY_NAME.to_owned())
            .or_insert_with(|| key.name().as_str().to_owned());
    }
    let spec = if name.starts_with(ZONE_TOKEN_PUBLIC_KEY) {
        public_half(resource)?
    } else if is_plugin_policy(key.ty()) && !class.optional_target_ref && !has_target_ref(resource)
    {
        with_target_ref(resource)?
    } else {
        resource.spec().bytes().clone()
    };
    let item = wire::encode(Outgoing {
        ty: key.ty(),
        name: &name,
        mesh: key.mesh_str(),
        labels: sent,
        spec,
        status: match class.naming {
            Naming::Plain => None,
            Naming::Hashed => empty_status(key.ty()),
        },
    });
    Some((name, item))
}

/// The status that resources of a type carry to zones, each of which writes its own: none of
/// anybody's, in the form in which Kuma writes that.
pub(crate) fn empty_status(ty: ResourceType) -> Option<Bytes> {
    ty.describe().has_status.then(|| match ty {
        ResourceType::MeshService => Bytes::from_static(br#"{"tls":{},"dataplaneProxies":{}}"#),
        _ => Bytes::from_static(b"{}"),
    })
}

/// The public half of a signing key; `None` for a secret that is no such key. Secrets are
/// checked when they are written, and one odd key must not stop the others.
fn public_half(resource: &Resource) -> Option<Bytes> {
    let secret: system::Secret = resource.decode();
    let key = mesh_runtime::tokens::SigningKey::parse(&secret.data?).ok()?;
    let public = system::Secret {
        data: Some(key.public().to_pem().into_bytes()),
    };
    Some(
        Spec::encode(ResourceType::GlobalSecret, &public)
            .bytes()
            .clone(),
    )
}
