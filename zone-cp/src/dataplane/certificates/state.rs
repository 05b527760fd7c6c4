//! What is known of sources and files, between the zone's view and the work that takes time.
//!
//! Nothing here waits: files are read, certificates kept and dates awaited elsewhere, see
//! [`super::Certificates`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_model::{Key, MeshName, Resource, ResourceType};
use zone_translate::{Certificate, Known, Source, ZoneView};

use super::files::Files;
use super::judge::{Id, judge};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) entries: BTreeMap<Id, Entry>,
    /// Of an earlier run, until their sources are named again.
    pub(super) leftovers: BTreeMap<Id, Arc<Certificate>>,
    /// The files that the view has, for which mesh.
    pub(super) named: BTreeSet<(MeshName, String)>,
    pub(super) files: Files,
    /// Resources that are not in the view until their files are read.
    pub(super) held: BTreeMap<Key, Held>,
    /// Files of which something else is known since the last look of [`Certificates::follow`].
    pub(super) changed: BTreeSet<String>,
    /// A certificate has come to one of its dates.
    pub(super) is_due: bool,
    /// What the disk does not show yet.
    pub(super) unkept: BTreeMap<Id, Option<Arc<Certificate>>>,
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) resource: Arc<Resource>,
    pub(super) files: BTreeSet<String>,
}

/// A source that gateways name.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) last_good: Option<Arc<Certificate>>,
    pub(super) known: Known,
    pub(super) again: Option<i64>,
}

/// What changed in a view since it was followed last.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) gateways: bool,
    /// What may name files.
    pub(super) files: bool,
    pub(super) secrets: BTreeSet<Id>,
}

impl Touched {
    pub(super) fn is_nothing(&self) -> bool {
        !self.gateways && !self.files && self.secrets.is_empty()
    }

    /// Takes note of a changed resource.
    pub(super) fn note(&mut self, key: &Key) {
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

impl State {
    /// Takes a change into the view, unless it names files of which nothing is known yet.
    pub(super) fn take(
        &mut self,
        view: &mut ZoneView,
        key: &Key,
        now: Option<&Arc<Resource>>,
        touched: &mut Touched,
    ) {
        self.held.remove(key);
        touched.note(key);
        if let Some(resource) = now {
            let files = files_of(resource);
            if files.iter().any(|path| self.files.read(path).is_none()) {
                let resource = Arc::clone(resource);
                self.held.insert(key.clone(), Held { resource, files });
                return;
            }
        }
        view.apply(key, now);
    }

    pub(super) fn is_settled(&self) -> bool {
        let mut held = self.held.values().flat_map(|held| &held.files);
        held.all(|path| self.files.read(path).is_some())
    }

    /// Takes what was held into the view if its files are known now; whether there was any.
    pub(super) fn release(&mut self, view: &mut ZoneView, touched: &mut Touched) -> bool {
        let Self { held, files, .. } = self;
        let before = held.len();
        held.retain(|key, held| {
            if held.files.iter().any(|path| files.read(path).is_none()) {
                return true;
            }
            view.apply(key, Some(&held.resource));
            touched.note(key);
            false
        });
        held.len() < before
    }

    /// Follows the files that the view names, or will.
    pub(super) fn want_files(&mut self, view: &ZoneView) {
        let named = view.certificate_files().into_iter().map(|(_, path)| path);
        let held = self.held.values().flat_map(|held| held.files.clone());
        self.files.want(&named.chain(held).collect());
    }

    /// Takes up the sources that gateways name, and drops those that they do not any more.
    pub(super) fn name(&mut self, view: &mut ZoneView, due: &mut BTreeSet<Id>) {
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

    /// Puts what is known of files into the view that are named from now on, and takes it out of
    /// others.
    pub(super) fn name_files(&mut self, view: &mut ZoneView) {
        let named = view.certificate_files();
        for (mesh, path) in self.named.difference(&named) {
            view.set_file(mesh, path, None);
        }
        for (mesh, path) in named.difference(&self.named) {
            view.set_file(mesh, path, self.files.read(path).cloned());
        }
        self.named = named;
    }

    /// Decides what is used of a source. The view stays as it is if that is what it was.
    pub(super) fn judge(&mut self, view: &mut ZoneView, id: Id, now: i64) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let (mesh, source) = &id;
        let lateness = match source {
            Source::File(path) => self.files.lateness(path).map(|late| (path, late)),
            Source::Secret(_) | Source::Inline { .. } => None,
        };
        let written = match lateness {
            Some((path, late)) => Err(format!("the file {path} cannot be read: {late}")),
            None => view.read_certificate(mesh, source),
        };
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
    pub(super) fn next_date(&self) -> Option<i64> {
        if self.is_due {
            return None;
        }
        self.entries.values().filter_map(|entry| entry.again).min()
    }

    pub(super) fn forget_leftovers(&mut self) {
        // A zone that has no gateways at all has not heard of them yet.
        if self.entries.is_empty() {
            return;
        }
        let leftovers = std::mem::take(&mut self.leftovers);
        self.unkept
            .extend(leftovers.into_keys().map(|id| (id, None)));
    }
}

/// The files that a resource names.
fn files_of(resource: &Arc<Resource>) -> BTreeSet<String> {
    let may_name = [ResourceType::MeshGateway, ResourceType::ExternalService];
    if !may_name.contains(&resource.key().ty()) {
        return BTreeSet::new();
    }
    let mut alone = ZoneView::default();
    alone.put(resource);
    let files = alone.certificate_files().into_iter();
    files.map(|(_, path)| path).collect()
}

fn is_same(a: &Known, b: &Known) -> bool {
    let certificates = match (&a.certificate, &b.certificate) {
        (Some(a), Some(b)) => a.is_same(b),
        (None, None) => true,
        _ => false,
    };
    certificates && a.problem == b.problem
}
