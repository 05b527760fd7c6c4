//! (g) What the zone costs while things change: some routes and endpoints all the time, very many
//! endpoints, very many hostnames.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use mesh_harness::process::Process;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use crate::ads::Ads;
use crate::fleet::{Fleet, LOCALHOST, free_port};
use crate::http::Http;
use crate::load;
use crate::machine;
use crate::progress;
use crate::report::{Report, Row};
use crate::stats::{Samples, milliseconds, round};

const ROUTES: usize = 5_000;
const SETTLE: Duration = Duration::from_secs(10);
/// How long endpoints change while routes do: somewhat longer than these take.
const BESIDE: Duration = Duration::from_secs(12);
/// Endpoints that change, and the services that share them out.
const BACKENDS: usize = 1_000;
const SERVICES: usize = 100;
const HOSTS: usize = 2_500;
const HOST_ROUTES: usize = 40_000;

/// Measures a fleet with a client in Envoy's place, which costs nothing else.
pub(crate) async fn measure(dir: &Path, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let time = Duration::from_secs(if quick { 10 } else { 30 });
    let fleet = Fleet::start(&dir.join("churn")).await?;
    connect(&fleet, "gateway-g").await?;
    progress("churn: 5000 routes");
    load::create_routes(fleet.global_api, 0, ROUTES).await?;
    let zone_at = fleet.zone_address;
    let mut http = Http::connect(fleet.global_api).await?;
    for number in 0..SERVICES {
        let name = format!("changing-{number}");
        let mut document = load::route(&name, &format!("/{name}"));
        let backend = &mut document["conf"]["http"]["rules"][0]["backends"][0];
        backend["destination"]["kuma.io/service"] = json!(service("changing", number));
        http.put(&load::route_path(&name), &document).await?;
    }
    sleep(SETTLE).await;

    // An endpoint each 2 s, a route each 1 s.
    let start = Instant::now();
    let before = cpu(&fleet.zone)?;
    let mut zone = Http::connect(zone_at).await?;
    let mut clock = interval(Duration::from_secs(1));
    let mut second = 0;
    while start.elapsed() < time {
        clock.tick().await;
        second += 1;
        http.freshen().await?;
        zone.freshen().await?;
        http.put(
            &load::route_path("probe"),
            &load::route("probe", &format!("/probe-{second}")),
        )
        .await?;
        if second % 2 == 0 {
            put_backend(&mut zone, "changing", 0, second).await?;
        }
    }
    let cores = share(before, cpu(&fleet.zone)?, start);
    let (memory, peak) = machine::memory(fleet.zone.id().context("the zone runs")?)?;
    add(
        report,
        "a route each 1 s, an endpoint each 2 s, 5000 routes: CPU",
        cores,
        "core",
        0.1,
    );
    add(report, "the same: memory of the zone", memory, "MiB", 80.0);

    progress("churn: 1000 endpoints per second");
    let alone = routes_arrive(&fleet, 20, "alone").await?;
    // What the writes alone cost, of endpoints that no gateway sends to.
    let start = Instant::now();
    let before = cpu(&fleet.zone)?;
    let changes = change_all_endpoints(zone_at, "unused", time)
        .join_all()
        .await;
    changes.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let written = share(before, cpu(&fleet.zone)?, start);
    report.row(Row::plain(
        "g: the same many writes of endpoints that no gateway sends to: CPU of the zone",
        format!("{written:.3} core"),
    ));
    // Then what they cost with one gateway, then with one more, how long routes take beside them.
    let start = Instant::now();
    let before = cpu(&fleet.zone)?;
    let changes = change_all_endpoints(zone_at, "changing", time)
        .join_all()
        .await;
    let seconds = start.elapsed().as_secs_f64();
    let cores = share(before, cpu(&fleet.zone)?, start);
    let changes: Vec<u32> = changes.into_iter().collect::<anyhow::Result<_>>()?;
    let per_second = f64::from(changes.iter().sum::<u32>()) / seconds;
    let writers = change_all_endpoints(zone_at, "changing", BESIDE);
    let beside = routes_arrive(&fleet, 40, "beside").await?;
    for ended in writers.join_all().await {
        ended?;
    }
    add(
        report,
        &format!("{per_second:.0} endpoints per second: CPU of the zone"),
        cores,
        "core",
        0.2,
    );
    for (what, samples) in [("alone", &alone), ("beside them", &beside)] {
        report.row(Row::plain(
            format!("g: PUT accepted -> last byte of routes, {what}, p50 / max"),
            format!("{:.1} / {:.1} ms", samples.percentile(50), samples.max()),
        ));
    }
    report.detail(
        "churn",
        json!({
            "endpoints_per_second": per_second.round(), "cores": round(cores),
            "zone_mib": memory, "zone_peak_mib": peak,
            "cores_of_writes": round(written), "routes_alone": alone.to_json(), "routes_beside": beside.to_json(),
        }),
    );
    drop(fleet);
    if quick {
        return Ok(());
    }
    hosts(dir, report).await
}

/// Memory with many hostnames.
async fn hosts(dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    progress("churn: 40000 routes of 2500 hostnames");
    let fleet = Fleet::start(&dir.join("hosts")).await?;
    connect(&fleet, "gateway-h").await?;
    load::create_routes_of_hosts(fleet.global_api, HOST_ROUTES, HOSTS).await?;
    sleep(SETTLE).await;
    let (memory, peak) = machine::memory(fleet.zone.id().context("the zone runs")?)?;
    add(
        report,
        "40000 routes of 2500 hostnames: memory of the zone",
        memory,
        "MiB",
        300.0,
    );
    report.detail("hosts", json!({"zone_mib": memory, "zone_peak_mib": peak}));
    Ok(())
}

fn add(report: &mut Report, what: &str, figure: f64, unit: &str, bar: f64) {
    report.row(Row {
        what: format!("g: {what}"),
        figure: format!("{figure:.3} {unit}"),
        bar: format!("<= {bar} {unit}"),
        is_met: Some(figure <= bar),
    });
}

fn cpu(process: &Process) -> anyhow::Result<Duration> {
    machine::cpu_time(process.id().context("the process runs")?)
}

fn share(before: Duration, after: Duration, start: Instant) -> f64 {
    (after - before).as_secs_f64() / start.elapsed().as_secs_f64()
}

/// A stream that takes everything.
async fn connect(fleet: &Fleet, name: &str) -> anyhow::Result<()> {
    let mut ads = open(fleet, name).await?;
    tokio::spawn(async move { while ads.next().await.is_ok() {} });
    Ok(())
}

async fn open(fleet: &Fleet, name: &str) -> anyhow::Result<Ads> {
    let token = fleet.zone_api.dataplane_token("default", name).await?;
    let dataplane = load::gateway_dataplane(name, "127.0.45.1", free_port(LOCALHOST)?);
    Ads::open(fleet, &dataplane, &token).await
}

/// How long changed routes take to a stream, some times.
async fn routes_arrive(fleet: &Fleet, times: usize, name: &str) -> anyhow::Result<Samples> {
    let mut ads = open(fleet, &format!("gateway-{name}")).await?;
    let mut http = Http::connect(fleet.global_api).await?;
    let mut taken = Vec::new();
    for round in 0..times {
        let path = format!("/{name}-{round:03}");
        http.freshen().await?;
        let document = load::route("probe", &path);
        let put = http.put(&load::route_path("probe"), &document).await?;
        let arrival = ads.routes_with(&path).await?;
        taken.push(milliseconds(arrival.last.saturating_duration_since(put)));
        sleep(Duration::from_millis(200)).await;
    }
    Ok(Samples::new(taken))
}

/// Changes 1,000 endpoints a second, over ten connections.
fn change_all_endpoints(
    zone: SocketAddr,
    prefix: &'static str,
    time: Duration,
) -> JoinSet<anyhow::Result<u32>> {
    let start = Instant::now();
    let writers = 0..10;
    writers
        .map(|writer| change_endpoints(zone, prefix, writer, start, time))
        .collect()
}

/// Changes 100 endpoints a second until it is time; how many.
async fn change_endpoints(
    zone: SocketAddr,
    prefix: &'static str,
    writer: usize,
    start: Instant,
    time: Duration,
) -> anyhow::Result<u32> {
    let mut http = Http::connect(zone).await?;
    let mut clock = interval(Duration::from_millis(10));
    let mut count = 0;
    while start.elapsed() < time {
        clock.tick().await;
        count += 1;
        let number = (writer + 10 * count as usize) % BACKENDS;
        put_backend(&mut http, prefix, number, count as usize).await?;
    }
    Ok(count)
}

fn service(prefix: &str, number: usize) -> String {
    format!("{prefix}-{}", number % SERVICES)
}

async fn put_backend(
    http: &mut Http,
    prefix: &str,
    number: usize,
    round: usize,
) -> anyhow::Result<()> {
    let name = format!("{prefix}-{number}");
    let document: Value = json!({
        "type": "Dataplane", "mesh": "default", "name": name,
        "networking": {"address": "10.0.1.1", "inbound": [
            {"port": 1000 + round % 50_000, "tags": {"kuma.io/service": service(prefix, number)}},
        ]},
    });
    let path = format!("/meshes/default/dataplanes/{name}");
    http.put(&path, &document).await?;
    Ok(())
}
