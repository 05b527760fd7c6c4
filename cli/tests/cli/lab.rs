//! What the lab promises of its processes: they end with it.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use super::support::meridian;

#[tokio::test]
async fn a_process_without_its_lab_does_not_start() {
    let run = meridian(&["lab", "child", "--parent", "1", "--", "true"]).await;
    assert!(run.failed().contains("the lab has ended"));
}

#[test]
fn a_process_ends_when_its_lab_is_killed() {
    // A shell in the lab's place. The child holds the pipe open for as long as it lives.
    let script = r#""$0" lab child --parent $$ -- sh -c 'echo up; exec sleep 1000' & wait"#;
    let mut lab = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_meridian")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(lab.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "up");
    lab.kill().unwrap();
    assert_eq!(lab.wait().unwrap().signal(), Some(9));
    assert!(lines.next().is_none(), "the child has ended");
}
