//! A global that is killed and started again while a hundred zones are connected.

use std::path::Path;
use std::time::Duration;

use mesh_benches::report::{Report, Row};
use mesh_benches::stats::milliseconds;
use mesh_benches::{load, progress};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::global::Global;
use crate::relay::Relay;
use crate::zones::{self, Keep, Removals};

const ZONES: usize = 100;
const ROUTES: usize = 5_000;
/// How many routes are written while no zone can hear of them.
const MISSED: usize = 10;
const BAR: f64 = 2_000.0;

/// Measures one fleet: a restart after which a zone has missed nothing, then one after which it
/// has missed some changes.
pub(crate) async fn measure(dir: &Path, _quick: bool, report: &mut Report) -> anyhow::Result<()> {
    progress(&format!("restart: {ZONES} zones, {ROUTES} routes"));
    let mut global = Global::start(&dir.join("restart"), ROUTES).await?;
    let relay = Relay::start(global.kds).await?;
    let zones = zones::start(ZONES, &global, relay.at, Keep::Memory).await?;
    zones::all_hold(&zones, ROUTES).await?;
    sleep(Duration::from_secs(10)).await;

    let removals = Removals::watch(&zones);
    global.kill().await?;
    sleep(Duration::from_secs(2)).await;
    relay.take();
    global.run().await?;
    let listens = Instant::now();
    // What is written as soon as it listens is what all zones have once they caught up.
    load::create_routes(global.api, ROUTES, ROUTES + MISSED).await?;
    let all = ROUTES + MISSED;
    let caught_up = milliseconds(zones::all_hold(&zones, all).await? - listens);
    sleep(Duration::from_secs(2)).await;
    let (down, up) = relay.take();
    let removed = removals.count();

    report.row(Row {
        what: format!("the global is killed and is back: {ZONES} zones caught up"),
        figure: format!("{caught_up:.0} ms"),
        bar: format!("<= {BAR} ms"),
        is_met: Some(caught_up <= BAR),
    });
    report.row(Row {
        what: format!("  bytes per zone, {MISSED} of {all} routes missed, 2 s of heartbeats"),
        figure: format!("{:.1} kB", (down + up) as f64 / ZONES as f64 / 1000.0),
        bar: "with what differs".to_owned(),
        is_met: None,
    });
    report.row(Row {
        what: "  removals that zones saw".to_owned(),
        figure: removed.to_string(),
        bar: "0".to_owned(),
        is_met: Some(removed == 0),
    });
    report.detail(
        "restart",
        json!({
            "zones": ZONES, "routes": all, "missed": MISSED, "caught_up_ms": caught_up,
            "bytes_down": down, "bytes_up": up, "removals": removed,
        }),
    );
    drop(removals);
    for zone in zones {
        zone.stop().await?;
    }
    Ok(())
}
