//! What a scalar means: the core schema of YAML 1.2, section 10.3.2.

use saphyr_parser::{ScalarStyle, Tag};
use serde_json::{Number, Value};

const CORE: &str = "tag:yaml.org,2002:";

/// The value of a scalar, or what is wrong with it.
pub(super) fn resolve(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let string = || Value::String(text.to_owned());
    let Some(tag) = tag else {
        return match style {
            ScalarStyle::Plain => plain(text),
            ScalarStyle::SingleQuoted
            | ScalarStyle::DoubleQuoted
            | ScalarStyle::Literal
            | ScalarStyle::Folded => Ok(string()),
        };
    };
    let full = full_name(tag);
    let expected = match full.strip_prefix(CORE) {
        Some("str") => return Ok(string()),
        Some("null") => Value::is_null,
        Some("bool") => Value::is_boolean,
        Some("int") => |v: &Value| v.is_i64() || v.is_u64(),
        Some("float") => Value::is_number,
        // The non-specific tag: no guessing, section 6.9.1.
        _ if full == "!" => return Ok(string()),
        _ => return Err(unsupported(tag)),
    };
    plain(text)
        .ok()
        .filter(expected)
        .ok_or_else(|| format!("{text:?} does not fit its tag {}", shown(tag)))
}

/// Checks the tag of a mapping (`map`) or a sequence (`seq`).
pub(super) fn check_collection_tag(tag: Option<&Tag>, kind: &str) -> Result<(), String> {
    match tag {
        None => Ok(()),
        Some(tag) => {
            let full = full_name(tag);
            if full == "!" || full.strip_prefix(CORE) == Some(kind) {
                Ok(())
            } else {
                Err(unsupported(tag))
            }
        }
    }
}

fn full_name(tag: &Tag) -> String {
    format!("{}{}", tag.handle, tag.suffix)
}

fn shown(tag: &Tag) -> String {
    full_name(tag).replace(CORE, "!!")
}

fn unsupported(tag: &Tag) -> String {
    format!("the tag {} is not supported", shown(tag))
}

fn plain(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    // Most scalars are words: decide on the first byte.
    if !matches!(text.as_bytes()[0], b'0'..=b'9' | b'-' | b'+' | b'.') {
        return Ok(Value::String(text.to_owned()));
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(format!(
            "{text} is not a number that JSON can express; quote it if it is text"
        ));
    }
    if let Some(number) = radix(text) {
        return number;
    }
    if is_decimal(unsigned) {
        return decimal(text);
    }
    Ok(Value::String(text.to_owned()))
}

/// `0x…` and `0o…`, which have no sign.
fn radix(text: &str) -> Option<Result<Value, String>> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text.strip_prefix("0o")?, 8),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    Some(
        u64::from_str_radix(digits, radix)
            .map(Value::from)
            .ok()
            .ok_or_else(|| too_large(text)),
    )
}

/// `digits [. digits] [e [+-] digits]` with a digit before or after the point.
fn is_decimal(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_fits =
        all_digits(whole) && all_digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_fits = exponent.is_none_or(|e| {
        let digits = e.strip_prefix(['-', '+']).unwrap_or(e);
        !digits.is_empty() && all_digits(digits)
    });
    mantissa_fits && exponent_fits
}

fn decimal(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if let Ok(int) = text.parse::<i64>() {
        return Ok(int.into());
    }
    if let Ok(int) = text.parse::<u64>() {
        return Ok(int.into());
    }
    text.parse::<f64>()
        .ok()
        .and_then(Number::from_f64)
        .map(Value::Number)
        .ok_or_else(|| too_large(text))
}

fn too_large(text: &str) -> String {
    format!("the number {text} is too large; quote it if it is text")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for (text, expected) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("Null", json!(null)),
            ("nULL", json!("nULL")),
            ("true", json!(true)),
            ("FALSE", json!(false)),
            ("yes", json!("yes")),
            ("on", json!("on")),
            ("0", json!(0)),
            ("-7", json!(-7)),
            ("+7", json!(7)),
            ("0777", json!(777)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("0o18", json!("0o18")),
            ("0x", json!("0x")),
            ("18446744073709551615", json!(u64::MAX)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1e3", json!(1000.0)),
            ("-1.5E-1", json!(-0.15)),
            ("1.2.3", json!("1.2.3")),
            ("127.0.0.1", json!("127.0.0.1")),
            ("1_000", json!("1_000")),
            ("10s", json!("10s")),
            ("-", json!("-")),
            (".", json!(".")),
            ("1e", json!("1e")),
            ("2026-03-01", json!("2026-03-01")),
        ] {
            assert_eq!(plain(text).as_ref(), Ok(&expected), "{text:?}");
        }
        for bad in [".inf", "-.INF", ".nan", "1e999", "0xFFFFFFFFFFFFFFFFF"] {
            assert!(plain(bad).is_err(), "{bad:?}");
        }
    }
}
