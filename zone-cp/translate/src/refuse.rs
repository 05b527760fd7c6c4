//! What Envoy would refuse, found before it is sent.
//!
//! Envoy takes a resource as a whole or not at all, so one bad regex in a route configuration
//! would hold back every other route. Each check here answers "would Envoy take this?" with a
//! reason for people; callers leave the smallest part out and report it. Hostnames are
//! [`crate::host`]'s.

mod command;

use std::collections::BTreeMap;

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::envoy::TAGS_HEADER;

/// The longest header name or value that Envoy takes.
const MAX_HEADER: usize = 16 * 1024;
/// The longest name of a query parameter that Envoy takes.
const MAX_QUERY_NAME: usize = 1024;

/// The most headers that a route sets or adds in requests, or in responses.
const MAX_HEADERS: usize = 1000;

/// The names in `[[:name:]]`.
const POSIX: &[&str] = &[
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// The general categories, as in `\p{name}`.
const CATEGORIES: &[&str] = &[
    "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N",
    "Nd", "Nl", "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So",
    "Z", "Zl", "Zp", "Zs",
];

/// About how many instructions RE2 has room for.
const MAX_SIZE: u64 = 80_000;

/// The most that RE2 repeats something, and the reason for refusing more.
const MAX_REPEAT: u64 = 1000;
const TOO_MANY: &str = "a repetition count is at most 1000, also when several multiply";

/// A regular expression of RE2 (<https://github.com/google/re2/wiki/Syntax>).
pub(crate) fn regex(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() {
        return Err("the regular expression is empty".to_owned());
    }
    let ours = from_re2(pattern).map_err(|reason| not_a_regex(pattern, reason))?;
    let parsed = ParserBuilder::new().build().parse(&ours).map_err(|error| {
        // The last line of the parser's text is the reason; those before draw the pattern.
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default();
        not_a_regex(pattern, reason.strip_prefix("error: ").unwrap_or(reason))
    })?;
    if !repeats_within(&parsed, MAX_REPEAT) {
        return Err(not_a_regex(pattern, TOO_MANY));
    }
    if size(&parsed) > MAX_SIZE {
        return Err(not_a_regex(
            pattern,
            "it is too large once repetitions are written out",
        ));
    }
    Ok(())
}

/// About how many instructions an expression has, and rather fewer.
fn size(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(Class::Unicode(class)) => class.ranges().len() as u64,
        HirKind::Class(Class::Bytes(class)) => class.ranges().len() as u64,
        HirKind::Repetition(repetition) => {
            let count = u64::from(repetition.max.unwrap_or(repetition.min)).max(1);
            size(&repetition.sub).saturating_mul(count)
        }
        HirKind::Capture(capture) => size(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts
            .iter()
            .fold(0, |sum, part| size(part).saturating_add(sum)),
    }
}

/// Whether counted repetitions, one inside the other, multiply to no more than `limit`.
fn repeats_within(hir: &Hir, limit: u64) -> bool {
    match hir.kind() {
        HirKind::Repetition(repetition) => {
            let count = u64::from(repetition.max.unwrap_or(repetition.min)).max(1);
            count <= limit && repeats_within(&repetition.sub, limit / count)
        }
        HirKind::Capture(capture) => repeats_within(&capture.sub, limit),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().all(|part| repeats_within(part, limit))
        }
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => true,
    }
}

fn not_a_regex(pattern: &str, reason: &str) -> String {
    format!("{pattern:?} is not a regular expression: {reason}")
}

/// The same expression in the syntax of our parser, which is RE2's but for a few details; an
/// error for what only our parser would take.
fn from_re2(pattern: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    // Whether what was read last is a repetition, which cannot be repeated again.
    let mut is_repeated = false;
    while let Some(c) = rest.chars().next() {
        let (piece, after) = rest.split_at(c.len_utf8());
        rest = after;
        let was_repeated = std::mem::take(&mut is_repeated);
        match c {
            '\\' => rest = escape(rest, &mut out)?,
            '[' => rest = class(rest, &mut out)?,
            '*' | '+' | '?' | '{' => {
                let length = if c == '{' { bounds(rest)? } else { Some(0) };
                let Some(length) = length else {
                    out.push_str("\\{");
                    continue;
                };
                if was_repeated {
                    return Err("a repetition cannot be repeated");
                }
                out.push_str(piece);
                out.push_str(&rest[..length]);
                rest = &rest[length..];
                if let Some(after) = rest.strip_prefix('?') {
                    out.push('?');
                    rest = after;
                }
                is_repeated = true;
            }
            '(' => {
                out.push('(');
                if let Some(flags) = rest.strip_prefix('?') {
                    let end = flags.find([':', ')']).unwrap_or(flags.len());
                    let is_named = flags.starts_with("P<") || flags.starts_with('<');
                    // Our parser has words of its own for those.
                    let is_look_around = flags.starts_with(['=', '!']);
                    if !is_named
                        && !is_look_around
                        && flags[..end].contains(|c| !"imsU-".contains(c))
                    {
                        return Err("the flags are i, m, s and U");
                    }
                    // A question mark that is no repetition.
                    out.push('?');
                    rest = flags;
                }
            }
            _ => out.push_str(piece),
        }
    }
    Ok(out)
}

/// What follows a backslash.
fn escape<'a>(rest: &'a str, out: &mut String) -> Result<&'a str, &'static str> {
    let Some(c) = rest.chars().next() else {
        return Err("it ends with a backslash");
    };
    let after = &rest[c.len_utf8()..];
    match c {
        'Q' => {
            let (literal, after) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex_syntax::escape(literal));
            return Ok(after);
        }
        'C' => out.push('.'),
        'p' | 'P' => return property(c, after, out),
        'u' | 'U' | '<' | '>' => return Err("RE2 does not know one of its escapes"),
        'b' if after.starts_with('{') => return Err("RE2 does not know \\b{}"),
        _ => {
            out.push('\\');
            out.push(c);
        }
    }
    Ok(after)
}

/// What follows `\p` or `\P`: a general category, or a script.
fn property<'a>(escape: char, rest: &'a str, out: &mut String) -> Result<&'a str, &'static str> {
    const UNKNOWN: &str = "it has a Unicode class that is no general category or script";
    let (name, after) = match rest.strip_prefix('{') {
        Some(rest) => rest.split_once('}').ok_or(UNKNOWN)?,
        None => rest.split_at(rest.chars().next().map_or(0, char::len_utf8)),
    };
    let (is_negated, name) = match name.strip_prefix('^') {
        Some(name) => (escape == 'p', name),
        None => (escape == 'P', name),
    };
    let kind = if name == "Any" || CATEGORIES.contains(&name) {
        "gc"
    } else if is_script(name) {
        "sc"
    } else {
        return Err(UNKNOWN);
    };
    out.push_str(if is_negated { "\\P{" } else { "\\p{" });
    out.push_str(kind);
    out.push('=');
    out.push_str(name);
    out.push('}');
    Ok(after)
}

/// Whether a name may be that of a script, as it is written in full; our parser knows which there
/// are, and more ways to write them.
fn is_script(name: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_uppercase())
            && word.bytes().all(|b| b.is_ascii_alphabetic())
            && word.bytes().any(|b| b.is_ascii_lowercase())
    };
    // Others of this length are the codes of scripts.
    let is_code = name.len() == 4 && !["Ahom", "Cham", "Lisu", "Thai", "Toto"].contains(&name);
    !is_code && name.split('_').all(is_word)
}

/// What follows an opening bracket, up to the closing one.
fn class<'a>(rest: &'a str, out: &mut String) -> Result<&'a str, &'static str> {
    out.push('[');
    let mut rest = rest;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut is_first = true;
    while let Some(c) = rest.chars().next() {
        let (piece, mut after) = rest.split_at(c.len_utf8());
        match c {
            ']' if !is_first => {
                out.push(']');
                return Ok(after);
            }
            '\\' => {
                let next = after.chars().next();
                after = &after[next.map_or(0, char::len_utf8)..];
                if let Some(c @ ('p' | 'P')) = next {
                    after = property(c, after, out)?;
                } else {
                    out.push('\\');
                    out.extend(next);
                }
            }
            '[' if after.starts_with(':') && after.contains(":]") => {
                let (name, rest) = after[1..].split_once(":]").unwrap_or_default();
                if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
                    return Err("it has a character class of an unknown name");
                }
                out.push_str("[:");
                out.push_str(name);
                out.push_str(":]");
                after = rest;
            }
            '-' if after.starts_with('-') => {
                return Err("it has a range that ends with a dash, or begins with one");
            }
            // Plain characters there, operators to our parser.
            '[' | ']' | '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push_str(piece),
        }
        is_first = false;
        rest = after;
    }
    Ok(rest)
}

/// The length of `n}`, `n,}` or `n,m}` at the start; without one, the brace before is literal.
fn bounds(rest: &str) -> Result<Option<usize>, &'static str> {
    let Some(end) = rest.find('}') else {
        return Ok(None);
    };
    let (low, high) = rest[..end].split_once(',').unwrap_or((&rest[..end], "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(low) || !(high.is_empty() || is_number(high)) {
        return Ok(None);
    }
    let is_small =
        |text: &str| text.is_empty() || text.parse::<u64>().is_ok_and(|n| n <= MAX_REPEAT);
    if is_small(low) && is_small(high) {
        Ok(Some(end + 1))
    } else {
        Err(TOO_MANY)
    }
}

/// The name of a header to compare with.
pub(crate) fn match_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        Err("the name is empty".to_owned())
    } else if name.len() > MAX_HEADER {
        Err("the name is too long".to_owned())
    } else if has_line_end(name) {
        Err(format!("{name:?} has a line end in it"))
    } else {
        Ok(())
    }
}

/// The name of a query parameter to compare with.
pub(crate) fn query_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        Err("the name is empty".to_owned())
    } else if name.len() > MAX_QUERY_NAME {
        Err("the name is too long".to_owned())
    } else {
        Ok(())
    }
}

/// A header to set, add or remove.
///
/// Envoy does not let configuration modify `host` or pseudo-headers
/// (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#custom-request-response-headers>).
pub(crate) fn changed_header(name: &str) -> Result<(), String> {
    match_name(name)?;
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        return Err(format!(
            "Envoy does not let the header {name:?} be changed so"
        ));
    }
    Ok(())
}

/// The name of a header to set or add. Not one that Envoy would refuse: backends go by what this
/// one says of where a request comes from.
pub(crate) fn set_header(name: &str) -> Result<(), String> {
    if name.eq_ignore_ascii_case(TAGS_HEADER) {
        return Err(format!(
            "the header {TAGS_HEADER} tells backends the tags of the gateway; a route can remove \
             it, and not set it"
        ));
    }
    Ok(())
}

/// Whether a route that sets or adds so many headers can do so with one more.
pub(crate) fn one_more_header(count: usize) -> Result<(), String> {
    if count < MAX_HEADERS {
        Ok(())
    } else {
        Err(format!(
            "a rule sets and adds at most {MAX_HEADERS} headers; this one is left out"
        ))
    }
}

/// The value of a header to set or add: a text in which `%` begins a command, or is doubled. It may
/// be a secret, so reasons do not repeat it.
pub(crate) fn header_value(value: &str) -> Result<(), String> {
    if value.len() > MAX_HEADER {
        return Err("the value is too long".to_owned());
    }
    if has_line_end(value) {
        return Err("the value has a line end in it".to_owned());
    }
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('%') {
        rest = after
            .strip_prefix('%')
            .or_else(|| command::skip(after))
            .ok_or_else(|| {
                let at = value[..value.len() - after.len()].chars().count();
                format!(
                    "the % that is character {at} of the value begins no command that Envoy \
                     knows; write %% for a percent sign"
                )
            })?;
    }
    Ok(())
}

/// A text that becomes a part of a header: a host, or a path.
pub(crate) fn line(text: &str) -> Result<(), String> {
    if has_line_end(text) {
        Err(format!("{text:?} has a line end in it"))
    } else {
        Ok(())
    }
}

/// The weights of a rule's clusters, each added up.
pub(crate) fn weights<N>(weights: BTreeMap<N, u64>) -> Result<Vec<(N, u32)>, String> {
    let sum: u64 = weights.values().sum();
    if sum == 0 {
        return Err("all weights are 0".to_owned());
    }
    if sum > u64::from(u32::MAX) {
        return Err("the sum of the weights is too large".to_owned());
    }
    Ok(weights
        .into_iter()
        .map(|(name, weight)| (name, u32::try_from(weight).expect("no more than the sum")))
        .collect())
}

fn has_line_end(text: &str) -> bool {
    text.contains(['\0', '\r', '\n'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regexes_are_those_of_re2() {
        for good in [
            "/v[0-9]+/.*",
            "^/api/v[0-9]+$",
            r"\Qa.b[\E.*",
            r"(?i)a(?P<x>b)",
            "[[:alpha:]]",
            r"\pL\d{1,1000}",
            "(a{100}){10}",
            "[a&&b[]",
            "[]a]{",
            "x{,5}",
            "a{2,}?",
            r"(?i-s:a)(?U)b",
            r"\p{Greek}\pN\P{Lu}[\p{^Old_Italic}\PZ]\p{Thai}",
            r"\pL{50}",
        ] {
            assert_eq!(regex(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "(",
            "[a",
            "a**",
            "a{2}{3}",
            "(?=x)",
            r"(a)\1",
            "a{1001}",
            "(?x)a",
            r"\u0041",
            "*",
            "a\\",
            "[[:foo:]]",
            "[a--b]",
            "(?-u)a",
            "(?i-x:a)",
            r"\p{Alphabetic}",
            r"[\p{Alphabetic}]",
            r"\p{greek}",
            r"\p{Grek}",
            r"\p{Lowercase_Letter}",
            r"\pL{1000}",
        ] {
            assert!(regex(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn host_and_pseudo_headers_cannot_be_changed() {
        for bad in ["", "Host", "HOST", ":authority", ":path", "a\nb"] {
            assert!(changed_header(bad).is_err(), "{bad}");
        }
        assert_eq!(changed_header("x-host"), Ok(()));
    }

    #[test]
    fn the_header_with_the_tags_of_the_gateway_is_not_set() {
        assert!(set_header("X-Kuma-Tags").is_err());
        assert_eq!(set_header("x-tags"), Ok(()));
        assert_eq!(changed_header("x-kuma-tags"), Ok(()), "it can be removed");
    }

    #[test]
    fn headers_are_no_more_than_envoy_takes() {
        assert_eq!(one_more_header(999), Ok(()));
        assert!(one_more_header(1000).is_err());
    }

    #[test]
    fn reasons_do_not_repeat_values() {
        for value in ["Bearer %s3cret", "s3cret\n", "s3cret%FOO%"] {
            let reason = header_value(value).unwrap_err();
            assert!(!reason.contains("s3cret"), "{reason}");
        }
        let reason = header_value("é%% 9%").unwrap_err();
        assert!(reason.contains("character 6"), "{reason}");
    }

    #[test]
    fn a_percent_sign_is_doubled_or_begins_a_command() {
        for good in [
            "",
            "100%%",
            "%REQ(x-a?y)%",
            "a %DOWNSTREAM_REMOTE_ADDRESS% b",
            "%START_TIME(%Y/%m)%%%",
            "%REQ(a):5%",
        ] {
            assert_eq!(header_value(good), Ok(()), "{good}");
        }
        for bad in ["100%", "% a%", "%FOO%", "%REQ(x", "%REQ(x%", "a\r\nb"] {
            assert!(header_value(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn weights_have_a_sum_between_1_and_the_largest_number() {
        let sum_of = |pair: [u64; 2]| weights(BTreeMap::from([("a", pair[0]), ("b", pair[1])]));
        assert!(sum_of([0, 0]).is_err());
        assert!(sum_of([u64::from(u32::MAX), 1]).is_err());
        assert_eq!(
            sum_of([0, u64::from(u32::MAX)]),
            Ok(vec![("a", 0), ("b", u32::MAX)])
        );
    }
}
