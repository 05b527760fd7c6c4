//! Searches against proxies that refuse for a reason of the test's.

use proptest::prelude::*;

use super::*;

/// What a search did with suspects `0..n`.
#[derive(Debug)]
struct Outcome {
    end: End,
    /// Trials whose answer was not known before: what was taken last is taken again.
    pushes: usize,
    bad: BTreeSet<usize>,
    live: BTreeSet<usize>,
}

/// Runs a search to its end. `refuses` looks at a whole configuration; with `quotes`, the words
/// name the first one that is bad by itself.
fn run(
    n: usize,
    refuses: impl Fn(&BTreeSet<usize>) -> bool,
    quotes: impl Fn(usize) -> bool,
) -> Outcome {
    let words = |config: &BTreeSet<usize>| -> Arc<str> {
        let quoted = config.iter().find(|one| quotes(**one));
        quoted
            .map_or_else(String::new, |one| format!("'{one}'"))
            .into()
    };
    let hint = |words: Arc<str>| move |one: &usize| *words == *format!("'{one}'");
    let all: BTreeSet<usize> = (0..n).collect();
    let first = words(&all);
    let mut search = Bisection::new(
        all.iter().copied().collect(),
        Arc::clone(&first),
        true,
        hint(first),
    );
    let mut live = BTreeSet::new();
    let mut pushes = 0;
    let end = loop {
        if let Some(end) = search.end() {
            break end;
        }
        assert!(pushes <= 4 * n + 4, "it does not end");
        let left_out: BTreeSet<usize> = search.left_out().copied().collect();
        let config: BTreeSet<usize> = all.difference(&left_out).copied().collect();
        if config == live && !refuses(&config) {
            search.taken();
            continue;
        }
        pushes += 1;
        if refuses(&config) {
            let words = words(&config);
            search.refused(Arc::clone(&words), hint(words));
        } else {
            assert!(config.is_superset(&live), "what was live goes away");
            live = config;
            search.taken();
        }
    };
    let bad = search.bad().iter().map(|(bad, _)| *bad).collect();
    Outcome {
        end,
        pushes,
        bad,
        live,
    }
}

/// 2·k·log₂ n, and at least one for what is left when all else is out.
fn bound(n: usize, k: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "small and positive"
    )]
    let bound = (2.0 * k as f64 * (n as f64).log2()).floor() as usize;
    bound.max(1)
}

fn among(n: usize, bad: &BTreeSet<usize>, quotes: bool) -> Outcome {
    run(
        n,
        |config| config.intersection(bad).next().is_some(),
        |one| quotes && bad.contains(&one),
    )
}

#[test]
fn a_single_change_is_bad_without_a_trial() {
    let outcome = among(1, &[0].into(), false);
    assert_eq!((outcome.end, outcome.pushes), (End::Found, 0));
    assert_eq!(outcome.bad, [0].into());
}

#[test]
fn one_among_many_is_found_with_few_pushes() {
    for n in [2, 3, 5, 100, 1000, 40_000] {
        for bad in [0, n / 3, n - 1] {
            let outcome = among(n, &[bad].into(), false);
            let log = n.next_power_of_two().ilog2() as usize;
            assert!(outcome.pushes <= log + 2, "{n} {bad}: {}", outcome.pushes);
            assert_eq!(outcome.bad, [bad].into());
            assert_eq!(outcome.live.len(), n - 1);
        }
    }
}

#[test]
fn what_is_quoted_is_left_out_at_once_and_tried_alone() {
    let outcome = among(5000, &[17].into(), true);
    assert_eq!((outcome.pushes, outcome.bad), (2, [17].into()));
    let outcome = among(5000, &[17, 1700, 4444].into(), true);
    assert!(outcome.pushes <= 10, "{}", outcome.pushes);
    assert_eq!(outcome.bad, [17, 1700, 4444].into());
}

#[test]
fn quotes_that_mislead_cost_little() {
    let outcome = run(1000, |config| config.contains(&5), |one| one > 900);
    assert!(outcome.pushes <= bound(1000, 1), "{}", outcome.pushes);
    assert_eq!(outcome.bad, [5].into());
}

#[test]
fn who_refuses_everything_is_not_asked_for_long() {
    let outcome = run(5000, |_| true, |_| false);
    assert_eq!(outcome.end, End::NotTheirs);
    assert!(outcome.pushes <= 30, "{}", outcome.pushes);
    assert_eq!(outcome.bad, BTreeSet::new(), "nobody is accused");
}

#[test]
fn of_two_that_go_alone_one_is_left_out() {
    let both = |config: &BTreeSet<usize>| config.contains(&3) && config.contains(&70);
    let outcome = run(100, both, |_| false);
    assert_eq!(outcome.end, End::Found);
    assert_eq!(outcome.bad.len(), 1, "{outcome:?}");
    assert!(outcome.bad.is_subset(&[3, 70].into()), "{outcome:?}");
    assert_eq!(outcome.live.len(), 99);
}

#[test]
fn of_more_than_fit_as_many_as_fit_go_live() {
    let outcome = run(100, |config| config.len() > 60, |_| false);
    assert_eq!(outcome.end, End::Found);
    assert_eq!(outcome.live.len(), 60);
    assert!(outcome.pushes <= 2 * 100, "{}", outcome.pushes);
}

#[test]
fn what_changes_meanwhile_is_tried_again() {
    let mut search = Bisection::new((0..8).collect(), "".into(), true, |_| false);
    assert_eq!(search.trial(), [0, 1, 2, 3]);
    // The bad one of the other half is mended, and a new one comes.
    search.changed(&6);
    search.changed(&99);
    search.taken();
    assert_eq!(search.left_out().count(), 0, "nothing is inferred any more");
    search.taken();
    assert_eq!(search.end(), Some(End::Found));
    assert_eq!(search.bad(), []);
}

#[test]
fn what_is_cured_by_something_else_is_not_bad() {
    let mut search = Bisection::new(vec![1, 2], "".into(), true, |_| false);
    assert_eq!(search.trial(), [1]);
    search.taken();
    assert_eq!(search.trial(), [2], "it is tried, too");
    search.taken();
    assert_eq!((search.end(), search.bad()), (Some(End::Found), &[][..]));
}

#[test]
fn who_was_accused_before_something_else_changed_is_tried_again() {
    let mut search = Bisection::new(vec![1, 2], "".into(), true, |_| false);
    search.refused("".into(), |_| false);
    assert_eq!((search.trial(), search.bad()), (&[][..], &[][..]));
    search.disturbed();
    search.taken();
    search.taken();
    assert_eq!((search.end(), search.bad()), (Some(End::Found), &[][..]));
}

#[test]
fn a_careful_search_leaves_out_few_and_the_last_first() {
    let mut search = Bisection::careful((0..100).collect(), "".into(), |_| false);
    let mut seen = Vec::new();
    while search.end().is_none() {
        let out: BTreeSet<i32> = search.left_out().copied().collect();
        assert_eq!(
            out,
            (100 - i32::try_from(out.len()).unwrap()..100).collect()
        );
        seen.push(out.len());
        search.refused("".into(), |_| false);
    }
    assert_eq!(seen, [1, 2, 4, 8, 12]);
    assert_eq!(search.end(), Some(End::NotTheirs));
    assert_eq!(search.bad(), []);

    let hint = |one: &i32| *one == 7;
    let mut search = Bisection::careful((0..100).collect(), "".into(), hint);
    assert_eq!(search.left_out().collect::<Vec<_>>(), [&7]);
    // A change is the likeliest one from then on, and stays in until that is tried.
    search.changed(&30);
    search.refused("".into(), |_| false);
    assert_eq!(search.left_out().collect::<Vec<_>>(), [&30, &7]);
    search.taken();
    assert_eq!(search.trial(), [30], "all others are taken");
    search.refused("".into(), |_| false);
    search.taken();
    assert_eq!(search.trial(), [7]);
    search.taken();
    assert_eq!(search.end(), Some(End::Found));
    assert_eq!(search.bad(), [(30, Arc::from(""))]);
}

proptest! {
    #[test]
    fn the_bad_ones_are_found_and_all_others_live(
        n in 1_usize..400,
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..12),
        quotes: bool,
    ) {
        let bad: BTreeSet<usize> = picks.iter().map(|pick| pick.index(n)).collect();
        let outcome = among(n, &bad, quotes);
        prop_assert_eq!(outcome.end, End::Found);
        prop_assert_eq!(&outcome.bad, &bad, "of {}", n);
        let good: BTreeSet<usize> = (0..n).filter(|one| !bad.contains(one)).collect();
        prop_assert_eq!(outcome.live, good);
        prop_assert!(
            outcome.pushes <= bound(n, bad.len()),
            "{} pushes for {} of {n}", outcome.pushes, bad.len()
        );
    }

    #[test]
    fn any_rule_ends_with_something_that_is_taken(
        n in 1_usize..40,
        pairs in prop::collection::vec((0_usize..40, 0_usize..40), 0..20),
        most in 0_usize..40,
    ) {
        let refuses = |config: &BTreeSet<usize>| {
            config.len() > most
                || pairs.iter().any(|(a, b)| config.contains(a) && config.contains(b))
        };
        if !refuses(&(0..n).collect()) {
            return Ok(());
        }
        let outcome = run(n, refuses, |_| false);
        prop_assert_eq!(outcome.end, End::Found);
        let left: BTreeSet<usize> = (0..n).filter(|one| !outcome.bad.contains(one)).collect();
        prop_assert_eq!(outcome.live, left);
    }
}
