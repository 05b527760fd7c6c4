//! Which resources a peer gets, and how they are named and labelled for it.
//!
//! Pure functions from a stored resource to what travels. `docs/kds.md` has the rules as a
//! contract; they are Kuma's, chosen per peer by what it announced.

mod across;
mod down;
mod up;

use mesh_delta::{Item, Name};
use mesh_model::{Resource, ResourceType, ZoneName, labels};

use crate::kind::Kind;
use crate::peer::{Naming, ZoneClass};
use crate::wire;

pub(crate) use self::down::empty_status;
pub use self::down::{INGRESS_TOKEN_KEY, ZONE_TOKEN_KEY, ZONE_TOKEN_PUBLIC_KEY};

/// A resource on its way to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// What it is.
    pub kind: Kind,
    /// Its name on the stream.
    pub name: Name,
    /// Its version and bytes.
    pub item: Item<Kind>,
    /// Which of the peers it is for, if not for all.
    pub audience: Option<Audience>,
}

/// Which zones a zone's resource is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience {
    /// The zone that owns it, to which it is not sent back.
    pub owner: ZoneName,
    /// The only zone to which it says something, if there is one.
    pub only: Option<String>,
}

impl Audience {
    /// Whether a zone is meant. Whether the owner is disabled is for the caller to know.
    pub fn admits(&self, zone: &ZoneName) -> bool {
        let others = self.only.as_deref();
        *zone != self.owner && others.is_none_or(|only| only == zone.as_str())
    }
}

/// A rule from stored resources to what one class of peers gets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Mapping {
    /// From the global to zones of this class.
    Down(ZoneClass),
    /// From a zone to a global that wants this naming.
    Up(ZoneName, Naming),
}

impl Mapping {
    /// What the peer gets for `resource`; `None` if it does not travel this way.
    pub fn apply(&self, resource: &Resource) -> Option<Mapped> {
        let (name, item, audience) = match self {
            Self::Down(class) => {
                let audience = down::travels(resource, *class)?.audience();
                let (name, item) = down::encode(resource, *class)?;
                (name, item, audience)
            }
            Self::Up(zone, naming) => {
                let (name, item) = up::encode(resource, zone, *naming)?;
                (name, item, None)
            }
        };
        Some(Mapped {
            kind: Kind::of(resource.key().ty())?,
            name: wire::stream_name(&name, resource.key().mesh_str()),
            item,
            audience,
        })
    }

    /// The kind and stream name under which the peer knows `resource`; cheaper than
    /// [`Mapping::apply`] and always in agreement with it, save for signing keys that are none.
    pub fn stream_name(&self, resource: &Resource) -> Option<(Kind, Name)> {
        let name = match self {
            Self::Down(class) => {
                down::travels(resource, *class)?;
                down::name(resource, class.naming)
            }
            Self::Up(zone, naming) => {
                up::travels(resource).then(|| up::name(resource, zone, *naming))?
            }
        };
        let kind = Kind::of(resource.key().ty())?;
        Some((kind, wire::stream_name(&name, resource.key().mesh_str())))
    }
}

/// Whether an operator took a resource off KDS.
fn is_kept_here(resource: &Resource) -> bool {
    resource.label(labels::KDS_SYNC) == Some(labels::KDS_SYNC_DISABLED)
}

/// Whether this is a policy that names what it is about.
fn is_plugin_policy(ty: ResourceType) -> bool {
    let policy = ty.describe().policy;
    matches!(
        policy,
        Some(mesh_model::resource_type::Policy::ByTargetRef { .. })
    )
}

fn name_extras<'a>(zone: Option<&'a str>, resource: &'a Resource) -> Vec<&'a str> {
    zone.into_iter()
        .chain(resource.label(labels::NAMESPACE))
        .collect()
}

#[cfg(test)]
mod tests;
