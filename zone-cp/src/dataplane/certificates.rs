//! The certificates of gateways: those that are written now, and the last good ones.
//!
//! [`Certificates::follow`] runs wherever the zone's view is brought up to date, and puts what
//! is known of each source into it, without waiting. [`Certificates::run`] does what takes time:
//! it looks at files, waits for certificates to expire and keeps the good ones on disk; when it
//! has news, streams are woken, and the first of them follows again.
//!
//! A resource that names a file of which nothing is known yet comes into the view when it has
//! been read, or that takes too long; until then the view has what was there before.
//!
//! **Invariant:** a certificate that was good goes only when its gateway no longer names its
//! source, or a better one comes; not with a bad edit, a lost file or a restart.

mod files;
mod judge;
mod keep;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mesh_model::{Key, Resource, Timestamp};
use mesh_runtime::clock;
use mesh_runtime::shutdown::Shutdown;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use zone_translate::{Certificate, Source, ZoneView};

use self::files::{Found, Look};
use self::judge::Id;
use self::state::{State, Touched};

/// How often files are looked at.
///
/// A look is a thread and one `stat` for each file: a second costs nothing worth saving. It sees
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
    look: Look,
    state: Mutex<State>,
    /// There are files that nobody has looked at, or other dates.
    work: Notify,
    /// There is something to keep.
    work_on_disk: Notify,
    /// Counts the times that following again makes a difference.
    news: watch::Sender<u64>,
}

impl Certificates {
    /// Certificates that are kept in `folder`, and those that are there already.
    ///
    /// If the folder cannot be used, that is logged, and it is tried again with each certificate.
    pub fn open(folder: &Path) -> Self {
        let loaded = keep::open(folder).and_then(|()| keep::load(folder));
        let leftovers = loaded.unwrap_or_else(|error| {
            tracing::error!(
                %error,
                "cannot read the certificates kept in {}, so they count as lost",
                folder.display()
            );
            BTreeMap::new()
        });
        Self::new(Some(folder.to_owned()), leftovers, clock::now)
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
            look: files::look,
            state: Mutex::new(State {
                leftovers,
                ..State::default()
            }),
            work: Notify::new(),
            work_on_disk: Notify::new(),
            news: watch::Sender::new(0),
        }
    }

    /// Changes when a view has to follow again although no resource changed.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Ends when no resource waits for its files, which takes no longer than reading may.
    ///
    /// What a proxy is offered first is everything it has: without its listeners, it would close
    /// those that it still serves.
    pub(crate) async fn settled(&self) {
        let mut news = self.news();
        let settled = async {
            while !self.state.lock().is_settled() {
                // It never ends before the service does.
                let _ = news.changed().await;
            }
        };
        let _ = tokio::time::timeout(2 * files::DEADLINE, settled).await;
    }

    /// Takes changes into a view, and what is known of certificates.
    pub(crate) fn follow<'a>(
        &self,
        view: &mut ZoneView,
        changes: impl IntoIterator<Item = (&'a Key, Option<&'a Arc<Resource>>)>,
    ) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut touched = Touched::default();
        for (key, now) in changes {
            state.take(view, key, now, &mut touched);
        }
        if touched.is_nothing() && state.changed.is_empty() && !state.is_due {
            return;
        }
        if touched.files {
            state.want_files(view);
        }
        if state.release(view, &mut touched) {
            state.want_files(view);
        }
        let mut due = std::mem::take(&mut touched.secrets);
        if touched.files {
            state.name_files(view);
        }
        if touched.gateways {
            state.name(view, &mut due);
        }
        for path in std::mem::take(&mut state.changed) {
            let is_late = state.files.lateness(&path).is_some();
            for (mesh, _) in state.named.iter().filter(|(_, named)| *named == path) {
                let read = state.files.read(&path);
                // What was read well before it hung stays.
                if !is_late || read.is_some_and(Result::is_err) {
                    view.set_file(mesh, &path, read.cloned());
                }
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
        self.work_on_disk.notify_one();
    }

    /// Looks at files, waits for dates and keeps good certificates, until shutdown.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        tokio::join!(self.watch(&shutdown), self.keep_on(&shutdown));
    }

    /// Looks at files and waits for dates. It never waits for a file.
    async fn watch(&self, shutdown: &Shutdown) {
        let (found, mut results) = mpsc::unbounded_channel();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let leftovers = tokio::time::sleep(LEFTOVERS);
        tokio::pin!(leftovers);
        let mut has_leftovers = true;
        loop {
            let deadline = self.state.lock().files.next_deadline();
            tokio::select! {
                () = shutdown.wait() => break,
                () = self.work.notified() => self.look_at(true, &found),
                _ = looks.tick() => self.look_at(false, &found),
                Some((path, found_there)) = results.recv() => {
                    self.looked(path, found_there);
                    self.look_at(true, &found);
                }
                () = at(deadline) => self.find_late(),
                () = self.next_date() => {
                    self.state.lock().is_due = true;
                    self.tell();
                }
                () = &mut leftovers, if has_leftovers => {
                    has_leftovers = false;
                    self.state.lock().forget_leftovers();
                    self.work_on_disk.notify_one();
                }
            }
        }
    }

    /// Keeps good certificates, and what could not be kept again and again.
    async fn keep_on(&self, shutdown: &Shutdown) {
        let mut has_failed = false;
        loop {
            let again = (!self.keep(&mut has_failed).await).then(|| Instant::now() + LOOK);
            tokio::select! {
                () = shutdown.wait() => break,
                () = self.work_on_disk.notified(), if again.is_none() => {}
                () = at(again) => {}
            }
        }
        self.keep(&mut has_failed).await;
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

    /// Begins looks, each on a thread of its own: neither the runtime nor the end of the process
    /// waits for one that hangs.
    fn look_at(&self, only_new: bool, found: &mpsc::UnboundedSender<(String, Found)>) {
        let mut state = self.state.lock();
        state.files.ask(Instant::now(), only_new);
        let begun = state.files.begin();
        drop(state);
        for (path, before) in begun {
            let (look, results, name) = (self.look, found.clone(), path.clone());
            let on_thread = move || {
                let found = look(&path, before.as_ref());
                // Nobody is there any more after shutdown.
                let _ = results.send((path, found));
            };
            let thread = std::thread::Builder::new().name("file".to_owned());
            if let Err(error) = thread.spawn(on_thread) {
                let _ = found.send((name, files::not_begun(&error)));
            }
        }
    }

    fn looked(&self, path: String, found: Found) {
        let mut state = self.state.lock();
        if state.files.end(&path, found) {
            state.changed.insert(path);
            drop(state);
            self.tell();
        }
    }

    fn find_late(&self) {
        let mut state = self.state.lock();
        let late = state.files.take_late(Instant::now());
        for path in &late {
            tracing::warn!("the file {path} hangs: looking at it has not ended yet");
        }
        state.changed.extend(late);
        drop(state);
        self.tell();
    }

    /// Brings the disk up to date; `false` if that has to be tried again.
    async fn keep(&self, has_failed: &mut bool) -> bool {
        let unkept = std::mem::take(&mut self.state.lock().unkept);
        let Some(folder) = self.folder.clone().filter(|_| !unkept.is_empty()) else {
            return true;
        };
        let write = move || {
            let mut failed = BTreeMap::new();
            let mut reason = None;
            for (id, certificate) in unkept {
                let written = keep::open(&folder).and_then(|()| match &certificate {
                    Some(certificate) => keep::store(&folder, &id, certificate),
                    None => keep::remove(&folder, &id),
                });
                if let Err(error) = written {
                    reason = Some(format!(
                        "cannot keep the certificate of {:?} in {}: {error}",
                        id.1,
                        folder.display()
                    ));
                    failed.insert(id, certificate);
                }
            }
            (failed, reason)
        };
        // It ends with an error only if it panicked, which the runtime has reported.
        let (failed, reason) = tokio::task::spawn_blocking(write).await.unwrap_or_default();
        let mut state = self.state.lock();
        for (id, certificate) in failed {
            // There may be a newer one.
            state.unkept.entry(id).or_insert(certificate);
        }
        drop(state);
        if let Some(reason) = &reason
            && !*has_failed
        {
            tracing::error!("{reason}; it is tried again, and until then a restart forgets it");
        }
        if reason.is_none() && *has_failed {
            tracing::info!("certificates can be kept on disk again");
        }
        *has_failed = reason.is_some();
        reason.is_none()
    }
}

/// Ends at a moment, if there is one.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
