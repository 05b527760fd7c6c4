//! The zone's view for translation, brought up to date once for all streams.

use std::sync::Arc;

use mesh_store::Snapshot;
use parking_lot::Mutex;
use zone_translate::ZoneView;

use super::certificates::{Certificates, Touched};

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
        let mut touched = Touched::default();
        if latest.revision() > source.revision() {
            for change in latest.changes_since(source) {
                if change.is_of_content() {
                    view.apply(change.key(), change.new_resource());
                    touched.note(change.key());
                }
            }
            view.set_revision(latest.revision().0);
            *source = latest.clone();
        }
        self.certificates.follow(view, touched);
        view.clone()
    }
}
