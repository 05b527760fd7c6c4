//! What the lab says: the answers, what to try, and what went wrong.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

use super::ask::milliseconds;
use super::fleet::Answer;
use super::plan::Plan;
use super::process::{Death, last_lines};
use crate::table::Table;

/// How much of a dead process's log is shown.
const LOG_LINES: usize = 15;

/// The answers as a table.
pub(super) fn answers(answers: &[Answer]) -> String {
    let mut table = Table::new(&["ZONE", "REQUEST", "ANSWER", "AFTER APPLY"]);
    for answer in answers {
        table.push([
            answer.zone.clone(),
            answer.url.clone(),
            answer.text.clone(),
            milliseconds(answer.after),
        ]);
    }
    format!(
        "\nOne route, written once on the global, answers in both zones:\n\n{}\n",
        indent(&table.to_string())
    )
}

/// Where everything is, and three things to try.
pub(super) fn to_try(plan: &Plan, programs: &Path, work_dir: &Path) -> String {
    let meridian = shown(&programs.join("meridian"));
    let meridian = meridian.display();
    let address = match plan.global.api {
        5681 => String::new(),
        _ => format!(" --address {}", plan.global_api()),
    };
    let [one, two] = plan.zones.each_ref().map(|zone| plan.gateway(zone));
    let zones = plan
        .zones
        .each_ref()
        .map(super::plan::Zone::api_url)
        .join("   ");
    let example = work_dir.join("examples/gateway.yaml");
    let example = example.display();
    format!(
        "\
It stays up until Ctrl-C.

  gateways     {one}   {two}
  global API   {global}
  zone APIs    {zones}
  logs         {logs}/*.log

Three things to try, in another terminal of this folder:

  1. Edit the route, and see it live in both zones:
     sed 's|value: /cart|value: /basket|' {example} | {meridian} apply{address} -f -
     {meridian} lab ask {one}/basket/7 {two}/basket/7

  2. See the fleet:
     {meridian} get zones{address}
     {meridian} get dataplanes{address}

  3. Send /cart to a service that isn't there, and ask what is wrong:
     sed 's|kuma.io/service: cart|kuma.io/service: cat|' {example} | {meridian} apply{address} -f -
     {meridian} inspect meshgatewayroute shop{address}
",
        global = plan.global_api(),
        logs = work_dir.display(),
    )
}

/// Which process died, what it said last, and what to do.
pub(super) fn death(death: &Death, kept: PathBuf) -> String {
    let how = match (death.status.code(), death.status.signal()) {
        (Some(code), _) => format!("with status {code}"),
        (None, Some(9)) => "by SIGKILL; if nobody sent it, memory may have run out".to_owned(),
        (None, Some(signal)) => format!("by signal {signal}"),
        (None, None) => format!("{}", death.status),
    };
    format!(
        "\nThe lab ended, because {} ended by itself ({how}). The last lines of {}:\n\n{}\n\n\
         Start the lab again; if it happens again, the whole log says more, and everything else \
         of this lab is in {}.",
        death.title,
        death.log.display(),
        indent(&last_lines(&death.log, LOG_LINES)),
        kept.display(),
    )
}

/// A path as short as it can be said from here.
fn shown(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    match path.strip_prefix(here) {
        Ok(short) if short.components().count() > 1 => short.to_owned(),
        _ => path.to_owned(),
    }
}

fn indent(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn answers_are_a_table() {
        let answer = |zone: &str, ms| Answer {
            zone: zone.to_owned(),
            url: format!("http://{zone}/cart"),
            text: format!("cart in {zone} answers GET /cart"),
            after: Duration::from_micros(ms),
        };
        assert_eq!(
            answers(&[answer("zone-1", 12_340), answer("zone-2", 9_000)]),
            "\nOne route, written once on the global, answers in both zones:\n\n  \
             ZONE     REQUEST              ANSWER                             AFTER APPLY\n  \
             zone-1   http://zone-1/cart   cart in zone-1 answers GET /cart   12.3 ms\n  \
             zone-2   http://zone-2/cart   cart in zone-2 answers GET /cart   9.0 ms\n"
        );
    }

    #[test]
    fn commands_to_try_find_the_lab_wherever_its_ports_are() {
        let text = |offset| to_try(&Plan::new(offset), Path::new("/opt/bin"), Path::new("/lab"));
        assert!(
            text(0).contains("/opt/bin/meridian get zones\n"),
            "{}",
            text(0)
        );
        assert!(
            text(9).contains("get zones --address http://localhost:5690\n"),
            "{}",
            text(9)
        );
        assert!(
            text(9).contains("lab ask http://127.0.1.1:8089/basket/7"),
            "{}",
            text(9)
        );
    }

    #[test]
    fn a_death_is_told_with_the_last_words_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("zone-1.log");
        std::fs::write(&log, "Error: the store is full\n").unwrap();
        let status = std::process::ExitStatus::from_raw(1 << 8);
        let title = "the control plane of zone-1".to_owned();
        let text = death(&Death { title, status, log }, folder.path().to_owned());
        for part in [
            "the control plane of zone-1",
            "status 1",
            "the store is full",
            "again",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
