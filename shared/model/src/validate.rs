//! What a resource must satisfy before a control plane takes it from a user.
//!
//! The rules and the places they name are those that users of the field know, because their
//! scripts match on them; where a rule is ours, the comment beside it says why. All violations
//! are found at once. Nothing here looks at other resources: whether a mesh or a secret exists is
//! for the control plane to check.
//!
//! Resources from peers are not validated again: they are in use already.

mod dataplane;
mod external_service;
mod gateway;
mod hostname;
mod mesh;
mod mesh_backends;
mod meta;
mod re2;
mod route;
mod tags;
mod zone_ingress;

use std::fmt;

pub use meta::{labels, new_mesh_name, new_name, url_agrees};

use crate::resource_type::ResourceType;
use crate::spec::Spec;

/// One rule that a resource breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where, such as `conf.listeners[0].port` or `selectors[0].match["kuma.io/service"]`.
    pub field: String,
    /// What is wrong there.
    pub message: String,
}

impl Violation {
    /// A violation of `message` at `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Violation {
    /// `field: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// The rules that the spec of a resource of type `ty` breaks.
///
/// # Panics
/// When `spec` is of another type: that is a mistake in the calling code.
pub fn spec(ty: ResourceType, spec: &Spec) -> Vec<Violation> {
    assert_eq!(ty, spec.ty(), "type and spec of one resource");
    let mut found = Violations::default();
    match ty {
        ResourceType::Mesh => mesh::check(&spec.decode(), &mut found),
        ResourceType::MeshGateway => gateway::check(&spec.decode(), &mut found),
        ResourceType::MeshGatewayRoute => route::check(&spec.decode(), &mut found),
        ResourceType::ExternalService => external_service::check(&spec.decode(), &mut found),
        ResourceType::Dataplane => dataplane::check(&spec.decode(), &mut found),
        ResourceType::ZoneIngress => zone_ingress::check(&spec.decode(), &mut found),
        // What has no meaning here yet: that it can be read is all that is asked of it.
        _ => {}
    }
    found.0
}

/// Violations so far.
#[derive(Debug, Default)]
struct Violations(Vec<Violation>);

const EMPTY: &str = "cannot be empty";
const AT_LEAST_ONE: &str = "must have at least one element";

impl Violations {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Violation::new(field, message));
    }

    /// A port of 1 to 65535.
    fn port(&mut self, field: &str, port: u32) {
        if !(1..=65_535).contains(&port) {
            self.add(field, "port must be in the range [1, 65535]");
        }
    }
}

#[cfg(test)]
mod tests;
