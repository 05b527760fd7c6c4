use proptest::prelude::*;
use serde_json::json;

use super::*;

fn one(text: &str) -> Document {
    let mut documents = parse(text).unwrap();
    assert_eq!(documents.len(), 1, "{text:?}");
    documents.remove(0)
}

fn value(text: &str) -> Value {
    one(text).value
}

fn error(text: &str) -> Error {
    parse(text).unwrap_err()
}

const GATEWAY: &str = r#"# A comment first.
type: MeshGateway
mesh: default
name: edge
conf:
  listeners:
    - port: 8080
      tags: {vhost: "foo"}
    - port: 8443
      hostname: '*.example.com'
tags:
  kuma.io/service: edge
"#;

#[test]
fn a_resource_becomes_json_with_its_order_kept() {
    let document = one(GATEWAY);
    assert_eq!(
        document.value.to_string(),
        json!({
            "type": "MeshGateway", "mesh": "default", "name": "edge",
            "conf": {"listeners": [
                {"port": 8080, "tags": {"vhost": "foo"}},
                {"port": 8443, "hostname": "*.example.com"},
            ]},
            "tags": {"kuma.io/service": "edge"},
        })
        .to_string()
    );
}

#[test]
fn field_paths_lead_to_lines() {
    let document = one(GATEWAY);
    assert_eq!(document.first_line, 2);
    for (path, line) in [
        ("", Some(2)),
        ("type", Some(2)),
        ("conf", Some(5)),
        ("conf.listeners", Some(6)),
        ("conf.listeners[0]", Some(7)),
        ("conf.listeners[0].tags.vhost", Some(8)),
        ("conf.listeners[1].port", Some(9)),
        (r#"tags["kuma.io/service"]"#, Some(12)),
        ("conf.listeners[2]", None),
        ("conf.listener", None),
        ("type.x", None),
        ("..", None),
    ] {
        assert_eq!(document.line_of(path), line, "{path}");
    }
    assert_eq!(document.nearest_line("conf.listeners[1].protocol"), 9);
    assert_eq!(document.nearest_line("spec.targetRef"), 2);
}

#[test]
fn several_documents_keep_their_lines_and_empty_ones_are_left_out() {
    let documents = parse("---\na: 1\n---\n# nothing\n---\nb: 2\n---\n").unwrap();
    let lines: Vec<_> = documents.iter().map(|d| d.first_line).collect();
    assert_eq!(lines, [2, 6]);
    assert_eq!(documents[1].value, json!({"b": 2}));
    assert_eq!(documents[1].line_of("b"), Some(6));
    for empty in [
        "",
        "\n\n",
        "# only a comment\n",
        "---\n",
        "---\n---\n",
        "\u{feff}",
    ] {
        assert!(parse(empty).unwrap().is_empty(), "{empty:?}");
    }
    assert_eq!(value("null"), json!(null));
}

#[test]
fn json_is_yaml() {
    assert_eq!(
        value(r#"{"a": [1, 2.5, "x", null, true], "b": {}}"#),
        json!({"a": [1, 2.5, "x", null, true], "b": {}})
    );
}

#[test]
fn quoted_and_block_scalars_stay_text() {
    assert_eq!(
        value("a: '1'\nb: \"true\"\nc: |\n  1\nd: >-\n  2\n  3\ne: !!str 5\nf: ! 6\n"),
        json!({"a": "1", "b": "true", "c": "1\n", "d": "2 3", "e": "5", "f": "6"})
    );
}

#[test]
fn keys_are_the_text_as_written() {
    assert_eq!(
        value("80: a\ntrue: b\n1.10: c\n'quoted': d\n"),
        json!({"80": "a", "true": "b", "1.10": "c", "quoted": "d"})
    );
    assert_eq!(error(": a").message, "a key is missing before ':'");
    assert!(error("? [a]\n: b\n").message.contains("must be text"));
}

#[test]
fn anchors_aliases_and_merge_keys() {
    let text = "\
base: &base
  port: 80
  protocol: HTTP
one:
  <<: *base
  port: 81
two: *base
three:
  <<: [{port: 1}, *base]
name: &n edge
*n : 5
";
    let document = one(text);
    assert_eq!(
        document.value["one"],
        json!({"port": 81, "protocol": "HTTP"})
    );
    assert_eq!(
        document.value["two"],
        json!({"port": 80, "protocol": "HTTP"})
    );
    assert_eq!(
        document.value["three"],
        json!({"port": 1, "protocol": "HTTP"})
    );
    assert_eq!(document.value["edge"], json!(5));
    assert_eq!(document.line_of("two"), Some(7));
    // What an alias repeats stands where its anchor is.
    assert_eq!(document.line_of("two.port"), Some(2));
    assert_eq!(document.line_of("one.protocol"), Some(3));
    assert_eq!(document.line_of("one.port"), Some(6));
    assert!(
        error("a: &a [*a]")
            .message
            .contains("inside what it refers to")
    );
    assert!(error("<<: 5").message.contains("merges mappings"));
    assert_eq!(error("a: *nowhere").line, 1);
}

#[test]
fn errors_say_where() {
    let twice = error("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n");
    assert_eq!((twice.line, twice.column), (5, 3));
    assert_eq!(
        twice.message,
        "the key \"c\" is given twice, first on line 3"
    );
    assert_eq!(
        twice.to_string(),
        format!("line 5, column 3: {}", twice.message)
    );
    assert_eq!(error("1: a\n'1': b\n").line, 2);

    let broken = error("a: 1\nb: [1, 2\nc: 3\n");
    assert!(broken.line >= 2, "{broken}");
    assert_eq!(error("a: 1\nb: .inf\n").line, 2);
    let tag = error("a: !secret x");
    assert!(tag.message.contains("!secret"), "{tag}");
    assert!(error("a: !!int x").message.contains("does not fit"));
    assert!(error("a: !!set {x}").message.contains("not supported"));
    // A failure in a later document fails the whole text.
    assert_eq!(error("a: 1\n---\nb: 1\nb: 2\n").line, 4);
}

#[test]
fn the_size_limit_is_the_callers_and_is_stated() {
    let error = parse_with_limit("a: 12345", 7).unwrap_err();
    assert_eq!(error.message, "the text has 8 bytes, at most 7 are allowed");
    assert!(parse_with_limit("a: 1234", 7).is_ok());
}

#[test]
fn deep_nesting_is_refused_and_does_not_exhaust_the_stack() {
    assert!(parse(&"[".repeat(100_000)).is_err());
    assert!(parse(&"{a: ".repeat(100_000)).is_err());
    assert!(parse(&"- ".repeat(100_000)).is_err());
    let nest = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
    assert!(parse(&nest(MAX_DEPTH)).is_ok());
    let deep = error(&nest(MAX_DEPTH + 1));
    assert!(deep.message.contains("nested deeper"), "{deep}");
    // Also when the depth comes from aliases.
    let mut text = format!("a0: &a0 {}\n", nest(30));
    for n in 1..5 {
        text.push_str(&format!(
            "a{n}: &a{n} {}*a{}{}\n",
            "[".repeat(25),
            n - 1,
            "]".repeat(25)
        ));
    }
    assert!(error(&text).message.contains("nested deeper"));
}

#[test]
fn aliases_that_explode_are_refused() {
    let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for n in 1..12 {
        let alias = format!("*a{}", n - 1);
        laughs.push_str(&format!(
            "a{n}: &a{n} [{}]\n",
            [alias.as_str(); 9].join(", ")
        ));
    }
    let error = error(&laughs);
    assert!(error.message.contains("expand"), "{error}");
    // Nested anchors keep a copy each; they count as well.
    let nested = format!(
        "{}{}{}",
        "&a [".repeat(MAX_DEPTH),
        "x".repeat(50_000),
        "]".repeat(MAX_DEPTH)
    );
    assert!(parse_with_limit(&nested, 100_000).is_err());
}

#[test]
fn windows_line_ends_and_tabs_in_text_are_fine() {
    assert_eq!(value("a: 1\r\nb: x\ty\r\n"), json!({"a": 1, "b": "x\ty"}));
    assert!(parse("a:\n\tb: 1\n").is_err());
}

/// Text that is likely to reach odd corners: YAML's own punctuation and words.
fn yamlish() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "a",
        "b: ",
        "- ",
        "? ",
        ": ",
        "\n",
        "\n  ",
        "\n    ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "&x ",
        "*x",
        "<<: ",
        "!!str ",
        "!t ",
        "|",
        ">-",
        "'",
        "\"",
        "#",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "%TAG ! x:\n",
        "1",
        "0x1",
        ".inf",
        "~",
        "\t",
        "\r",
        "\\",
        "\u{feff}",
        "\u{0}",
        "é",
        "@",
        "`",
    ]);
    prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = parse(&text);
    }

    #[test]
    fn arbitrary_punctuation_never_panics(text in yamlish()) {
        match parse(&text) {
            Ok(documents) => {
                for document in documents {
                    prop_assert_eq!(document.line_of(""), Some(document.first_line));
                }
            }
            Err(error) => prop_assert!(error.line >= 1 && error.column >= 1),
        }
    }

    #[test]
    fn what_json_prints_reads_back_equal(
        strings in prop::collection::vec("[ -~]{0,12}", 0..6),
        number in any::<i64>(),
    ) {
        let value = json!({"strings": strings, "number": number, "nested": {"none": null}});
        prop_assert_eq!(&parse(&value.to_string()).unwrap()[0].value, &value);
    }
}
