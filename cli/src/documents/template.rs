//! Variables in files: `{{ name }}`, filled in from `-v name=value`.
//!
//! Values go in as they are. A name that nobody gave is an error, because a resource with a hole
//! in it is rarely meant.

use super::{Problem, Source};

/// One `-v name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    name: String,
    value: String,
}

/// Reads `name=value`.
pub(crate) fn parse_variable(text: &str) -> Result<Variable, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok(Variable {
            name: name.trim().to_owned(),
            value: value.to_owned(),
        }),
        _ => Err("must look like name=value".to_owned()),
    }
}

/// Fills in variables; without any given, the text is left alone.
pub(super) fn fill(source: &Source, variables: &[Variable]) -> Result<String, Vec<Problem>> {
    if variables.is_empty() {
        return Ok(source.text.clone());
    }
    let mut text = String::with_capacity(source.text.len());
    let mut problems = Vec::new();
    for (index, line) in source.text.split_inclusive('\n').enumerate() {
        let mut rest = line;
        while let Some((before, hole)) = next_hole(rest) {
            text.push_str(before);
            let name = hole.name;
            match variables.iter().rev().find(|v| v.name == name) {
                Some(variable) => text.push_str(&variable.value),
                None => problems.push(Problem {
                    file: source.name.clone(),
                    line: index + 1,
                    column: None,
                    field: String::new(),
                    message: format!(
                        "the variable {name:?} has no value; give it with -v {name}=…"
                    ),
                }),
            }
            rest = hole.rest;
        }
        text.push_str(rest);
    }
    if problems.is_empty() {
        Ok(text)
    } else {
        Err(problems)
    }
}

struct Hole<'a> {
    name: &'a str,
    rest: &'a str,
}

/// The text before the first `{{ name }}` (or `{{{name}}}`, `{{&name}}`, which mean the same
/// here) and what follows.
fn next_hole(text: &str) -> Option<(&str, Hole<'_>)> {
    let start = text.find("{{")?;
    let after = &text[start + 2..];
    let (open, close) = match after.strip_prefix('{') {
        Some(inner) => (inner, "}}}"),
        None => (after, "}}"),
    };
    let end = open.find(close)?;
    let name = open[..end].trim();
    let name = name.strip_prefix('&').map_or(name, str::trim_start);
    Some((
        &text[..start],
        Hole {
            name,
            rest: &open[end + close.len()..],
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, variables: &[&str]) -> Result<String, Vec<String>> {
        let source = Source {
            name: "f.yaml".into(),
            text: text.to_owned(),
        };
        let variables: Vec<_> = variables
            .iter()
            .map(|text| parse_variable(text).unwrap())
            .collect();
        fill(&source, &variables)
            .map_err(|problems| problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn values_go_in_as_they_are() {
        assert_eq!(
            filled(
                "a: {{ x }}\nb: \"{{{y.z}}}{{&x}}\"\n",
                &["x=1 & <2>", "y.z=q=r"]
            ),
            Ok("a: 1 & <2>\nb: \"q=r1 & <2>\"\n".to_owned())
        );
    }

    #[test]
    fn the_last_value_of_a_name_wins() {
        assert_eq!(filled("{{x}}", &["x=1", "x=2"]), Ok("2".to_owned()));
    }

    #[test]
    fn without_variables_nothing_is_filled_in() {
        assert_eq!(filled("{{x}}", &[]), Ok("{{x}}".to_owned()));
    }

    #[test]
    fn a_name_without_a_value_is_found_with_its_line() {
        let problems = filled("a: 1\nb: {{ y }} {{z}}\n", &["x=1"]).unwrap_err();
        assert_eq!(problems.len(), 2);
        assert!(
            problems[0].starts_with("f.yaml:2: the variable \"y\""),
            "{problems:?}"
        );
    }
}
