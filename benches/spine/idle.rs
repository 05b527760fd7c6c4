//! (c) What both control planes cost while nothing happens: CPU and memory.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use mesh_harness::process::Process;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::fleet::Fleet;
use crate::load;
use crate::machine;
use crate::progress;
use crate::report::{Report, Row};
use crate::stats::round;

const ROUTES: usize = 5_000;
const CPU_BAR: f64 = 0.007;
const GLOBAL_BAR: f64 = 40.0;
const ZONE_BAR: f64 = 80.0;
/// What the load leaves to do (insights, timers that were set) is done after so long.
const SETTLE: Duration = Duration::from_secs(15);

/// Measures a fleet of its own with a real gateway.
pub(crate) async fn measure(dir: &Path, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let time = Duration::from_secs(if quick { 10 } else { 30 });
    let fleet = Fleet::start(&dir.join("idle")).await?;
    let _gateway = fleet.start_gateway("gateway-c", "127.0.43.1").await?;
    progress(&format!("idle: {ROUTES} routes, then {time:?} of nothing"));
    load::create_routes(fleet.global_api, 0, ROUTES).await?;
    sleep(SETTLE).await;

    let start = Instant::now();
    let before = (Cost::of(&fleet.global)?, Cost::of(&fleet.zone)?);
    sleep(time).await;
    let elapsed = start.elapsed();
    let after = (Cost::of(&fleet.global)?, Cost::of(&fleet.zone)?);
    let share = |before: &Cost, after: &Cost| {
        (after.cpu - before.cpu).as_secs_f64() / elapsed.as_secs_f64()
    };
    let global = share(&before.0, &after.0);
    let zone = share(&before.1, &after.1);

    report.row(Row {
        what: format!("c: idle CPU, global + zone, {ROUTES} routes"),
        figure: format!("{:.4} core", global + zone),
        bar: format!("<= {CPU_BAR} core"),
        is_met: Some(global + zone <= CPU_BAR),
    });
    for (name, cost, bar) in [
        ("global", &after.0, GLOBAL_BAR),
        ("zone", &after.1, ZONE_BAR),
    ] {
        report.row(Row {
            what: format!("c: resident memory, {name}, {ROUTES} routes"),
            figure: format!("{:.1} MiB", cost.resident),
            bar: format!("<= {bar} MiB"),
            is_met: Some(cost.resident <= bar),
        });
    }
    report.detail(
        "idle",
        json!({
            "routes": ROUTES,
            "seconds": elapsed.as_secs(),
            "global": {"cores": round(global), "mib": after.0.resident, "peak_mib": after.0.peak},
            "zone": {"cores": round(zone), "mib": after.1.resident, "peak_mib": after.1.peak},
        }),
    );
    Ok(())
}

/// What a process has cost so far.
struct Cost {
    cpu: Duration,
    resident: f64,
    peak: f64,
}

impl Cost {
    fn of(process: &Process) -> anyhow::Result<Self> {
        let pid = process.id().context("the process runs")?;
        let (resident, peak) = machine::memory(pid)?;
        Ok(Self {
            cpu: machine::cpu_time(pid)?,
            resident,
            peak,
        })
    }
}
