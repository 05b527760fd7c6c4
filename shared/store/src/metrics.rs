//! What a store can tell about itself, read when somebody asks.

use std::sync::Arc;

use mesh_model::ResourceType;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::{Disk, SharedStore};

/// The state of the store at the moment somebody asks.
#[derive(Debug)]
struct StoreMetrics {
    store: SharedStore,
    disk: Option<Arc<Disk>>,
}

/// Makes the state of a store readable; `disk` is the store again, if it is on disk.
pub fn register_metrics(registry: &mut Registry, store: SharedStore, disk: Option<Arc<Disk>>) {
    registry.register_collector(Box::new(StoreMetrics { store, disk }));
}

impl Collector for StoreMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let snapshot = self.store.snapshot();
        let revision = ConstGauge::new(i64::try_from(snapshot.revision().0).unwrap_or(i64::MAX));
        let help = "Revision of the store: one more with every batch that was written";
        let metric =
            encoder.encode_descriptor("store_revision", help, None, revision.metric_type())?;
        revision.encode(metric)?;

        let help = "Resources in the store";
        let kind = ConstGauge::new(0_i64).metric_type();
        let mut family = encoder.encode_descriptor("store_resources", help, None, kind)?;
        for ty in ResourceType::ALL {
            let count = i64::try_from(snapshot.list(ty).count()).unwrap_or(i64::MAX);
            let labels = [("resource_type", ty.name())];
            ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
        }

        let Some(stats) = self.disk.as_ref().map(|disk| disk.stats()) else {
            return Ok(());
        };
        for (name, help, value) in [
            ("store_commits", "Batches made durable", stats.commits),
            (
                "store_conflicts",
                "Batches refused because of another writer",
                stats.conflicts,
            ),
            (
                "store_flushes",
                "Waits for the disk, each for one or more batches",
                stats.groups,
            ),
        ] {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        let seconds = ConstGauge::new(stats.last_sync.as_secs_f64());
        let metric = encoder.encode_descriptor(
            "store_last_flush",
            "How long the last wait for the disk took",
            Some(&Unit::Seconds),
            seconds.metric_type(),
        )?;
        seconds.encode(metric)
    }
}
