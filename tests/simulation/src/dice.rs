//! Chance that comes from a seed, and is the same on every machine and with every release of
//! every library: a seed that found something stays worth keeping.

use std::time::Duration;

/// A generator of numbers ([SplitMix64](https://prng.di.unimi.it/splitmix64.c)).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The dice of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Other dice, for a part that is to throw as often as it likes without moving these.
    pub fn fork(&mut self) -> Self {
        Self(self.throw())
    }

    /// The next number.
    pub fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number below `limit`; 0 for a limit of 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = limit.max(1) as u64;
        usize::try_from(self.throw() % limit).unwrap_or_default()
    }

    /// A number from `low` to `high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these; `None` of none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }

    /// A time from `low` to `high` milliseconds.
    pub fn millis(&mut self, low: usize, high: usize) -> Duration {
        Duration::from_millis(self.between(low, high) as u64)
    }
}

/// A number that looks like chance, of one that does not.
pub fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_for_ever() {
        let mut dice = Dice::new(1);
        assert_eq!(dice.throw(), 0x910a_2dec_8902_5cc1);
        let throws: Vec<usize> = (0..8).map(|_| dice.below(6)).collect();
        let mut again = Dice::new(1);
        again.throw();
        assert_eq!(throws, (0..8).map(|_| again.below(6)).collect::<Vec<_>>());
        assert!(throws.iter().all(|throw| *throw < 6));
    }
}
