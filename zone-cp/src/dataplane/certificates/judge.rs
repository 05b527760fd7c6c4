//! Which certificate of a source is used: the one that is written now, or the last good one.
//!
//! Pure: what is written, what was good before, and the time decide.

use std::sync::Arc;

use mesh_model::{MeshName, Timestamp};
use zone_translate::{Certificate, Known, Source};

/// A source, in its mesh.
pub(super) type Id = (MeshName, Source);

/// What to do about a source.
#[derive(Debug)]
pub(super) struct Judgement {
    /// What proxies are given, and what their operator should know.
    pub(super) known: Known,
    /// Whether what is written now is good, and from now on the last good one.
    pub(super) is_good: bool,
    /// When to judge again, in Unix seconds.
    pub(super) again: Option<i64>,
}

/// Judges what is written at a source, at `now` in Unix seconds.
///
/// A certificate is as good as any while it has not expired. One that has is used only if there
/// is none better, because a client that does not look at dates is better off with it.
pub(super) fn judge(
    source: &Source,
    written: Result<Arc<Certificate>, String>,
    last_good: Option<&Arc<Certificate>>,
    now: i64,
) -> Judgement {
    let moments = written.as_ref().ok().into_iter().chain(last_good);
    let moments = moments.flat_map(|one| [one.not_before(), one.not_after()]);
    let again = moments.filter(|at| *at > now).min();
    let is_expired = |one: &Certificate| one.not_after() <= now;
    let (certificate, problem, is_good) = match (written, last_good) {
        (Ok(new), _) if new.not_before() > now => {
            let problem = format!(
                "{} is valid from {}; until then clients refuse it",
                name(source),
                to_text(new.not_before())
            );
            (Some(new), Some(problem), true)
        }
        (Ok(new), _) if !is_expired(&new) => (Some(new), None, true),
        (Ok(new), Some(good)) if !is_expired(good) => {
            let problem = format!(
                "{} expired at {}; the last good certificate stays",
                name(source),
                to_text(new.not_after())
            );
            (Some(Arc::clone(good)), Some(problem), false)
        }
        (Ok(new), _) => {
            let problem = format!(
                "{} expired at {}; clients refuse it",
                name(source),
                to_text(new.not_after())
            );
            (Some(new), Some(problem), false)
        }
        (Err(problem), Some(good)) => {
            let outcome = "the last good certificate stays";
            let problem = if is_expired(good) {
                let expired = to_text(good.not_after());
                format!("{problem}; {outcome}, but expired at {expired}")
            } else {
                format!("{problem}; {outcome}")
            };
            (Some(Arc::clone(good)), Some(problem), false)
        }
        (Err(problem), None) => (None, Some(problem), false),
    };
    Judgement {
        known: Known {
            certificate,
            problem,
        },
        is_good,
        again,
    }
}

fn name(source: &Source) -> String {
    match source {
        Source::Secret(name) => format!("the certificate in Secret {name:?}"),
        Source::File(path) => format!("the certificate in the file {path}"),
        Source::Inline { .. } => "the inline certificate".to_owned(),
    }
}

fn to_text(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}
