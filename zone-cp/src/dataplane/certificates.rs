//! The certificates of gateways: those that are written now, and the last good ones.
//!
//! [`Certificates::follow`] runs wherever the zone's view is brought up to date, and puts what
//! is known of each source into it. [`Certificates::run`] does what takes time: it looks at
//! files, waits for certificates to expire and keeps the good ones on disk; when it has news,
//! streams are woken, and the first of them follows again.
//!
//! **Invariant:** a certificate that was good goes only when its gateway no longer names its
//! source, or a better one comes; not with a bad edit, a lost file or a restart.

mod files;
mod judge;
mod keep;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mesh_model::{Key, MeshName, ResourceType, Timestamp};
use mesh_runtime::clock;
use mesh_runtime::shutdown::Shutdown;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use zone_translate::{Certificate, Known, Source, ZoneView};

use self::files::{Files, Read};
use self::judge::{Id, judge};

/// How often files are looked at.
///
/// A look is one `stat` for each file, so that a second costs nothing worth saving. It sees
/// what notifications of a file system miss: mounts over the network, folders that come later,
/// and links that are exchanged further up the path, which is how Kubernetes replaces Secrets.
const LOOK: Duration = Duration::from_secs(1);
/// How long the wall clock is left alone, which may be set, while certificates are valid.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);
/// How long certificates of an earlier run are kept that no gateway names: long enough for a
/// zone that starts empty to have its gateways again.
const LEFTOVERS: Duration = Duration::from_secs(60 * 60);

/// The certificates of all gateways of a zone.
#[derive(Debug)]
pub struct Certificates {
    /// Where good ones are kept; nowhere if that did not work out.
    folder: Option<PathBuf>,
    now: fn() -> Timestamp,
    state: Mutex<State>,
    /// There is something to do for [`Self::run`].
    work: Notify,
    /// Counts the times that following again makes a difference.
    news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Id, Entry>,
    /// Of an earlier run, until their sources are named again.
    leftovers: BTreeMap<Id, Arc<Certificate>>,
    /// The files that the view has, for which mesh.
    named: BTreeSet<(MeshName, String)>,
    files: Files,
    /// Files that have changed since the last look of [`Certificates::follow`].
    read: BTreeMap<String, Read>,
    /// A certificate has come to one of its dates.
    is_due: bool,
    /// What the disk does not show yet.
    unkept: BTreeMap<Id, Option<Arc<Certificate>>>,
}

/// A source that gateways name.
#[derive(Debug, Default)]
struct Entry {
    last_good: Option<Arc<Certificate>>,
    known: Known,
    again: Option<i64>,
}

/// What changed in a view since it was followed last.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    gateways: bool,
    /// What may name files.
    files: bool,
    secrets: BTreeSet<Id>,
}

impl Touched {
    fn is_nothing(&self) -> bool {
        !self.gateways && !self.files && self.secrets.is_empty()
    }

    /// Takes note of a changed resource.
    pub(crate) fn note(&mut self, key: &Key) {
        match (key.ty(), key.mesh()) {
            (ResourceType::MeshGateway, _) => {
                self.gateways = true;
                self.files = true;
            }
            (ResourceType::ExternalService, _) => self.files = true,
            (ResourceType::Secret, Some(mesh)) => {
                let source = Source::Secret(key.name().to_string());
                self.secrets.insert((mesh.clone(), source));
            }
            _ => {}
        }
    }
}

impl Certificates {
    /// Certificates that are kept in `folder`, and those that are there already.
    ///
    /// If the folder cannot be used, that is logged, and a restart forgets them.
    pub fn open(folder: &Path) -> Self {
        let loaded = keep::open(folder).and_then(|()| keep::load(folder));
        match loaded {
            Ok(leftovers) => Self::new(Some(folder.to_owned()), leftovers, clock::now),
            Err(error) => {
                tracing::error!(
                    %error,
                    "cannot keep certificates in {}; until that is mended and this process \
                     restarted, a restart forgets the last good ones",
                    folder.display()
                );
                Self::new(None, BTreeMap::new(), clock::now)
            }
        }
    }

    /// Certificates that a restart forgets.
    #[cfg(test)]
    pub(crate) fn unkept() -> Self {
        Self::new(None, BTreeMap::new(), clock::now)
    }

    fn new(
        folder: Option<PathBuf>,
        leftovers: BTreeMap<Id, Arc<Certificate>>,
        now: fn() -> Timestamp,
    ) -> Self {
        Self {
            folder,
            now,
            state: Mutex::new(State {
                leftovers,
                ..State::default()
            }),
            work: Notify::new(),
            news: watch::Sender::new(0),
        }
    }

    /// Changes when a view has to follow again although no resource changed.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Puts what is known of certificates into a view in which `touched` changed.
    pub(crate) fn follow(&self, view: &mut ZoneView, touched: Touched) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if touched.is_nothing() && state.read.is_empty() && !state.is_due {
            return;
        }
        let mut due = touched.secrets;
        if touched.files {
            state.name_files(view);
        }
        if touched.gateways {
            state.name(view, &mut due);
        }
        for (path, read) in std::mem::take(&mut state.read) {
            for (mesh, _) in state.named.iter().filter(|(_, named)| *named == path) {
                view.set_file(mesh, &path, Some(read.clone()));
                due.insert((mesh.clone(), Source::File(path.clone())));
            }
        }
        if std::mem::take(&mut state.is_due) {
            due.extend(state.entries.keys().cloned());
        }
        let now = (self.now)().unix_seconds();
        for id in due {
            state.judge(view, id, now);
        }
        self.work.notify_one();
    }

    /// Looks at files, waits for dates and keeps good certificates, until shutdown.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let leftovers = tokio::time::sleep(LEFTOVERS);
        tokio::pin!(leftovers);
        let mut has_leftovers = true;
        loop {
            self.keep().await;
            tokio::select! {
                () = shutdown.wait() => break,
                () = self.work.notified() => {}
                _ = looks.tick() => self.look().await,
                () = self.next_date() => {
                    self.state.lock().is_due = true;
                    self.tell();
                }
                () = &mut leftovers, if has_leftovers => {
                    has_leftovers = false;
                    self.state.lock().forget_leftovers();
                }
            }
        }
        self.keep().await;
    }

    fn tell(&self) {
        self.news.send_modify(|count| *count += 1);
    }

    /// Ends when a certificate has come to one of its dates.
    async fn next_date(&self) {
        loop {
            let next = self.state.lock().next_date();
            let Some(next) = next else {
                return std::future::pending().await;
            };
            let left = next.saturating_sub((self.now)().unix_seconds());
            if left <= 0 {
                return;
            }
            let left = Duration::from_secs(left.unsigned_abs());
            tokio::time::sleep(left.min(LONGEST_WAIT)).await;
        }
    }

    /// Reads the files that have changed.
    async fn look(&self) {
        let files = self.state.lock().files.clone();
        if files.is_empty() {
            return;
        }
        let looked = tokio::task::spawn_blocking(move || files.look()).await;
        let Ok(changed) = looked else { return };
        if changed.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        for (path, seen, read) in changed {
            if state.files.set(&path, seen) {
                state.read.insert(path, read);
            }
        }
        drop(state);
        self.tell();
    }

    /// Brings the disk up to date.
    async fn keep(&self) {
        let unkept = std::mem::take(&mut self.state.lock().unkept);
        let Some(folder) = self.folder.clone().filter(|_| !unkept.is_empty()) else {
            return;
        };
        let write = move || {
            for (id, certificate) in unkept {
                let written = match &certificate {
                    Some(certificate) => keep::store(&folder, &id, certificate),
                    None => keep::remove(&folder, &id),
                };
                if let Err(error) = written {
                    tracing::error!(
                        %error,
                        "cannot keep the certificate of {:?} in {}; a restart forgets it",
                        id.1,
                        folder.display()
                    );
                }
            }
        };
        // It ends with an error only if it panicked, which the runtime has reported.
        let _ = tokio::task::spawn_blocking(write).await;
    }
}

impl State {
    /// Takes up the sources that gateways name, and drops those that they do not any more.
    fn name(&mut self, view: &mut ZoneView, due: &mut BTreeSet<Id>) {
        let named = view.certificate_sources();
        let gone: Vec<Id> = self
            .entries
            .keys()
            .filter(|id| !named.contains(id))
            .cloned()
            .collect();
        for id in gone {
            self.entries.remove(&id);
            view.set_certificate(&id.0, &id.1, None);
            self.unkept.insert(id, None);
        }
        for id in named {
            // The text of an inline one may have changed with its gateway.
            let is_inline = matches!(id.1, Source::Inline { .. });
            let is_new = !self.entries.contains_key(&id);
            if is_new {
                let entry = Entry {
                    last_good: self.leftovers.remove(&id),
                    ..Entry::default()
                };
                self.entries.insert(id.clone(), entry);
            }
            if is_new || is_inline {
                due.insert(id);
            }
        }
    }

    /// Reads the files that are named from now on, and lets go of the others.
    ///
    /// At once, although reading may wait for a disk: a gateway that comes back after a restart
    /// is not to lose its listener until the file is read.
    fn name_files(&mut self, view: &mut ZoneView) {
        let named = view.certificate_files();
        for (mesh, path) in self.named.difference(&named) {
            view.set_file(mesh, path, None);
            self.files.release(path);
        }
        for (mesh, path) in named.difference(&self.named) {
            let read = self.files.acquire(path);
            view.set_file(mesh, path, Some(read));
        }
        self.named = named;
    }

    /// Decides what is used of a source. The view stays as it is if that is what it was.
    fn judge(&mut self, view: &mut ZoneView, id: Id, now: i64) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let (mesh, source) = &id;
        let written = view.read_certificate(mesh, source);
        let judgement = judge(source, written, entry.last_good.as_ref(), now);
        entry.again = judgement.again;
        let known = judgement.known;
        if !is_same(&known, &entry.known) {
            if let Some(problem) = known.problem.as_ref()
                && entry.known.problem.as_ref() != Some(problem)
            {
                tracing::warn!(mesh = %mesh, "{problem}");
            }
            entry.known = known.clone();
            view.set_certificate(mesh, source, Some(known.clone()));
        }
        let Some(good) = known.certificate.filter(|_| judgement.is_good) else {
            return;
        };
        if !entry
            .last_good
            .as_ref()
            .is_some_and(|last| last.is_same(&good))
        {
            entry.last_good = Some(Arc::clone(&good));
            self.unkept.insert(id, Some(good));
        }
    }

    /// The next date of a certificate; none while nobody has looked at the last one.
    fn next_date(&self) -> Option<i64> {
        if self.is_due {
            return None;
        }
        self.entries.values().filter_map(|entry| entry.again).min()
    }

    fn forget_leftovers(&mut self) {
        // A zone that has no gateways at all has not heard of them yet.
        if self.entries.is_empty() {
            return;
        }
        let leftovers = std::mem::take(&mut self.leftovers);
        self.unkept
            .extend(leftovers.into_keys().map(|id| (id, None)));
    }
}

fn is_same(a: &Known, b: &Known) -> bool {
    let certificates = match (&a.certificate, &b.certificate) {
        (Some(a), Some(b)) => a.is_same(b),
        (None, None) => true,
        _ => false,
    };
    certificates && a.problem == b.problem
}
