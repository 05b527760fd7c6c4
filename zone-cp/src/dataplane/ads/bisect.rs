//! Which of several changes a proxy refuses, found by trying them in groups.
//!
//! A search is told what became of each trial and says what the next one leaves out. What a trial
//! had that was taken stays in, so that good changes go live as the search goes on. Halving finds
//! one bad change among n with log₂ n trials; all that was set aside on the way is then tried
//! together. The words of a refusal often quote what they are about, and what they quote is tried
//! last.
//!
//! A search never infers that one is bad, because much else can make a trial pass: it is bad if
//! it was refused as the only one on trial, and what stays when it is left out is taken.
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
    /// What was refused alone, and the words, as long as it is not known that the rest is taken.
    accused: Vec<(S, Arc<str>)>,
    /// What was refused alone while the rest is taken, and the words.
    bad: Vec<(S, Arc<str>)>,
    /// How many of those aside are tried together.
    portion: usize,
    /// How often the words of a refusal may still decide what is tried first.
    hints: u32,
    /// How many may be left out while nothing is known to be taken.
    most: usize,
    /// Whether what has none of the suspects is known to be taken.
    is_base_taken: bool,
}

/// How many of a few may be left out in a careful search, if that is at most half of them.
const FEW: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The trial has all but a few, of which `other` is new.
    Careful,
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
    ///
    /// It halves them at once: the proxy has taken what has none of them (`is_base_taken`), or
    /// has nothing that it could lose.
    pub(super) fn new(
        suspects: Vec<S>,
        words: Arc<str>,
        is_base_taken: bool,
        hint: impl Fn(&S) -> bool,
    ) -> Self {
        let mut new = Self::with(suspects.len(), Stage::Part, is_base_taken);
        new.narrow(suspects, words, true, hint);
        new
    }

    /// As [`Self::new`] where the proxy has an unknown part of the suspects, which should not go
    /// away: only few are left out until a trial is taken. First those that the words are of,
    /// then the last of the list, which are the most likely ones. Without success it ends with
    /// nothing left out.
    pub(super) fn careful(suspects: Vec<S>, words: Arc<str>, hint: impl Fn(&S) -> bool) -> Self {
        let mut new = Self::with(suspects.len(), Stage::Careful, false);
        new.hints = new.hints.max(2);
        new.trial = suspects;
        new.leave_out_more(words, hint);
        new
    }

    fn with(suspects: usize, stage: Stage, is_base_taken: bool) -> Self {
        Self {
            stage,
            trial: Vec::new(),
            other: Vec::new(),
            words: Arc::from(""),
            aside: Vec::new(),
            accused: Vec::new(),
            bad: Vec::new(),
            portion: suspects,
            hints: suspects.checked_ilog2().unwrap_or(0).saturating_sub(2),
            most: (suspects / 8).max(FEW.min(suspects / 2)),
            is_base_taken,
        }
    }

    /// How it ended, if it did. What is left out then stays out.
    pub(super) fn end(&self) -> Option<End> {
        match self.stage {
            Stage::Ended(end) => Some(end),
            Stage::Careful | Stage::Part | Stage::Disturbed | Stage::Portion | Stage::Bare => None,
        }
    }

    /// What to leave out of the trial to be made now.
    pub(super) fn left_out(&self) -> impl Iterator<Item = &S> {
        let alone = self.bad.iter().chain(&self.accused).map(|(one, _)| one);
        self.other.iter().chain(&self.aside).chain(alone)
    }

    /// What is on trial.
    pub(super) fn trial(&self) -> &[S] {
        &self.trial
    }

    /// What turned out bad so far, with the proxy's words.
    pub(super) fn bad(&self) -> &[(S, Arc<str>)] {
        &self.bad
    }

    /// The trial was taken.
    pub(super) fn taken(&mut self) {
        self.is_base_taken = true;
        self.bad.append(&mut self.accused);
        self.trial.clear();
        let other = std::mem::take(&mut self.other);
        match self.stage {
            // Probably this part of the group is not why it was refused.
            Stage::Part | Stage::Careful => {
                let words = Arc::clone(&self.words);
                self.narrow(other, words, false, |_| false);
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
        if self.stage == Stage::Careful {
            self.leave_out_more(words, hint);
            return;
        }
        let other = std::mem::take(&mut self.other);
        self.aside.extend(other);
        let trial = std::mem::take(&mut self.trial);
        match self.stage {
            Stage::Bare => self.stage = Stage::Ended(End::NotTheirs),
            Stage::Ended(_) => {}
            // All of it has changed since.
            _ if trial.is_empty() => self.go_on(),
            Stage::Careful | Stage::Part | Stage::Disturbed => {
                self.narrow(trial, words, true, hint);
            }
            Stage::Portion => {
                self.portion = (self.portion / 2).max(1);
                self.narrow(trial, words, true, hint);
            }
        }
    }

    /// One has changed, suspect or not: nothing is known of it.
    pub(super) fn changed(&mut self, one: &S) {
        let is_other = |s: &S| s != one;
        if self.stage == Stage::Careful {
            // It stays in, as the likeliest one.
            if self.left_out().all(is_other) {
                self.trial.retain(is_other);
                self.trial.push(one.clone());
            }
            return;
        }
        let before = self.trial.len() + self.other.len();
        self.trial.retain(is_other);
        self.other.retain(is_other);
        if self.trial.len() + self.other.len() != before && self.stage == Stage::Part {
            self.stage = Stage::Disturbed;
        }
        self.aside.retain(is_other);
        self.accused.retain(|(accused, _)| accused != one);
        self.bad.retain(|(bad, _)| bad != one);
        self.aside.push(one.clone());
    }

    /// Something else has changed, which may be why trials are answered otherwise from now on.
    pub(super) fn disturbed(&mut self) {
        if self.stage == Stage::Part {
            self.stage = Stage::Disturbed;
        }
        self.doubt();
    }

    /// Who is accused is tried again.
    pub(super) fn doubt(&mut self) {
        let accused = self.accused.drain(..).map(|(one, _)| one);
        self.aside.extend(accused);
    }

    /// Leaves out more in a careful search, or gives up.
    fn leave_out_more(&mut self, words: Arc<str>, hint: impl Fn(&S) -> bool) {
        self.aside.append(&mut self.other);
        let room = self.most.saturating_sub(self.aside.len());
        if self.hints > 0 {
            let named: BTreeSet<S> = self.trial.iter().filter(|s| hint(s)).cloned().collect();
            if !named.is_empty() && named.len() <= room {
                self.hints -= 1;
                self.words = words;
                self.trial.retain(|s| !named.contains(s));
                self.other = named.into_iter().collect();
                return;
            }
        }
        let more = self.aside.len().max(1).min(room).min(self.trial.len());
        if more == 0 {
            self.stage = Stage::Ended(End::NotTheirs);
            return;
        }
        self.words = words;
        self.other = self.trial.split_off(self.trial.len() - more);
    }

    /// Looks for a bad one in a group that was refused (`is_refused`) or probably has one.
    fn narrow(
        &mut self,
        mut group: Vec<S>,
        words: Arc<str>,
        is_refused: bool,
        hint: impl Fn(&S) -> bool,
    ) {
        if is_refused && group.len() == 1 {
            self.accused
                .extend(group.drain(..).map(|one| (one, Arc::clone(&words))));
            // What stays without it is mostly what the proxy holds, so that trying it costs
            // nothing. Two in a row and nothing taken yet: perhaps it is not about them.
            if self.is_base_taken || self.accused.len() == 2 {
                self.stage = Stage::Bare;
                return;
            }
        }
        if group.is_empty() {
            self.go_on();
            return;
        }
        (self.trial, self.other) = match group.len() {
            1 => (group, Vec::new()),
            _ => self.split(group, hint),
        };
        self.stage = Stage::Part;
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
        self.stage = match (self.trial.is_empty(), self.is_base_taken) {
            (false, _) => Stage::Portion,
            (true, false) => Stage::Bare,
            (true, true) => Stage::Ended(End::Found),
        };
    }
}

#[cfg(test)]
mod tests;
