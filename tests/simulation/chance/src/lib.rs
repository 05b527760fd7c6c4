//! Takes the place of the system's random numbers in a process that is to replay exactly.
//!
//! Much draws from the system without asking: the order of hash maps, UUIDs, and which branch of
//! `select!` tokio looks at first (unless all of it is built with `--cfg tokio_unstable`, which
//! would build every dependency once more, and still leave the others). All of them end in
//! `getrandom` of the C library. A process that links this crate and calls [`seed`] has this one
//! instead, which counts on from the seed.
//!
//! What was drawn before counts too, so a process plays one seed, in a thread of its own. It must
//! not be linked into anything that needs secrets.

#![warn(missing_docs)]

use std::sync::atomic::{AtomicU64, Ordering};

static STATE: AtomicU64 = AtomicU64::new(0);

/// From now on the numbers of this process are those of `seed`.
pub fn seed(seed: u64) {
    STATE.store(seed, Ordering::SeqCst);
}

/// [SplitMix64](https://prng.di.unimi.it/splitmix64.c).
fn next() -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = STATE.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Fills a buffer, as [getrandom(2)](https://man7.org/linux/man-pages/man2/getrandom.2.html) does.
///
/// # Safety
/// `buffer` is valid for writes of `length` bytes.
#[expect(
    unsafe_code,
    reason = "it is called by its name, from C and from Rust's own library"
)]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    let Ok(filled) = isize::try_from(length) else {
        return -1;
    };
    for at in 0..length {
        let byte = (next() >> 56) as u8;
        // SAFETY: `at` is below `length`, and the caller gave a buffer of that many bytes.
        unsafe { buffer.add(at).write(byte) };
    }
    filled
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::hash::BuildHasher as _;

    fn drawn() -> (u64, u64) {
        // The keys of hash maps are drawn once in a thread.
        let of_thread = std::thread::spawn(|| {
            let map: HashMap<u8, u8> = HashMap::new();
            map.hasher().hash_one(7)
        });
        (of_thread.join().unwrap(), super::next())
    }

    #[test]
    fn the_same_seed_draws_the_same_again() {
        super::seed(7);
        let first = drawn();
        super::seed(7);
        assert_eq!(drawn(), first);
        super::seed(8);
        assert_ne!(drawn(), first);
    }
}
