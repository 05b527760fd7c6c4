//! One change: from PUT accepted until the last zone has it on disk.

use std::path::Path;
use std::time::Duration;

use mesh_benches::http::Http;
use mesh_benches::report::{Report, Row};
use mesh_benches::stats::{Samples, milliseconds};
use mesh_benches::{load, progress};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::global::Global;
use crate::zones::{self, Keep, Zone};

/// Everything is quiet for so long before a change is timed.
const PAUSE: Duration = Duration::from_millis(20);

struct Case {
    zones: usize,
    resources: usize,
    /// A bar for the mean, or for the 99th percentile, in milliseconds.
    mean: Option<f64>,
    p99: Option<f64>,
}

/// Measures each size in a fleet of its own.
pub(crate) async fn measure(dir: &Path, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let samples = if quick { 50 } else { 300 };
    let cases = [
        (8, 1_000, Some(20.0), None),
        (8, 5_000, None, None),
        (100, 1_000, None, None),
        (100, 5_000, None, Some(100.0)),
    ];
    let mut cpu = Vec::new();
    for (zones, resources, mean, p99) in cases {
        let case = Case {
            zones,
            resources,
            mean,
            p99,
        };
        progress(&format!("change: {zones} zones, {resources} routes"));
        let dir = dir.join(format!("change-{zones}-{resources}"));
        cpu.push(one(&dir, case, samples, report).await?);
    }
    let [small_8, large_8, small_100, large_100] = cpu[..] else {
        return Ok(());
    };
    report.row(Row {
        what: "global's CPU of a change, 5,000 over 1,000 routes, 8 / 100 zones".to_owned(),
        figure: format!("{:.2} / {:.2}", large_8 / small_8, large_100 / small_100),
        bar: "not with resources".to_owned(),
        is_met: None,
    });
    report.row(Row {
        what: "global's CPU of a change, 100 over 8 zones, 1,000 / 5,000 routes".to_owned(),
        figure: format!("{:.2} / {:.2}", small_100 / small_8, large_100 / large_8),
        bar: "<= 12.5".to_owned(),
        is_met: Some(small_100 / small_8 <= 12.5 && large_100 / large_8 <= 12.5),
    });
    Ok(())
}

/// One fleet; gives the global's CPU time of one change in milliseconds.
async fn one(dir: &Path, case: Case, samples: usize, report: &mut Report) -> anyhow::Result<f64> {
    let global = Global::start(&dir.join("global"), case.resources).await?;
    let zones = zones::start(case.zones, &global, global.kds, Keep::Disk(dir)).await?;
    zones::all_hold(&zones, case.resources).await?;
    sleep(Duration::from_secs(3)).await;

    let mut http = Http::connect(global.api).await?;
    let (mut taken, mut each) = (Vec::new(), Vec::new());
    let cpu = global.cpu()?;
    for number in 0..samples {
        let path = format!("/changed/{number}");
        http.freshen().await?;
        let document = load::route("probe", &path);
        let accepted = http.put(&load::route_path("probe"), &document).await?;
        let times = all_have(&zones, &path).await?;
        let after = |at: &Instant| milliseconds(at.saturating_duration_since(accepted));
        taken.push(times.iter().map(after).fold(0.0, f64::max));
        each.extend(times.iter().map(after));
        sleep(PAUSE).await;
    }
    let cpu = (global.cpu()? - cpu).as_secs_f64() * 1000.0 / samples as f64;
    let (last, each) = (Samples::new(taken), Samples::new(each));
    let Case {
        zones: count,
        resources,
        mean,
        p99,
    } = case;
    let bar = |bar: Option<f64>| bar.map(|bar| format!("<= {bar} ms")).unwrap_or_default();
    report.row(Row {
        what: format!("PUT accepted -> durable in the last of {count} zones, {resources}, mean"),
        figure: format!("{:.2} ms", last.mean()),
        bar: bar(mean),
        is_met: mean.map(|bar| last.mean() <= bar),
    });
    report.row(Row {
        what: format!("PUT accepted -> durable in the last of {count} zones, {resources}, p99"),
        figure: format!("{:.2} ms", last.percentile(99)),
        bar: bar(p99),
        is_met: p99.map(|bar| last.percentile(99) <= bar),
    });
    report.detail(
        "change",
        json!({
            "zones": count, "routes": resources, "last_zone": last.to_json(),
            "each_zone": each.to_json(), "global_cpu_ms_per_change": cpu,
        }),
    );
    for zone in zones {
        zone.stop().await?;
    }
    Ok(cpu)
}

/// When each zone had the probe with this path.
async fn all_have(zones: &[Zone], path: &str) -> anyhow::Result<Vec<Instant>> {
    let key = zones::held_route("probe");
    let waits = zones.iter().map(|zone| {
        zone.reaches(|snapshot| {
            let probe = snapshot.get(&key);
            // The path is in the encoded spec as it is.
            probe.is_some_and(|probe| contains(probe.spec().bytes(), path.as_bytes()))
        })
    });
    futures_util::future::try_join_all(waits).await
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
