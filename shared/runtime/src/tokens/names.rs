//! Names of the Secrets that hold signing keys and revocation lists; Kuma's.
//!
//! A key's Secret is named `<prefix>-<serial>`; the serial number, in decimal, is the token's
//! key id. New tokens are signed with the highest. A Secret with the prefix as its whole name is
//! an old key with the id `0`. Dataplane keys and revocations are Secrets of their mesh; all
//! others are `GlobalSecret`s.

/// Prefix of the private keys for user tokens.
pub const USER_KEY: &str = "user-token-signing-key";
/// Prefix of the private keys for zone tokens.
pub const ZONE_KEY: &str = "zone-token-signing-key";
/// Prefix of the public halves of [`ZONE_KEY`], which go to the zones.
pub const ZONE_PUBLIC_KEY: &str = "zone-token-signing-public-key";
/// `GlobalSecret` with the revoked user tokens.
pub const USER_REVOCATIONS: &str = "user-token-revocations";
/// `GlobalSecret` with the revoked zone tokens.
pub const ZONE_REVOCATIONS: &str = "zone-token-revocations";
/// `GlobalSecret` with the first user token of the group `mesh-system:admin`.
pub const ADMIN_USER_TOKEN: &str = "admin-user-token";

/// Prefix of a mesh's private keys for dataplane tokens, in that mesh.
pub fn dataplane_key(mesh: &str) -> String {
    format!("dataplane-token-signing-key-{mesh}")
}

/// Secret with a mesh's revoked dataplane tokens.
pub fn dataplane_revocations(mesh: &str) -> String {
    format!("dataplane-token-revocations-{mesh}")
}

/// The serial number in a key's Secret name; `None` if it is not a key with this prefix.
pub fn parse_key_serial(name: &str, prefix: &str) -> Option<u64> {
    match name.strip_prefix(prefix)? {
        "" => Some(0),
        rest => parse_serial(rest.strip_prefix('-')?),
    }
}

/// The highest serial number among the keys in `names`: the key that signs.
pub fn latest_serial<'a>(names: impl IntoIterator<Item = &'a str>, prefix: &str) -> Option<u64> {
    names
        .into_iter()
        .filter_map(|name| parse_key_serial(name, prefix))
        .max()
}

/// Names under which the key with this id may be stored, the usual one first.
///
/// Empty unless `key_id` is a serial number, so a token cannot choose among other Secrets.
pub fn secret_names(prefix: &str, key_id: &str) -> Vec<String> {
    let Some(serial) = parse_serial(key_id) else {
        return Vec::new();
    };
    let mut names = vec![secret_name(prefix, serial)];
    if serial == 0 {
        names.push(prefix.to_owned());
    }
    names
}

/// The name of the key with this serial number.
pub fn secret_name(prefix: &str, serial: u64) -> String {
    format!("{prefix}-{serial}")
}

/// Digits only and no leading zero: one number, one name.
fn parse_serial(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (canonical && digits).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn highest_serial_number_signs() {
        let prefix = dataplane_key("default");
        let names = [
            "dataplane-token-signing-key-default-9",
            "dataplane-token-signing-key-default-10",
            "dataplane-token-signing-key-default-x",
            "dataplane-token-signing-key-other-99",
            "dataplane-token-signing-key-default-09999",
        ];
        assert_eq!(latest_serial(names, &prefix), Some(10));
        assert_eq!(latest_serial([], &prefix), None);
        assert_eq!(parse_key_serial(USER_KEY, USER_KEY), Some(0));
        assert_eq!(parse_key_serial("user-token-signing-key1", USER_KEY), None);
    }

    #[test]
    fn key_id_that_is_no_serial_number_names_no_secret() {
        assert_eq!(secret_names(ZONE_KEY, "2"), ["zone-token-signing-key-2"]);
        assert_eq!(
            secret_names(ZONE_KEY, "0"),
            ["zone-token-signing-key-0", "zone-token-signing-key"]
        );
        for odd in ["", "-1", "+1", "01", "1 ", "x", "99999999999999999999"] {
            assert!(secret_names(ZONE_KEY, odd).is_empty(), "{odd:?}");
        }
    }
}
