//! Which of several changes a proxy refuses, found by trying them in groups.
//!
//! A search is told what became of each trial and says what the next one leaves out. What a trial
//! had that was taken stays in, so that good changes go live as the search goes on. Halving finds
//! one bad change among n with log₂ n trials; all that was set aside on the way is then tried
//! together. The words of a refusal often quote what they are about, and what they quote is tried
//! last.
//!
//! **Invariant:** this module knows no clock and no stream. A search ends after a bounded number
//! of trials whatever the answers are.

use std::collections::BTreeSet;
use std::sync::Arc;

/// A search for the bad ones among suspects.
#[derive(Debug)]
pub(super) struct Bisection<S> {
    stage: Stage,
    /// What the current trial adds to what is taken.
    trial: Vec<S>,
    /// The other part of the group that the trial is of, and the words that refused the group.
    other: Vec<S>,
    words: Arc<str>,
    /// Suspects of which nothing is known.
    aside: Vec<S>,
    /// What was refused alone, and the words.
    bad: Vec<(S, Arc<str>)>,
    /// How many of those aside are tried together.
    portion: usize,
    /// How often the words of a refusal may still decide what is tried first.
    hints: u32,
    is_any_taken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The trial is a part of a group that was refused, and the rest of it is `other`.
    Part,
    /// As before, but some have changed since, so that nothing can be inferred.
    Disturbed,
    /// The trial is a portion of what was aside.
    Portion,
    /// The trial has none of the suspects.
    Bare,
    Ended(End),
}

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All suspects but the bad ones are taken.
    Found,
    /// The proxy refuses even what none of the suspects is in, so that they are not why.
    NotTheirs,
}

impl<S: Clone + Ord> Bisection<S> {
    /// Begins with what was refused together, and the words; `hint` says of which suspects the
    /// words seem to be. The first trial is to be made at once.
    pub(super) fn new(suspects: Vec<S>, words: Arc<str>, hint: impl Fn(&S) -> bool) -> Self {
        let portion = suspects.len();
        let mut new = Self {
            stage: Stage::Part,
            trial: Vec::new(),
            other: Vec::new(),
            words: Arc::clone(&words),
            aside: Vec::new(),
            bad: Vec::new(),
            portion,
            hints: portion.checked_ilog2().unwrap_or(0).saturating_sub(2),
            is_any_taken: false,
        };
        new.narrow(suspects, words, hint);
        new
    }

    /// How it ended, if it did. What is left out then stays out.
    pub(super) fn end(&self) -> Option<End> {
        match self.stage {
            Stage::Ended(end) => Some(end),
            Stage::Part | Stage::Disturbed | Stage::Portion | Stage::Bare => None,
        }
    }

    /// What to leave out of the trial to be made now.
    pub(super) fn left_out(&self) -> impl Iterator<Item = &S> {
        let bad = self.bad.iter().map(|(bad, _)| bad);
        self.other.iter().chain(&self.aside).chain(bad)
    }

    /// What is on trial.
    pub(super) fn trial(&self) -> &[S] {
        &self.trial
    }

    /// What was refused alone so far, with the proxy's words; nothing until it is known that
    /// anything is taken at all.
    pub(super) fn bad(&self) -> &[(S, Arc<str>)] {
        if self.is_any_taken { &self.bad } else { &[] }
    }

    /// The trial was taken.
    pub(super) fn taken(&mut self) {
        self.is_any_taken = true;
        self.trial.clear();
        let other = std::mem::take(&mut self.other);
        match self.stage {
            // The group was refused and this part of it is not why.
            Stage::Part => {
                let words = Arc::clone(&self.words);
                self.narrow(other, words, |_| false);
            }
            Stage::Disturbed => {
                self.aside.extend(other);
                self.go_on();
            }
            Stage::Portion => {
                self.portion = self.portion.saturating_mul(2);
                self.go_on();
            }
            Stage::Bare => self.go_on(),
            Stage::Ended(_) => {}
        }
    }

    /// The trial was refused; `hint` as for [`Self::new`].
    pub(super) fn refused(&mut self, words: Arc<str>, hint: impl Fn(&S) -> bool) {
        let other = std::mem::take(&mut self.other);
        self.aside.extend(other);
        let trial = std::mem::take(&mut self.trial);
        match self.stage {
            Stage::Bare => self.stage = Stage::Ended(End::NotTheirs),
            Stage::Ended(_) => {}
            // All of it has changed since.
            _ if trial.is_empty() => self.go_on(),
            Stage::Part | Stage::Disturbed => self.narrow(trial, words, hint),
            Stage::Portion => {
                self.portion = (self.portion / 2).max(1);
                self.narrow(trial, words, hint);
            }
        }
    }

    /// One has changed, suspect or not: nothing is known of it.
    pub(super) fn changed(&mut self, one: &S) {
        let is_other = |s: &S| s != one;
        let before = self.trial.len() + self.other.len();
        self.trial.retain(is_other);
        self.other.retain(is_other);
        if self.trial.len() + self.other.len() != before && self.stage == Stage::Part {
            self.stage = Stage::Disturbed;
        }
        self.aside.retain(is_other);
        self.bad.retain(|(bad, _)| bad != one);
        self.aside.push(one.clone());
    }

    /// Looks for a bad one in a group that has at least one.
    fn narrow(&mut self, group: Vec<S>, words: Arc<str>, hint: impl Fn(&S) -> bool) {
        if group.len() < 2 {
            self.bad
                .extend(group.into_iter().map(|one| (one, Arc::clone(&words))));
            // Two in a row and nothing taken yet: perhaps it is not about them.
            if !self.is_any_taken && self.bad.len() == 2 {
                self.stage = Stage::Bare;
            } else {
                self.go_on();
            }
            return;
        }
        let (trial, other) = self.split(group, hint);
        self.stage = Stage::Part;
        self.trial = trial;
        self.other = other;
        self.words = words;
    }

    fn split(&mut self, mut group: Vec<S>, hint: impl Fn(&S) -> bool) -> (Vec<S>, Vec<S>) {
        if self.hints > 0 {
            let named: BTreeSet<S> = group.iter().filter(|s| hint(s)).cloned().collect();
            if !named.is_empty() && named.len() * 2 <= group.len() {
                self.hints -= 1;
                return group.into_iter().partition(|s| !named.contains(s));
            }
        }
        let other = group.split_off(group.len() / 2);
        (group, other)
    }

    /// Goes on with what is aside.
    fn go_on(&mut self) {
        let most = self.portion.max(1);
        let rest = self.aside.len().saturating_sub(most);
        self.trial = self.aside.split_off(rest);
        self.stage = match (self.trial.is_empty(), self.is_any_taken) {
            (false, _) => Stage::Portion,
            (true, false) => Stage::Bare,
            (true, true) => Stage::Ended(End::Found),
        };
    }
}

#[cfg(test)]
mod tests;
