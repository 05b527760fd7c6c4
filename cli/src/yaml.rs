//! Printing JSON values as YAML that a person would write and any YAML parser reads back.
//!
//! **Invariant:** reading the result gives the value that was printed, also by the rules of
//! YAML 1.1, where `yes` is a boolean and `1:30` a number.

use serde_json::{Map, Value};

/// The value as one YAML document, ending with a line end.
pub(crate) fn to_string(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => mapping(&mut text, fields, 0, false),
        Value::Array(items) if !items.is_empty() => sequence(&mut text, items, 0),
        other => {
            inline(&mut text, other, 0);
            text.push('\n');
        }
    }
    text
}

/// `is_first_inline`: the first key goes on the current line, behind the dash of a sequence.
fn mapping(text: &mut String, fields: &Map<String, Value>, indent: usize, is_first_inline: bool) {
    for (index, (key, value)) in fields.iter().enumerate() {
        if index > 0 || !is_first_inline {
            pad(text, indent);
        }
        text.push_str(&key_text(key));
        text.push(':');
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                text.push('\n');
                mapping(text, fields, indent + 2, false);
            }
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                sequence(text, items, indent);
            }
            other => {
                text.push(' ');
                inline(text, other, indent);
                text.push('\n');
            }
        }
    }
}

fn sequence(text: &mut String, items: &[Value], indent: usize) {
    for item in items {
        pad(text, indent);
        text.push('-');
        match item {
            Value::Object(fields) if !fields.is_empty() => {
                text.push(' ');
                mapping(text, fields, indent + 2, true);
            }
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                sequence(text, items, indent + 2);
            }
            other => {
                text.push(' ');
                inline(text, other, indent);
                text.push('\n');
            }
        }
    }
}

fn pad(text: &mut String, indent: usize) {
    text.extend(std::iter::repeat_n(' ', indent));
}

/// A scalar or an empty collection.
fn inline(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(string) if is_block(string) => block(text, string, indent + 2),
        Value::String(string) => text.push_str(&scalar(string)),
        // JSON is YAML.
        other => text.push_str(&other.to_string()),
    }
}

fn scalar(string: &str) -> String {
    if is_plain(string) {
        string.to_owned()
    } else if string.chars().all(|c| (' '..='~').contains(&c)) && !string.contains(['\'', '\\']) {
        format!("'{string}'")
    } else {
        quoted(string)
    }
}

/// A JSON string with what YAML does not print escaped as well.
fn quoted(string: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for c in Value::from(string).to_string().chars() {
        match c {
            '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                write!(text, "\\u{:04x}", u32::from(c)).expect("writing to a String cannot fail");
            }
            c => text.push(c),
        }
    }
    text
}

fn key_text(key: &str) -> String {
    // Longer keys need another notation, which nothing here ever has.
    scalar(key)
}

/// Whether a text means itself without quotes.
fn is_plain(string: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-./*+@=%$()<>^~ ".contains(c);
    let allowed_first = |c: char| c.is_ascii_alphanumeric() || "_./$(".contains(c);
    string.chars().all(|c| allowed(c) || c == ':')
        && string.chars().next().is_some_and(allowed_first)
        && !string.ends_with([' ', ':'])
        && !string.contains(": ")
        && !string.starts_with("..")
        && !means_another_type(string)
}

fn means_another_type(string: &str) -> bool {
    const WORDS: &[&str] = &[
        "null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", ".nan", ".inf",
    ];
    let lower = string.to_ascii_lowercase();
    let is_date = string.len() >= 8
        && string.as_bytes()[..4].iter().all(u8::is_ascii_digit)
        && string.as_bytes()[4] == b'-';
    let is_address = string.matches('.').count() > 1 && !string.contains(':');
    let is_number = string.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && lower
            .chars()
            .all(|c| c.is_ascii_hexdigit() || "._:+-xo".contains(c))
        && !is_address;
    WORDS.contains(&lower.as_str()) || is_date || is_number
}

/// Whether a text of several lines can be written as it is.
fn is_block(string: &str) -> bool {
    string.trim_end_matches('\n').contains('\n')
        && !string.starts_with([' ', '\n', '\t'])
        && !string.ends_with("\n\n")
        && string
            .chars()
            .all(|c| c == '\n' || (' '..='~').contains(&c))
        && string.lines().all(|line| !line.ends_with(' '))
}

fn block(text: &mut String, string: &str, indent: usize) {
    text.push_str(if string.ends_with('\n') { "|" } else { "|-" });
    for line in string.lines() {
        text.push('\n');
        if !line.is_empty() {
            pad(text, indent);
            text.push_str(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_runtime::yaml::parse;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn back(value: &Value) -> Value {
        let text = to_string(value);
        match parse(&text)
            .unwrap_or_else(|e| panic!("{e}:\n{text}"))
            .as_slice()
        {
            [document] => document.value.clone(),
            other => panic!("{} documents:\n{text}", other.len()),
        }
    }

    #[test]
    fn it_looks_as_a_person_would_write_it() {
        let value = json!({
            "type": "MeshGateway",
            "selectors": [{"match": {"kuma.io/service": "edge"}}],
            "conf": {"listeners": [
                {"hostname": "*.example.com", "port": 8080, "tags": {}, "on": true},
                [1, "2", [], "127.0.0.1"],
            ]},
            "time": "2026-03-01T10:00:00Z",
            "pem": "-----BEGIN\nabc\n-----END\n",
            "none": null,
        });
        let text = "\
type: MeshGateway
selectors:
- match:
    kuma.io/service: edge
conf:
  listeners:
  - hostname: '*.example.com'
    port: 8080
    tags: {}
    'on': true
  -
    - 1
    - '2'
    - []
    - 127.0.0.1
time: '2026-03-01T10:00:00Z'
pem: |
  -----BEGIN
  abc
  -----END
none: null
";
        assert_eq!(to_string(&value), text);
        assert_eq!(back(&value), value);
    }

    #[test]
    fn text_stays_text() {
        for text in [
            "",
            " ",
            "a ",
            "a: b",
            "a #b",
            "~",
            "null",
            "Yes",
            "1",
            "1.5",
            "0x1f",
            "1e3",
            "1:30",
            "-",
            "- a",
            "?",
            "a:",
            "&a",
            "*a",
            "!a",
            "|",
            ">",
            "%a",
            "@a",
            "`a",
            "'",
            "\"",
            "\\",
            "\n",
            "a\nb",
            "a\nb\n",
            "a\n\nb",
            " a\nb",
            "a\n\n",
            "\t",
            "é",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "...",
            "---",
            "--- a",
            "a\r\nb",
            "{a}",
            "[a]",
            "<<",
            "=",
            ".5",
            "+1",
            "0o7",
            "2026-03-01",
            "1_000",
            ".inf",
            "null ",
        ] {
            let value = json!({ "k": text, "l": [text] });
            assert_eq!(back(&value), value, "{}", to_string(&value));
            assert_eq!(back(&json!(text)), json!(text));
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-zA-Z0-9 :#'\"\n{}\\[\\],&*!|>%@`~.+-]{0,8}".prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z<:# -]{0,6}", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_printed_can_be_read(value in values()) {
            // A document that is nothing is no document.
            prop_assume!(!value.is_null());
            prop_assert_eq!(back(&value), value);
        }
    }
}
