//! What this zone reports to exist: the insight of each proxy, from its streams.

pub mod insight;
