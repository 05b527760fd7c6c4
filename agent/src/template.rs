//! Placeholders in a Dataplane: `{{ name }}`.
//!
//! A small part of [mustache](https://mustache.github.io/mustache.5.html): variables, written
//! `{{ name }}`, `{{{ name }}}` or `{{& name }}`, and comments. Values are put in as they are,
//! because YAML is not HTML; a variable without a value is an error, because an empty address
//! would be one later and less clearly.

use std::collections::BTreeMap;

/// Why a template has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("{0:?} is not of the form name=value")]
    Variable(String),
    #[error("line {line}: no value for {{{{ {name} }}}}; give one with --dataplane-var {name}=…")]
    Missing { name: String, line: usize },
    #[error("line {line}: {{{{ is not closed")]
    Unclosed { line: usize },
    #[error("line {line}: {{{{{tag}}}}} is not supported; only variables are")]
    Unsupported { tag: String, line: usize },
}

/// Values by name, from `name=value` texts.
///
/// One text may hold several, separated by commas; a value may hold a comma where the text has
/// only one `=`.
pub(crate) fn variables(texts: &[String]) -> Result<BTreeMap<String, String>, TemplateError> {
    let mut variables = BTreeMap::new();
    for text in texts {
        let pairs: Vec<&str> = match text.matches('=').count() {
            0 | 1 => vec![text],
            _ => text.split(',').collect(),
        };
        for pair in pairs {
            let (name, value) = pair
                .split_once('=')
                .filter(|(name, _)| !name.trim().is_empty())
                .ok_or_else(|| TemplateError::Variable(pair.to_owned()))?;
            variables.insert(name.trim().to_owned(), value.to_owned());
        }
    }
    Ok(variables)
}

/// The template with its placeholders filled in.
pub(crate) fn render(
    template: &str,
    variables: &BTreeMap<String, String>,
) -> Result<String, TemplateError> {
    let mut result = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        result.push_str(before);
        let line = 1 + template[..template.len() - after.len()]
            .matches('\n')
            .count();
        let (open, close) = match after.strip_prefix('{') {
            Some(after) => (after, "}}}"),
            None => (after, "}}"),
        };
        let (tag, after) = open
            .split_once(close)
            .ok_or(TemplateError::Unclosed { line })?;
        rest = after;
        if tag.starts_with('!') {
            continue;
        }
        if tag.starts_with(['#', '^', '/', '>', '=']) {
            let tag = tag.to_owned();
            return Err(TemplateError::Unsupported { tag, line });
        }
        let name = tag.strip_prefix('&').unwrap_or(tag).trim();
        match variables.get(name) {
            Some(value) => result.push_str(value),
            None => {
                let name = name.to_owned();
                return Err(TemplateError::Missing { name, line });
            }
        }
    }
    result.push_str(rest);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str, texts: &[&str]) -> Result<String, TemplateError> {
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        render(template, &variables(&texts)?)
    }

    #[test]
    fn placeholders_are_filled_in_as_they_are() {
        for (template, texts, expected) in [
            ("name: {{ name }}", &["name=edge"][..], "name: edge"),
            ("{{name}}-{{  name}}", &["name=edge"], "edge-edge"),
            (
                "a: {{{ v }}}, b: {{& v }}",
                &["v=<&\">"],
                "a: <&\">, b: <&\">",
            ),
            ("{{! a remark }}x: 1", &[], "x: 1"),
            ("{{ a }}{{ b }}", &["a=1,b=2"], "12"),
            ("{{ a }}", &["a=1,2"], "1,2"),
            ("{{ a }}", &["a="], ""),
            ("{{ a.b }}", &["a.b=c"], "c"),
            ("{a: {b: 1}}", &[], "{a: {b: 1}}"),
            ("{{ a }}", &["a={{ b }}"], "{{ b }}"),
        ] {
            assert_eq!(
                rendered(template, texts).as_deref(),
                Ok(expected),
                "{template}"
            );
        }
    }

    #[test]
    fn faults_are_named_with_their_line() {
        for (template, texts, expected) in [
            (
                "a: 1\nb: {{ ip }}",
                &[][..],
                "line 2: no value for {{ ip }}; give one with --dataplane-var ip=…",
            ),
            ("{{ ip }", &["ip=1"], "line 1: {{ is not closed"),
            (
                "\n\n{{#list}}{{/list}}",
                &[],
                "line 3: {{#list}} is not supported; only variables are",
            ),
            ("", &["ip"], "\"ip\" is not of the form name=value"),
            ("", &["=1"], "\"=1\" is not of the form name=value"),
        ] {
            let error = rendered(template, texts).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
