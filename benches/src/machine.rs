//! Facts about the machine, without which figures say little; and what the kernel says of a
//! process (proc(5)).

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::stats::{Samples, milliseconds, round};

/// How often `fdatasync` is timed.
const SYNCS: usize = 500;

/// The machine that a run is on.
#[derive(Debug)]
pub struct Machine {
    cores: usize,
    load: String,
    fdatasync: Samples,
}

impl Machine {
    /// Looks at this one; `dir` is on the disk that stores will be on.
    pub fn look(dir: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            load: load(),
            fdatasync: fdatasync(dir)?,
        })
    }

    /// All of it.
    pub fn to_json(&self) -> Value {
        json!({
            "cores": self.cores,
            "load_at_start": self.load,
            "fdatasync": self.fdatasync.to_json(),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, load, .. } = self;
        write!(
            f,
            "{cores} cores, load {load}, fdatasync p50 {:.2} ms, p99 {:.2} ms",
            self.fdatasync.percentile(50),
            self.fdatasync.percentile(99),
        )
    }
}

/// The load of the last minutes; on a busy machine all figures are worse.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Appends 4 kB at a time, each followed by `fdatasync`.
pub fn fdatasync(dir: &Path) -> anyhow::Result<Samples> {
    let path = dir.join("fdatasync");
    let mut file = File::create(&path)?;
    let mut samples = Vec::with_capacity(SYNCS);
    for number in 0..SYNCS {
        file.write_all(&[u8::try_from(number % 256)?; 4096])?;
        let start = Instant::now();
        file.sync_data()?;
        samples.push(milliseconds(start.elapsed()));
    }
    std::fs::remove_file(path)?;
    Ok(Samples::new(samples))
}

/// The CPU time that a process has used.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may have spaces; fields are counted after it.
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    let field = |number: usize| -> anyhow::Result<u64> {
        // The first after the name is field 3 of proc(5).
        let text = fields.split(' ').nth(number - 3).context("a short stat")?;
        Ok(text.parse()?)
    };
    // User and system time in ticks, of which every Linux has 100 a second for user space.
    Ok(Duration::from_millis((field(14)? + field(15)?) * 10))
}

/// The resident memory of a process in MiB, now and at its highest.
pub fn memory(pid: u32) -> anyhow::Result<(f64, f64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mib = |name: &str| -> anyhow::Result<f64> {
        let line = status.lines().find(|line| line.starts_with(name));
        let text = line
            .and_then(|line| line.split_whitespace().nth(1))
            .context("no such line in status")?;
        Ok(round(text.parse::<f64>()? / 1024.0))
    };
    Ok((mib("VmRSS:")?, mib("VmHWM:")?))
}
