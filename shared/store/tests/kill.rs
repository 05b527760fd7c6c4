//! SIGKILL at random instants: what was acknowledged is there afterwards.
//!
//! The test runs its own binary again as the process to kill (a store is lost or kept by a
//! process, not by a thread). `MERIDIAN_KILL_ROUNDS` sets how many rounds are run.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mesh_store::{Batch, Snapshot, Store};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::common::{data, key, open, secret};

const DIR: &str = "MERIDIAN_TEST_STORE_TO_WRITE";
const ROUNDS: &str = "MERIDIAN_KILL_ROUNDS";
const SEED: &str = "MERIDIAN_KILL_SEED";
const WRITERS: usize = 16;
/// How many resources come and go at once, so many that they are not written in one piece.
const BULK: u64 = 700;
/// How many entries each writer keeps, and how often one is large.
const KEPT: u64 = 20;
const LARGE_EVERY: u64 = 15;

fn counter(writer: usize) -> String {
    format!("counter-{writer}")
}

fn entry(writer: usize, n: u64) -> String {
    format!("entry-{writer}-{n}")
}

fn bulk(n: u64) -> Batch {
    let batch = Batch::new().put(secret("bulk", n.to_string()));
    (0..BULK).fold(batch, |batch, i| {
        batch
            .put(secret(&format!("bulk-{n}-{i}"), "x"))
            .delete(key(&format!("bulk-{}-{i}", n - 1)))
    })
}

/// Where a writer is, by what is stored: one batch advances its counter, adds an entry and
/// removes an old one, so the counter says exactly which entries there must be.
fn position(snapshot: &Snapshot, writer: usize) -> u64 {
    number(snapshot, &counter(writer))
}

fn number(snapshot: &Snapshot, name: &str) -> u64 {
    snapshot
        .get(&key(name))
        .map_or(0, |r| String::from_utf8(data(r)).unwrap().parse().unwrap())
}

fn content(n: u64) -> Vec<u8> {
    let len = if n.is_multiple_of(LARGE_EVERY) {
        200_000
    } else {
        300
    };
    let mut content = n.to_le_bytes().to_vec();
    content.resize(len, 7);
    content
}

fn step(writer: usize, n: u64) -> Batch {
    let batch = Batch::new()
        .put(secret(&counter(writer), n.to_string()))
        .put(secret(&entry(writer, n), content(n)));
    match n.checked_sub(KEPT) {
        Some(old) => batch.delete(key(&entry(writer, old))),
        None => batch,
    }
}

/// The process to kill; nothing to do when the tests run.
#[test]
fn child_that_writes() {
    let Some(dir) = env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let store = Arc::new(open(&dir));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    say("open 0");
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        runtime.spawn(async move {
            let mut n = position(&store.snapshot(), writer);
            loop {
                n += 1;
                let snapshot = store.commit(step(writer, n)).await.unwrap();
                say(&format!("ack {writer} {n} {}", snapshot.revision()));
            }
        });
    }
    runtime.block_on(async {
        let mut n = number(&store.snapshot(), "bulk");
        loop {
            n += 1;
            let snapshot = store.commit(bulk(n)).await.unwrap();
            say(&format!("ack {WRITERS} {n} {}", snapshot.revision()));
        }
    });
}

/// Writes a line that a reader has whole or not at all, past the test harness's capture.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

#[derive(Debug, Default)]
struct Acknowledged {
    revision: u64,
    counters: BTreeMap<usize, u64>,
    total: u64,
}

/// Starts the child on `dir`, kills it after `lines` acknowledgements and `then`, and returns
/// all that it acknowledged.
fn write_until_killed(dir: &Path, lines: u64, then: Duration) -> Acknowledged {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "kill::child_that_writes", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = Acknowledged::default();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = 0;
    let mut note = |line: &str| {
        let Some(rest) = line.strip_prefix("ack ") else {
            return;
        };
        let numbers: Vec<u64> = rest.split(' ').map(|n| n.parse().unwrap()).collect();
        let writer = usize::try_from(numbers[0]).unwrap();
        acknowledged.counters.insert(writer, numbers[1]);
        acknowledged.revision = acknowledged.revision.max(numbers[2]);
        acknowledged.total += 1;
    };
    while seen < lines {
        let line = output.next().expect("the child writes for ever").unwrap();
        note(&line);
        seen += u64::from(line.starts_with("ack "));
    }
    thread::sleep(then);
    child.kill().unwrap();
    // It may have said more before it died.
    for line in output.map_while(Result::ok) {
        note(&line);
    }
    child.wait().unwrap();
    acknowledged
}

fn check(snapshot: &Snapshot, acknowledged: &Acknowledged) {
    assert!(snapshot.revision().0 >= acknowledged.revision);
    let mut expected = 0;
    for writer in 0..WRITERS {
        let n = position(snapshot, writer);
        let promised = acknowledged.counters.get(&writer).copied().unwrap_or(0);
        assert!(
            n >= promised,
            "writer {writer} was promised {promised} and finds {n}"
        );
        for n in n.saturating_sub(KEPT - 1).max(1)..=n {
            let found = snapshot
                .get(&key(&entry(writer, n)))
                .unwrap_or_else(|| panic!("writer {writer} misses entry {n}"));
            assert!(data(found) == content(n), "writer {writer}, entry {n}");
        }
        expected += n.min(KEPT) + u64::from(n > 0);
    }
    let n = number(snapshot, "bulk");
    assert!(n >= acknowledged.counters.get(&WRITERS).copied().unwrap_or(0));
    if n > 0 {
        for i in 0..BULK {
            let found = snapshot.get(&key(&format!("bulk-{n}-{i}")));
            assert!(found.is_some(), "bulk {n} is in part");
        }
        expected += BULK + 1;
    }
    // And nothing that should be gone.
    assert_eq!(snapshot.len() as u64, expected);
}

#[test]
fn sigkill_loses_nothing_that_was_acknowledged() {
    let number = |name, default| {
        env::var(name).map_or(default, |text| {
            text.parse()
                .unwrap_or_else(|_| panic!("{name}={text} is not a number"))
        })
    };
    let rounds = number(ROUNDS, 10);
    let seed = number(SEED, rand::random());
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut total = 0;
    let mut last = 0;
    for round in 0..rounds {
        // Some rounds die while opening, some after thousands of commits.
        let lines = [0, 1, 100, 2_000][random.random_range(0..4)];
        let lines = random.random_range(0..=lines);
        let then = Duration::from_micros(random.random_range(0..40_000));
        let acknowledged = write_until_killed(dir.path(), lines, then);
        let store = open(dir.path());
        let snapshot = store.snapshot();
        let what = format!("round {round}, {SEED}={seed}: {acknowledged:?}");
        let result = std::panic::catch_unwind(|| check(&snapshot, &acknowledged));
        assert!(result.is_ok(), "{what}");
        assert!(snapshot.revision().0 >= last, "{what}");
        last = snapshot.revision().0;
        total += acknowledged.total;
    }
    say(&format!(
        "killed {rounds} times; all {total} acknowledged batches were there (seed {seed})"
    ));
}
