//! The zone's view for translation, brought up to date once for all streams.

use std::sync::Arc;

use mesh_store::Snapshot;
use parking_lot::Mutex;
use zone_translate::ZoneView;

use super::certificates::Certificates;

/// The view of one store.
#[derive(Debug)]
pub(crate) struct Views {
    certificates: Arc<Certificates>,
    state: Mutex<(Snapshot, ZoneView)>,
}

impl Views {
    /// The view of a store that was `empty`; it fills at the first look.
    pub(crate) fn new(empty: Snapshot, certificates: Arc<Certificates>) -> Self {
        Self {
            certificates,
            state: Mutex::new((empty, ZoneView::default())),
        }
    }

    /// The view at `latest`, or at a later snapshot if another stream brought one.
    ///
    /// Costs time in proportion to what changed since the last look of any stream.
    pub(crate) fn at(&self, latest: &Snapshot) -> ZoneView {
        let mut state = self.state.lock();
        let (source, view) = &mut *state;
        let is_later = latest.revision() > source.revision();
        let changes: Vec<_> = if is_later {
            let changes = latest.changes_since(source);
            changes.filter(|change| change.is_of_content()).collect()
        } else {
            Vec::new()
        };
        let changes = changes.iter();
        let changes = changes.map(|change| (change.key(), change.new_resource()));
        self.certificates.follow(view, changes);
        if is_later {
            view.set_revision(latest.revision().0);
            *source = latest.clone();
        }
        view.clone()
    }
}
