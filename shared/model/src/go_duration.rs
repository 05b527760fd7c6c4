//! Durations as the field writes them: `1h30m`, `500ms`, `1.5s`, and protobuf JSON's `1.500s`.
//!
//! The input syntax is that of Go's [`time.ParseDuration`](https://pkg.go.dev/time#ParseDuration),
//! because that is what users have in their files. Values are nanoseconds in an `i64`, which is
//! also Go's range: about 292 years either way.

use std::fmt::Write as _;
use std::time::Duration;

/// The text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration such as \"1h30m\", \"1.5s\" or \"500ms\": {why}")]
pub struct ParseDurationError {
    text: String,
    why: &'static str,
}

const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),  // the micro sign
    ("\u{3bc}s", 1_000), // the Greek letter mu
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
];

const SECOND: i64 = 1_000_000_000;

/// The duration that `text` says, in nanoseconds.
///
/// # Errors
/// When it is not of the form `[-+]` then numbers (with fractions) each followed by a unit of
/// `ns`, `us`, `µs`, `ms`, `s`, `m`, `h`, or plain `0`; or when it does not fit an `i64`.
pub fn parse(text: &str) -> Result<i64, ParseDurationError> {
    parse_nanos(text).map_err(|why| ParseDurationError {
        text: text.to_owned(),
        why,
    })
}

/// The duration that `text` says, which must not be negative.
///
/// # Errors
/// As for [`parse`], and when the duration is below zero.
pub fn parse_unsigned(text: &str) -> Result<Duration, ParseDurationError> {
    let nanos = parse(text)?;
    let nanos = u64::try_from(nanos).map_err(|_negative| ParseDurationError {
        text: text.to_owned(),
        why: "it is negative",
    })?;
    Ok(Duration::from_nanos(nanos))
}

fn parse_nanos(text: &str) -> Result<i64, &'static str> {
    const TOO_LARGE: &str = "it is too large";
    let (is_negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err("it is empty");
    }
    // i128 so that i64::MIN can be reached from below zero.
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (whole, after_whole) = digits(rest);
        let (fraction, after_number) = match after_whole.strip_prefix('.') {
            Some(after_dot) => digits(after_dot),
            None => ("", after_whole),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err("a number is missing");
        }
        let unit_len = after_number
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after_number.len());
        let (unit, after_unit) = after_number.split_at(unit_len);
        if unit.is_empty() {
            return Err("a unit is missing");
        }
        let (_, scale) = UNITS
            .into_iter()
            .find(|(name, _)| *name == unit)
            .ok_or("the units are ns, us, ms, s, m and h")?;

        let mut part: i128 = 0;
        for digit in whole.bytes() {
            part = part * 10 + i128::from(digit - b'0');
            if part > i128::from(u64::MAX) {
                return Err(TOO_LARGE);
            }
        }
        total += part * i128::from(scale);
        // What a digit stands for shrinks tenfold each time; below a nanosecond nothing is left.
        let mut numerator: i128 = 0;
        let mut denominator: i128 = 1;
        for digit in fraction.bytes().take(15) {
            numerator = numerator * 10 + i128::from(digit - b'0');
            denominator *= 10;
        }
        total += numerator * i128::from(scale) / denominator;
        if total > 1 << 63 {
            return Err(TOO_LARGE);
        }
        rest = after_unit;
    }
    i64::try_from(if is_negative { -total } else { total }).or(Err(TOO_LARGE))
}

/// Splits off the leading ASCII digits.
fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// The form Go prints: `1h30m0s`, `1.5s`, `500ms`, `250µs`, `0s`.
pub fn format(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let all = nanos.unsigned_abs();
    let second = SECOND.unsigned_abs();
    let mut out = String::from(sign);
    match all {
        0 => out.push_str("0s"),
        1..1_000 => {
            let _ = write!(out, "{all}ns");
        }
        1_000..1_000_000 => write_decimal(&mut out, all, 1_000, "\u{b5}s"),
        _ if all < second => write_decimal(&mut out, all, 1_000_000, "ms"),
        _ => {
            let (hours, minutes) = (all / second / 3600, all / second / 60 % 60);
            if hours > 0 {
                let _ = write!(out, "{hours}h");
            }
            if hours > 0 || minutes > 0 {
                let _ = write!(out, "{minutes}m");
            }
            write_decimal(&mut out, all % (60 * second), second, "s");
        }
    }
    out
}

/// Writes `value / unit` with as many fraction digits as needed.
fn write_decimal(out: &mut String, value: u64, unit: u64, name: &str) {
    let _ = write!(out, "{}", value / unit);
    let mut rest = value % unit;
    if rest > 0 {
        out.push('.');
        let mut scale = unit / 10;
        while rest > 0 {
            let _ = write!(out, "{}", rest / scale);
            rest %= scale;
            scale /= 10;
        }
    }
    out.push_str(name);
}

/// The form of protobuf JSON: seconds with 0, 3, 6 or 9 fraction digits, such as `1.500s`.
///
/// Takes the two numbers of `google.protobuf.Duration`; they may be anything, as they come from
/// peers. Nanoseconds beyond a second are cut to the largest fraction.
pub fn format_proto(seconds: i64, nanos: i32) -> String {
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let fraction = nanos.unsigned_abs().min(999_999_999);
    format!(
        "{sign}{}{}s",
        seconds.unsigned_abs(),
        fraction_digits(fraction)
    )
}

/// `""`, `".500"`, `".000500"` or `".000000001"`: 0, 3, 6 or 9 digits, whatever suffices.
pub(crate) fn fraction_digits(nanos: u32) -> String {
    if nanos == 0 {
        String::new()
    } else if nanos.is_multiple_of(1_000_000) {
        format!(".{:03}", nanos / 1_000_000)
    } else if nanos.is_multiple_of(1_000) {
        format!(".{:06}", nanos / 1_000)
    } else {
        format!(".{nanos:09}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_reads_is_read() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("1ns", 1),
            ("1us", 1_000),
            ("1µs", 1_000),
            ("1μs", 1_000),
            ("500ms", 500_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1h30m0.001s", 5_400_001_000_000),
            ("-1m", -60_000_000_000),
            ("+5s", 5_000_000_000),
            ("1s1s", 2_000_000_000),
            ("0.3333333333333333333h", 1_199_999_999_999),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            assert_eq!(parse(text), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for text in [
            "",
            "-",
            "+",
            "3",
            "s",
            ".",
            ".s",
            "1d",
            "1 s",
            " 1s",
            "1S",
            "--1s",
            "1.2.3s",
            "1e3s",
            "yesterday",
            "9223372036854775808ns",
            "3000000h",
            "99999999999999999999999999999999999999999999h",
            "1s-1s",
            "١s",
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.to_string().contains("1h30m"), "{error}");
        }
        assert!(parse_unsigned("-1s").is_err());
        assert_eq!(parse_unsigned("1s"), Ok(Duration::from_secs(1)));
    }

    #[test]
    fn printed_as_go_prints_and_read_again() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (60_000_000_000, "1m0s"),
            (5_400_000_000_000, "1h30m0s"),
            (-5_400_000_000_001, "-1h30m0.000000001s"),
            (3_600_000_000_000, "1h0m0s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(format(nanos), text);
            assert_eq!(parse(text), Ok(nanos));
        }
    }

    #[test]
    fn protobuf_json_has_0_3_6_or_9_digits() {
        for (seconds, nanos, text) in [
            (0, 0, "0s"),
            (5, 0, "5s"),
            (1, 500_000_000, "1.500s"),
            (0, 500_000, "0.000500s"),
            (0, 1, "0.000000001s"),
            (-1, -500_000_000, "-1.500s"),
            (0, -1_000_000, "-0.001s"),
            (i64::MIN, i32::MIN, "-9223372036854775808.999999999s"),
        ] {
            assert_eq!(format_proto(seconds, nanos), text);
        }
    }
}
