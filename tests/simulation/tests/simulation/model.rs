//! The pure model.

use std::sync::atomic::{AtomicU64, Ordering};

use mesh_simulation::mischief::Mischief;
use mesh_simulation::model::{Peers, Summary, Violation, play, story};

/// Plays these seeds, and says which fails and how to play it again.
fn play_all(seeds: u64) -> Summary {
    let next = AtomicU64::new(0);
    let total = parking_lot::Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    match play(seed, Peers::Any, Mischief::None) {
                        Ok(summary) => total.lock().add(&summary),
                        Err(violation) => panic!(
                            "seed {seed}: {violation}\n{}\nplay it again: cargo sim --seed {seed}",
                            story(seed, Peers::Any, Mischief::None, 40)
                        ),
                    }
                }
            });
        }
    });
    total.into_inner()
}

#[test]
fn nothing_happens_in_2000_seeds_that_must_not() {
    let total = play_all(2_000);
    // What does not happen proves nothing.
    assert!(total.removals > 2_000, "{total}");
    assert!(total.refusals > 2_000, "{total}");
    assert!(total.crashes > 2_000, "{total}");
    assert!(total.connections > 5_000, "{total}");
}

#[test]
fn a_seed_is_the_same_run_again() {
    for seed in [3, 77, 1234] {
        let tell = || story(seed, Peers::Any, Mischief::None, usize::MAX);
        assert_eq!(tell(), tell());
    }
    let trace = |seed| play(seed, Peers::Any, Mischief::None).unwrap().trace;
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}

/// How these seeds end with a harness that does something wrong, and what they show of it.
fn with(mischief: Mischief, peers: Peers) -> (Vec<Violation>, u64) {
    let mut violations = Vec::new();
    let mut differences = 0;
    for seed in 0..150 {
        match play(seed, peers, mischief) {
            Ok(summary) => differences += summary.differences,
            Err(violation) => violations.push(violation),
        }
    }
    (violations, differences)
}

#[test]
fn a_lost_removal_is_noticed_where_nothing_repairs_it() {
    for peers in [Peers::Stock, Peers::Undigested] {
        let (violations, differences) = with(Mischief::LosesRemovals, peers);
        let kept = |violation: &&Violation| violation.contains("has removed");
        assert!(violations.iter().filter(kept).count() > 5, "{violations:?}");
        assert_eq!(differences, 0);
    }
}

#[test]
fn a_lost_removal_is_reported_and_repaired_between_ours() {
    let (violations, differences) = with(Mischief::LosesRemovals, Peers::Own);
    assert_eq!(violations, Vec::<Violation>::new());
    assert!(differences > 10, "{differences}");
}

#[test]
fn held_versions_that_are_forgotten_are_noticed_where_nothing_repairs_it() {
    let (violations, differences) = with(Mischief::ForgetsHeld, Peers::Undigested);
    let kept = |violation: &&Violation| violation.contains("has removed");
    assert!(violations.iter().filter(kept).count() > 5, "{violations:?}");
    assert_eq!(differences, 0);
}

#[test]
fn held_versions_that_are_forgotten_are_reported_and_repaired_between_ours() {
    let (violations, differences) = with(Mischief::ForgetsHeld, Peers::Own);
    assert_eq!(violations, Vec::<Violation>::new());
    assert!(differences > 10, "{differences}");
}
