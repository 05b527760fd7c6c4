//! Sending checked resources, many at a time.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use futures_util::{StreamExt as _, stream};
use mesh_model::{ResourceType, json};
use serde_json::Value;

use crate::client::{Error, Server};
use crate::documents::Item;
use crate::output;

/// How many requests are under way at once: enough that a control plane can make many writes
/// durable together.
const IN_FLIGHT: usize = 32;

/// What became of one resource.
#[derive(Debug)]
enum Outcome {
    Created,
    Updated,
    /// It was like that already; nothing was written.
    Unchanged,
    Failed(Error),
    /// Not tried, because another request made clear that it would fail too.
    Skipped,
}

/// Sends meshes, then everything else, and says what became of each in the order given.
pub(super) async fn send(server: &Server, items: &[Item]) -> anyhow::Result<ExitCode> {
    let others = items.partition_point(|item| item.ty == ResourceType::Mesh);
    let mut failed = send_some(server, &items[..others]).await?;
    if failed == 0 {
        failed = send_some(server, &items[others..]).await?;
    } else {
        failed += items.len() - others;
    }
    match failed {
        0 => Ok(ExitCode::SUCCESS),
        n if n == items.len() => bail!("nothing was applied"),
        n => bail!(
            "{n} of {} resources were not applied; the others were",
            items.len()
        ),
    }
}

/// Gives how many were not applied.
async fn send_some(server: &Server, items: &[Item]) -> anyhow::Result<usize> {
    let is_hopeless = &AtomicBool::new(false);
    let mut outcomes = stream::iter(items)
        .map(|item| async move {
            if is_hopeless.load(Ordering::Relaxed) {
                return (item, Outcome::Skipped);
            }
            let outcome = send_one(server, item).await.unwrap_or_else(|error| {
                if error.is_hopeless() && is_hopeless.swap(true, Ordering::Relaxed) {
                    // Somebody else said so in the same moment.
                    return Outcome::Skipped;
                }
                Outcome::Failed(error)
            });
            (item, outcome)
        })
        .buffered(IN_FLIGHT);
    let mut failed = 0;
    while let Some((item, outcome)) = outcomes.next().await {
        match outcome {
            Outcome::Created => output::line(format_args!("created {item}"))?,
            Outcome::Updated => output::line(format_args!("updated {item}"))?,
            Outcome::Unchanged => output::line(format_args!("unchanged {item}"))?,
            Outcome::Failed(error) => {
                failed += 1;
                explain(item, &error);
            }
            Outcome::Skipped => failed += 1,
        }
    }
    Ok(failed)
}

async fn send_one(server: &Server, item: &Item) -> Result<Outcome, Error> {
    let path = Server::item(item.ty, item.mesh.as_deref(), &item.name);
    if let Some(current) = server.find(&path).await?
        && is_same(item, &current)
    {
        return Ok(Outcome::Unchanged);
    }
    let written = server.put(&path, &item.to_document()).await?;
    for warning in &written.warnings {
        output::note(format_args!("Warning: {}", item.problem("", warning)));
    }
    Ok(if written.is_new {
        Outcome::Created
    } else {
        Outcome::Updated
    })
}

/// Whether a control plane's resource says what ours says; labels that control planes add by
/// themselves aside.
fn is_same(item: &Item, current: &Value) -> bool {
    let Ok(current) = json::parse_body(item.ty, current) else {
        return false;
    };
    let are_labels_same = item
        .labels
        .iter()
        .all(|(key, value)| current.meta.labels.get(key) == Some(value))
        && current
            .meta
            .labels
            .keys()
            .all(|key| item.labels.contains_key(key) || is_of_control_planes(key));
    are_labels_same && current.unknown.is_empty() && current.spec == item.spec
}

fn is_of_control_planes(label: &str) -> bool {
    ["kuma.io/", "k8s.kuma.io/", "meridian.io/"]
        .iter()
        .any(|prefix| label.starts_with(prefix))
}

/// Writes what a control plane had against a resource, beside the lines that it is about.
fn explain(item: &Item, error: &Error) {
    match error {
        Error::Refused(problem) if !problem.violations.is_empty() => {
            for violation in &problem.violations {
                let message = format!("{} ({item} was refused)", violation.message);
                output::note(item.problem(&violation.field, message));
            }
        }
        Error::Refused(_) => {
            output::note(item.problem("", format!("{item} was refused: {error}")));
        }
        // It is not about this resource.
        Error::Unreachable { .. } | Error::Stranger { .. } => {
            output::note(format_args!("Error: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::documents::{Source, parse_all};

    #[test]
    fn what_a_control_plane_adds_is_no_difference() {
        let source = Source {
            name: "f.yaml".into(),
            text: "type: Zone\nname: east\nenabled: true\nlabels: {team: web}\n".to_owned(),
        };
        let item = &parse_all(&[source], &[]).unwrap()[0];
        let current = json!({
            "type": "Zone", "name": "east", "enabled": true,
            "creationTime": "2026-03-01T10:00:00Z",
            "labels": {"team": "web", "kuma.io/origin": "global", "meridian.io/created": "1"},
        });
        assert!(is_same(item, &current));
        for (pointer, value) in [
            ("/enabled", json!(false)),
            ("/labels/team", json!("api")),
            ("/labels", json!({"team": "web", "more": "x"})),
            ("/labels", json!({})),
        ] {
            let mut other = current.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            assert!(!is_same(item, &other), "{other}");
        }
    }
}
