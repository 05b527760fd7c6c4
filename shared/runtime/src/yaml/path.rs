//! Field paths: `a.b[0].c`, and `["…"]` for a key that isn't an identifier.

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Into a mapping.
    Key(String),
    /// Into a sequence, from 0.
    Index(usize),
}

/// The steps of `path`, or `None` if it isn't one.
pub(super) fn steps(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (step, after) = bracket(inner)?;
            steps.push(step);
            rest = after;
        } else {
            // A dot separates names; there is none before the first.
            let name = if steps.is_empty() {
                rest
            } else {
                rest.strip_prefix('.')?
            };
            let end = name.find(['.', '[', ']']).unwrap_or(name.len());
            if end == 0 {
                return None;
            }
            steps.push(Step::Key(name[..end].to_owned()));
            rest = &name[end..];
        }
    }
    Some(steps)
}

fn bracket(inner: &str) -> Option<(Step, &str)> {
    if inner.starts_with('"') {
        let mut values = serde_json::Deserializer::from_str(inner).into_iter::<String>();
        let key = values.next()?.ok()?;
        let rest = inner[values.byte_offset()..].strip_prefix(']')?;
        return Some((Step::Key(key), rest));
    }
    let (index, rest) = inner.split_once(']')?;
    Some((Step::Index(index.parse().ok()?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Step {
        Step::Key(text.to_owned())
    }

    #[test]
    fn paths_of_names_indices_and_quoted_keys() {
        assert_eq!(steps(""), Some(vec![]));
        assert_eq!(
            steps("conf.listeners[0].port"),
            Some(vec![
                key("conf"),
                key("listeners"),
                Step::Index(0),
                key("port")
            ])
        );
        assert_eq!(
            steps(r#"tags["kuma.io/service"][12]"#),
            Some(vec![key("tags"), key("kuma.io/service"), Step::Index(12)])
        );
        assert_eq!(steps("[3]"), Some(vec![Step::Index(3)]));
        assert_eq!(steps(r#"["a\"]b"].c"#), Some(vec![key("a\"]b"), key("c")]));
    }

    #[test]
    fn what_is_not_a_path_has_no_steps() {
        for bad in [
            ".a", "a.", "a..b", "a[", "a[x]", "a[-1]", "a]", r#"a["b]"#, "a[0]b",
        ] {
            assert_eq!(steps(bad), None, "{bad:?}");
        }
    }
}
