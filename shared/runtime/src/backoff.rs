//! How long to wait before trying again.
//!
//! Exponential growth with full jitter: the ceiling starts at a minimum and doubles up to a
//! maximum, and each delay is drawn uniformly from zero to the ceiling, so that many peers that
//! lost the same server don't come back in step
//! (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
//!
//! Growth is that of the crate `backoff`. It is no longer maintained, so this module is the only
//! one that may name it. Its jitter is not full and reads a global generator; ours is seedable.

use std::time::Duration;

use ::backoff::backoff::Backoff as _;
use ::backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// The bounds make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBackoff {
    /// The minimum is zero, so the ceiling could never grow.
    #[error("the minimum delay must be above zero")]
    ZeroMinimum,
    /// The maximum is below the minimum.
    #[error("the maximum delay {max:?} is below the minimum {min:?}")]
    MaximumBelowMinimum {
        /// The minimum asked for.
        min: Duration,
        /// The maximum asked for.
        max: Duration,
    },
    /// The maximum is above a day, beyond what the arithmetic below is exact for.
    #[error("the maximum delay {0:?} is above a day")]
    MaximumTooLong(Duration),
}

/// Delays between attempts. It never gives up; the caller decides when to.
#[derive(Debug)]
pub struct Backoff {
    ceiling: ExponentialBackoff,
    random: StdRng,
}

impl Backoff {
    /// Ceilings from `min`, doubling up to `max`.
    ///
    /// # Errors
    ///
    /// When `min` is zero, or `max` is below `min` or above a day.
    pub fn new(min: Duration, max: Duration) -> Result<Self, InvalidBackoff> {
        Self::build(min, max, StdRng::from_os_rng())
    }

    /// As [`Backoff::new`], but the same seed gives the same delays.
    ///
    /// # Errors
    ///
    /// As [`Backoff::new`].
    pub fn with_seed(min: Duration, max: Duration, seed: u64) -> Result<Self, InvalidBackoff> {
        Self::build(min, max, StdRng::seed_from_u64(seed))
    }

    /// What every stream of ours uses to reconnect: from 100 ms, doubling up to 1 s.
    pub fn reconnect() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(1))
            .expect("100 ms is above zero and below 1 s")
    }

    fn build(min: Duration, max: Duration, random: StdRng) -> Result<Self, InvalidBackoff> {
        if min.is_zero() {
            return Err(InvalidBackoff::ZeroMinimum);
        }
        if max < min {
            return Err(InvalidBackoff::MaximumBelowMinimum { min, max });
        }
        if max > Duration::from_secs(24 * 60 * 60) {
            return Err(InvalidBackoff::MaximumTooLong(max));
        }
        let ceiling = ExponentialBackoffBuilder::new()
            .with_initial_interval(min)
            .with_max_interval(max)
            .with_multiplier(2.0)
            .with_randomization_factor(0.0)
            .with_max_elapsed_time(None)
            .build();
        Ok(Self { ceiling, random })
    }

    /// The delay before the next attempt; the ceiling then doubles.
    pub fn next_delay(&mut self) -> Duration {
        let ceiling = self.ceiling.current_interval;
        // With neither jitter nor a time limit it only advances the ceiling, and never ends.
        let _ = self.ceiling.next_backoff();
        let nanos = u64::try_from(ceiling.as_nanos()).expect("a day of nanoseconds fits u64");
        Duration::from_nanos(self.random.random_range(0..=nanos))
    }

    /// Starts again from the minimum: call it when an attempt succeeded.
    pub fn reset(&mut self) {
        self.ceiling.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(1);

    #[test]
    fn delays_stay_below_a_ceiling_that_doubles_up_to_the_maximum() {
        for seed in 0..200 {
            let mut backoff = Backoff::with_seed(MIN, MAX, seed).unwrap();
            for ceiling in [100, 200, 400, 800, 1000, 1000, 1000] {
                assert!(backoff.next_delay() <= Duration::from_millis(ceiling));
            }
        }
    }

    #[test]
    fn jitter_is_full_the_delays_fill_the_range_from_zero() {
        let mut first: Vec<Duration> = (0..1000)
            .map(|seed| Backoff::with_seed(MIN, MAX, seed).unwrap().next_delay())
            .collect();
        first.sort();
        assert!(first[50] < Duration::from_millis(10), "{:?}", first[50]);
        assert!(first[950] > Duration::from_millis(90), "{:?}", first[950]);
    }

    #[test]
    fn a_reset_starts_from_the_minimum() {
        let mut backoff = Backoff::with_seed(MIN, MAX, 7).unwrap();
        for _ in 0..10 {
            backoff.next_delay();
        }
        backoff.reset();
        assert!(backoff.next_delay() <= MIN);
    }

    #[test]
    fn the_same_seed_gives_the_same_delays() {
        let delays = |seed| {
            let mut backoff = Backoff::with_seed(MIN, MAX, seed).unwrap();
            std::iter::repeat_with(move || backoff.next_delay())
                .take(20)
                .collect::<Vec<_>>()
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }

    #[test]
    fn senseless_bounds_are_refused() {
        let zero = Duration::ZERO;
        assert_eq!(
            Backoff::new(zero, MAX).unwrap_err(),
            InvalidBackoff::ZeroMinimum
        );
        assert!(matches!(
            Backoff::new(MAX, MIN),
            Err(InvalidBackoff::MaximumBelowMinimum { .. })
        ));
        assert!(matches!(
            Backoff::new(MIN, Duration::MAX),
            Err(InvalidBackoff::MaximumTooLong(_))
        ));
        assert!(Backoff::reconnect().next_delay() <= MIN);
    }
}
