//! What synchronisation costs: from a PUT at the global to the last zone, idle zones, zones that
//! join, a global that restarts, resources in bulk.
//!
//! `cargo bench -p mesh-benches --bench sync -- [--quick] [--only change,idle,...] [--json FILE]`
//!
//! The global is the release binary, as a process of its own. The zones are this process: the KDS
//! client of the zone control plane over TLS, each with a store of its own, on disk where a change
//! is timed until it is durable. It prints a table and the same as JSON, and judges nothing but
//! its bars: machines differ.

#![expect(
    clippy::print_stdout,
    reason = "a table and JSON are what a bench is run for"
)]

mod bulk;
mod change;
mod global;
mod idle;
mod join;
mod relay;
mod restart;
mod zones;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use mesh_benches::machine::Machine;
use mesh_benches::report::Report;

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// One change until the last zone has it.
    Change,
    /// Zones while nothing happens.
    Idle,
    /// Zones that join empty.
    Join,
    /// A global that is killed and comes back.
    Restart,
    /// Many resources while zones follow.
    Bulk,
}

/// Measures synchronisation, with each figure beside its bar
#[derive(Debug, Parser)]
#[command(name = "sync")]
struct Options {
    /// Fewer samples, shorter waits, and no 100,000 resources
    #[arg(long)]
    quick: bool,
    /// Parts to run: change, idle, join, restart, bulk
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "change,idle,join,restart,bulk"
    )]
    only: Vec<Part>,
    /// Writes the JSON to this file, too
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measures the binaries that are there instead of building them first
    #[arg(long)]
    no_build: bool,
    /// Given by `cargo bench`; without it nothing runs
    #[arg(long)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if !options.bench {
        println!("nothing measured: run it with cargo bench -p mesh-benches --bench sync");
        return Ok(());
    }
    if !options.no_build {
        mesh_benches::build()?;
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(&options))
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let work_dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut report = Report::new(Machine::look(work_dir.path())?);
    let mut failures = Vec::new();
    for part in &options.only {
        let (dir, quick) = (work_dir.path(), options.quick);
        let measured = match part {
            Part::Change => change::measure(dir, quick, &mut report).await,
            Part::Idle => idle::measure(dir, quick, &mut report).await,
            Part::Join => join::measure(dir, quick, &mut report).await,
            Part::Restart => restart::measure(dir, quick, &mut report).await,
            Part::Bulk => bulk::measure(dir, quick, &mut report).await,
        };
        if let Err(error) = measured {
            failures.push(format!("part {part:?} failed: {error:#}"));
        }
    }
    report.publish(options.json.as_deref(), &failures)
}
