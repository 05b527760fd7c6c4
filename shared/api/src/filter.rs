//! Which resources of a list are wanted.

use mesh_model::tags::Tags;
use mesh_model::validate::Violation;
use mesh_model::{Resource, ResourceType};
use mesh_proto::mesh::dataplane::networking::Gateway;
use mesh_proto::mesh::dataplane::networking::gateway::GatewayType;
use mesh_proto::mesh::{Dataplane, ExternalService};

use crate::error::ApiError;
use crate::page;
use crate::path::Query;

/// Conditions that a resource must all meet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    name: Option<String>,
    labels: Vec<(String, String)>,
    tags: Vec<(String, String)>,
    gateway: Option<GatewayKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GatewayKind {
    None,
    Any,
    Builtin,
    Delegated,
}

impl Filter {
    /// Reads the conditions for a list of type `ty`; `template` is the list's path.
    ///
    /// # Errors
    /// The first condition that makes no sense.
    pub(crate) fn parse(query: &Query, ty: ResourceType, template: &str) -> Result<Self, ApiError> {
        let invalid = |key: &str, message: String| {
            let violation = Violation::new(format!("{template}.{key}"), message);
            ApiError::invalid(page::TITLE, vec![violation])
        };
        let mut filter = Self {
            name: query.first("name").map(str::to_owned),
            ..Self::default()
        };
        for (key, values) in query.iter() {
            let Some(inner) = key
                .strip_prefix("filter[")
                .and_then(|k| k.strip_suffix(']'))
            else {
                continue;
            };
            let Some(label) = inner.strip_prefix("labels.") else {
                return Err(invalid(key, "only labels can be filtered by".to_owned()));
            };
            let value = values.first().cloned().unwrap_or_default();
            filter.labels.push((label.to_owned(), value));
        }
        if matches!(ty, ResourceType::Dataplane | ResourceType::ExternalService) {
            filter.tags = query
                .all("tag")
                .iter()
                .filter_map(|tag| tag.split_once(':'))
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect();
        }
        if ty == ResourceType::Dataplane {
            filter.gateway = match query.first("gateway").map(str::to_lowercase).as_deref() {
                None => None,
                Some("true") => Some(GatewayKind::Any),
                Some("false") => Some(GatewayKind::None),
                Some("builtin") => Some(GatewayKind::Builtin),
                Some("delegated") => Some(GatewayKind::Delegated),
                Some(other) => {
                    let message = format!("must be true, false, builtin or delegated, not {other}");
                    return Err(invalid("gateway", message));
                }
            };
        }
        Ok(filter)
    }

    /// Whether a resource meets all conditions.
    pub(crate) fn accepts(&self, resource: &Resource) -> bool {
        self.name
            .as_ref()
            .is_none_or(|name| resource.key().name().as_str().contains(name))
            && self
                .labels
                .iter()
                // No label has an empty value here: asking for one finds nothing.
                .all(|(key, value)| !value.is_empty() && resource.label(key) == Some(value))
            && (self.tags.is_empty() && self.gateway.is_none() || self.accepts_spec(resource))
    }

    fn accepts_spec(&self, resource: &Resource) -> bool {
        if resource.key().ty() == ResourceType::ExternalService {
            return self.accepts_tags(&resource.decode::<ExternalService>().tags);
        }
        self.accepts_dataplane(&resource.decode())
    }

    /// Whether one set of tags has all that are asked for.
    fn accepts_tags(&self, tags: &Tags) -> bool {
        self.tags.iter().all(|(key, wanted)| {
            tags.get(key)
                .is_some_and(|v| wanted == "*" || v.contains(wanted.as_str()))
        })
    }

    fn accepts_dataplane(&self, dataplane: &Dataplane) -> bool {
        let Some(networking) = &dataplane.networking else {
            return false;
        };
        let gateway = networking.gateway.as_ref();
        let is_kind = match self.gateway {
            None => true,
            Some(GatewayKind::None) => gateway.is_none(),
            Some(GatewayKind::Any) => gateway.is_some(),
            Some(GatewayKind::Builtin) => gateway.is_some_and(is_builtin),
            Some(GatewayKind::Delegated) => gateway.is_some_and(|g| !is_builtin(g)),
        };
        is_kind
            && (self.tags.is_empty()
                || networking
                    .inbound
                    .iter()
                    .map(|inbound| &inbound.tags)
                    .chain(gateway.map(|g| &g.tags))
                    .any(|tags| self.accepts_tags(tags)))
    }
}

/// Whether a gateway is one that this system configures.
pub(crate) fn is_builtin(gateway: &Gateway) -> bool {
    gateway.r#type == GatewayType::Builtin as i32
}
