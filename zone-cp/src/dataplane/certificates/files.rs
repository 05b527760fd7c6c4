//! Certificate files of this host: what they hold, and whether that has changed.
//!
//! [`Files`] is a book without IO: which files to look at, which looks are open, what they found.
//! [`look`] does the IO, on a thread of its own, because it may take forever: the mount may hang
//! that a path leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use mesh_runtime::small_file;
use tokio::time::Instant;

pub(super) use mesh_runtime::seen::Seen;

/// How long a look may take before its file counts as one that cannot be read.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);
/// What is said of such a file. With [`DEADLINE`].
const TOO_LONG: &str = "it takes longer than 2 s";
/// How many looks there are at once. One that hangs keeps its thread.
const MOST_LOOKS: usize = 128;

/// What a file holds, or why it cannot be read.
pub(super) type Read = Result<Bytes, String>;
/// What a look found; none if that is what was seen before.
pub(super) type Found = Option<(Seen, Read)>;
/// Looks at the file at a path, of which something may have been seen before.
pub(super) type Look = fn(&str, Option<&Seen>) -> Found;

/// The files that gateways and external services name.
#[derive(Debug, Default)]
pub(super) struct Files(BTreeMap<String, Used>);

#[derive(Default)]
struct Used {
    /// One that nobody names any more stays while a look is open: there is at most one.
    is_wanted: bool,
    seen: Option<Seen>,
    read: Option<Read>,
    open: Option<Open>,
}

/// A look that has not ended.
#[derive(Debug, Clone, Copy)]
struct Open {
    since: Instant,
    /// It has a thread.
    has_begun: bool,
    /// It is past its deadline.
    is_late: bool,
}

impl fmt::Debug for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Used")
            .field("is_wanted", &self.is_wanted)
            .field("seen", &self.seen)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl Files {
    /// From now on exactly these files are named.
    pub(super) fn want(&mut self, paths: &BTreeSet<String>) {
        self.0.retain(|path, used| {
            if !paths.contains(path) {
                *used = Used {
                    open: used.open,
                    ..Used::default()
                };
            }
            used.is_wanted || used.open.is_some()
        });
        for path in paths {
            let used = self.0.entry(path.clone()).or_default();
            used.is_wanted = true;
            if used.is_late() && used.read.is_none() {
                used.read = Some(Err(TOO_LONG.to_owned()));
            }
        }
    }

    /// What is known of a file; none until a first look has ended or is late.
    pub(super) fn read(&self, path: &str) -> Option<&Read> {
        self.0.get(path)?.read.as_ref()
    }

    /// What is wrong with a file that may have been read well before.
    pub(super) fn lateness(&self, path: &str) -> Option<&'static str> {
        self.0
            .get(path)
            .filter(|used| used.is_late())
            .map(|_| TOO_LONG)
    }

    /// Asks for a look at every file, or only at those that are new.
    pub(super) fn ask(&mut self, now: Instant, only_new: bool) {
        for used in self.0.values_mut() {
            if used.is_wanted && used.open.is_none() && !(only_new && used.seen.is_some()) {
                used.open = Some(Open {
                    since: now,
                    has_begun: false,
                    is_late: false,
                });
            }
        }
    }

    /// The looks to begin now.
    pub(super) fn begin(&mut self) -> Vec<(String, Option<Seen>)> {
        let has_begun = |used: &&Used| used.open.is_some_and(|open| open.has_begun);
        let free = MOST_LOOKS.saturating_sub(self.0.values().filter(has_begun).count());
        let waiting = self.0.iter_mut().filter_map(|(path, used)| {
            let open = used.open.as_mut().filter(|open| !open.has_begun)?;
            Some((path, used.seen.clone(), open))
        });
        let begun = waiting.take(free).map(|(path, seen, open)| {
            open.has_begun = true;
            (path.clone(), seen)
        });
        begun.collect()
    }

    /// When the next look is late.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let open = self.0.values().filter_map(|used| used.open);
        let in_time = open.filter(|open| !open.is_late);
        in_time.map(|open| open.since + DEADLINE).min()
    }

    /// The files whose looks have become late. What was read before of one is still known.
    pub(super) fn take_late(&mut self, now: Instant) -> Vec<String> {
        let mut late = Vec::new();
        for (path, used) in &mut self.0 {
            let Some(open) = used.open.as_mut() else {
                continue;
            };
            if open.is_late || open.since + DEADLINE > now {
                continue;
            }
            open.is_late = true;
            if used.is_wanted {
                used.read.get_or_insert_with(|| Err(TOO_LONG.to_owned()));
                late.push(path.clone());
            }
        }
        late
    }

    /// A look has ended; whether that makes a difference.
    pub(super) fn end(&mut self, path: &str, found: Found) -> bool {
        let Some(used) = self.0.get_mut(path) else {
            return false;
        };
        let was_late = used.is_late();
        used.open = None;
        if !used.is_wanted {
            self.0.remove(path);
            return false;
        }
        match found {
            Some((seen, read)) => {
                used.seen = Some(seen);
                used.read = Some(read);
                true
            }
            // It may have been named anew since the look began, and then nothing is known of it.
            None => was_late && used.seen.is_some(),
        }
    }
}

impl Used {
    fn is_late(&self) -> bool {
        self.open.is_some_and(|open| open.is_late)
    }
}

/// Reads a file if it differs from what was seen of it. May take forever.
///
/// What is seen of it is from before it is read, so that a change meanwhile makes a difference
/// the next time.
pub(super) fn look(path: &str, before: Option<&Seen>) -> Found {
    let seen = Seen::at(path);
    if before == Some(&seen) {
        return None;
    }
    let read = read_file(path).map_err(|error| match error.kind() {
        io::ErrorKind::Other => error.to_string(),
        kind => kind.to_string(),
    });
    Some((seen, read))
}

/// What stands for a look that could not begin.
pub(super) fn not_begun(error: &io::Error) -> Found {
    Some((Seen::Nothing(error.kind()), Err(error.to_string())))
}

fn read_file(path: &str) -> io::Result<Bytes> {
    let content = small_file::read(path)?;
    if content.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    Ok(content.into())
}
