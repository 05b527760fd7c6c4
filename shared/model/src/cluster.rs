//! The identity of a deployment: one global and the zones that follow it.

/// The `Config` that holds the deployment's id, a UUID. The global makes it and sends it to its
/// zones.
pub const ID: &str = "kuma-cluster-id";

/// The `Config` in which a zone keeps the id of another deployment that an operator told it to
/// follow from now on. It is the zone's own and does not travel.
pub const ACCEPTED_ID: &str = "meridian-accepted-cluster-id";

/// The `Config` in which a zone keeps the identity of the store that its global had when it was
/// followed last. It is the zone's own and does not travel.
pub const FOLLOWED_STORE: &str = "meridian-followed-store";
