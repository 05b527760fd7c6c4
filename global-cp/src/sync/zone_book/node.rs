//! What a zone said of itself, cut to what is worth keeping.
//!
//! Anybody who reaches the port can say anything here, and each of a zone's subscriptions keeps
//! a copy that is written again with every change of its counters.

use mesh_kds::peer::NodeInfo;
use mesh_proto::system::{
    KdsServiceStats, KdsSubscription, KdsSubscriptionStatus, KumaCpVersion, Version,
};
use serde_json::json;

/// The longest configuration that is kept, in bytes.
const MAX_CONFIG: usize = 64 << 10;
/// The longest version or name that is kept, in bytes.
const MAX_TEXT: usize = 256;

/// The part of a subscription that the zone fills.
pub(super) fn introduced(node: &NodeInfo) -> KdsSubscription {
    let version = KumaCpVersion {
        version: shortened(&node.version.version),
        git_tag: shortened(&node.version.git_tag),
        git_commit: shortened(&node.version.git_commit),
        build_date: shortened(&node.version.build_date),
        kuma_cp_global_compatible: true,
    };
    KdsSubscription {
        zone_instance_id: shortened(&node.instance_id),
        status: Some(KdsSubscriptionStatus {
            total: Some(KdsServiceStats::default()),
            ..Default::default()
        }),
        version: Some(Version {
            kuma_cp: Some(version),
        }),
        config: config(&node.config),
        ..Default::default()
    }
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

/// The configuration, or, for those who parse it, an object that says why it is not there.
fn config(given: &str) -> String {
    if given.len() <= MAX_CONFIG {
        return given.to_owned();
    }
    let note = format!(
        "the zone's configuration is {} bytes long; up to {MAX_CONFIG} are kept",
        given.len()
    );
    json!({ "note": note }).to_string()
}

#[cfg(test)]
mod tests {
    use mesh_kds::peer::CpVersion;

    use super::*;

    #[test]
    fn what_a_zone_says_of_itself_is_kept_up_to_a_length() {
        let fits = "c".repeat(MAX_CONFIG);
        let node = |config: String, text: String| NodeInfo {
            version: CpVersion {
                version: text.clone(),
                git_tag: text.clone(),
                git_commit: text.clone(),
                build_date: text.clone(),
            },
            config,
            instance_id: text,
            ..NodeInfo::default()
        };
        let kept = introduced(&node(fits.clone(), "east-1a2b".to_owned()));
        assert_eq!(kept.config, fits);
        assert_eq!(kept.zone_instance_id, "east-1a2b");

        // 255 bytes are a boundary of this text, 256 are not.
        let long = introduced(&node("c".repeat(10 << 20), "日".repeat(1000)));
        let note: serde_json::Value = serde_json::from_str(&long.config).unwrap();
        let note = note["note"].as_str().unwrap();
        assert!(
            note.contains("10485760") && note.contains("65536"),
            "{note}"
        );
        let version = long.version.unwrap().kuma_cp.unwrap();
        for text in [
            long.zone_instance_id,
            version.version,
            version.git_tag,
            version.git_commit,
            version.build_date,
        ] {
            assert_eq!(text, "日".repeat(85));
        }
    }
}
