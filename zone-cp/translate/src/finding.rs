//! What an operator should know about how their resources became configuration.

use std::fmt;

use mesh_model::{Resource, ResourceType};

/// At most this many findings accompany a translation.
pub const MAX_FINDINGS: usize = 64;

/// One thing that was left out, guessed or is probably not meant, and where it was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding {
    /// The type of the resource it is about.
    pub ty: ResourceType,
    /// The resource's display name.
    pub name: String,
    /// The resource's mesh; empty for types without one.
    pub mesh: String,
    /// The field in the resource, such as `conf.http.rules[2].backends[0]`; empty for the whole.
    pub path: String,
    /// A sentence for people.
    pub message: String,
}

impl Finding {
    /// A finding about a field of `resource`.
    pub(crate) fn about(
        resource: &Resource,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            ty: resource.key().ty(),
            name: resource.display_name().to_owned(),
            mesh: resource.key().mesh_str().to_owned(),
            path: path.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    /// `MeshGatewayRoute default/shop: conf.http.rules[0].backends[0]: no such service`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.ty)?;
        if !self.mesh.is_empty() {
            write!(f, "{}/", self.mesh)?;
        }
        write!(f, "{}: ", self.name)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}
