//! The one reader of the wall clock.
//!
//! Everything else takes a [`Timestamp`] as a parameter, or measures with tokio's clock, so that
//! a simulation that fails can be replayed. Wall time is for what people and peers read
//! (creation times, token expiry); it may jump, so it is never used to measure.

use std::cell::Cell;
use std::marker::PhantomData;
use std::time::SystemTime;

use mesh_model::Timestamp;

thread_local! {
    static SIMULATED: Cell<Option<fn() -> Timestamp>> = const { Cell::new(None) };
}

/// While it lives, [`now`] gives simulated time on the thread that made it.
#[derive(Debug)]
#[must_use = "wall-clock time is back when it is dropped"]
pub struct Simulated {
    before: Option<fn() -> Timestamp>,
    /// It belongs to its thread.
    marker: PhantomData<*const ()>,
}

/// Takes the time of this thread from `clock` until the guard is dropped: for simulations, which
/// run whole control planes on one thread.
pub fn simulate(clock: fn() -> Timestamp) -> Simulated {
    Simulated {
        before: SIMULATED.replace(Some(clock)),
        marker: PhantomData,
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        SIMULATED.set(self.before);
    }
}

/// The current wall-clock time, or the [simulated](simulate) one.
///
/// A clock before 1970 or after 2262 gives the end of that range.
pub fn now() -> Timestamp {
    match SIMULATED.get() {
        Some(simulated) => simulated(),
        None => wall_clock(),
    }
}

fn wall_clock() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the wall clock"
    )]
    let now = SystemTime::now();
    let nanos = match now.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    };
    Timestamp::from_unix_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_time_ends_with_its_guard_and_is_no_other_threads() {
        let simulated = simulate(|| Timestamp::from_unix_seconds(7));
        assert_eq!(now(), Timestamp::from_unix_seconds(7));
        let elsewhere = std::thread::spawn(now).join().unwrap();
        assert!(elsewhere > Timestamp::from_unix_seconds(1_000_000_000));
        drop(simulated);
        assert!(now() > Timestamp::from_unix_seconds(1_000_000_000));
    }

    #[test]
    fn now_is_after_the_day_this_was_written_and_does_not_stand_still_for_ever() {
        let written: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
        let first = now();
        assert!(first > written);
        while now() == first {
            std::hint::spin_loop();
        }
    }
}
