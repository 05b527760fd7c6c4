//! What can go wrong between us and a control plane, in words that say what to do.

use std::fmt;

use mesh_model::validate::Violation;
use reqwest::StatusCode;
use serde_json::Value;

/// A question that got no useful answer.
#[derive(Debug)]
pub(crate) enum Error {
    /// There was no answer.
    Unreachable {
        url: String,
        reason: String,
        advice: &'static str,
    },
    /// The control plane said no.
    Refused(Problem),
    /// What answered is not a control plane, or a proxy answered in its place.
    Stranger {
        url: String,
        status: Option<StatusCode>,
        excerpt: String,
    },
}

/// A refusal in the control plane's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// What was attempted, or the kind of failure.
    pub(crate) title: String,
    /// What is wrong.
    pub(crate) detail: String,
    /// Which fields are wrong.
    pub(crate) violations: Vec<Violation>,
}

impl Error {
    /// Whether the control plane refused, with this status.
    ///
    /// A page for browsers with the same status is no refusal.
    pub(crate) fn refused_with(&self, status: StatusCode) -> bool {
        matches!(self, Self::Refused(problem) if problem.status == status)
    }

    /// Whether what answers knows no such path.
    pub(crate) fn is_unknown_path(&self) -> bool {
        let status = match self {
            Self::Refused(problem) => Some(problem.status),
            Self::Stranger { status, .. } => *status,
            Self::Unreachable { .. } => None,
        };
        matches!(
            status,
            Some(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
        )
    }

    /// Whether the next request will fare no better.
    pub(crate) fn is_hopeless(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(problem) => matches!(
                problem.status,
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::SERVICE_UNAVAILABLE
            ),
            Self::Stranger { .. } => true,
        }
    }

    pub(super) fn unreachable(url: &str, source: reqwest::Error) -> Self {
        let advice = if let Some(advice) = mesh_runtime::tls::explain(&source) {
            advice
        } else if source.is_timeout() {
            "the control plane is slow or cut off: try again, or give a longer --timeout"
        } else if source.is_connect() {
            "check that the control plane runs there, or give another --address"
        } else {
            "this is no HTTP that a control plane would speak: check --address, and whether it \
             should begin with https"
        };
        Self::Unreachable {
            url: url.to_owned(),
            reason: innermost(&source),
            advice,
        }
    }

    pub(super) fn refused(url: &str, status: StatusCode, body: &str) -> Self {
        match Problem::parse(status, body) {
            Some(problem) => Self::Refused(problem),
            None => Self::Stranger {
                url: url.to_owned(),
                status: Some(status),
                excerpt: excerpt(body),
            },
        }
    }

    pub(super) fn strange(url: &str, body: &str) -> Self {
        Self::Stranger {
            url: url.to_owned(),
            status: None,
            excerpt: excerpt(body),
        }
    }
}

impl Problem {
    fn parse(status: StatusCode, body: &str) -> Option<Self> {
        let body: Value = serde_json::from_str(body).ok()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
        let title = Some(text(&body["title"])).filter(|title| !title.is_empty())?;
        let violations = |list: &str, reason: &str| -> Vec<Violation> {
            body[list]
                .as_array()
                .into_iter()
                .flatten()
                .map(|v| Violation::new(text(&v["field"]), text(&v[reason])))
                .collect()
        };
        let newer = violations("invalid_parameters", "reason");
        Some(Self {
            status,
            title,
            detail: match text(&body["detail"]) {
                detail if detail.is_empty() => text(&body["details"]),
                detail => detail,
            },
            violations: if newer.is_empty() {
                violations("causes", "message")
            } else {
                newer
            },
        })
    }

    fn advice(&self) -> Option<&'static str> {
        match self.status {
            StatusCode::UNAUTHORIZED => {
                Some("the token is not valid (any more): give another --token or --token-file")
            }
            StatusCode::FORBIDDEN => Some(
                "an administrator's token is needed: \
                 give --token-file, or run this on the control plane's own host",
            ),
            _ => None,
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable {
                url,
                reason,
                advice,
            } => write!(f, "no answer from {url}: {reason}; {advice}"),
            Self::Refused(problem) => problem.fmt(f),
            Self::Stranger {
                url,
                status,
                excerpt,
            } => {
                write!(f, "{url} does not answer like a control plane: ")?;
                match status {
                    Some(status) => write!(f, "{status}")?,
                    None => f.write_str("it sends something else")?,
                }
                if !excerpt.is_empty() {
                    write!(f, ", {excerpt:?}")?;
                }
                f.write_str("; check --address, and what stands between here and there")
            }
        }
    }
}

impl fmt::Display for Problem {
    /// `title (detail)`, then a line for each field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        if !self.detail.is_empty() && self.detail != self.title {
            write!(f, " ({})", self.detail)?;
        }
        if let Some(advice) = self.advice() {
            write!(f, "; {advice}")?;
        }
        for violation in &self.violations {
            write!(f, "\n* {violation}")?;
        }
        Ok(())
    }
}

/// The start of a body, on one line.
fn excerpt(body: &str) -> String {
    const MOST: usize = 120;
    let words = body.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

/// The cause that says the most: the last one, as the outer ones repeat the URL.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> String {
        Error::refused(
            "http://cp/meshes",
            StatusCode::from_u16(status).unwrap(),
            body,
        )
        .to_string()
    }

    #[test]
    fn a_refusal_lists_its_fields_in_either_spelling() {
        let newer = r#"{"status":400,"title":"Could not process a resource","detail":"Resource is not valid",
            "invalid_parameters":[{"field":"conf.listeners[0].port","reason":"bad port"}]}"#;
        let older = r#"{"title":"Could not process a resource","details":"Resource is not valid",
            "causes":[{"field":"conf.listeners[0].port","message":"bad port"}]}"#;
        let wanted = "Could not process a resource (Resource is not valid)\n\
                      * conf.listeners[0].port: bad port";
        assert_eq!(refused(400, newer), wanted);
        assert_eq!(refused(400, older), wanted);
    }

    #[test]
    fn a_refusal_for_want_of_rights_says_how_to_get_them() {
        let text = refused(403, r#"{"title":"Access Denied","detail":"no"}"#);
        assert!(text.contains("--token-file"), "{text}");
        let text = refused(401, r#"{"title":"Invalid authentication data"}"#);
        assert!(text.contains("--token"), "{text}");
    }

    #[test]
    fn what_no_control_plane_would_say_is_shown_in_part() {
        for (status, body) in [
            (502, "<html>\n<h1>Bad Gateway</h1>"),
            (200, "[1, 2"),
            (500, r#"{"title": 7}"#),
            (404, "null"),
            (503, ""),
            (500, &"é".repeat(5000)),
        ] {
            let text = refused(status, body);
            assert!(text.contains("does not answer like"), "{text}");
            assert!(text.contains(&status.to_string()), "{text}");
            assert!(text.len() < 500, "{text}");
        }
    }
}
