//! What Meridian talks about: names, resource types, resources and their content versions.
//!
//! This crate owns the vocabulary, the JSON dialect of resources and their validation. It opens
//! no file and knows no clock; storing resources is `mesh-store`'s, sending them `mesh-kds`'s.
//!
//! **Invariant:** a [`Resource`] always has a spec that decodes as that of its type, and a mesh
//! exactly when its type is mesh-scoped.

#![warn(missing_docs)]

pub mod cluster;
pub mod external_service;
pub mod go_duration;
pub mod hash_suffix;
pub mod json;
pub mod labels;
pub mod name;
pub mod resource;
pub mod resource_type;
pub mod spec;
pub mod tags;
pub mod timestamp;
pub mod validate;

pub use name::{MeshName, ParseNameError, ResourceName, ZoneName};
pub use resource::{Key, Labels, Resource, Version};
pub use resource_type::{ResourceType, Scope, Ways};
pub use spec::{DecodeSpecError, DecodeStatusError, Spec, SpecMessage, Status};
pub use timestamp::Timestamp;
