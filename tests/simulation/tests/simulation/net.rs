//! Real KDS over a simulated network. Each seed has a process of its own, in which all chance is
//! the seed's.

use std::process::Command;

/// Runs `cargo sim` with these arguments; whether it was content, and what it printed.
fn sim(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), text + &errors)
}

/// The number before a word, in each line that has it.
fn counts(text: &str, word: &str) -> Vec<u64> {
    let before = |line: &str| {
        let number = line.split(word).next()?.split(' ').rfind(|w| !w.is_empty());
        number?.parse().ok()
    };
    let lines = text.lines().filter(|line| line.contains(word));
    lines.filter_map(before).collect()
}

#[test]
fn nothing_happens_in_30_seeds_that_must_not() {
    let (is_good, text) = sim(&["--net", "--seeds", "30"]);
    assert!(is_good, "{text}");
    assert_eq!(counts(&text, " faults").len(), 30, "{text}");
    // What does not happen proves nothing.
    assert!(counts(&text, " faults").iter().sum::<u64>() > 150, "{text}");
    assert!(
        counts(&text, " removals").iter().sum::<u64>() > 300,
        "{text}"
    );
}

/// Every byte that is written to the network, by whom and when, goes into the trace.
#[test]
fn a_seed_is_the_same_run_again() {
    let play = |seed| sim(&["--net", "--seed", seed, "--lines", "100000"]);
    for seed in ["7", "12"] {
        let (is_good, first) = play(seed);
        assert!(is_good && first.contains(", trace "), "{first}");
        assert_eq!(play(seed).1, first);
    }
    assert_ne!(play("7").1, play("12").1);
}

#[test]
fn a_lost_removal_is_noticed_where_nothing_repairs_it() {
    for without in ["heartbeats", "everything"] {
        let wrong = ["--mischief", "loses-removals", "--without", without];
        let (is_good, text) = sim(&[&["--net", "--seeds", "12"], &wrong[..]].concat());
        assert!(!is_good && text.contains(" still holds "), "{text}");
        assert!(
            text.contains("to play it again: cargo sim --net "),
            "{text}"
        );
    }
}

#[test]
fn held_versions_that_are_forgotten_are_noticed_where_nothing_repairs_it() {
    let wrong = ["--mischief", "forgets-held", "--without", "heartbeats"];
    let (is_good, text) = sim(&[&["--net", "--seeds", "12"], &wrong[..]].concat());
    assert!(!is_good && text.contains(" still holds "), "{text}");
}

#[test]
fn what_is_lost_between_ours_is_reported_and_repaired() {
    for mischief in ["loses-removals", "forgets-held"] {
        let wrong = ["--mischief", mischief, "--without", "nothing"];
        let (is_good, text) = sim(&[&["--net", "--seeds", "5"], &wrong[..]].concat());
        assert!(is_good, "{text}");
        assert!(
            counts(&text, " differences").iter().sum::<u64>() > 0,
            "{text}"
        );
    }
}
