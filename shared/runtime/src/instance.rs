//! The identity of one run of a process.

use std::sync::LazyLock;

/// `<hostname>-<4 hex digits>`, made once per process.
///
/// Another run of the same program on the same host has another id, so what an earlier run left
/// behind (an open subscription in an insight) can be told from what this one made.
pub fn instance_id() -> &'static str {
    static ID: LazyLock<String> = LazyLock::new(new_id);
    &ID
}

/// The host's name as the kernel has it; `localhost` if it has none.
pub fn hostname() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name.into_owned()
    }
}

fn new_id() -> String {
    format!("{}-{:04x}", hostname(), rand::random::<u16>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_stable_within_a_process_and_differs_between_runs() {
        assert_eq!(instance_id(), instance_id());
        let (host, suffix) = instance_id().rsplit_once('-').unwrap();
        assert_eq!(host, hostname());
        assert!(suffix.len() == 4 && suffix.bytes().all(|b| b.is_ascii_hexdigit()));

        // 16 bits may collide once; twenty equal ids in a row are no accident.
        assert!((0..20).map(|_| new_id()).any(|id| id != instance_id()));
    }
}
