//! A point in time as a value; nothing here reads a clock.

use std::fmt;
use std::str::FromStr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Nanoseconds since the Unix epoch, UTC; covers the years 1677 to 2262.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// From nanoseconds since the Unix epoch.
    pub const fn from_unix_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From whole seconds since the Unix epoch; saturates at the ends of the range.
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn unix_nanos(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// As a protobuf message.
    pub fn to_proto(self) -> prost_types::Timestamp {
        prost_types::Timestamp {
            seconds: self.unix_seconds(),
            nanos: i32::try_from(self.0.rem_euclid(1_000_000_000))
                .expect("a remainder of 10^9 fits i32"),
        }
    }

    /// From a protobuf message; saturates at the ends of the range.
    pub fn from_proto(proto: &prost_types::Timestamp) -> Self {
        Self(
            proto
                .seconds
                .saturating_mul(1_000_000_000)
                .saturating_add(i64::from(proto.nanos)),
        )
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with as many fraction digits as needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0))
            .expect("the range of i64 nanoseconds is inside that of OffsetDateTime");
        f.write_str(
            &time
                .format(&Rfc3339)
                .expect("years 1677 to 2262 have an RFC 3339 form"),
        )
    }
}

/// Not an RFC 3339 time, or outside the years 1677 to 2262.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an RFC 3339 time such as 2026-03-01T10:00:00Z")]
pub struct ParseTimestampError(String);

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            .and_then(|t| i64::try_from(t.unix_timestamp_nanos()).ok())
            .map(Self)
            .ok_or_else(|| ParseTimestampError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_protobuf_forms_round_trip() {
        let t: Timestamp = "2026-03-01T10:00:00.123456Z".parse().unwrap();
        assert_eq!(t.to_string(), "2026-03-01T10:00:00.123456Z");
        assert_eq!(Timestamp::from_proto(&t.to_proto()), t);
        assert_eq!(Timestamp::EPOCH.to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(
            "2026-03-01T10:00:00+02:00"
                .parse::<Timestamp>()
                .unwrap()
                .to_string(),
            "2026-03-01T08:00:00Z"
        );
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
