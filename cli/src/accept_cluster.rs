//! `meridian accept-cluster`: an operator's word that a zone's new global control plane is meant.

use std::process::ExitCode;

use anyhow::bail;
use serde_json::{Value, json};

use crate::client::{Connection, Server};
use crate::output;

/// Let a zone follow a global control plane other than the one it knows
///
/// A zone that meets a global control plane with another cluster id keeps what it has and serves
/// on, because an empty global control plane would empty it. Its log names the id. Once accepted,
/// the zone takes over that control plane's resources and drops those that it does not have.
///
/// This is asked of the zone's control plane, on its own host or with an administrator's token.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
    meridian accept-cluster 0b1f7e5c-2a7f-4a53-9a55-d4c7c1a0f3be --address http://localhost:5681")]
pub(crate) struct Args {
    /// The cluster id, as the zone's log names it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let server = Server::connect(&args.connection)?;
    let request = json!({ "clusterId": args.id });
    let answer = match server.post("/accept-cluster", &request).await {
        Ok(answer) => answer,
        Err(error) if error.is_unknown_path() => bail!(
            "{} is not the control plane of a zone, which is the one to ask; give its --address",
            server.url("")
        ),
        Err(error) => return Err(error.into()),
    };
    output::line(describe(&args.id, &answer))?;
    Ok(ExitCode::SUCCESS)
}

/// The control plane's own words, if it has any.
fn describe(id: &str, answer: &str) -> String {
    let answer = serde_json::from_str::<Value>(answer).unwrap_or_default();
    ["message", "detail"]
        .iter()
        .find_map(|key| answer[*key].as_str())
        .map_or_else(
            || format!("accepted: the zone follows the cluster {id} from now on"),
            str::to_owned,
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_good_answer_is_told() {
        for answer in ["", "{}", "[]", "OK", "null"] {
            assert!(describe("abc", answer).contains("abc"), "{answer}");
        }
        assert_eq!(
            describe("abc", r#"{"message":"known already"}"#),
            "known already"
        );
    }
}
