//! What the spine costs: from a PUT at the global to a request through an Envoy, idle processes,
//! durable writes.
//!
//! `cargo bench -p mesh-benches -- [--quick] [--only a,b,c,d,e,f,g] [--json FILE]`
//!
//! The control planes are the release binaries, as processes of their own; this process has the
//! clients, the backend and the clock. It prints a table and the same as JSON. It judges nothing
//! but its bars, and never fails because of them: machines differ.

#![expect(
    clippy::print_stdout,
    reason = "a table and JSON are what a bench is run for"
)]

mod ads;
mod answer;
mod bare;
mod churn;
mod durable;
mod idle;
mod push;
mod requests;
mod translate;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use mesh_benches::machine::Machine;
use mesh_benches::report::Report;
use mesh_benches::{build, fleet, http, load, machine, progress, report, stats};

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// PUT accepted to first byte on an Envoy's stream.
    A,
    /// PUT sent to the first answer through a real Envoy, beside Envoy's own time.
    B,
    /// CPU and memory of idle control planes.
    C,
    /// Durable writes.
    D,
    /// Translation.
    E,
    /// Requests with many routes, as a list and as a tree.
    F,
    /// The zone while things change.
    G,
}

/// Measures the spine, with each figure beside its bar
#[derive(Debug, Parser)]
#[command(name = "spine")]
struct Options {
    /// Fewer samples and shorter waits
    #[arg(long)]
    quick: bool,
    /// Parts to run: a (push), b (answer), c (idle), d (durable writes), e (translation),
    /// f (requests with many routes), g (changes)
    #[arg(long, value_delimiter = ',', default_value = "a,b,c,d,e,f,g")]
    only: Vec<Part>,
    /// Writes the JSON to this file, too
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measures the binaries that are there instead of building them first
    #[arg(long)]
    no_build: bool,
    /// Measures one translation, for part e
    #[arg(long, hide = true)]
    case: Option<translate::Case>,
    /// Given by `cargo bench`; without it nothing runs
    #[arg(long)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if !options.bench {
        println!("nothing measured: run it with cargo bench -p mesh-benches");
        return Ok(());
    }
    if let Some(case) = options.case {
        println!("{}", translate::measure_case(case)?);
        return Ok(());
    }
    if !options.no_build {
        build()?;
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
            Part::A => push::measure(dir, quick, &mut report).await,
            Part::B => match answer::measure(dir, quick, &mut report).await {
                Ok(()) => answer::grow(dir, quick, &mut report).await,
                Err(error) => Err(error),
            },
            Part::C => idle::measure(dir, quick, &mut report).await,
            Part::D => durable::measure(dir, quick, &mut report).await,
            Part::E => translate::measure(quick, &mut report),
            Part::F => requests::measure(dir, quick, &mut report).await,
            Part::G => churn::measure(dir, quick, &mut report).await,
        };
        if let Err(error) = measured {
            failures.push(format!("part {part:?} failed: {error:#}"));
        }
    }
    report.publish(options.json.as_deref(), &failures)
}
