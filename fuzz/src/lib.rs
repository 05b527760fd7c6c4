//! What the targets share: two types of resources, sixteen names and eight versions, so that a
//! few bytes of input meet each other often.

use arbitrary::Arbitrary;
use mesh_delta::{Item, Name, TypeSet, Version};

/// The types of the streams here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Arbitrary)]
pub enum Type {
    /// What others need.
    Cluster,
    /// What needs clusters.
    Route,
}

impl TypeSet for Type {
    const ALL: &'static [Self] = &[Self::Cluster, Self::Route];

    fn index(self) -> usize {
        self as usize
    }
}

/// One of sixteen names.
pub fn name(number: u8) -> Name {
    format!("r{}.default", number % 16).into()
}

/// One of eight versions.
pub fn version(number: u8) -> Version {
    format!("v{}", number % 8).into()
}

/// An item of a version.
pub fn item(number: u8) -> Item<Type> {
    Item::new(version(number), vec![number; 8])
}
