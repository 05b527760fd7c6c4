//! Many resources, applied as fast as the global takes them, while zones follow.

use std::path::Path;

use mesh_benches::report::{Report, Row};
use mesh_benches::stats::milliseconds;
use mesh_benches::{load, progress};
use mesh_model::ResourceType;
use serde_json::json;
use tokio::time::{Duration, Instant, interval};

use crate::global::Global;
use crate::zones::{self, Keep, Zone};

const ZONES: usize = 10;

/// Measures one fleet that grows.
pub(crate) async fn measure(dir: &Path, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let routes = if quick { 10_000 } else { 100_000 };
    progress(&format!("bulk: {routes} routes, {ZONES} zones follow"));
    let dir = dir.join("bulk");
    let global = Global::start(&dir.join("global"), 0).await?;
    let zones = zones::start(ZONES, &global, global.kds, Keep::Disk(&dir)).await?;
    zones::all_hold(&zones, 0).await?;

    let start = Instant::now();
    let creation = tokio::spawn(load::create_routes(global.api, 0, routes));
    let stall = longest_stall(&zones[0], routes, creation);
    let stall = tokio::time::timeout(Duration::from_secs(600), stall).await??;
    let applied = stall.applied - start;
    let converged = zones::all_hold(&zones, routes).await?;
    let (memory, peak) = global.memory()?;

    let behind = milliseconds(converged.saturating_duration_since(stall.applied));
    report.row(Row::plain(
        format!("{routes} routes applied while {ZONES} zones follow"),
        format!("{:.0} /s", routes as f64 / applied.as_secs_f64()),
    ));
    report.row(Row {
        what: "  all zones have all of them after the last PUT".to_owned(),
        figure: format!("{behind:.0} ms"),
        bar: "all converge".to_owned(),
        is_met: Some(true),
    });
    report.row(Row {
        what: "  longest time in which a zone got nothing new".to_owned(),
        figure: format!("{:.0} ms", milliseconds(stall.longest)),
        bar: "no stall".to_owned(),
        is_met: Some(stall.longest < Duration::from_secs(2)),
    });
    report.row(Row::plain(
        "  peak memory of the global",
        format!("{peak:.0} MiB"),
    ));
    report.detail(
        "bulk",
        json!({
            "zones": ZONES, "routes": routes, "applied_ms": milliseconds(applied),
            "behind_ms": behind, "longest_stall_ms": milliseconds(stall.longest),
            "mib": memory, "peak_mib": peak,
        }),
    );
    for zone in zones {
        zone.stop().await?;
    }
    Ok(())
}

struct Stall {
    longest: Duration,
    applied: Instant,
}

/// Looks at a zone until it has all routes: the longest time without a new one while routes were
/// being written.
async fn longest_stall(
    zone: &Zone,
    routes: usize,
    creation: tokio::task::JoinHandle<anyhow::Result<()>>,
) -> anyhow::Result<Stall> {
    let mut creation = std::pin::pin!(creation);
    let mut ticks = interval(Duration::from_millis(20));
    let (mut seen, mut since) = (0, Instant::now());
    let mut longest = Duration::ZERO;
    loop {
        tokio::select! {
            done = &mut creation => {
                done??;
                return Ok(Stall { longest, applied: Instant::now() });
            }
            _ = ticks.tick() => {}
        }
        let snapshot = zone.store.snapshot();
        let count = snapshot.list(ResourceType::MeshGatewayRoute).count();
        if count != seen && count < routes {
            seen = count;
            since = Instant::now();
        }
        if count < routes {
            longest = longest.max(since.elapsed());
        }
    }
}
