//! Zones while nothing happens: the global's CPU, and what one more zone costs it in memory.

use std::path::Path;
use std::time::Duration;

use mesh_benches::progress;
use mesh_benches::report::{Report, Row};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::global::Global;
use crate::zones::{self, Keep};

const ROUTES: usize = 5_000;
const ZONES: usize = 100;
const CPU_BAR: f64 = 0.02;
const MEMORY_BAR: f64 = 2.0;
/// What a join leaves to do (insights, timers that were set) is done after so long.
const SETTLE: Duration = Duration::from_secs(15);

/// Measures one fleet with one zone, then with all.
pub(crate) async fn measure(dir: &Path, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let time = Duration::from_secs(if quick { 10 } else { 30 });
    progress(&format!("idle: {ZONES} zones, {ROUTES} routes"));
    let global = Global::start(&dir.join("idle"), ROUTES).await?;
    let first = zones::start(1, &global, global.kds, Keep::Memory).await?;
    zones::all_hold(&first, ROUTES).await?;
    sleep(SETTLE).await;
    let (one, _) = global.memory()?;

    // The first of them takes the place of the zone that is there.
    let all = zones::start(ZONES, &global, global.kds, Keep::Memory);
    for zone in first {
        zone.stop().await?;
    }
    let all = all.await?;
    zones::all_hold(&all, ROUTES).await?;
    sleep(SETTLE).await;
    let (start, cpu) = (Instant::now(), global.cpu()?);
    sleep(time).await;
    let cores = (global.cpu()? - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    let (all_memory, peak) = global.memory()?;
    let per_zone = (all_memory - one) / (ZONES - 1) as f64;

    report.row(Row {
        what: format!("idle CPU of the global, {ZONES} zones, {ROUTES} routes"),
        figure: format!("{cores:.4} core"),
        bar: format!("<= {CPU_BAR} core"),
        is_met: Some(cores <= CPU_BAR),
    });
    report.row(Row {
        what: "memory of the global per zone more".to_owned(),
        figure: format!("{per_zone:.2} MiB"),
        bar: format!("<= {MEMORY_BAR} MiB"),
        is_met: Some(per_zone <= MEMORY_BAR),
    });
    report.detail(
        "idle",
        json!({
            "zones": ZONES, "routes": ROUTES, "cores": cores, "mib_with_one_zone": one,
            "mib": all_memory, "peak_mib": peak, "seconds": start.elapsed().as_secs(),
        }),
    );
    for zone in all {
        zone.stop().await?;
    }
    Ok(())
}
