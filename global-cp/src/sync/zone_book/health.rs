//! When zones last said that they are there.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_model::ZoneName;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The zones that promised health checks, with the time of the last check or, if it is later, of
/// the last stream.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<BTreeMap<ZoneName, Instant>>);

impl Health {
    /// A zone that promises health checks opened a stream.
    pub(super) fn sat(&self, zone: &ZoneName) {
        self.0.lock().insert(zone.clone(), Instant::now());
    }

    /// A zone said that it is there.
    pub(super) fn pinged(&self, zone: &ZoneName) {
        if let Some(last) = self.0.lock().get_mut(zone) {
            *last = Instant::now();
        }
    }

    /// The zones that have not for `timeout`. Each is named once, until it opens a stream again.
    pub(super) fn silent(&self, timeout: Duration) -> Vec<ZoneName> {
        let mut all = self.0.lock();
        let silent = all.extract_if(.., |_, last| last.elapsed() > timeout);
        silent.map(|(zone, _)| zone).collect()
    }
}
