//! What this build is, and which Kuma release it behaves like.

/// Version of this product.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Git tag of the build; builds outside a release don't know one.
pub const GIT_TAG: &str = "unknown";

/// Git commit of the build; builds outside a release don't know one.
pub const GIT_COMMIT: &str = "unknown";

/// Date of the build; left unknown so that the same sources give the same binary.
pub const BUILD_DATE: &str = "unknown";

/// The Kuma release whose behaviour we follow.
///
/// Announced wherever Kuma's clients and peers read a Kuma version: `kumactl` warns when the
/// control plane's differs from its own, and a zone's version is shown in its insight. Abilities
/// are never derived from it; those are announced one by one.
pub const KUMA_VERSION: &str = "2.14.3";

/// What `--version` prints after the program's name.
pub const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (compatible with Kuma ",
    "2.14.3",
    ")"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_version_names_both_versions() {
        assert!(LONG_VERSION.contains(VERSION));
        assert!(LONG_VERSION.contains(KUMA_VERSION));
    }
}
