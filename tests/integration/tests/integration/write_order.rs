//! An answer of the API comes after the disk has what it acknowledges.
//!
//! SIGKILL leaves the page cache intact, so it cannot show this; a trace of the process's system
//! calls can.

use std::collections::BTreeSet;
use std::process::Command;

use mesh_harness::{ControlPlane, eventually};
use serde_json::json;

const WRITES: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn every_written_file_is_synced_before_the_answer() -> anyhow::Result<()> {
    let version = Command::new("strace").arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: there is no strace here");
        return Ok(());
    }
    // The first run makes what every store has, so that the traced one only writes.
    let mut global = ControlPlane::global().await?;
    global.terminate().await?;
    let traces = tempfile::tempdir()?;
    let file = traces.path().join("trace");
    let calls =
        "trace=write,writev,pwrite64,pwritev,sendto,sendmsg,fdatasync,fsync,sync_file_range";
    let output = format!("--output={}", file.display());
    // With -D the traced process is our own child, and ends with the test.
    let strace = ["strace", "-D", "-f", "-y", "-s", "40", "-e", calls, &output];
    global.start_under(&strace).await?;
    for edit in 0..WRITES {
        let route = json!({
            "type": "MeshGatewayRoute", "mesh": "default", "name": format!("route-{}", edit % 7),
            "selectors": [{"match": {"kuma.io/service": "edge"}}],
            "conf": {"http": {"rules": [{
                "matches": [{"path": {"match": "PREFIX", "value": format!("/{edit}")}}],
                "backends": [{"weight": 1, "destination": {"kuma.io/service": "cart"}}],
            }]}},
        });
        global.api.apply(&route).await?;
    }
    let store = global.work_dir().canonicalize()?.join("global");
    global.terminate().await?;
    let trace = eventually("the whole trace", async || {
        let trace = std::fs::read_to_string(&file)?;
        anyhow::ensure!(trace.contains("+++ exited with 0 +++"), "{}", trace.len());
        Ok(trace)
    })
    .await;

    let (mut answers, mut syncs) = (0, 0);
    let mut unsynced = BTreeSet::new();
    // Per thread: the file whose sync has begun, and that nobody has written since.
    let mut syncing = std::collections::BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else {
            continue;
        };
        let call = call.trim_start();
        let is_end = call.starts_with("<... fdatasync") || call.starts_with("<... fsync");
        if is_end || call.contains("sync(") {
            if !is_end {
                let path = descriptor(call).unwrap_or_default().to_owned();
                syncing.insert(thread, path);
            }
            if call.contains(" = 0")
                && let Some(path) = syncing.remove(thread)
                && path.starts_with(&store.display().to_string())
            {
                unsynced.remove(&path);
                syncs += 1;
            }
            continue;
        }
        let Some(path) = descriptor(call) else {
            continue;
        };
        if path.starts_with(&store.display().to_string()) {
            unsynced.insert(path.to_owned());
            syncing.retain(|_, being_synced| being_synced != path);
        } else if call.contains("HTTP/1.1 200 OK") || call.contains("HTTP/1.1 201") {
            answers += usize::from(syncs > 0);
            let open = format!("{unsynced:?} at: {line}");
            assert!(
                unsynced.is_empty(),
                "answered before these were synced: {open}"
            );
        }
    }
    assert!(answers >= WRITES, "{answers} answers in the trace");
    assert!(syncs >= WRITES, "{syncs} syncs in the trace");
    eprintln!("{syncs} syncs of store files, {answers} answers, none early");
    Ok(())
}

/// The path that `strace -y` adds to a call's first argument.
fn descriptor(call: &str) -> Option<&str> {
    let start = call.find('<')? + 1;
    let end = start + call[start..].find('>')?;
    Some(&call[start..end])
}
