//! (d) Durable writes per second, beside what the disk does by itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mesh_model::json::parse_document;
use mesh_model::{Key, MeshName, Resource, ResourceName, Timestamp};
use mesh_store::{Batch, Disk, Role, Store as _};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::load;
use crate::machine;
use crate::progress;
use crate::report::{Report, Row};
use crate::stats::milliseconds;

const WRITERS: usize = 64;
/// Each writer has so many routes and changes them in turn: 4,992 in all.
const ROUTES: usize = 78;
const BAR: f64 = 10_000.0;
/// The bar is for a disk that takes so long, in milliseconds.
const BAR_SYNC: f64 = 0.5;

/// Measures a store that is filled first.
pub(crate) async fn measure(dir: &Path, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let time = Duration::from_secs(if quick { 3 } else { 10 });
    progress(&format!("durable: {WRITERS} writers for {time:?}"));
    let dir = dir.join("store");
    let opened = {
        let dir = dir.clone();
        tokio::task::spawn_blocking(move || Disk::open(&dir, Role::Global)).await?
    };
    let store = Arc::new(opened?);
    run(&store, Until::Rounds(ROUTES)).await?;
    let disk = machine::fdatasync(&dir)?;
    let before = store.stats();
    let start = Instant::now();
    run(&store, Until::At(start + time)).await?;
    let elapsed = start.elapsed().as_secs_f64();
    let after = store.stats();

    let commits = (after.commits - before.commits) as f64 / elapsed;
    let groups = (after.groups - before.groups) as f64 / elapsed;
    // The disk at its best of before and after: others may use it, too.
    let disk = disk.better(machine::fdatasync(&dir)?);
    let sync = disk.percentile(50);
    let bar = BAR * (BAR_SYNC / sync).min(1.0);
    report.row(Row::plain(
        format!("d: fdatasync alone: {:.2} ms each", sync),
        format!("{:.0} /s", 1000.0 / disk.mean()),
    ));
    report.row(Row {
        what: format!("d: durable writes, {WRITERS} writers"),
        figure: format!("{commits:.0} /s"),
        bar: format!(">= {bar:.0} /s at {sync:.2} ms"),
        is_met: Some(commits >= bar),
    });
    report.detail(
        "durable",
        json!({
            "writers": WRITERS,
            "writes_per_second": commits.round(),
            "groups_per_second": groups.round(),
            "writes_per_group": (commits / groups).round(),
            "last_flush_ms": milliseconds(after.last_sync),
            "fdatasync": disk.to_json(),
        }),
    );
    // Closing waits for the writer.
    tokio::task::spawn_blocking(move || drop(store)).await?;
    Ok(())
}

/// When a writer stops.
#[derive(Clone, Copy)]
enum Until {
    Rounds(usize),
    At(Instant),
}

async fn run(store: &Arc<Disk>, until: Until) -> anyhow::Result<()> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(store);
        writers.spawn(async move {
            let mut round = 0;
            loop {
                let is_over = match until {
                    Until::Rounds(rounds) => round >= rounds,
                    Until::At(end) => Instant::now() >= end,
                };
                if is_over {
                    return anyhow::Ok(());
                }
                let batch = Batch::new().put(resource(writer, round)?);
                store.commit(batch).await?;
                round += 1;
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    Ok(())
}

fn resource(writer: usize, round: usize) -> anyhow::Result<Resource> {
    let name = format!("route-{writer:02}-{:02}", round % ROUTES);
    let document = parse_document(&load::route(&name, &format!("/{name}/{round}")))?;
    let key = Key::in_mesh(
        document.ty,
        MeshName::parse("default")?,
        ResourceName::parse(&name)?,
    );
    let time = Timestamp::EPOCH;
    Ok(Resource::new(
        key,
        document.labels,
        document.spec,
        time,
        time,
    ))
}
