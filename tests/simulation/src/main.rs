//! `cargo sim`: plays the simulations of this package, seed by seed.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Context as _;
use clap::Parser;
use mesh_simulation::mischief::Mischief;
use mesh_simulation::model::{self, Peers, Summary};
use mesh_simulation::net::{self, Without};
use parking_lot::Mutex;

/// Plays control planes in the hands of an adversary: crashes, partitions, loss, refusals. What
/// happens comes from a seed, and the same seed is the same run again.
#[derive(Debug, Parser)]
#[command(
    name = "cargo sim",
    after_help = "Examples:\n  \
        cargo sim                              10,000 seeds of the pure model\n  \
        cargo sim --seeds 500 --from 20000     500 others\n  \
        cargo sim --seed 42                    one seed, and its story\n  \
        cargo sim --net --seeds 200            real KDS over a simulated network\n  \
        cargo sim --net --seed 42 --lines 200  one of these, and the end of its story\n  \
        cargo sim --peers stock --mischief loses-removals\n                                         \
        shows that the model notices a lost removal"
)]
struct Cli {
    /// Real clients, a real server and simulated disks over a simulated network, instead of the
    /// pure model
    #[arg(long)]
    net: bool,
    /// How many seeds; 10,000 of the model or 200 of the network if not said
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
    /// Plays this seed only, and tells its story
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// How many lines of a story are told, from its end
    #[arg(long, value_name = "N", default_value_t = 60)]
    lines: usize,
    /// How many seeds are played at a time
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// What the harness does wrong on purpose
    #[arg(long, value_enum, default_value_t = Mischief::None)]
    mischief: Mischief,
    /// Who takes part in the model
    #[arg(long, value_enum, default_value_t = Peers::Any, conflicts_with = "net")]
    peers: Peers,
    /// What of their own abilities the ends do without, with --net; by the seed if not said
    #[arg(long, value_enum, requires = "net")]
    without: Option<Without>,
    /// Plays the seed in this process, which is good for nothing else then
    #[arg(long, hide = true, requires_all = ["net", "seed"])]
    alone: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    match cli.seed {
        Some(seed) if cli.alone => Ok(play_alone(&cli, seed)),
        Some(seed) if cli.net => {
            let (is_good, text) = play_apart(&cli, seed)?;
            println!("{text}");
            Ok(code(is_good))
        }
        Some(seed) => {
            println!("{}", model::story(seed, cli.peers, cli.mischief, cli.lines));
            let end = model::play(seed, cli.peers, cli.mischief);
            Ok(code(end.is_ok()))
        }
        None => play_all(&cli),
    }
}

fn code(is_good: bool) -> ExitCode {
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Plays a seed of the network with all chance of this process.
fn play_alone(cli: &Cli, seed: u64) -> ExitCode {
    let options = net::Options {
        mischief: cli.mischief,
        without: cli.without,
        story: cli.lines,
        ..net::Options::default()
    };
    mesh_chance::seed(seed);
    // What a thread drew before it would count.
    let played = std::thread::spawn(move || net::play(seed, &options)).join();
    match &played {
        Ok(Ok(summary)) => println!("{summary}"),
        Ok(Err(violation)) => println!("{violation}"),
        Err(_panicked) => println!("a host panicked"),
    }
    code(matches!(played, Ok(Ok(_))))
}

/// Plays a seed of the network in a process of its own.
fn play_apart(cli: &Cli, seed: u64) -> anyhow::Result<(bool, String)> {
    let this = std::env::current_exe().context("this program has no path")?;
    let lines = if cli.seed.is_some() { cli.lines } else { 0 };
    let without = cli
        .without
        .map(|without| ["--without".to_owned(), value(without)]);
    let output = Command::new(this)
        .args(["--net", "--alone", "--seed", &seed.to_string()])
        .args(["--lines", &lines.to_string()])
        .args(["--mischief", &value(cli.mischief)])
        .args(without.into_iter().flatten())
        .output()
        .context("cannot start a process for a seed")?;
    let mut text = String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned();
    if !output.status.success() {
        text.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    Ok((output.status.success(), text))
}

fn value(value: impl clap::ValueEnum) -> String {
    let name = value.to_possible_value();
    name.map(|name| name.get_name().to_owned())
        .unwrap_or_default()
}

/// Plays many seeds, and stops at the first that fails.
fn play_all(cli: &Cli) -> anyhow::Result<ExitCode> {
    let count = cli.seeds.unwrap_or(if cli.net { 200 } else { 10_000 });
    let next = AtomicU64::new(cli.from);
    let end = cli.from.saturating_add(count);
    let has_failed = AtomicBool::new(false);
    let total = Mutex::new(Summary::default());
    let errors = Mutex::new(Vec::new());
    let play_some = || {
        while !has_failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let played = if cli.net {
                play_apart(cli, seed).map(|(is_good, text)| {
                    println!("seed {seed}: {text}");
                    is_good
                })
            } else {
                Ok(match model::play(seed, cli.peers, cli.mischief) {
                    Ok(summary) => {
                        total.lock().add(&summary);
                        true
                    }
                    Err(violation) => {
                        println!("seed {seed}: {violation}");
                        false
                    }
                })
            };
            match played {
                Ok(true) => {}
                Ok(false) => {
                    has_failed.store(true, Ordering::Relaxed);
                    println!("to play it again: cargo sim{} --seed {seed}", flags(cli));
                }
                Err(error) => {
                    has_failed.store(true, Ordering::Relaxed);
                    errors.lock().push(error);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..cli.jobs.max(1) {
            scope.spawn(play_some);
        }
    });
    if let Some(error) = errors.into_inner().pop() {
        return Err(error);
    }
    let is_good = !has_failed.into_inner();
    if is_good {
        println!(
            "{count} seeds from {}: nothing that must not happen",
            cli.from
        );
        if !cli.net {
            println!("{}", total.into_inner());
        }
    }
    Ok(code(is_good))
}

/// The flags that make a seed what it is.
fn flags(cli: &Cli) -> String {
    let mut flags = String::new();
    if cli.net {
        flags.push_str(" --net");
    }
    let mischief = (cli.mischief != Mischief::None).then(|| value(cli.mischief));
    let peers = (cli.peers != Peers::Any).then(|| value(cli.peers));
    let without = cli.without.map(value);
    for (flag, value) in [
        ("mischief", mischief),
        ("peers", peers),
        ("without", without),
    ] {
        if let Some(value) = value {
            flags.push_str(&format!(" --{flag} {value}"));
        }
    }
    flags
}
