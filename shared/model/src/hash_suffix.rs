//! The hash suffix by which resources of several zones keep apart under one name
//! (Kuma 2.6 and later).
//!
//! `name' = first 236 bytes of name + "-" + 16 letters`. The letters are FNV-1a 64 over mesh,
//! name and extra values without separators, as 16 hex digits, each digit's character code
//! modulo 27 picked from an alphabet without vowels.

const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const MAX_NAME: usize = 236;

/// The hashed form of a display name.
///
/// `extras` are the values of `kuma.io/zone`, then `k8s.kuma.io/namespace`, each only if set.
pub fn hashed_name(mesh: &str, display_name: &str, extras: &[&str]) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let parts = [mesh, display_name]
        .into_iter()
        .chain(extras.iter().copied());
    for byte in parts.flat_map(str::bytes) {
        hash ^= u64::from(byte);
        hash = hash.wrapping_mul(0x0100_0000_01b3);
    }
    let mut end = display_name.len().min(MAX_NAME);
    while !display_name.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = String::with_capacity(end + 17);
    name.push_str(&display_name[..end]);
    name.push('-');
    for digit in format!("{hash:016x}").bytes() {
        name.push(char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_hash_as_kuma_hashes_them() {
        for (mesh, name, extras, expected) in [
            (
                "default",
                "default-timeout-global",
                &[][..],
                "default-timeout-global-54dbd4c66zwbcf9c",
            ),
            (
                "default",
                "default-timeout-zone-1",
                &["zone-1"],
                "default-timeout-zone-1-c58w24w4vw27f454",
            ),
            (
                "default",
                "redis-zone-1",
                &["zone-1"],
                "redis-zone-1-2v6wfvvcvbc9f55d",
            ),
            (
                "default",
                "redis-zone-2",
                &["zone-2"],
                "redis-zone-2-ff29vc4685c6f594",
            ),
            ("", "ingress-1", &["zone-2"], "ingress-1-d42xfb5b76vxdz7w"),
            (
                "mesh-1",
                "backend-1",
                &["zone-1", "demo-ns"],
                "backend-1-c8676v4d7vwc2ffz",
            ),
            ("default", "echo-1", &["zone-1"], "echo-1-f4bvx7x6bwfv64wz"),
            ("", "ingress-1", &["zone-1"], "ingress-1-d42xfc5b76vxd222"),
            ("default", "edge", &[], "edge-5c75xw87847wvc4c"),
            ("default", "route-1", &[], "route-1-4w55b97x462v7vdz"),
            (
                "",
                "synced-mesh-multi-zone-service",
                &[],
                "synced-mesh-multi-zone-service-4244v574644557w2",
            ),
        ] {
            assert_eq!(hashed_name(mesh, name, extras), expected);
        }
    }

    #[test]
    fn a_long_name_is_cut_so_that_the_result_is_a_name() {
        let hashed = hashed_name("default", &"n".repeat(253), &[]);
        assert_eq!(hashed.len(), 253);
    }
}
