//! SIGKILL leaves the page cache intact, so it cannot show that a commit reached the disk. This
//! does: between the last write to any file of the store and the acknowledgement, `strace` must
//! see that file synced; the same for directories in which an entry was made.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use mesh_store::{Batch, Store};

use crate::common::{key, open, secret, write_raw};

const DIR: &str = "MERIDIAN_TEST_STORE_TO_TRACE";
const COMMITS: u64 = 120;

/// Runs under `strace`; nothing to do when the tests run.
#[test]
fn child_that_is_traced() {
    let Some(dir) = env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let store = open(&dir);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for n in 0..COMMITS {
        let batch = Batch::new().put(secret(&format!("s{n}"), vec![1; 600]));
        let batch = match n % 10 {
            5 => batch.put(secret("large", vec![n.to_le_bytes()[0]; 300_000])),
            6 => batch.delete(key("large")),
            _ => batch,
        };
        runtime.block_on(store.commit(batch)).unwrap();
        let mut out = std::io::stdout().lock();
        out.write_all(format!("ack {n}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    }
}

/// A file or directory that changed and is not yet known to be on the disk, by path.
#[derive(Default)]
struct Unsynced(BTreeMap<String, usize>);

/// One system call: the lines of its beginning and end, and its text put together again.
struct Call {
    begin: usize,
    end: usize,
    text: String,
}

/// Puts calls together that `strace -f` had to print in two parts.
fn calls(trace: &str) -> Vec<Call> {
    let mut open: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    let mut calls = Vec::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((thread, text)) = line.split_once(' ') else {
            continue;
        };
        let text = text.trim_start();
        if let Some(first) = text.strip_suffix(" <unfinished ...>") {
            open.insert(thread, (at, first));
        } else if let Some(rest) = text.strip_prefix("<... ") {
            let (begin, first) = open.remove(thread).expect("it began");
            let rest = rest.split_once(" resumed>").expect("strace's form").1;
            calls.push(Call {
                begin,
                end: at,
                text: format!("{first}{rest}"),
            });
        } else {
            calls.push(Call {
                begin: at,
                end: at,
                text: text.to_owned(),
            });
        }
    }
    calls
}

/// The path that `strace -y` adds to the first argument, a descriptor.
fn descriptor(text: &str) -> Option<&str> {
    let start = text.find('<')? + 1;
    let end = start + text[start..].find('>')?;
    Some(&text[start..end])
}

/// The first quoted argument at or after the `n`th quote.
fn quoted(text: &str, n: usize) -> Option<&str> {
    text.split('"').nth(2 * n + 1)
}

fn parent(path: &str) -> String {
    let parent = Path::new(path).parent().expect("it is below a directory");
    parent.to_string_lossy().into_owned()
}

#[test]
fn every_written_file_is_synced_before_the_acknowledgement() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().canonicalize().unwrap().join("work").join("zone");
    let Some(found) = trace(&store) else { return };
    // The trace is of what it claims to be: each commit wrote and synced the log.
    assert_eq!(found.acknowledged, COMMITS);
    assert!(found.log_syncs >= COMMITS, "{found:?}");
    assert!(found.marker_came_first, "{found:?}");

    // sled puts pages of more than 128 kB into files of their own. Our resources are cut so that
    // theirs never grow to that; a release that does otherwise may have written this store.
    write_raw(&store, b"n\0large", &[1; 200_000]);
    let Some(found) = trace(&store) else { return };
    assert_eq!(found.acknowledged, COMMITS);
    assert!(found.blobs >= COMMITS / 20, "{found:?}");
}

/// Runs the child on a store, or says why it cannot be traced.
fn trace(store: &Path) -> Option<Found> {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let result = Command::new("strace")
        .args(["-f", "-y", "-s", "64", "-e"])
        .arg(
            "trace=openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,\
             write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,sync_file_range",
        )
        .arg("-o")
        .arg(&trace)
        .arg(env::current_exe().unwrap())
        .args(["--exact", "sync_order::child_that_is_traced", "--nocapture"])
        .env(DIR, store)
        .output();
    let output = match result {
        Ok(output) => output,
        Err(error) => {
            let note = format!("skipped: strace cannot be started here ({error})\n");
            std::io::stdout().write_all(note.as_bytes()).unwrap();
            return None;
        }
    };
    assert!(output.status.success(), "{output:?}");
    let trace = fs::read_to_string(trace).unwrap();
    Some(examine(&trace, &store.to_string_lossy()))
}

#[derive(Debug, Default)]
struct Found {
    acknowledged: u64,
    log_syncs: u64,
    blobs: u64,
    marker_came_first: bool,
}

fn examine(trace: &str, store: &str) -> Found {
    let calls = calls(trace);
    // By the line of their end, because a change counts once it has happened.
    let mut events: Vec<&Call> = calls.iter().collect();
    events.sort_by_key(|call| call.end);
    let work = parent(store);
    let ours = |path: &str| path.starts_with(&work);
    let marker = format!("{store}/meridian-store.json");
    let mut unsynced = Unsynced::default();
    let mut found = Found::default();
    let mut marker_is_durable = false;
    let mut marker_is_named = false;
    for call in events {
        let Some((name, arguments)) = call.text.split_once('(') else {
            continue;
        };
        if arguments.contains(") = -1 ") {
            continue;
        }
        match name {
            "fsync" | "fdatasync" => {
                let path = descriptor(arguments).expect("strace -y names it");
                if unsynced.0.get(path).is_some_and(|end| *end < call.begin) {
                    unsynced.0.remove(path);
                }
                found.log_syncs += u64::from(path == format!("{store}/db"));
                marker_is_durable |= path == store && marker_is_named;
            }
            // Not `ftruncate`: sled gives free segments at the log's end back in the background,
            // whenever that may reach the disk.
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" => {
                let path = descriptor(arguments).expect("strace -y names it");
                if ours(path) {
                    unsynced.0.insert(path.to_owned(), call.end);
                } else if quoted(arguments, 0).is_some_and(|text| text.starts_with("ack ")) {
                    found.acknowledged += 1;
                    let late: Vec<_> = unsynced
                        .0
                        .iter()
                        .filter(|(_, end)| **end < call.begin)
                        .collect();
                    assert!(
                        late.is_empty(),
                        "not on the disk at {:?}: {late:?}",
                        call.text
                    );
                }
            }
            "mkdir" | "mkdirat" | "creat" | "openat" => {
                let path = quoted(arguments, 0).expect("a path");
                if ours(path) && (name != "openat" || arguments.contains("O_CREAT")) {
                    unsynced.0.insert(parent(path), call.end);
                    found.blobs += u64::from(path.contains("/blobs/"));
                    if path == format!("{store}/conf") {
                        found.marker_came_first = marker_is_durable;
                    }
                }
            }
            "rename" | "renameat" | "renameat2" => {
                let path = quoted(arguments, 1).expect("a path");
                let from = quoted(arguments, 0).expect("a path");
                assert!(
                    !unsynced.0.contains_key(from),
                    "{from} was renamed before it was synced"
                );
                unsynced.0.insert(parent(path), call.end);
                marker_is_named |= path == marker;
            }
            _ => {}
        }
    }
    found
}
