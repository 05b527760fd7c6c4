//! The one reader of the wall clock.
//!
//! Everything else takes a [`Timestamp`] as a parameter, or measures with tokio's clock, so that
//! a simulation that fails can be replayed. Wall time is for what people and peers read
//! (creation times, token expiry); it may jump, so it is never used to measure.

use std::time::SystemTime;

use mesh_model::Timestamp;

/// The current wall-clock time.
///
/// A clock before 1970 or after 2262 gives the end of that range.
pub fn now() -> Timestamp {
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
    fn now_is_after_the_day_this_was_written_and_does_not_stand_still_for_ever() {
        let written: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
        let first = now();
        assert!(first > written);
        while now() == first {
            std::hint::spin_loop();
        }
    }
}
