//! Zones that join empty: time and bytes for one, and for a hundred at once.

use std::path::Path;
use std::time::Duration;

use mesh_benches::progress;
use mesh_benches::report::{Report, Row};
use mesh_benches::stats::milliseconds;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::global::Global;
use crate::relay::Relay;
use crate::zones::{self, Keep, Zone};

const TOGETHER: usize = 100;
const ROUTES: usize = 5_000;

/// Measures one zone at each size, and all at once at the smaller one.
pub(crate) async fn measure(dir: &Path, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let sizes: &[usize] = if quick { &[ROUTES] } else { &[ROUTES, 100_000] };
    for &routes in sizes {
        progress(&format!("join: one zone, {routes} routes"));
        let here = dir.join(format!("join-{routes}"));
        let global = Global::start(&here.join("global"), routes).await?;
        let relay = Relay::start(global.kds).await?;
        alone(&global, &relay, &here, routes, report).await?;
        if routes == ROUTES {
            together(&global, &relay, routes, report).await?;
        }
    }
    Ok(())
}

async fn alone(
    global: &Global,
    relay: &Relay,
    dir: &Path,
    routes: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let zone = Zone::start(0, global, relay.at, Keep::Disk(dir)).await?;
    let took = milliseconds(zone.holds(routes).await? - start);
    let (down, up) = relay.take();
    // A second join of the same zone is the price of coming back, once it remembers whom it has
    // followed: with the last type, which may be another one.
    sleep(Duration::from_secs(1)).await;
    zone.stop().await?;
    sleep(Duration::from_millis(200)).await;
    relay.take();
    let zone = Zone::start(0, global, relay.at, Keep::Disk(dir)).await?;
    sleep(Duration::from_secs(2)).await;
    let (again_down, again_up) = relay.take();
    zone.stop().await?;
    report.row(Row::plain(
        format!("a zone joins empty, {routes} routes: until all are durable"),
        format!("{took:.0} ms"),
    ));
    report.row(Row::plain(
        format!("  bytes down / up, {routes} routes"),
        format!("{:.2} / {:.3} MB", mega(down), mega(up)),
    ));
    report.row(Row {
        what: format!("  bytes down + up in 2 s when it comes back, {routes} routes"),
        figure: format!("{:.1} kB", mega(again_down + again_up) * 1000.0),
        bar: "not with resources".to_owned(),
        is_met: None,
    });
    report.detail(
        "join",
        json!({
            "zones": 1, "routes": routes, "ms": took, "bytes_down": down, "bytes_up": up,
            "again_bytes_down": again_down, "again_bytes_up": again_up,
        }),
    );
    Ok(())
}

async fn together(
    global: &Global,
    relay: &Relay,
    routes: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    progress(&format!("join: {TOGETHER} zones at once, {routes} routes"));
    let (before, _) = global.memory()?;
    relay.take();
    let (start, cpu) = (Instant::now(), global.cpu()?);
    let all = zones::start(TOGETHER, global, relay.at, Keep::Memory).await?;
    let took = zones::all_hold(&all, routes).await? - start;
    let cpu = global.cpu()? - cpu;
    let (after, peak) = global.memory()?;
    let (down, up) = relay.take();
    report.row(Row::plain(
        format!("{TOGETHER} zones join empty at once, {routes} routes"),
        format!("{:.1} s", took.as_secs_f64()),
    ));
    report.row(Row::plain(
        "  peak memory of the global",
        format!("{peak:.0} MiB"),
    ));
    report.detail(
        "join",
        json!({
            "zones": TOGETHER, "routes": routes, "ms": milliseconds(took),
            "global_cpu_ms": milliseconds(cpu), "bytes_down": down, "bytes_up": up,
            "mib_before": before, "mib_after": after, "peak_mib": peak,
        }),
    );
    for zone in all {
        zone.stop().await?;
    }
    Ok(())
}

fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
